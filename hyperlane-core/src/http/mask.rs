//! Texts without secrets, for logs: of requests, responses and header fields.
//!
//! Masked are the values of parameters that are named `token` or end with `token` in the query or the fragment of a URL,
//! the header fields that carry credentials, and session tokens among subprotocols. A request or a response as text is
//! meant for logs: two requests with different secrets have the same text.

use std::{borrow::Cow, fmt};

use percent_encoding::percent_decode_str;
use serde::ser::{Serialize, SerializeStruct, Serializer};

use super::{
    Headers, Querys, Request, Response, headers::list_items, json::Values,
    session::is_session_token,
};

/// The text that replaces a secret.
const MASK: &str = "***";

/// Header fields whose whole value is a secret.
const SECRET_FIELDS: [&str; 4] = [
    "authorization",
    "cookie",
    "proxy-authorization",
    "set-cookie",
];

/// Header fields whose value is a URL.
const URL_FIELDS: [&str; 3] = ["content-location", "location", "referer"];

/// Returns whether the value of a query parameter is a secret. `name` is percent-decoded.
fn is_secret_query(name: &str) -> bool {
    const SUFFIX: &str = "token";
    let start = name.len().checked_sub(SUFFIX.len());
    let end = start.and_then(|start| name.get(start..));
    end.is_some_and(|end| end.eq_ignore_ascii_case(SUFFIX))
}

/// Masks the secrets in the query and the fragment of a request target or URL. The text stays percent-encoded. Login
/// providers put tokens into the fragment (RFC 6749 §4.2.2), and some pages have a `?` with parameters in it.
pub(crate) fn mask_url(url: &str) -> Cow<'_, str> {
    let (start, fragment) = match url.split_once('#') {
        Some((start, fragment)) => (start, Some(fragment)),
        None => (url, None),
    };
    let query = start.split_once('?').map(|(_, query)| query);
    let has_secret = query.is_some_and(|query| query.split('&').any(is_secret))
        || fragment.is_some_and(|fragment| fragment.split(['&', '?']).any(is_secret));
    if !has_secret {
        return Cow::Borrowed(url);
    }
    let mut masked = String::with_capacity(url.len());
    match start.split_once('?') {
        Some((path, query)) => {
            masked.push_str(path);
            masked.push('?');
            mask_parts(query, &['&'], &mut masked);
        }
        None => masked.push_str(start),
    }
    if let Some(fragment) = fragment {
        masked.push('#');
        mask_parts(fragment, &['&', '?'], &mut masked);
    }
    Cow::Owned(masked)
}

/// Returns whether a part of a query has a secret value.
fn is_secret(part: &str) -> bool {
    let (name, value) = part.split_once('=').unwrap_or((part, ""));
    !value.is_empty() && is_secret_query(&percent_decode_str(name).decode_utf8_lossy())
}

/// Appends the parts of a query or fragment, and masks the secret values.
fn mask_parts(text: &str, ends: &[char], masked: &mut String) {
    for part in text.split_inclusive(ends) {
        let (part, end) = match part.strip_suffix(ends) {
            Some(bare) => part.split_at(bare.len()),
            None => (part, ""),
        };
        match part.split_once('=') {
            Some((name, _)) if is_secret(part) => {
                masked.push_str(name);
                masked.push('=');
                masked.push_str(MASK);
            }
            _ => masked.push_str(part),
        }
        masked.push_str(end);
    }
}

/// Masks the secrets in the value of a header field. `name` is in lower case.
pub(crate) fn mask_field<'a>(name: &str, value: &'a str) -> Cow<'a, str> {
    if SECRET_FIELDS.contains(&name) {
        return Cow::Borrowed(MASK);
    }
    if URL_FIELDS.contains(&name) {
        return mask_url(value);
    }
    if name == "sec-websocket-protocol" && list_items(value).any(is_session_token) {
        let items: Vec<&str> = list_items(value)
            .map(|item| if is_session_token(item) { MASK } else { item })
            .collect();
        return Cow::Owned(items.join(", "));
    }
    Cow::Borrowed(value)
}

