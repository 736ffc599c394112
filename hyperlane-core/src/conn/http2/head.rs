//! Heads of responses for HTTP/2, from the text of HTTP/1.1.
//!
//! One writer ([`HeadWriter`](crate::proto::http::write::HeadWriter)) decides what a head has, for both versions, and
//! programs write heads as text of their own. Here the text becomes a status and fields.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};

/// A head as HTTP/2 sends it, and what the text says about its body.
#[derive(Debug)]
pub(crate) struct TextHead {
    pub(crate) status: StatusCode,
    pub(crate) fields: HeaderMap,
    /// `content-length`.
    pub(crate) length: Option<u64>,
    /// The body of the text is chunked.
    pub(crate) is_chunked: bool,
}

impl TextHead {
    /// Parses a whole head. Returns `None` for text that is no head, or that has a name or a value that no field may
    /// have.
    ///
    /// Omits the fields of the connection (RFC 9113 §8.2.2) and those of a handshake of HTTP/1.1 (RFC 8441 §5).
    pub(crate) fn parse(text: Bytes) -> Option<Self> {
        let end = memchr::memchr(b'\n', &text)?;
        let line = text.get(..end)?;
        let status = line.strip_prefix(b"HTTP/1.")?.get(2..5)?;
        let mut head = Self {
            status: StatusCode::from_bytes(status).ok()?,
            fields: HeaderMap::with_capacity(8),
            length: None,
            is_chunked: false,
        };
        let mut at = end + 1;
        while let Some(end) = memchr::memchr(b'\n', text.get(at..)?).map(|length| at + length) {
            let line = text.get(at..end)?;
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            if line.is_empty() {
                break;
            }
            let colon = memchr::memchr(b':', line)?;
            let (name, value) = (line.get(..colon)?, line.get(colon + 1..)?.trim_ascii());
            head.add(name, value, &text)?;
            at = end + 1;
        }
        Some(head)
    }

    /// Returns the head as the crate `h2` takes it.
    pub(crate) fn into_response(self) -> Response<()> {
        let mut response = Response::new(());
        *response.status_mut() = self.status;
        *response.headers_mut() = self.fields;
        response
    }

    fn add(&mut self, name: &[u8], value: &[u8], text: &Bytes) -> Option<()> {
        let name = HeaderName::from_bytes(name).ok()?;
        match name.as_str() {
            "connection"
            | "keep-alive"
            | "proxy-connection"
            | "upgrade"
            | "sec-websocket-accept" => {
                return Some(());
            }
            "transfer-encoding" => {
                self.is_chunked = value.eq_ignore_ascii_case(b"chunked");
                return Some(());
            }
            "content-length" => self.length = std::str::from_utf8(value).ok()?.parse().ok(),
            _ => {}
        }
        // The values share the text.
        let value = match value.is_empty() {
            true => HeaderValue::from_static(""),
            false => HeaderValue::from_maybe_shared(text.slice_ref(value)).ok()?,
        };
        self.fields.append(name, value);
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &'static str) -> TextHead {
        TextHead::parse(Bytes::from_static(text.as_bytes())).unwrap()
    }

    #[test]
    fn fields_of_the_connection_are_omitted() {
        let head = parsed(
            "HTTP/1.1 200 OK\r\nServer:  a b \r\nConnection: close\r\nkeep-alive: 5\r\nTransfer-Encoding: chunked\r\n\
             set-cookie: a\r\nset-cookie: b\r\nempty:\r\n\r\n",
        );
        assert_eq!(head.status, 200);
        let fields: Vec<_> = head
            .fields
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_bytes()))
            .collect();
        let expected: [(&str, &[u8]); 4] = [
            ("server", b"a b"),
            ("set-cookie", b"a"),
            ("set-cookie", b"b"),
            ("empty", b""),
        ];
        assert_eq!(fields, expected);
        assert!(head.is_chunked);
        assert_eq!(head.length, None);
        assert_eq!(
            parsed("HTTP/1.0 404 Not Found\ncontent-length: 7\n\n").length,
            Some(7)
        );
    }

    #[test]
    fn text_that_is_no_head_is_refused() {
        for text in [
            "",
            "HTTP/1.1 200 OK",
            "HTTP/2 200\r\n\r\n",
            "HTTP/1.1 2x0 OK\r\n\r\n",
            "HTTP/1.1 200 OK\r\nname\r\n\r\n",
        ] {
            assert!(
                TextHead::parse(Bytes::from_static(text.as_bytes())).is_none(),
                "{text}"
            );
        }
    }
}
