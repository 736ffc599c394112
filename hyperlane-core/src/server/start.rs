//! Checks at the start of a server: whether it has routes, and whether it has the states and parameters that its
//! handlers need.

use std::sync::Arc;

use super::{
    Server,
    scopes::{declared_scope, server_of},
};
use crate::pipeline::app::App;
use crate::{
    error::{ServerError, counted},
    hook::{HookKind, Registration, Taker},
    session::Sessions,
};

impl Server {
    /// Checks the server like [`check`](Self::check). Also checks whether the server has routes, and whether it has
    /// what its handlers need. Then adds the sessions to the [`App`], the checked form of the server.
    pub(crate) fn check_start(&self) -> Result<Arc<App>, ServerError> {
        let mut app = self.check()?;
        self.check_taken(&app)?;
        self.warn_of_unknown_servers();
        app.check_setup()?;
        app.set_sessions(Sessions::new(&self.config, &self.sessions));
        Ok(Arc::new(app))
    }

    /// Logs a warning about each registered hook whose scope names a server that no attribute declares.
    fn warn_of_unknown_servers(&self) {
        let known: Vec<&str> = inventory::iter::<Taker>
            .into_iter()
            .map(|taker| taker.name)
            .chain(self.name.as_deref())
            .collect();
        let mut told: Vec<&str> = Vec::new();
        for registration in inventory::iter::<Registration> {
            let scope = declared_scope(registration).and_then(server_of);
            let Some(server) = scope.filter(|server| !known.contains(server)) else {
                continue;
            };
            if !told.contains(&server) {
                told.push(server);
                tracing::warn!(
                    "the scope of `{}` at {} belongs to the server `{server}`, and no `#[hyperlane({server}: Server)]` declares \
                     it: the routes of the scope are served nowhere",
                    registration.name,
                    registration.place
                );
            }
        }
    }

    /// Reports a server without routes, by an error or a warning. Also logs a warning about a server with routes if it
    /// does not take the hooks that attribute macros registered, and no [`Taker`] exists.
    fn check_taken(&self, app: &App) -> Result<(), ServerError> {
        let left: Vec<&Registration> = match self.takes_registered {
            true => Vec::new(),
            false => inventory::iter::<Registration>.into_iter().collect(),
        };
        let routes = left
            .iter()
            .filter(|registration| matches!(registration.kind, HookKind::Route(_)));
        let first_route = routes.clone().min_by_key(|route| route.place);
        let routes = routes.count();
        // A `Taker` shows that one server of the program takes the registered hooks. The program then intends that its
        // other servers do not take these hooks.
        let taker = inventory::iter::<Taker>.into_iter().next();
        let first = left.iter().min_by_key(|registration| registration.place);
        match (app.has_no_route(), taker, first_route, first) {
            (true, None, Some(route), _) => {
                return Err(ServerError::RoutesNotTaken {
                    routes,
                    handler: route.name,
                    place: route.place,
                });
            }
            (true, Some(taker), Some(_), _) => tracing::warn!(
                "this server has no route and answers every request with 404: {} that attribute macros registered belong to \
                 the server that `#[hyperlane(server: Server)]` declares at {}",
                counted(routes, "route"),
                taker.place
            ),
            (true, ..) => tracing::warn!(
                "this server has no route and answers every request with 404: register hooks by `server.route`, endpoints \
                 by `server.at`, functions by an attribute such as `#[get(..)]`; routes of another crate count only where \
                 the program names that crate, as by `use handlers as _;`"
            ),
            (false, None, _, Some(first)) => tracing::warn!(
                "this server takes none of the {} that attribute macros registered, {routes} of them routes, the first \
                 `{}` at {}: put `#[hyperlane(server: Server)]` on `main` and run the `server` that it declares",
                counted(left.len(), "hook"),
                first.name,
                first.place
            ),
            _ => {}
        }
        Ok(())
    }
}
