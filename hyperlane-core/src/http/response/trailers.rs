//! The trailer section of a response (RFC 9110 §6.5).

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{HeaderError, Headers, Response, log_refused};

/// Fields that follow the body of a response, such as a checksum that is known only at the end of a stream.
///
/// [`Response::trailers`] returns this type. Clones share the fields, so the stream that produces
/// the body holds a clone, and sets its fields before it ends.
///
/// Over HTTP/2, the server always sends the fields. Over HTTP/1.1, it sends them in the last chunk if the request says `te:
/// trailers`, or if the response has the field `trailer`, which names them in advance. Otherwise, and for HTTP/1.0, HEAD and a
/// status without a body, it drops them (RFC 9110 §6.5.1). So does the border to other stacks.
///
/// ```
/// use hyperlane_core::{Response, Trailers};
///
/// let mut response = Response::new();
/// response.set_header("trailer", "x-checksum");
/// let trailers: Trailers = response.trailers();
/// // The stream that is the body holds `trailers`, and calls at its end:
/// trailers.set("x-checksum", "f00d");
/// assert_eq!(response.trailers().fields().get("x-checksum"), Some("f00d"));
/// ```
#[derive(Clone, Debug, Default)]
pub struct Trailers(Arc<Mutex<Headers>>);

impl Trailers {
    /// Sets a field and removes earlier fields of its name. An invalid field is dropped and logged.
    pub fn set(&self, name: impl AsRef<str>, value: impl AsRef<str>) -> &Self {
        let name = name.as_ref();
        log_refused(name, self.try_set(name, value));
        self
    }

    /// Sets a field and removes earlier fields of its name.
    ///
    /// # Errors
    /// [`HeaderError::Trailer`] for a field that has no meaning after the body, and the errors of [`Headers::try_set`].
    pub fn try_set(
        &self,
        name: impl AsRef<str>,
        value: impl AsRef<str>,
    ) -> Result<(), HeaderError> {
        let name = name.as_ref();
        if BEFORE_BODY
            .iter()
            .any(|field| field.eq_ignore_ascii_case(name))
        {
            return Err(HeaderError::Trailer);
        }
        self.lock().try_set(name, value.as_ref())
    }

    /// Returns a copy of the fields.
    pub fn fields(&self) -> Headers {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Headers> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Response {
    /// Returns the fields that follow the body. The first call makes the response one with trailers: over HTTP/1.1, its body
    /// is then sent in chunks if the client gets the trailers.
    pub fn trailers(&mut self) -> Trailers {
        self.trailers.get_or_insert_default().clone()
    }

    pub(crate) fn has_trailers(&self) -> bool {
        self.trailers.is_some()
    }

    pub(crate) fn trailer_section(&self) -> Option<&Trailers> {
        self.trailers.as_ref()
    }
}

/// Fields that a recipient needs before the body: framing, routing, authentication, control, format (RFC 9110 §6.5.1).
const BEFORE_BODY: [&str; 33] = [
    "age",
    "authorization",
    "cache-control",
    "connection",
    "content-encoding",
    "content-length",
    "content-range",
    "content-type",
    "date",
    "expect",
    "expires",
    "host",
    "keep-alive",
    "location",
    "max-forwards",
    "pragma",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "range",
    "retry-after",
    "set-cookie",
    "strict-transport-security",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "vary",
    "warning",
    "www-authenticate",
    "clear-site-data",
    "content-security-policy",
    "alt-svc",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_that_belong_before_the_body_are_refused() {
        let trailers = Trailers::default();
        for name in ["Content-Length", "transfer-encoding", "set-cookie", "TE"] {
            assert_eq!(trailers.try_set(name, "1"), Err(HeaderError::Trailer));
        }
        assert_eq!(trailers.try_set("a b", "1"), Err(HeaderError::Name));
        assert_eq!(trailers.try_set("a", "1\r\nb: 2"), Err(HeaderError::Value));
        trailers
            .clone()
            .set("grpc-status", "0")
            .set("Grpc-Status", "1");
        assert_eq!(
            trailers.fields().iter().collect::<Vec<_>>(),
            [("grpc-status", "1")]
        );
    }
}
