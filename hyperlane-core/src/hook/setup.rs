//! The checks before the server starts: each handler's route and the server must have what the handler requires.

use std::{
    any::{Any, type_name},
    sync::Arc,
};

use crate::{context::states::States, error::SetupError};

/// A route's parameters and the server's state, before the server starts. The server passes this value to
/// [`FromContext::check`](crate::FromContext::check).
#[derive(Debug)]
pub struct RouteSetup<'a> {
    params: Vec<&'a str>,
    states: &'a States,
}

impl<'a> RouteSetup<'a> {
    pub(crate) fn new(params: impl Iterator<Item = &'a str>, states: &'a States) -> Self {
        Self {
            params: params.collect(),
            states,
        }
    }

    /// Returns the names of the route's parameters, in the pattern's order.
    pub fn params(&self) -> &[&'a str] {
        &self.params
    }

    /// Returns whether [`Server::state`](crate::Server::state) has set a value of this type.
    pub fn has_state<T: Any + Send + Sync>(&self) -> bool {
        self.states.has::<T>()
    }

    /// Returns an error if the server has no value of this type.
    pub(crate) fn need_state<T: Any + Send + Sync>(&self) -> Result<(), SetupError> {
        if self.has_state::<T>() {
            return Ok(());
        }
        let name = type_name::<T>();
        let mend = match self.has_state::<Arc<T>>() {
            true => format!(
                "but an `Arc<{name}>`; call `server.state(..)` with the value itself, which the server shares"
            ),
            false => "because `server.state(..)` was never called with one".to_owned(),
        };
        Err(SetupError::new(format!(
            "it takes `State<{name}>`, and the server has no such value, {mend}"
        )))
    }

    /// Returns an error if the pattern lacks one of these parameters.
    pub(crate) fn need_params(&self, names: &[&str]) -> Result<(), SetupError> {
        match names.iter().find(|name| !self.params.contains(name)) {
            None => Ok(()),
            Some(name) => Err(SetupError::new(format!(
                "the pattern has no parameter `{name}`, which its hook asks for by `route_param`; add `{{{name}}}` to \
                 the pattern, or bind it by `try_get_route_param`"
            ))),
        }
    }
}

/// A function that checks whether a handler can work on its route.
pub(crate) type SetupCheck = fn(&RouteSetup<'_>) -> Result<(), SetupError>;

/// A function with data that checks whether a handler can work on its route.
type SharedSetupCheck = dyn Fn(&RouteSetup<'_>) -> Result<(), SetupError> + Send + Sync;

/// The check of a registered handler.
#[derive(Clone)]
pub(crate) enum Check {
    Fn(SetupCheck),
    /// The check of an endpoint, which has data.
    Shared(Arc<SharedSetupCheck>),
}

impl Check {
    pub(crate) fn run(&self, setup: &RouteSetup<'_>) -> Result<(), SetupError> {
        match self {
            Self::Fn(check) => check(setup),
            Self::Shared(check) => check(setup),
        }
    }
}
