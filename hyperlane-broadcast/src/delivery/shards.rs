//! The shards of a room.

use std::sync::{Arc, OnceLock};

use super::shard::Shard;

/// The shards of a room, by the index of their hub. A room has a shard from the first member on that sits in it: most
/// rooms have few members, and a shard takes some hundred bytes.
pub(crate) struct Shards(Box<[OnceLock<Arc<Shard>>]>);

impl Shards {
    pub(crate) fn new(count: usize) -> Self {
        Self((0..count).map(|_| OnceLock::new()).collect())
    }

    pub(crate) fn get(&self, index: usize) -> Option<&Arc<Shard>> {
        self.0.get(index)?.get()
    }

    /// Returns a shard, which `make` makes if the room does not have it. Returns `None` if there is no such hub.
    pub(crate) fn get_or_make(
        &self,
        index: usize,
        make: impl FnOnce() -> Shard,
    ) -> Option<&Arc<Shard>> {
        let slot = self.0.get(index)?;
        Some(slot.get_or_init(|| Arc::new(make())))
    }

    pub(crate) fn iter(&self) -> Iter<'_> {
        Iter(self.0.iter())
    }
}

impl<'a> IntoIterator for &'a Shards {
    type Item = &'a Arc<Shard>;
    type IntoIter = Iter<'a>;

    fn into_iter(self) -> Iter<'a> {
        self.iter()
    }
}

/// The shards that a room has.
pub(crate) struct Iter<'a>(std::slice::Iter<'a, OnceLock<Arc<Shard>>>);

impl<'a> Iterator for Iter<'a> {
    type Item = &'a Arc<Shard>;

    fn next(&mut self) -> Option<Self::Item> {
        self.0.find_map(OnceLock::get)
    }
}
