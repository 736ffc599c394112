//! The choice of the header field from which the server reads the address of the client.

/// The header field in which trusted proxies report the client's address, scheme and host.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum ForwardedField {
    /// `X-Forwarded-For` with `X-Forwarded-Proto` and `X-Forwarded-Host`: the fields that most proxies send.
    #[default]
    XForwardedFor,
    /// `Forwarded` (RFC 7239).
    Forwarded,
}