/// Writes header fields as lines, without secrets.
fn write_fields(headers: &Headers, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    headers
        .iter()
        .try_for_each(|(name, value)| write!(f, "\n{name}: {}", mask_field(name, value)))
}

/// Writes the request line and the header fields, without secrets, and the length of the body. Values that carry
/// credentials are `***`: the parameters in a query or a fragment that are named `token` or end with `token`, and the
/// fields `Authorization`, `Proxy-Authorization` and `Cookie`.
///
/// ```
/// use hyperlane_core::Request;
///
/// let mut request = Request::default();
/// request.set_path("/a").set_body("secret");
/// request.get_mut_headers().try_set("cookie", "session=secret")?;
/// assert_eq!(request.to_string(), "GET /a HTTP/1.1\ncookie: ***\n(6 bytes)");
/// # Ok::<(), hyperlane_core::HeaderError>(())
/// ```
impl fmt::Display for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (method, version) = (self.get_method(), self.get_version());
        write!(f, "{method} {} {version}", mask_url(self.get_target()))?;
        write_fields(self.get_headers(), f)?;
        write!(f, "\n({} bytes)", self.get_body().len())
    }
}

/// Writes the status line and the header fields, without secrets, and the length of the body. The value of `Set-Cookie`
/// is `***`. Fields that only the server adds, such as `content-length` and a session's cookie, are absent.
///
/// ```
/// use hyperlane_core::Response;
///
/// let mut response = Response::default();
/// response.set_status_code(404).set_header("Vary", "origin").set_body("nothing");
/// assert_eq!(response.to_string(), "HTTP/1.1 404 Not Found\nvary: origin\n(7 bytes)");
/// ```
impl fmt::Display for Response {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (version, status) = (self.get_version(), self.get_status_code());
        write!(f, "{version} {status} {}", self.get_reason_phrase())?;
        write_fields(self.get_headers(), f)?;
        match self.is_body_streamed() {
            true => f.write_str("\n(a file or a stream)"),
            false => write!(f, "\n({} bytes)", self.body().len()),
        }
    }
}

fn masked_fields(headers: &Headers) -> impl Serialize {
    Values(headers.iter().collect(), |name: &str, value: &str| {
        mask_field(name, value).into_owned()
    })
}

fn masked_querys(querys: &Querys) -> impl Serialize {
    Values(querys.iter().collect(), |name: &str, value: &str| {
        match is_secret_query(name) && !value.is_empty() {
            true => MASK.to_owned(),
            false => value.to_owned(),
        }
    })
}

/// Serializes method, host, version, path, query parameters, header fields and body for a log. Secrets are masked like
/// in the text of a request. Parameters and fields are maps from names to lists of values. The body is text; invalid
/// UTF-8 becomes U+FFFD.
impl Serialize for Request {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut request = serializer.serialize_struct("Request", 7)?;
        request.serialize_field("method", self.get_method().as_str())?;
        request.serialize_field("host", self.get_host())?;
        request.serialize_field("version", &self.get_version().to_string())?;
        request.serialize_field("path", self.path())?;
        request.serialize_field("querys", &masked_querys(self.get_querys()))?;
        request.serialize_field("headers", &masked_fields(self.get_headers()))?;
        request.serialize_field("body", &self.get_body().to_string_lossy())?;
        request.end()
    }
}

