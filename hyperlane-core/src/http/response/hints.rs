//! Resources that a client may load before the response: preloads (RFC 8297) and pushed responses (RFC 9113 §8.4).

use super::Response;

/// Maximum number of responses that one response pushes. Further ones are dropped, and the drop is logged.
const MAX_PUSHES: usize = 32;

/// The responses to push, each with its path.
#[derive(Debug, Clone, Default)]
pub(crate) struct Pushes(Vec<(String, Response)>);

impl Pushes {
    pub(crate) fn into_each(self) -> impl Iterator<Item = (String, Response)> {
        self.0.into_iter()
    }
}

impl Response {
    /// Names a resource that the client will need, such as a style sheet. `kind` is a destination of the fetch standard:
    /// `style`, `script`, `font`, `image`, `fetch`.
    ///
    /// Adds a field `link` with `rel=preload`. If request middleware has added it, the server sends it in a 103 before the
    /// handler runs, so the client loads the resource while the handler works.
    /// [`Stream::early_hints`](crate::Stream::early_hints) sends a 103 at once. An invalid path or kind is logged and dropped.
    ///
    /// ```
    /// use hyperlane_core::Response;
    ///
    /// let mut response = Response::new();
    /// response.preload("/site.css", "style");
    /// assert_eq!(response.header("link"), Some("</site.css>; rel=preload; as=style"));
    /// ```
    pub fn preload(&mut self, path: impl AsRef<str>, kind: impl AsRef<str>) -> &mut Self {
        match preload_link(path.as_ref(), kind.as_ref()) {
            Some(link) => _ = self.add_header("link", link),
            None => {
                tracing::warn!(
                    path = path.as_ref(),
                    kind = kind.as_ref(),
                    "not a preload: dropped"
                );
            }
        }
        self
    }

    /// Pushes another response before this one: the answer to a GET of `path`, for which the client has not asked yet.
    ///
    /// Over HTTP/2, the server sends `PUSH_PROMISE` and the response if the client allows it (RFC 9113 §8.4). Browsers do not
    /// allow it any more. To all other clients, the server names `path` in a 103 and by a field `link`, as
    /// [`preload`](Self::preload) does. A pushed response has at most 64 KiB, which the client has to
    /// take at once, and its body is in memory or a file. At most 32 responses are pushed.
    ///
    /// ```
    /// use std::path::Path;
    ///
    /// use hyperlane_core::Response;
    ///
    /// let mut css = Response::new();
    /// css.set_body(Path::new("./assets/bundle.css"));
    /// let mut response = Response::new();
    /// response.set_body(Path::new("./assets/index.html"));
    /// response.push("/bundle.css", css);
    /// ```
    pub fn push(&mut self, path: impl Into<String>, response: Response) -> &mut Self {
        let path = path.into();
        let pushes = self.pushes.get_or_insert_default();
        if pushes.0.len() < MAX_PUSHES && is_uri_text(&path) && path.starts_with('/') {
            pushes.0.push((path, response));
        } else {
            tracing::warn!(
                path,
                "not pushed: the path is invalid, or there are 32 already"
            );
        }
        self
    }

    /// Takes the responses to push.
    pub(crate) fn take_pushes(&mut self) -> Option<Box<Pushes>> {
        self.pushes.take()
    }

    /// Returns whether the response is sent by an asynchronous function: its body is a file or a stream, it pushes
    /// other responses, or it has trailers.
    pub(crate) fn is_sent_apart(&self) -> bool {
        self.is_body_streamed() || self.pushes.is_some() || self.has_trailers()
    }
}

/// Returns the value of a field `link` for a preload. Returns `None` for text that could end the path or add a field.
fn preload_link(path: &str, kind: &str) -> Option<String> {
    let is_kind = !kind.is_empty() && kind.bytes().all(|byte| byte.is_ascii_lowercase());
    (is_uri_text(path) && is_kind).then(|| {
        // Fonts are always fetched without credentials, and so must be their preload.
        let crossorigin = match kind {
            "font" => "; crossorigin",
            _ => "",
        };
        format!("<{path}>; rel=preload; as={kind}{crossorigin}")
    })
}

/// Returns whether text may stand between `<` and `>`.
fn is_uri_text(text: &str) -> bool {
    !text.is_empty()
        && text
            .bytes()
            .all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'<' | b'>' | b'"'))
}

/// Returns the destination of a path by its name.
pub(crate) fn kind_of(path: &str) -> &'static str {
    let path = path.split(['?', '#']).next().unwrap_or(path);
    let extension = path.rsplit('.').next().unwrap_or_default();
    match extension {
        "css" => "style",
        "js" | "mjs" => "script",
        "woff" | "woff2" | "ttf" | "otf" => "font",
        "png" | "jpg" | "jpeg" | "gif" | "webp" | "avif" | "svg" | "ico" => "image",
        _ => "fetch",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_that_would_be_more_than_a_path_is_dropped() {
        let mut response = Response::new();
        for (path, kind) in [
            ("/a>; rel=x", "style"),
            ("", "style"),
            ("/a\r\nx: y", "style"),
            ("/a", "style; x"),
            ("/a", ""),
        ] {
            response.preload(path, kind);
        }
        assert!(!response.has_header("link"));
        response.preload("/f.woff2", "font");
        assert_eq!(
            response.header("link"),
            Some("</f.woff2>; rel=preload; as=font; crossorigin")
        );
        response.push("no-slash", Response::new());
        for _ in 0..40 {
            response.push("/a.js", Response::new());
        }
        assert_eq!(
            response.take_pushes().unwrap().into_each().count(),
            MAX_PUSHES
        );
        assert_eq!(kind_of("/a/b.css?v=1"), "style");
    }
}
