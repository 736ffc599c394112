//! Which fields let a page of another origin read an answer (CORS: the Fetch standard, §3.3), as one decision: the
//! request and a policy in, fields out.

use std::{borrow::Cow, time::Duration};

use super::is_token_byte;

/// What of a request decides.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CorsRequest<'a> {
    pub(crate) method: &'a str,
    /// `None` also where the field stands twice: none of them is the one that counts.
    pub(crate) origin: Option<&'a str>,
    /// `Access-Control-Request-Method`.
    pub(crate) requested_method: Option<&'a str>,
    /// The values of `Access-Control-Request-Headers`.
    pub(crate) requested_headers: &'a [&'a str],
}

/// What pages of allowed origins may do.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CorsPolicy<'a> {
    pub(crate) methods: &'a [&'a str],
    /// Their requests may carry cookies, and what is answered to those may be read.
    pub(crate) credentials: bool,
    /// How long browsers may keep the answer to a preflight.
    pub(crate) max_age: Duration,
}

/// What to answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CorsAnswer {
    pub(crate) kind: CorsKind,
    /// Fields that the answer gets where it has none of that name; a `vary` joins one that it has.
    pub(crate) fields: Vec<CorsField>,
}

pub(crate) type CorsField = (&'static str, Cow<'static, str>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CorsKind {
    /// The request is answered as it would be without these fields.
    Request,
    /// A browser asks whether it may send a request: the answer is a status of success, without a body.
    Preflight,
    /// The same, for a page that no one allowed.
    RefusedPreflight,
}

/// Decides what a request is answered beside its answer; `is_allowed` tells the origins whose pages may read it.
///
/// An allowed origin is named, never `*`, which browsers do not take for requests with cookies. `Vary: Origin` stands on
/// every answer, since a cache may give it to pages of other origins.
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
    // What this policy does not cover is for others to answer.
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

/// The names of fields in a list, without what is none.
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
