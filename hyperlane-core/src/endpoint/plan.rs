//! The plan of an endpoint: the routes that a server adds for the endpoint.

use std::sync::Arc;

use crate::{
    channel::{
        name::NamePattern,
        settings::{Direction, Settings},
    },
    context::{Context, cors::RouteCors},
    hook::{HookFuture, ServerHookHandler},
    stream::Stream,
};

/// The plan of an endpoint. A server adds the routes of the plan at the pattern that the program names.
pub struct PlannedEndpoint {
    pub(crate) routes: Vec<PlannedRoute>,
    /// The direction of the channels to which clients connect.
    pub(crate) direction: Direction,
    /// The settings of these channels.
    pub(crate) settings: Arc<Settings>,
    /// The CORS policy of all routes: what pages of other origins may do.
    pub(crate) cors: Arc<RouteCors>,
    /// The names of the channels. `None` for the channels without a name.
    pub(crate) names: Option<Arc<NamePattern>>,
}

/// One route of an endpoint.
pub(crate) struct PlannedRoute {
    /// The name of the handler in lists of routes.
    pub(crate) name: &'static str,
    pub(crate) methods: &'static [&'static str],
    pub(crate) run: ServerHookHandler,
}

impl PlannedRoute {
    pub(super) fn new(
        name: &'static str,
        methods: &'static [&'static str],
        run: impl for<'a> Fn(&'a mut Stream, &'a mut Context) -> HookFuture<'a> + Send + Sync + 'static,
    ) -> Self {
        Self {
            name,
            methods,
            run: Arc::new(run),
        }
    }
}