/// Serializes version, status, reason phrase, header fields and body for a log. The value of `Set-Cookie` is masked. The
/// fields are a map from names to lists of values. The body is text; invalid UTF-8 becomes U+FFFD. A file or a stream is
/// an empty text.
impl Serialize for Response {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut response = serializer.serialize_struct("Response", 5)?;
        response.serialize_field("version", &self.get_version().to_string())?;
        response.serialize_field("status_code", &self.get_status_code())?;
        response.serialize_field("reason_phrase", self.get_reason_phrase())?;
        response.serialize_field("headers", &masked_fields(self.get_headers()))?;
        response.serialize_field("body", &String::from_utf8_lossy(self.body()))?;
        response.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_in_queries_and_fragments_are_masked() {
        for (url, masked) in [
            ("/", "/"),
            ("/a?b=c", "/a?b=c"),
            ("/a?token=x", "/a?token=***"),
            ("/a?b=c&token=x&d", "/a?b=c&token=***&d"),
            (
                "/a?TOKEN=x&access_token=y&tokens=z",
                "/a?TOKEN=***&access_token=***&tokens=z",
            ),
            ("/a?%74oken=x", "/a?%74oken=***"),
            ("/a?token=x=y", "/a?token=***"),
            ("/a?token=&token", "/a?token=&token"),
            ("https://a/?token=x#b?c", "https://a/?token=***#b?c"),
            ("/token=x", "/token=x"),
            (
                "https://a/#access_token=x&state=y",
                "https://a/#access_token=***&state=y",
            ),
            ("/cb#state=y&%74oken=x", "/cb#state=y&%74oken=***"),
            ("/a?b=c#id_token=x", "/a?b=c#id_token=***"),
            ("/a?token=x#token=y", "/a?token=***#token=***"),
            ("/a#/page?token=x&b=c", "/a#/page?token=***&b=c"),
            ("/a#b?c=d", "/a#b?c=d"),
            ("/a#top", "/a#top"),
            ("/a?b=x?token=y", "/a?b=x?token=y"),
        ] {
            assert_eq!(mask_url(url), masked);
        }
    }

    #[test]
    fn fields_with_credentials_are_masked() {
        let token = format!("{}.12.{}", "a".repeat(22), "b".repeat(43));
        for (name, value, masked) in [
            ("authorization", "Bearer x", "***"),
            ("proxy-authorization", "Basic x", "***"),
            ("cookie", "a=b", "***"),
            ("set-cookie", "a=b; Path=/", "***"),
            ("referer", "https://a/?token=x", "https://a/?token=***"),
            ("location", "/app#access_token=x", "/app#access_token=***"),
            ("sec-websocket-protocol", "chat, v2", "chat, v2"),
            (
                "sec-websocket-protocol",
                &format!("chat, {token}"),
                "chat, ***",
            ),
            ("x-other", "token=x", "token=x"),
        ] {
            assert_eq!(mask_field(name, value), masked);
        }
    }

    #[test]
    fn json_has_lists_of_values_and_no_secrets() {
        let mut request = Request::default();
        request
            .set_path("/a b")
            .set_querys(Querys::parse("a=1&token=x&a=2"))
            .set_body(vec![b'o', 0xff]);
        for (name, value) in [("host", "h"), ("x", "1"), ("cookie", "a=b"), ("x", "2")] {
            request.get_mut_headers().try_add(name, value).unwrap();
        }
        assert_eq!(
            serde_json::to_value(&request).unwrap(),
            serde_json::json!({
                "method": "GET", "host": "h", "version": "HTTP/1.1", "path": "/a b",
                "querys": {"a": ["1", "2"], "token": ["***"]},
                "headers": {"host": ["h"], "x": ["1", "2"], "cookie": ["***"]},
                "body": "o\u{fffd}",
            })
        );
        let mut response = Response::default();
        response.add_header("Set-Cookie", "a=b").set_body("text");
        assert_eq!(
            serde_json::to_string(&response).unwrap(),
            r#"{"version":"HTTP/1.1","status_code":200,"reason_phrase":"OK","headers":{"set-cookie":["***"]},"body":"text"}"#
        );
    }

    #[test]
    fn a_text_has_no_line_of_its_own_making() {
        let mut request = Request::default();
        request.set_path("/a\nb").set_body("c\nd");
        assert_eq!(request.to_string(), "GET /a%0Ab HTTP/1.1\n(3 bytes)");
        let mut response = Response::default();
        response.set_body(std::path::Path::new("/x"));
        assert!(response.to_string().ends_with("\n(a file or a stream)"));
    }
}
