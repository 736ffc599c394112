//! Status codes (RFC 9110 §15) and their status lines.

use std::{convert::Infallible, fmt, str::FromStr};

/// A status code as a plain number.
pub type ResponseStatusCode = usize;

/// Generates [`HttpStatus`] and the functions on status codes from one row per registered code.
macro_rules! statuses {
    ($($code:literal $name:ident $phrase:literal;)*) => {
        /// The status of a response. The variants are the codes of IANA's registry (RFC 9110 §16.2.1) that are in use,
        /// and `Unknown` for all other codes.
        ///
        /// ```
        /// use hyperlane_core::HttpStatus;
        ///
        /// assert_eq!(HttpStatus::NotFound.code(), 404);
        /// assert_eq!(HttpStatus::NotFound.to_string(), "Not Found");
        /// assert_eq!(HttpStatus::from_code(503), HttpStatus::ServiceUnavailable);
        /// ```
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
        pub enum HttpStatus {
            $(
                #[doc = concat!("`", $code, " ", $phrase, "`.")]
                $name,
            )*
            /// A code outside the registry. [`code`](Self::code) returns 0 for this variant.
            #[default]
            Unknown,
        }

        impl HttpStatus {
            /// Returns the code as a number; 0 for `Unknown`.
            pub const fn code(&self) -> ResponseStatusCode {
                match self {
                    $(Self::$name => $code,)*
                    Self::Unknown => 0,
                }
            }

            /// Returns the status of a code; `Unknown` if the code is not registered.
            pub const fn from_code(code: ResponseStatusCode) -> Self {
                match code {
                    $($code => Self::$name,)*
                    _ => Self::Unknown,
                }
            }

            /// Returns the reason phrase of a code; `"Unknown"` if the code is not registered.
            pub const fn phrase(code: ResponseStatusCode) -> &'static str {
                match code {
                    $($code => $phrase,)*
                    _ => "Unknown",
                }
            }
        }

        /// Returns the encoded HTTP/1.1 status line of a registered code, with its line end.
        pub(crate) const fn status_line(code: ResponseStatusCode) -> Option<&'static [u8]> {
            match code {
                $($code => Some(concat!("HTTP/1.1 ", $code, " ", $phrase, "\r\n").as_bytes()),)*
                _ => None,
            }
        }

        #[cfg(test)]
        const ALL: &[HttpStatus] = &[$(HttpStatus::$name,)*];
    };
}

// 418 is only reserved in the registry, but programs use the code.
statuses! {
    100 Continue "Continue";
    101 SwitchingProtocols "Switching Protocols";
    102 Processing "Processing";
    103 EarlyHints "Early Hints";
    200 Ok "OK";
    201 Created "Created";
    202 Accepted "Accepted";
    203 NonAuthoritativeInformation "Non-Authoritative Information";
    204 NoContent "No Content";
    205 ResetContent "Reset Content";
    206 PartialContent "Partial Content";
    207 MultiStatus "Multi-Status";
    208 AlreadyReported "Already Reported";
    226 IMUsed "IM Used";
    300 MultipleChoices "Multiple Choices";
    301 MovedPermanently "Moved Permanently";
    302 Found "Found";
    303 SeeOther "See Other";
    304 NotModified "Not Modified";
    305 UseProxy "Use Proxy";
    307 TemporaryRedirect "Temporary Redirect";
    308 PermanentRedirect "Permanent Redirect";
    400 BadRequest "Bad Request";
    401 Unauthorized "Unauthorized";
    402 PaymentRequired "Payment Required";
    403 Forbidden "Forbidden";
    404 NotFound "Not Found";
    405 MethodNotAllowed "Method Not Allowed";
    406 NotAcceptable "Not Acceptable";
    407 ProxyAuthenticationRequired "Proxy Authentication Required";
    408 RequestTimeout "Request Timeout";
    409 Conflict "Conflict";
    410 Gone "Gone";
    411 LengthRequired "Length Required";
    412 PreconditionFailed "Precondition Failed";
    413 PayloadTooLarge "Content Too Large";
    414 URITooLong "URI Too Long";
    415 UnsupportedMediaType "Unsupported Media Type";
    416 RangeNotSatisfiable "Range Not Satisfiable";
    417 ExpectationFailed "Expectation Failed";
    418 ImATeapot "I'm a teapot";
    421 MisdirectedRequest "Misdirected Request";
    422 UnprocessableEntity "Unprocessable Content";
    423 Locked "Locked";
    424 FailedDependency "Failed Dependency";
    425 TooEarly "Too Early";
    426 UpgradeRequired "Upgrade Required";
    428 PreconditionRequired "Precondition Required";
    429 TooManyRequests "Too Many Requests";
    431 RequestHeaderFieldsTooLarge "Request Header Fields Too Large";
    451 UnavailableForLegalReasons "Unavailable For Legal Reasons";
    500 InternalServerError "Internal Server Error";
    501 NotImplemented "Not Implemented";
    502 BadGateway "Bad Gateway";
    503 ServiceUnavailable "Service Unavailable";
    504 GatewayTimeout "Gateway Timeout";
    505 HTTPVersionNotSupported "HTTP Version Not Supported";
    506 VariantAlsoNegotiates "Variant Also Negotiates";
    507 InsufficientStorage "Insufficient Storage";
    508 LoopDetected "Loop Detected";
    510 NotExtended "Not Extended";
    511 NetworkAuthenticationRequired "Network Authentication Required";
}

