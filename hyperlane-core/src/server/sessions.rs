//! Sessions of a server: their store, their channels (messages that are kept across lost connections), and their
//! endpoints (the paths at which clients connect to the channels).

use std::sync::Arc;

use super::Server;
use crate::{
    endpoint::{
        directory::Channels,
        plan::{PlannedEndpoint, PlannedRoute},
    },
    error::Place,
    exchange::body::BodyPlan,
    hook::{Run, setup::Check},
    pipeline::app::Hook,
    session::SessionStore,
};

impl Server {
    /// Stores sessions also in `store`. Several servers can then share the sessions, and the sessions remain after the
    /// end of the process. Default: sessions exist only in the memory of the process.
    pub fn session_store(&mut self, store: impl SessionStore) -> &mut Self {
        self.sessions.set_store(store);
        self
    }

    /// Returns the channels of all sessions, for tasks outside of requests. Works before and after [`run`](Self::run).
    pub fn channels(&self) -> Channels {
        Channels::new(&self.sessions.table)
    }

    /// Returns the handlers of an endpoint.
    pub(super) fn endpoint_hooks(&mut self, endpoint: PlannedEndpoint, place: Place) -> Vec<Hook> {
        let PlannedEndpoint {
            routes,
            direction,
            settings,
            cors,
            names,
        } = endpoint;
        self.channels()
            .suggest(direction, names.as_ref(), &settings);
        let hooks = routes.into_iter().map(|route| {
            let PlannedRoute { name, methods, run } = route;
            let run = Run::Shared(run);
            let mut hook = Hook::new(run, name, place, &[], methods, BodyPlan::default());
            hook.cors = Some(cors.clone());
            if let Some(names) = names.clone() {
                hook.check = Check::Shared(Arc::new(move |setup| names.check(setup.params())));
            }
            hook
        });
        hooks.collect()
    }
}
