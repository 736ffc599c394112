//! The surroundings of connections: time, ids, addresses, the runtime.

pub(crate) mod ids;
pub(crate) mod logged;
pub(crate) mod peer;
pub(crate) mod runtime;
pub(crate) mod timers;
