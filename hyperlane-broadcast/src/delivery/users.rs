//! Users: an index from user names to the rooms in which members have them.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
};

use super::core::RoomCore;

/// The rooms of each user. A user is in a room if at least one member has joined it with the user's name.
///
/// Its lock is taken under the lock of a room's state, and no other lock is taken under it.
#[derive(Default)]
pub(crate) struct Users(Mutex<HashMap<Arc<str>, Vec<UserRoom>>>);

/// A room of a user. The list of them is sorted by the epoch, which differs for all rooms.
struct UserRoom {
    epoch: u64,
    core: Weak<RoomCore>,
}

impl Users {
    fn lock(&self) -> MutexGuard<'_, HashMap<Arc<str>, Vec<UserRoom>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that the first member with this name is in a room.
    pub(crate) fn add(&self, user: &Arc<str>, core: &RoomCore) {
        let mut users = self.lock();
        let rooms = users.entry(user.clone()).or_default();
        if let Err(at) = rooms.binary_search_by_key(&core.epoch, |room| room.epoch) {
            let (epoch, core) = (core.epoch, core.weak());
            rooms.insert(at, UserRoom { epoch, core });
        }
    }

    /// Notes that the last member with this name has left a room.
    pub(crate) fn remove(&self, user: &str, core: &RoomCore) {
        let mut users = self.lock();
        let Some(rooms) = users.get_mut(user) else {
            return;
        };
        if let Ok(at) = rooms.binary_search_by_key(&core.epoch, |room| room.epoch) {
            rooms.remove(at);
        }
        if rooms.is_empty() {
            users.remove(user);
        }
        if users.is_empty() {
            *users = HashMap::new();
        }
    }

    /// Returns the rooms of a user.
    pub(crate) fn rooms_of(&self, user: &str) -> Vec<Arc<RoomCore>> {
        let users = self.lock();
        let rooms = users.get(user).map(Vec::as_slice).unwrap_or_default();
        rooms
            .iter()
            .filter_map(|room| room.core.upgrade())
            .collect()
    }
}
