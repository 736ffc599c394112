//! What browsers say of the page and the element that a request comes from (Fetch Metadata, `Sec-Fetch-*`). Scripts cannot
//! set these fields. Browsers send them over TLS and to loopback hosts alone, so that most rules still need `Origin`.

/// What a request is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// A GET whose answer takes messages that wait for a page.
    Stream,
    /// A request with an `Origin` in every browser: a POST, the handshake of a WebSocket.
    Other,
}

/// The fields of one request.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct FetchMetadata<'a> {
    /// `Sec-Fetch-Site`; of several, one that is not the server's own.
    pub(crate) site: Option<&'a str>,
    /// `Sec-Fetch-Mode`.
    pub(crate) mode: Option<&'a str>,
    /// `Sec-Fetch-Dest`.
    pub(crate) dest: Option<&'a str>,
    /// There is an `Origin`, which is judged apart.
    pub(crate) has_origin: bool,
}

/// Whether a value of `Sec-Fetch-Site` stands for the server's own pages, or for an address that the user typed.
pub(crate) fn is_own_site(site: &str) -> bool {
    matches!(site.trim_ascii(), "same-origin" | "none")
}

impl FetchMetadata<'_> {
    /// Whether nothing says where the request comes from.
    pub(crate) fn is_silent(&self) -> bool {
        self.site.is_none() && !self.has_origin
    }

    /// Why the request is refused, if it is.
    pub(crate) fn refusal(&self, purpose: Purpose) -> Option<&'static str> {
        let is_foreign = self.site.is_some_and(|site| !is_own_site(site));
        if purpose == Purpose::Stream {
            let mode = self.mode.map(str::trim_ascii);
            let is_navigation = matches!(mode, Some("navigate" | "nested-navigate"));
            // An image, a script or a font would take the messages and show none.
            let is_element = self.dest.is_some_and(|dest| dest.trim_ascii() != "empty");
            let is_blind = mode == Some("no-cors") && (is_foreign || self.site.is_none());
            if is_navigation && is_foreign {
                return Some("a link or frame of another site cannot open an event stream");
            }
            if !is_navigation && (is_element || is_blind) {
                return Some(
                    "an event stream is opened by EventSource or fetch, not by an element of a page",
                );
            }
        }
        (is_foreign && !self.has_origin).then_some(
            "a request of another site has to say its origin: use EventSource, WebSocket, or fetch with mode `cors`",
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
