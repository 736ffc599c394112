//! The registry of a server's live connections. Each connection has a slot: its index in the registry.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use slab::Slab;

use crate::{
    conn::link::Link,
    env::{ids::next_id, timers::TimerKey},
};

/// All live connections, and the streams of those of HTTP/2.
#[derive(Default)]
pub(crate) struct Registry {
    connections: Mutex<Links>,
    /// A stream has a link, but it is no connection: it does not count as one.
    #[cfg(feature = "http2")]
    streams: Mutex<Links>,
}

type Links = Slab<Weak<Link>>;

/// The bit of a slot that says that the slot is one of the streams.
#[cfg(feature = "http2")]
const STREAM: u32 = 1 << 31;

impl Registry {
    /// Creates a connection and registers it.
    pub(crate) fn insert(&self, make: impl FnOnce(TimerKey) -> Link) -> Arc<Link> {
        insert(&self.connections, 0, make)
    }

    /// Creates a stream of HTTP/2 and registers it.
    #[cfg(feature = "http2")]
    pub(crate) fn insert_stream(&self, make: impl FnOnce(TimerKey) -> Link) -> Arc<Link> {
        insert(&self.streams, STREAM, make)
    }

    pub(crate) fn remove(&self, slot: u32) {
        let (links, index) = self.links_of(slot);
        lock(links).try_remove(index);
    }

    /// Returns the connection or stream to which the key of a timer belongs. Returns `None` if it has ended.
    pub(crate) fn get(&self, key: TimerKey) -> Option<Arc<Link>> {
        let (links, index) = self.links_of(key.slot);
        let link = lock(links).get(index)?.upgrade()?;
        (link.id() == key.id).then_some(link)
    }

    /// Returns all live connections and streams.
    pub(crate) fn all(&self) -> Vec<Arc<Link>> {
        let mut all = Vec::new();
        extend(&mut all, &self.connections);
        #[cfg(feature = "http2")]
        extend(&mut all, &self.streams);
        all
    }

    /// Returns the number of connections. Their streams do not count. A connection ends after its streams.
    pub(crate) fn len(&self) -> usize {
        lock(&self.connections).len()
    }

    /// Returns the links among which a slot is, and its index among them.
    fn links_of(&self, slot: u32) -> (&Mutex<Links>, usize) {
        #[cfg(feature = "http2")]
        if slot & STREAM != 0 {
            return (&self.streams, (slot & !STREAM) as usize);
        }
        (&self.connections, slot as usize)
    }
}

fn lock(links: &Mutex<Links>) -> MutexGuard<'_, Links> {
    links.lock().unwrap_or_else(PoisonError::into_inner)
}

fn insert(links: &Mutex<Links>, bit: u32, make: impl FnOnce(TimerKey) -> Link) -> Arc<Link> {
    let mut links = lock(links);
    let entry = links.vacant_entry();
    let key = TimerKey {
        slot: u32::try_from(entry.key()).unwrap_or(u32::MAX) | bit,
        id: next_id(),
    };
    let link = Arc::new(make(key));
    entry.insert(Arc::downgrade(&link));
    link
}

fn extend(all: &mut Vec<Arc<Link>>, links: &Mutex<Links>) {
    let links = lock(links);
    all.extend(links.iter().filter_map(|(_, link)| link.upgrade()));
}