/// Methods that published Hyperlane programs call by these names.
impl HttpStatus {
    /// Returns whether `text` is the code of this status, or its phrase in any case.
    pub fn same(&self, text: &str) -> bool {
        *self == Self::from(text)
    }
}

impl From<HttpStatus> for ResponseStatusCode {
    fn from(status: HttpStatus) -> Self {
        status.code()
    }
}

impl From<ResponseStatusCode> for HttpStatus {
    fn from(code: ResponseStatusCode) -> Self {
        Self::from_code(code)
    }
}

/// Parses a code (`404`) or a phrase in any case (`not found`). Any other text is `Unknown`.
impl From<&str> for HttpStatus {
    fn from(text: &str) -> Self {
        if let Ok(code) = text.parse() {
            return Self::from_code(code);
        }
        let by_phrase = |&code: &usize| Self::phrase(code).eq_ignore_ascii_case(text);
        (100..=599)
            .find(by_phrase)
            .map_or(Self::Unknown, Self::from_code)
    }
}

impl FromStr for HttpStatus {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(Self::from(text))
    }
}

impl fmt::Display for HttpStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(Self::phrase(self.code()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_phrases_and_lines_agree() {
        assert_eq!(ALL.len(), 62);
        assert!(ALL.is_sorted_by_key(HttpStatus::code));
        for status in ALL {
            let code = status.code();
            assert_eq!(HttpStatus::from_code(code), *status);
            assert_eq!(HttpStatus::from(code.to_string().as_str()), *status);
            assert_eq!(status.to_string().to_uppercase().parse(), Ok(*status));
            let line = format!("HTTP/1.1 {code} {status}\r\n");
            assert_eq!(status_line(code), Some(line.as_bytes()));
        }
    }

    #[test]
    fn unregistered_codes_are_unknown() {
        for code in [0, 99, 306, 420, 599, 1000] {
            assert_eq!(HttpStatus::from_code(code), HttpStatus::Unknown);
            assert_eq!(HttpStatus::phrase(code), "Unknown");
            assert_eq!(status_line(code), None);
        }
        assert_eq!(HttpStatus::Unknown.code(), 0);
        assert_eq!(HttpStatus::from("no such thing"), HttpStatus::Unknown);
    }

    #[test]
    fn same_takes_code_and_phrase() {
        assert!(HttpStatus::NotFound.same("404") && HttpStatus::NotFound.same("NOT found"));
        assert!(!HttpStatus::NotFound.same("405") && !HttpStatus::NotFound.same("Gone"));
    }
}
