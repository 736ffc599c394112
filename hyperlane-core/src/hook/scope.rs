//! Scopes: a prefix with middleware and limits that several routes share.

use std::fmt;

use super::{Middleware, RenderError};
use crate::http::{Cors, Csrf};

/// The number of middleware functions that one scope holds.
const WRAPS: usize = 8;

/// A scope: routes with a common prefix, middleware, limits, and a server.
///
/// Most programs declare a scope for a module, by `file_scope!("/api", ..)` at the top of a file or by
/// `#[scope("/api", ..)]` on a module. Routes that a macro registers in this module, and in the modules inside it,
/// belong to the scope. Scopes of modules inside each other nest: prefixes are concatenated, and the middleware of the
/// outer scope runs around that of the inner one.
///
/// A `static` of this type is the explicit form. A route names it as `#[get("/x", scope = API)]` and keeps it wherever
/// its function moves:
///
/// ```
/// use hyperlane_core::{Context, Next, Scope, Status};
///
/// async fn auth(ctx: &mut Context, next: Next<'_>) -> Result<Status, (hyperlane_core::HttpStatus, &'static str)> {
///     match ctx.get_request().get_headers().get("authorization") {
///         Some("Bearer secret") => Ok(next.run(ctx).await),
///         _ => Err((hyperlane_core::HttpStatus::Unauthorized, "log in first")),
///     }
/// }
///
/// static API: Scope = Scope::new("/api").with(&auth).max_body(64 * 1024);
/// static ADMIN: Scope = Scope::new("/admin").inside(&API).server("admin");
/// ```
#[derive(Clone, Copy)]
pub struct Scope {
    pub(crate) prefix: &'static str,
    pub(crate) outer: Option<&'static Scope>,
    pub(crate) server: Option<&'static str>,
    pub(crate) max_body: Option<usize>,
    pub(crate) errors: Option<&'static dyn RenderError>,
    pub(crate) cors: Option<&'static Cors>,
    pub(crate) csrf: Option<Csrf>,
    wraps: [Option<&'static dyn Middleware>; WRAPS],
}

impl Scope {
    /// Creates a scope. `prefix` is the beginning of the patterns of its routes, such as `/api` or `/users/{id}`. An
    /// empty text means no prefix.
    ///
    /// # Panics
    /// Panics if the prefix does not begin with `/`, or if it ends with `/`. In a `static`, this is a compile error.
    #[allow(
        clippy::panic,
        reason = "a mistake in the program's text, met before a server runs"
    )]
    pub const fn new(prefix: &'static str) -> Self {
        match prefix.as_bytes() {
            [] => {}
            [.., b'/'] => panic!("the prefix of a scope must not end with `/`: write `/api`"),
            [b'/', ..] => {}
            _ => panic!("the prefix of a scope must begin with `/`: write `/api`"),
        }
        Self {
            prefix,
            outer: None,
            server: None,
            max_body: None,
            errors: None,
            cors: None,
            csrf: None,
            wraps: [None; WRAPS],
        }
    }

    /// Adds middleware around the routes of the scope. Middleware that is added later runs inside the earlier one.
    ///
    /// # Panics
    /// Panics if the scope already has 8. In a `static`, this is a compile error. Nested scopes may have further ones.
    #[allow(
        clippy::panic,
        reason = "a mistake in the program's text, met before a server runs"
    )]
    #[must_use]
    pub const fn with(mut self, middleware: &'static dyn Middleware) -> Self {
        let mut slots: &mut [Option<&'static dyn Middleware>] = &mut self.wraps;
        while let [slot, rest @ ..] = slots {
            if slot.is_none() {
                *slot = Some(middleware);
                return self;
            }
            slots = rest;
        }
        panic!("a scope holds 8 middleware functions: nest scopes for more")
    }

    /// Puts the scope inside another one. At most 64 scopes can be around a scope; with more, or if scopes name each other
    /// in a circle, the server does not start ([`ServerError::EndlessScope`](crate::ServerError::EndlessScope)).
    #[must_use]
    pub const fn inside(mut self, outer: &'static Scope) -> Self {
        self.outer = Some(outer);
        self
    }

    /// Limits the scope to the server of this name. The name of a server is its variable in
    /// `#[hyperlane(admin: Server)]`, or the argument of [`Server::name`](crate::Server::name). Default: the server of
    /// the outer scope. If no scope names a server, all servers have the routes, except those with
    /// [`Server::only_scoped`](crate::Server::only_scoped).
    #[must_use]
    pub const fn server(mut self, name: &'static str) -> Self {
        self.server = Some(name);
        self
    }

    /// Sets the maximum length of request bodies, in bytes. A route with a limit of its own keeps it. Default: the
    /// limit of the outer scope, or [`ServerConfig::max_body`](crate::ServerConfig).
    #[must_use]
    pub const fn max_body(mut self, bytes: usize) -> Self {
        self.max_body = Some(bytes);
        self
    }

    /// Sets the function that renders the errors of the scope, like [`Server::errors`](crate::Server::errors). Default:
    /// the function of the outer scope, or of the server.
    #[must_use]
    pub const fn errors(mut self, renderer: &'static dyn RenderError) -> Self {
        self.errors = Some(renderer);
        self
    }

    /// Sets the CORS policy of the scope: which pages of other origins may read its responses. It replaces the policy of
    /// the outer scope. Default: the policy of the outer scope, or of the server.
    #[must_use]
    pub const fn cors(mut self, cors: &'static Cors) -> Self {
        self.cors = Some(cors);
        self
    }

    /// Sets from which pages the scope accepts unsafe requests with the session's cookie. Default: the setting of the
    /// outer scope, or of the server.
    #[must_use]
    pub const fn csrf(mut self, csrf: Csrf) -> Self {
        self.csrf = Some(csrf);
        self
    }

    /// Returns the middleware, outermost first.
    pub(crate) fn wraps(&self) -> impl Iterator<Item = &'static dyn Middleware> {
        self.wraps.into_iter().flatten()
    }
}

impl fmt::Debug for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let wraps: Vec<_> = self.wraps().map(|middleware| middleware.name()).collect();
        f.debug_struct("Scope")
            .field("prefix", &self.prefix)
            .field("outer", &self.outer)
            .field("server", &self.server)
            .field("max_body", &self.max_body)
            .field("cors", &self.cors)
            .field("csrf", &self.csrf)
            .field("with", &wraps)
            .field("renders_errors", &self.errors.is_some())
            .finish()
    }
}

/// The scope of a module, as a macro declares it.
#[doc(hidden)]
pub struct ScopeRegistration {
    /// The module, as `module_path!` gives it.
    pub module: &'static str,
    pub scope: Scope,
}

inventory::collect!(ScopeRegistration);

/// Returns whether a module is `outer` or inside it. Both are paths as `module_path!` gives them.
pub(crate) fn is_inside(module: &str, outer: &str) -> bool {
    module
        .strip_prefix(outer)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

#[cfg(test)]
mod tests {
    use super::is_inside;

    #[test]
    fn modules_are_compared_by_segments() {
        assert!(is_inside("app::api", "app"));
        assert!(is_inside("app::api", "app::api"));
        assert!(is_inside("app::api::users", "app::api"));
        assert!(!is_inside("app::api2", "app::api"));
        assert!(!is_inside("app", "app::api"));
    }
}
