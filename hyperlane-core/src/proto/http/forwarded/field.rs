//! The choice of the header field that reports the client.

/// The header field in which trusted proxies report the client.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum ForwardedField {
    /// `X-Forwarded-For` with `X-Forwarded-Proto` and `X-Forwarded-Host`: the fields that most proxies send.
    #[default]
    XForwardedFor,
    /// `Forwarded` (RFC 7239).
    Forwarded,
}
