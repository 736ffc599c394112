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
    pub(crate) methods: &'a [&'a str],
    /// True if requests may carry cookies, and pages may read the responses to such requests.
    pub(crate) credentials: bool,
    /// The time for which browsers may cache the response to a preflight.
    pub(crate) max_age: Duration,
}

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
/// response has `Vary: Origin`. Without this field, a cache could serve the response to pages of other origins.
pub(crate) fn decide(
    request: CorsRequest<'_>,
    policy: CorsPolicy<'_>,
    is_allowed: impl FnOnce(&str) -> bool,
) -> CorsAnswer {
    let mut fields: Vec<CorsField> = vec![("vary", "Origin".into())];
    let asked = request
        .requested_method
        .filter(|_| request.method == "OPTIONS" && request.origin.is_some());
    let Some(origin) = request.origin.filter(|origin| is_allowed(origin)) else {
        let kind = match asked {
            Some(_) => CorsKind::RefusedPreflight,
            None => CorsKind::Request,
        };
        return CorsAnswer { kind, fields };
    };
    fields.push(("access-control-allow-origin", origin.to_owned().into()));
    if policy.credentials {
        fields.push(("access-control-allow-credentials", "true".into()));
    }
    // If the policy does not list the requested method, the route's own handler answers the OPTIONS request.
    let is_preflight = asked.is_some_and(|method| policy.methods.contains(&method));
    if is_preflight {
        fields.push((
            "access-control-allow-methods",
            policy.methods.join(", ").into(),
        ));
        let names = names(request.requested_headers);
        if !names.is_empty() {
            fields.push(("access-control-allow-headers", names.join(", ").into()));
        }
        fields.push((
            "access-control-max-age",
            policy.max_age.as_secs().to_string().into(),
        ));
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
