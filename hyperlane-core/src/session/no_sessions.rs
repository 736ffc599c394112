//! Stands for sessions without the feature `sessions`: a server has none.

use std::sync::Arc;

use crate::config::ServerConfig;

/// Sessions of a run: nothing.
pub(crate) struct Sessions;

/// Settings of a program: none.
#[derive(Clone, Default)]
pub(crate) struct Planned;

impl Sessions {
    pub(crate) fn new(_: &ServerConfig, _: &Planned) -> Arc<Self> {
        Arc::new(Self)
    }
}
