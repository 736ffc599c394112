//! Requests of web pages from other origins: the check of the origin, and the CORS header fields of the response.

use super::Context;
use crate::{
    error::RequestError,
    http::{cors::CorsRules, list_items},
    proto::{
        http::{
            cors::{CorsAnswer, CorsKind, CorsPolicy, CorsRequest, MAX_AGE, decide},
            fetch::{FetchMetadata, Purpose, is_own_site},
            origin::AllowedOrigins,
        },
        ws::handshake::{OriginRefused, check_origin},
    },
};

/// The CORS fields of the response to a request.
#[derive(Clone, Debug)]
pub(super) struct RequestCors {
    answer: CorsAnswer,
    /// The reason why the page may not read the response.
    refused: Option<OriginRefused>,
}

/// The CORS policy of an endpoint. It applies before the policy of the scope.
#[derive(Debug)]
pub(crate) struct RouteCors {
    pub(crate) origins: AllowedOrigins,
    pub(crate) methods: &'static [&'static str],
}

impl RouteCors {
    fn policy(&self) -> CorsPolicy<'_> {
        CorsPolicy {
            any_origin: false,
            methods: self.methods,
            credentials: true,
            allowed_headers: None,
            exposed_headers: "",
            max_age: MAX_AGE,
            answers_all: false,
        }
    }
}

impl Context {
    /// Returns an error if the request comes from a page whose origin is not allowed. Also returns an error if
    /// `Sec-Fetch-Site` names another site and the request has no `Origin`.
    ///
    /// A request with neither `Origin` nor `Sec-Fetch-Site` usually passes, because it seems to come from a client that
    /// is not a browser. There is one exception: the server refuses such a request if a page of another site may have
    /// caused the browser to send it with the session cookie.
    pub(crate) fn check_origin(&self, route: &AllowedOrigins) -> Result<(), RequestError> {
        self.check_page(route, Purpose::Other)
    }

    /// Checks the request like [`check_origin`](Self::check_origin). If `purpose` is an event stream, also refuses
    /// requests by elements of a page (such as images), and by links and frames on other sites.
    pub(crate) fn check_page(
        &self,
        route: &AllowedOrigins,
        purpose: Purpose,
    ) -> Result<(), RequestError> {
        let Some(connection) = &self.connection else {
            return Ok(());
        };
        let warn = |refused: &dyn std::fmt::Display| {
            let path = self.get_request().path();
            tracing::warn!(peer = %connection.peer(), path, "{refused}");
        };
        // A request may have several `Origin` fields, so the function checks all of them.
        let mut origins = self.get_request().get_headers().get_all("origin");
        origins
            .try_for_each(|origin| self.judge(origin, route))
            .inspect_err(|refused| warn(refused))?;
        let metadata = self.fetch_metadata();
        let unknown_site = (metadata.is_silent() && self.may_carry_a_cookie_across_sites()).then_some(
            "a request with a session's cookie that is sent across sites must carry `Origin` or `Sec-Fetch-Site`, or a \
             token instead of the cookie",
        );
        match metadata.refusal(purpose).or(unknown_site) {
            Some(reason) => {
                warn(&reason);
                Err(RequestError::refused(403, reason))
            }
            None => Ok(()),
        }
    }

    /// Checks one origin against the list of the server, the list of the route, and the policy of the scope.
    pub(super) fn judge(&self, origin: &str, route: &AllowedOrigins) -> Result<(), OriginRefused> {
        let Some(connection) = &self.connection else {
            return Ok(());
        };
        let (host, secure) = self.own_host();
        let lists = [&connection.env.allowed_origins, route];
        check_origin(origin, host, secure, &lists).or_else(|refused| {
            let is_trusted = self.scope_cors().is_some_and(|cors| cors.trusts(origin));
            is_trusted.then_some(()).ok_or(refused)
        })
    }

    /// Returns the CORS policy of the request's scope.
    fn scope_cors(&self) -> Option<&CorsRules> {
        let policies = &self.program.cors;
        policies.get(usize::from(self.chain))?.as_deref()
    }

    /// Returns the host and port that the client requested, and whether the client is known to use TLS.
    fn own_host(&self) -> (&str, bool) {
        let host = self.forwarded().and_then(|forwarded| forwarded.host);
        (
            host.unwrap_or_else(|| self.get_request().get_host()),
            self.is_secure(),
        )
    }

