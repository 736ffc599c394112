//! Fetch Metadata (`Sec-Fetch-*`): fields in which a browser reports which page and which element caused a request.
//! Scripts cannot set these fields. Browsers send the fields only over TLS and to loopback hosts. Other requests lack
//! the fields, so most checks still need `Origin`.

/// The kind of request that the server checks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// A GET for an event stream. The response contains messages for a page.
    Stream,
    /// A POST or a WebSocket handshake. Every browser sends `Origin` with these requests.
    Other,
}

/// The Fetch Metadata of one request.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct FetchMetadata<'a> {
    /// `Sec-Fetch-Site`. If the request repeats the field, a value of another site takes precedence: a value for which
    /// [`is_own_site`] returns false.
    pub(crate) site: Option<&'a str>,
    /// `Sec-Fetch-Mode`.
    pub(crate) mode: Option<&'a str>,
    /// `Sec-Fetch-Dest`.
    pub(crate) dest: Option<&'a str>,
    /// True if the request has an `Origin`. This module does not check the value of `Origin`.
    pub(crate) has_origin: bool,
}

/// Returns whether a `Sec-Fetch-Site` value means a page of the server's own origin, or an address that the user typed.
pub(crate) fn is_own_site(site: &str) -> bool {
    matches!(site.trim_ascii(), "same-origin" | "none")
}

impl FetchMetadata<'_> {
    /// Returns whether the request has neither `Sec-Fetch-Site` nor `Origin`.
    pub(crate) fn is_silent(&self) -> bool {
        self.site.is_none() && !self.has_origin
    }

    /// Returns the reason to refuse the request, or `None` if the request may pass.
    pub(crate) fn refusal(&self, purpose: Purpose) -> Option<&'static str> {
        let is_foreign = self.site.is_some_and(|site| !is_own_site(site));
        if purpose == Purpose::Stream {
            let mode = self.mode.map(str::trim_ascii);
            let is_navigation = matches!(mode, Some("navigate" | "nested-navigate"));
            // An image, script or font element would consume the messages, and no page would receive them.
            let is_element = self.dest.is_some_and(|dest| dest.trim_ascii() != "empty");
            let is_blind = mode == Some("no-cors") && (is_foreign || self.site.is_none());
            if is_navigation && is_foreign {
                return Some("a link or frame on another site cannot open an event stream");
            }
            if !is_navigation && (is_element || is_blind) {
                return Some(
                    "an event stream is opened by EventSource or fetch, not by an element of a page",
                );
            }
        }
        (is_foreign && !self.has_origin).then_some(
            "a request from another site must send `Origin`: use EventSource, WebSocket, or fetch with mode `cors`",
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refuses(purpose: Purpose, [site, mode, dest, origin]: [&str; 4]) -> bool {
        let some = |text| (text != "-").then_some(text);
        FetchMetadata {
            site: some(site),
            mode: some(mode),
            dest: some(dest),
            has_origin: origin != "-",
        }
        .refusal(purpose)
        .is_some()
    }

    #[test]
    fn only_what_a_page_can_read_opens_a_stream() {
        for fine in [
            ["-", "-", "-", "-"],
            ["-", "-", "-", "https://a"],
            ["-", "navigate", "-", "-"],
            ["-", "cors", "-", "-"],
            ["none", "navigate", "document", "-"],
            ["same-origin", "cors", "empty", "-"],
            ["same-origin", "same-origin", "empty", "-"],
            ["same-origin", "no-cors", "empty", "-"],
            ["same-origin", "navigate", "document", "-"],
            ["same-site", "cors", "empty", "https://a"],
            ["cross-site", "cors", "empty", "https://a"],
            ["cross-site", "-", "-", "https://a"],
        ] {
            assert!(!refuses(Purpose::Stream, fine), "{fine:?}");
        }
        for wrong in [
            ["cross-site", "navigate", "document", "-"],
            ["cross-site", "navigate", "iframe", "-"],
            ["cross-site", "navigate", "document", "https://a"],
            ["same-site", "navigate", "document", "-"],
            ["cross-site", "no-cors", "image", "-"],
            ["cross-site", "no-cors", "empty", "https://a"],
            ["same-site", "no-cors", "script", "-"],
            ["same-origin", "no-cors", "image", "-"],
            ["same-origin", "cors", "image", "-"],
            ["cross-site", "cors", "script", "https://a"],
            ["-", "-", "image", "-"],
            ["none", "no-cors", "image", "-"],
            ["-", "no-cors", "-", "-"],
            ["cross-site", "-", "-", "-"],
            ["cross-site", "cors", "empty", "-"],
            ["something new", "cors", "empty", "-"],
        ] {
            assert!(refuses(Purpose::Stream, wrong), "{wrong:?}");
        }
    }

    #[test]
    fn what_comes_from_another_site_says_its_origin() {
        for fine in [
            ["-", "-", "-", "-"],
            ["same-origin", "cors", "empty", "-"],
            ["cross-site", "no-cors", "empty", "https://a"],
            ["cross-site", "websocket", "websocket", "https://a"],
            ["cross-site", "navigate", "document", "https://a"],
        ] {
            assert!(!refuses(Purpose::Other, fine), "{fine:?}");
        }
        for wrong in [
            ["cross-site", "websocket", "-", "-"],
            ["same-site", "navigate", "document", "-"],
        ] {
            assert!(refuses(Purpose::Other, wrong), "{wrong:?}");
        }
    }
}
