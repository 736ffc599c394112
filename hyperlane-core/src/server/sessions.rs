//! Paths of a server and their endpoints.

use super::Server;
use crate::{endpoint::Endpoint, error::Place};

/// A path of a server, from [`Server::at`].
#[must_use]
#[derive(Debug)]
pub struct At<'a> {
    server: &'a mut Server,
    pattern: String,
}

impl<'a> At<'a> {
    pub(super) fn new(server: &'a mut Server, pattern: String) -> Self {
        Self { server, pattern }
    }

    /// Serves the path by an endpoint.
    #[track_caller]
    pub fn get(self, endpoint: impl Endpoint) -> &'a mut Server {
        self.server
            .add_endpoint(&self.pattern, endpoint.plan(), Place::caller())
    }
}