    pub(super) fn fetch_metadata(&self) -> FetchMetadata<'_> {
        let headers = self.get_request().get_headers();
        let foreign = headers
            .get_all("sec-fetch-site")
            .find(|site| !is_own_site(site));
        FetchMetadata {
            site: foreign.or_else(|| headers.get("sec-fetch-site")),
            mode: headers.get("sec-fetch-mode"),
            dest: headers.get("sec-fetch-dest"),
            has_origin: headers.contains("origin"),
        }
    }

    /// Returns whether a page of `origin` may send requests in its visitor's name, although it is not the server's own.
    pub(super) fn trusts_origin(&self, origin: &str) -> bool {
        let listed = self.connection.as_ref();
        listed.is_some_and(|connection| connection.env.allowed_origins.allows(origin))
            || self.scope_cors().is_some_and(|cors| cors.trusts(origin))
    }

    /// Decides the CORS fields of the response by the policies of the route, if it is that of an endpoint, and of the
    /// scope. [`head`](Self::head) adds them later, because a hook (a route, middleware or error hook) may still reset
    /// or replace the response.
    pub(crate) fn decide_cors(&mut self, route: Option<&RouteCors>) {
        let Some(connection) = &self.connection else {
            return;
        };
        let route = route.filter(|route| {
            !connection.env.allowed_origins.is_empty() || !route.origins.is_empty()
        });
        let scope = self.scope_cors();
        if route.is_none() && scope.is_none() {
            return;
        }
        let request = self.get_request();
        let headers = request.get_headers();
        let origins: Vec<&str> = headers.get_all("origin").collect();
        let origin = match *origins {
            [origin] => Some(origin),
            _ => None,
        };
        let requested: Vec<&str> = headers.get_all("access-control-request-headers").collect();
        let asked = CorsRequest {
            method: request.get_method().as_str(),
            origin: origin.map(str::trim_ascii),
            requested_method: headers.get("access-control-request-method"),
            requested_headers: &requested,
        };
        let mut refused = None;
        let mut answer = route.map(|route| {
            decide(asked, route.policy(), |origin| {
                refused = self.judge(origin, &route.origins).err();
                refused.is_none()
            })
        });
        // The policy of the scope decides about pages that the endpoint does not name.
        if let Some(scope) = scope
            && (answer.is_none() || refused.is_some())
        {
            refused = None;
            let mut of_scope = decide(asked, scope.policy(), |origin| {
                if !scope.allows(origin) {
                    refused = Some(OriginRefused::new(origin, self.own_host().0));
                }
                refused.is_none()
            });
            // A page that the endpoint names gets another answer, also if the scope answers all pages alike.
            if answer.is_some() && !of_scope.fields.iter().any(|(name, _)| *name == "vary") {
                of_scope.fields.push(("vary", "Origin".into()));
            }
            answer = Some(of_scope);
        }
        let Some(answer) = answer else {
            return;
        };
        self.extras.get_or_insert_default().cors = Some(Box::new(RequestCors { answer, refused }));
    }

    fn cors(&self) -> Option<&RequestCors> {
        self.extras.as_ref()?.cors.as_deref()
    }

    /// Returns whether the request is a preflight of a page whose origin is allowed, for a method that the route's CORS
    /// policy lists.
    ///
    /// A browser sends a preflight without cookies, and without the fields for which it requests permission. Middleware
    /// may refuse the preflight because these cookies or fields are missing, although it would accept the request that
    /// follows. So the pipeline ignores a refusal of such a preflight by request middleware.
    pub(crate) fn is_preflight(&self) -> bool {
        self.cors()
            .is_some_and(|cors| cors.answer.kind == CorsKind::Preflight)
    }

    /// Returns whether the request is a preflight, of a page that is allowed or not.
    pub(crate) fn asks_permission(&self) -> bool {
        self.cors()
            .is_some_and(|cors| cors.answer.kind != CorsKind::Request)
    }

    /// Answers a preflight that no route handles: the path has no route for `OPTIONS`. Returns false for other requests.
    /// If middleware has already set a response with a success status, keeps this response.
    ///
    /// # Errors
    /// [`RequestError::Origin`] if the page may not send the request.
    pub(crate) fn answer_preflight(&mut self) -> Result<bool, RequestError> {
        let refused = match self.cors() {
            Some(cors) if cors.answer.kind != CorsKind::Request => cors.refused.clone(),
            _ => return Ok(false),
        };
        let response = self.get_response();
        let status = response.get_status_code();
        let is_answered =
            status != 200 || !response.body().is_empty() || response.is_body_streamed();
        if is_answered && (200..300).contains(&status) {
            return Ok(true);
        }
        if let Some(refused) = refused {
            tracing::warn!(path = self.get_request().path(), "{refused}");
            return Err(refused.into());
        }
        let response = self.get_mut_response();
        response.set_body("").set_status_code(204);
        for name in ["content-type", "allow", "location", "www-authenticate"] {
            response.remove_header(name);
        }
        Ok(true)
    }

    /// Adds the CORS fields to the response. A field that the program has set keeps its value. The exception is `vary`:
    /// the function adds `Origin` to the program's value, unless the value contains `Origin` or `*`.
    pub(super) fn attach_cors(&mut self) {
        let Some(cors) = self
            .extras
            .as_ref()
            .and_then(|extras| extras.cors.as_deref())
        else {
            return;
        };
        let response = self.response.get_or_insert_default();
        for (name, value) in &cors.answer.fields {
            let headers = response.get_headers();
            if !headers.contains(name) {
                response.set_header(name, value);
            } else if *name == "vary" {
                let known: Vec<&str> = headers.get_all(name).flat_map(list_items).collect();
                let is_listed = |item: &&str| *item == "*" || item.eq_ignore_ascii_case("origin");
                if !known.iter().any(is_listed) {
                    let joined = [&known[..], &[&**value]].concat().join(", ");
                    response.set_header(name, joined);
                }
            }
        }
    }
}
