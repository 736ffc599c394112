//! Sessions of a server: their store, their channels (messages that are kept across lost connections), and their
//! endpoints (the paths at which clients connect to the channels).

use std::sync::Arc;

use super::Server;
use crate::{
    endpoint::{
        Endpoint,
        directory::Channels,
        plan::{PlannedEndpoint, PlannedRoute},
    },
    error::Place,
    exchange::body::BodyPlan,
    hook::{Run, setup::SharedSetupCheck},
    pipeline::app::{Hook, PlannedKind},
    session::SessionStore,
};

impl Server {
    /// Stores sessions also in `store`. Several servers can then share the sessions, and the sessions remain after the
    /// end of the process. Default: sessions exist only in the memory of the process.
    pub fn session_store(&mut self, store: impl SessionStore) -> &mut Self {
        self.sessions.set_store(store);
        self
    }

    /// Begins the registration of an endpoint at a path: `server.at("/ws").get(ws())`. The syntax of patterns is the
    /// same as in [`route`](Self::route).
    pub fn at(&mut self, pattern: impl AsRef<str>) -> At<'_> {
        At::new(self, pattern.as_ref().to_owned())
    }

    /// Returns the channels of all sessions, for tasks outside of requests. Works before and after [`run`](Self::run).
    pub fn channels(&self) -> Channels {
        Channels::new(&self.sessions.table)
    }

    /// Adds the routes of an endpoint.
    fn add_endpoint(
        &mut self,
        pattern: &str,
        endpoint: PlannedEndpoint,
        place: Place,
    ) -> &mut Self {
        let PlannedEndpoint {
            routes,
            direction,
            settings,
            cors,
            names,
        } = endpoint;
        self.channels()
            .suggest(direction, names.as_ref(), &settings);
        for PlannedRoute { name, methods, run } in routes {
            let run = Run::Shared(run);
            let mut hook = Hook::new(run, name, place, &[], methods, BodyPlan::default());
            hook.cors = Some(cors.clone());
            hook.names_check = names.clone().map(|names| -> SharedSetupCheck {
                Arc::new(move |setup| names.check(setup.params()))
            });
            self.push(PlannedKind::Route(pattern.to_owned()), hook);
        }
        self
    }
}

/// A path of a server, returned by [`Server::at`]. [`get`](Self::get) adds an endpoint at this path.
#[must_use]
#[derive(Debug)]
pub struct At<'a> {
    server: &'a mut Server,
    pattern: String,
}

impl<'a> At<'a> {
    fn new(server: &'a mut Server, pattern: String) -> Self {
        Self { server, pattern }
    }

    /// Adds the endpoint at this path.
    #[track_caller]
    pub fn get(self, endpoint: impl Endpoint) -> &'a mut Server {
        self.server
            .add_endpoint(&self.pattern, endpoint.plan(), Place::caller())
    }
}
