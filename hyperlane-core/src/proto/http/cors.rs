//! CORS (Fetch standard, §3.3) as one function. From a request and a policy, [`decide`] computes the header fields that
//! let a page of another origin read the response.

use std::{borrow::Cow, time::Duration};

use super::is_token_byte;

/// The parts of a request that matter to CORS.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CorsRequest<'a> {
    pub(crate) method: &'a str,
    /// `Origin`. `None` if the field is missing, or if it is repeated and thus ambiguous.
    pub(crate) origin: Option<&'a str>,
    /// `Access-Control-Request-Method`.
    pub(crate) requested_method: Option<&'a str>,
    /// The values of `Access-Control-Request-Headers`.
    pub(crate) requested_headers: &'a [&'a str],
}

/// The permissions that pages from allowed origins have.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CorsPolicy<'a> {
    /// True if the policy allows all origins. The response is then the same for all pages: `*`.
    pub(crate) any_origin: bool,
    pub(crate) methods: &'a [&'a str],
    /// True if requests may carry cookies, and pages may read the responses to such requests.
    pub(crate) credentials: bool,
    /// The header fields that pages may send, as a list. `None` if they may send all fields for which they ask.
    pub(crate) allowed_headers: Option<&'a str>,
    /// The header fields of responses that pages may read, as a list.
    pub(crate) exposed_headers: &'a str,
    /// The time for which browsers may cache the response to a preflight.
    pub(crate) max_age: Duration,
    /// True if the server also answers preflights for methods that the policy does not list. The browser then reports
    /// which methods the policy allows.
    pub(crate) answers_all: bool,
}

/// The time for which browsers store the answer to a preflight by default. If an origin is removed from the allowed
/// origins, its pages can still send requests without a new preflight until this time has passed.
pub(crate) const MAX_AGE: Duration = Duration::from_secs(600);

/// The outcome of [`decide`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CorsAnswer {
    pub(crate) kind: CorsKind,
    /// The fields that the server adds to the response. If the response already has a field of the same name, the
    /// server keeps the response's own field. For `vary`, the server adds the value to the response's own value.
    pub(crate) fields: Vec<CorsField>,
}

