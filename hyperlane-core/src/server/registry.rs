//! The registry of a server's live connections. Each connection has a slot: its index in the registry.

use std::sync::{Arc, Mutex, PoisonError, Weak};

use slab::Slab;

use crate::{
    conn::link::Link,
    env::{ids::next_id, timers::TimerKey},
};

/// All live connections.
#[derive(Default)]
pub(crate) struct Registry {
    connections: Mutex<Slab<Weak<Link>>>,
}

impl Registry {
    /// Creates a connection and registers it.
    pub(crate) fn insert(&self, make: impl FnOnce(TimerKey) -> Link) -> Arc<Link> {
        let mut connections = self
            .connections
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let entry = connections.vacant_entry();
        let key = TimerKey {
            slot: u32::try_from(entry.key()).unwrap_or(u32::MAX),
            id: next_id(),
        };
        let connection = Arc::new(make(key));
        entry.insert(Arc::downgrade(&connection));
        connection
    }

    pub(crate) fn remove(&self, slot: u32) {
        self.connections
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .try_remove(slot as usize);
    }

    /// Returns the connection to which the key of a timer belongs. Returns `None` if the connection has ended.
    pub(crate) fn get(&self, key: TimerKey) -> Option<Arc<Link>> {
        let connection = self
            .connections
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(key.slot as usize)?
            .upgrade()?;
        (connection.id() == key.id).then_some(connection)
    }

    /// Returns all live connections.
    pub(crate) fn all(&self) -> Vec<Arc<Link>> {
        self.connections
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .iter()
            .filter_map(|(_, connection)| connection.upgrade())
            .collect()
    }

    pub(crate) fn len(&self) -> usize {
        self.connections
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .len()
    }
}
