//! Redirects (RFC 9110 §15.4).

use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};

use super::{HttpStatus, IntoResponse, Response};

/// Characters that a URI cannot contain unescaped. `%` is not among them, so existing escapes stay as they are.
const UNSAFE: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'<')
    .add(b'>')
    .add(b'\\')
    .add(b'^')
    .add(b'`')
    .add(b'{')
    .add(b'|')
    .add(b'}');

/// A redirect to another URI.
///
/// The target is a URI or a path; invalid characters are percent-encoded. If the target comes from a request, check it
/// first. Otherwise an attacker can write a link to your site that leads to another site.
///
/// ```
/// use hyperlane_core::{IntoResponse, Redirect, Response};
///
/// let mut response = Response::default();
/// Redirect::see_other("/orders/7").into_response(&mut response);
/// assert_eq!((response.get_status_code(), response.header("location")), (303, Some("/orders/7")));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Redirect {
    status: HttpStatus,
    location: String,
}

impl Redirect {
    /// Redirects temporarily (302). Clients repeat a GET and turn a POST into a GET.
    pub fn to(location: impl AsRef<str>) -> Self {
        Self::new(HttpStatus::Found, location.as_ref())
    }

    /// Redirects to the result of an action (303). The client requests the target by GET.
    pub fn see_other(location: impl AsRef<str>) -> Self {
        Self::new(HttpStatus::SeeOther, location.as_ref())
    }

    /// Redirects temporarily (307). The client repeats the same request, including its body.
    pub fn temporary(location: impl AsRef<str>) -> Self {
        Self::new(HttpStatus::TemporaryRedirect, location.as_ref())
    }

    /// Redirects permanently (308). The client repeats the same request and remembers the target.
    pub fn permanent(location: impl AsRef<str>) -> Self {
        Self::new(HttpStatus::PermanentRedirect, location.as_ref())
    }

    fn new(status: HttpStatus, location: &str) -> Self {
        Self {
            status,
            location: utf8_percent_encode(location, UNSAFE).to_string(),
        }
    }
}

/// Sets the status and the field `location`; keeps the body.
impl IntoResponse for Redirect {
    fn into_response(self, response: &mut Response) {
        response
            .set_status_code(self.status.code())
            .set_header("location", self.location);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_cannot_break_out_of_their_field() {
        let mut response = Response::default();
        Redirect::to("/a b\r\nset-cookie: x=1/ä?q=%20#f").into_response(&mut response);
        assert_eq!(
            response.header("location"),
            Some("/a%20b%0D%0Aset-cookie:%20x=1/%C3%A4?q=%20#f")
        );
        assert_eq!(response.get_status_code(), 302);
    }
}