pub(crate) type CorsField = (&'static str, Cow<'static, str>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CorsKind {
    /// A request that the route answers as usual.
    Request,
    /// A preflight: a browser asks for permission to send a request. The answer has a success status and no body.
    Preflight,
    /// A preflight for a page whose origin is not allowed.
    RefusedPreflight,
}

/// Decides which CORS fields the server adds to a response. `is_allowed` returns whether pages of an origin may read
/// the response.
///
/// The fields contain the allowed origin instead of `*`, because browsers refuse `*` for requests with cookies. Every
/// response has `Vary: Origin`. Without this field, a cache could serve the response to pages of other origins. Only a
/// policy for all origins has `*`, and needs no `Vary`.
pub(crate) fn decide(
    request: CorsRequest<'_>,
    policy: CorsPolicy<'_>,
    is_allowed: impl FnOnce(&str) -> bool,
) -> CorsAnswer {
    let mut fields: Vec<CorsField> = match policy.any_origin {
        true => vec![("access-control-allow-origin", "*".into())],
        false => vec![("vary", "Origin".into())],
    };
    let asked = request
        .requested_method
        .filter(|_| request.method == "OPTIONS" && request.origin.is_some());
    let is_allowed = |origin: &&str| policy.any_origin || is_allowed(origin);
    let Some(origin) = request.origin.filter(is_allowed) else {
        let kind = match asked {
            Some(_) => CorsKind::RefusedPreflight,
            None => CorsKind::Request,
        };
        return CorsAnswer { kind, fields };
    };
    if !policy.any_origin {
        fields.push(("access-control-allow-origin", origin.to_owned().into()));
    }
    if policy.credentials {
        fields.push(("access-control-allow-credentials", "true".into()));
    }
    // If the policy does not list the requested method, the route's own handler answers the OPTIONS request.
    let is_preflight =
        asked.is_some_and(|method| policy.answers_all || policy.methods.contains(&method));
    if is_preflight {
        fields.push((
            "access-control-allow-methods",
            policy.methods.join(", ").into(),
        ));
        let names = match policy.allowed_headers {
            Some(names) => names.to_owned(),
            None => names(request.requested_headers).join(", "),
        };
        if !names.is_empty() {
            fields.push(("access-control-allow-headers", names.into()));
        }
        fields.push((
            "access-control-max-age",
            policy.max_age.as_secs().to_string().into(),
        ));
    } else if !policy.exposed_headers.is_empty() {
        let names = policy.exposed_headers.to_owned();
        fields.push(("access-control-expose-headers", names.into()));
    }
    CorsAnswer {
        kind: match is_preflight {
            true => CorsKind::Preflight,
            false => CorsKind::Request,
        },
        fields,
    }
}

/// Returns the valid field names of a list.
fn names<'a>(lists: &[&'a str]) -> Vec<&'a str> {
    lists
        .iter()
        .flat_map(|list| list.split(','))
        .map(str::trim_ascii)
        .filter(|name| !name.is_empty() && name.bytes().all(is_token_byte))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: CorsPolicy<'_> = CorsPolicy {
        any_origin: false,
        allowed_headers: None,
        exposed_headers: "",
        answers_all: false,
        methods: &["GET", "HEAD", "POST"],
        credentials: true,
        max_age: Duration::from_secs(600),
    };
    const PAGE: &str = "https://app.example";

    fn check(request: CorsRequest<'_>, kind: CorsKind, fields: &[(&str, &str)]) {
        let answer = decide(request, POLICY, |origin| origin == PAGE);
        let got: Vec<(&str, &str)> = answer
            .fields
            .iter()
            .map(|(name, value)| (*name, &**value))
            .collect();
        assert_eq!((answer.kind, &*got), (kind, fields), "{request:?}");
    }

    fn request<'a>(method: &'a str, origin: Option<&'a str>) -> CorsRequest<'a> {
        CorsRequest {
            method,
            origin,
            requested_method: None,
            requested_headers: &[],
        }
    }

    #[test]
    fn an_allowed_page_reads_the_answer_with_its_cookies() {
        let allowed = [
            ("vary", "Origin"),
            ("access-control-allow-origin", PAGE),
            ("access-control-allow-credentials", "true"),
        ];
        for method in ["GET", "POST", "PUT", "OPTIONS"] {
            check(request(method, Some(PAGE)), CorsKind::Request, &allowed);
        }
        for origin in [None, Some("https://evil.example"), Some("null")] {
            check(
                request("GET", origin),
                CorsKind::Request,
                &[("vary", "Origin")],
            );
        }
    }

    #[test]
    fn a_preflight_is_told_methods_fields_and_how_long_that_holds() {
        let preflight = |origin, method, headers| CorsRequest {
            requested_method: method,
            requested_headers: headers,
            ..request("OPTIONS", origin)
        };
        let begin = [
            ("vary", "Origin"),
            ("access-control-allow-origin", PAGE),
            ("access-control-allow-credentials", "true"),
        ];
        let methods = ("access-control-allow-methods", "GET, HEAD, POST");
        let age = ("access-control-max-age", "600");
        check(
            preflight(Some(PAGE), Some("POST"), &["content-type, x-a", ", b d,é"]),
            CorsKind::Preflight,
            &[
                &begin[..],
                &[
                    methods,
                    ("access-control-allow-headers", "content-type, x-a"),
                    age,
                ],
            ]
            .concat(),
        );
        check(
            preflight(Some(PAGE), Some("GET"), &[]),
            CorsKind::Preflight,
            &[&begin[..], &[methods, age]].concat(),
        );
        check(
            preflight(Some(PAGE), Some("DELETE"), &[]),
            CorsKind::Request,
            &begin,
        );
        check(
            preflight(Some("https://evil.example"), Some("GET"), &["x-a"]),
            CorsKind::RefusedPreflight,
            &begin[..1],
        );
        check(
            preflight(None, Some("GET"), &[]),
            CorsKind::Request,
            &begin[..1],
        );
    }
}
