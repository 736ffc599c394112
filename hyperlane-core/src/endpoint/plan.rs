//! The plan of an endpoint, which a server carries out.

use std::sync::Arc;

use crate::{
    channel::settings::{Direction, Settings},
    context::{Context, cors::RouteCors},
    hook::{HookFuture, SharedHookFn},
    stream::Stream,
};

/// An endpoint, for a server to add at a pattern.
pub struct PlannedEndpoint {
    pub(crate) routes: Vec<PlannedRoute>,
    /// Direction of the channels that clients connect to.
    pub(crate) direction: Direction,
    /// Settings of those channels.
    pub(crate) settings: Arc<Settings>,
    /// Rights of pages of other origins, for all routes.
    pub(crate) cors: Arc<RouteCors>,
}

/// One route of an endpoint.
pub(crate) struct PlannedRoute {
    /// The name in lists of routes.
    pub(crate) name: &'static str,
    pub(crate) methods: &'static [&'static str],
    pub(crate) run: SharedHookFn,
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
