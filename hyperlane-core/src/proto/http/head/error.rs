//! Reasons to refuse a request head.

/// The reason why the server refuses a request head: a violation of RFC 9110 or RFC 9112, a limit that the head
/// exceeds, or another protocol.
///
/// Positions (`at`) are byte offsets from the start of the head. A `line` is a line number; the request line is line 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HeadError {
    /// The bytes end before the end of the head.
    #[error("the head is incomplete: there is no empty line at its end")]
    Incomplete,
    /// A TLS handshake on a plain HTTP port.
    #[error("a TLS handshake arrived on a plain HTTP port")]
    TlsOnPlainPort,
    /// An HTTP/2 connection preface (RFC 9113 §3.4) on a connection that speaks only HTTP/1.
    #[error("an HTTP/2 preface arrived where only HTTP/1 is spoken")]
    Http2Preface,
    /// An extended CONNECT for a protocol other than WebSocket (RFC 8441 §4).
    #[error("the `:protocol` of the CONNECT is not `websocket`")]
    UnknownProtocol,
    /// The first byte cannot begin a method.
    #[error("a request cannot begin with the byte {byte:#04x}")]
    InvalidFirstByte {
        /// The offending byte.
        byte: u8,
    },
    /// A line feed without a carriage return before it (RFC 9112 §2.2).
    #[error("bare line feed at byte {at}")]
    BareLf {
        /// The offset of the byte.
        at: usize,
    },
    /// A carriage return without a line feed after it (RFC 9112 §2.2).
    #[error("bare carriage return at byte {at}")]
    BareCr {
        /// The offset of the byte.
        at: usize,
    },
    /// A NUL byte anywhere in the head (RFC 9110 §5.5).
    #[error("NUL at byte {at}")]
    Nul {
        /// The offset of the byte.
        at: usize,
    },
    /// The request line exceeds the limit (RFC 9112 §3).
    #[error("the request line is longer than {limit} bytes")]
    RequestLineTooLong {
        /// The limit, in bytes.
        limit: usize,
    },
    /// The header section exceeds the limit (RFC 6585 §5).
    #[error("the header section is larger than {limit} bytes")]
    HeadersTooLarge {
        /// The limit, in bytes.
        limit: usize,
    },
    /// The number of header fields exceeds the limit (RFC 6585 §5).
    #[error("there are more than {limit} header fields")]
    TooManyHeaders {
        /// The limit.
        limit: usize,
    },
    /// The request line is not `method SP target SP version` (RFC 9112 §3).
    #[error("the request line is not `method SP target SP version`")]
    MalformedRequestLine,
    /// The method is not a token (RFC 9110 §9.1).
    #[error("the method is not a token")]
    InvalidMethod,
    /// The target contains a byte that is not visible ASCII (RFC 9112 §3.2).
    #[error("the request target has the byte {byte:#04x}, which is not visible ASCII")]
    InvalidTargetByte {
        /// The offending byte.
        byte: u8,
    },
    /// The target has a fragment (RFC 9110 §7.1).
    #[error("the request target has a fragment")]
    FragmentInTarget,
    /// The target has none of the four forms (RFC 9112 §3.2).
    #[error("the request target is neither a path, nor a URI, nor an authority, nor `*`")]
    InvalidTarget,
    /// The URI of an absolute-form target has no valid authority (RFC 9110 §4.2).
    #[error("the authority in the request target is invalid")]
    InvalidAuthority,
    /// The target `*` with a method other than OPTIONS (RFC 9112 §3.2.4).
    #[error("the target `*` belongs to OPTIONS only")]
    AsteriskNeedsOptions,
    /// CONNECT without a `host:port` target (RFC 9112 §3.2.3).
    #[error("the target of CONNECT must be `host:port`")]
    ConnectNeedsAuthority,
    /// The version is not of the form `HTTP/x.y` (RFC 9112 §2.3).
    #[error("the version in the request line is malformed")]
    MalformedVersion,
    /// The version is well-formed, but is not 1.0 or 1.1 (RFC 9110 §15.6.6).
    #[error("the HTTP version is neither 1.0 nor 1.1")]
    VersionNotSupported,
    /// A line that begins with a blank: obsolete line folding (RFC 9112 §5.2).
    #[error("line {line} is folded: it begins with a blank")]
    FoldedLine {
        /// The line number.
        line: usize,
    },
    /// A header line has no colon (RFC 9112 §5).
    #[error("header line {line} has no colon")]
    MissingColon {
        /// The line number.
        line: usize,
    },
    /// A blank between a field name and its colon (RFC 9112 §5.1).
    #[error("blank before the colon in line {line}")]
    BlankBeforeColon {
        /// The line number.
        line: usize,
    },
    /// A field name is not a token (RFC 9110 §5.1).
    #[error("the field name in line {line} is not a token")]
    InvalidFieldName {
        /// The line number.
        line: usize,
    },
    /// A field value contains a control byte (RFC 9110 §5.5).
    #[error("the field value in line {line} has a control byte")]
    InvalidFieldValue {
        /// The line number.
        line: usize,
    },
    /// A field value of HTTP/2 begins or ends with a blank (RFC 9113 §8.2.1).
    #[error("a field value begins or ends with a blank")]
    BlankAroundValue,
    /// An HTTP/1.1 request without `Host` (RFC 9112 §3.2).
    #[error("the Host field is missing")]
    MissingHost,
    /// More than one `Host` (RFC 9112 §3.2).
    #[error("there is more than one Host field")]
    DuplicateHost,
    /// The `Host` is not `host [":" port]` (RFC 9110 §7.2).
    #[error("the Host field is not a host with an optional port")]
    InvalidHost,
    /// The `Content-Length` is not a plain number (RFC 9110 §8.6).
    #[error("the Content-Length is not a plain decimal number")]
    InvalidContentLength,
    /// The `Content-Length` does not fit 64 bits (RFC 9110 §8.6).
    #[error("the Content-Length does not fit 64 bits")]
    ContentLengthOverflow,
    /// Several `Content-Length` values that differ as text: `5` and `05` differ, too (RFC 9112 §6.3).
    #[error("the Content-Length values contradict each other")]
    ContradictoryContentLength,
    /// An empty element in `Transfer-Encoding` (RFC 9112 §6.1).
    #[error("the Transfer-Encoding has an empty element")]
    InvalidTransferEncoding,
    /// A transfer coding other than `chunked` (RFC 9112 §6.1).
    #[error("the only transfer coding supported is `chunked`")]
    UnsupportedTransferCoding,
    /// `chunked` applied more than once (RFC 9112 §6.1).
    #[error("the transfer coding `chunked` is applied more than once")]
    RepeatedChunked,
    /// Both `Transfer-Encoding` and `Content-Length` (RFC 9112 §6.3).
    #[error("a request cannot have both Transfer-Encoding and Content-Length")]
    LengthAndTransferEncoding,
    /// `Transfer-Encoding` in an HTTP/1.0 request (RFC 9112 §6.1).
    #[error("an HTTP/1.0 request cannot have a Transfer-Encoding")]
    TransferEncodingInHttp10,
    /// An expectation other than `100-continue` (RFC 9110 §10.1.1).
    #[error("the only expectation that can be met is `100-continue`")]
    UnknownExpectation,
}

impl HeadError {
    /// Returns the status code for the response (RFC 9110 §15.5, §15.6; 431: RFC 6585 §5). The connection closes after
    /// the response.
    pub const fn status(&self) -> u16 {
        match self {
            Self::RequestLineTooLong { .. } => 414,
            Self::UnknownExpectation => 417,
            Self::HeadersTooLarge { .. } | Self::TooManyHeaders { .. } => 431,
            Self::UnsupportedTransferCoding | Self::UnknownProtocol => 501,
            Self::Http2Preface | Self::VersionNotSupported => 505,
            _ => 400,
        }
    }
}
