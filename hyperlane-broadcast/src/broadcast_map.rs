//! Channels by name.

use std::{
    collections::HashMap,
    fmt,
    sync::{Mutex, MutexGuard, PoisonError},
};

use crate::broadcast::{
    Broadcast, BroadcastReceiver, BroadcastSendError, BroadcastSender, Capacity,
    DEFAULT_BROADCAST_SENDER_CAPACITY, ReceiverCount,
};

/// The receiving side of a named channel.
pub type BroadcastMapReceiver<T> = BroadcastReceiver<T>;
/// The sending side of a named channel.
pub type BroadcastMapSender<T> = BroadcastSender<T>;
/// A value that nobody received.
pub type BroadcastMapSendError<T> = BroadcastSendError<T>;

/// Channels by name, made when somebody subscribes and forgotten when nobody does any more.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// use hyperlane_broadcast::BroadcastMap;
///
/// let rooms = BroadcastMap::new();
/// let mut reader = rooms.subscribe_or_insert("lobby", 16);
/// assert_eq!(rooms.send("lobby", 7), Some(1));
/// assert_eq!(rooms.send("nowhere", 7), None);
/// assert_eq!(reader.recv().await.unwrap(), 7);
/// # }
/// ```
pub struct BroadcastMap<T> {
    entries: Mutex<Entries<T>>,
}

struct Entries<T> {
    map: HashMap<String, Entry<T>>,
    /// Abandoned channels are looked for when the map has grown to this.
    sweep_at: usize,
}

struct Entry<T> {
    channel: Broadcast<T>,
    /// Made by `insert`, so that it stays until `unsubscribe`.
    kept: bool,
}

/// Size below which no sweep is worth its time.
const FIRST_SWEEP: usize = 64;

impl<T: Clone> BroadcastMap<T> {
    /// A map without channels.
    pub fn new() -> Self {
        Self {
            entries: Mutex::new(Entries {
                map: HashMap::new(),
                sweep_at: FIRST_SWEEP,
            }),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Entries<T>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes a channel that stays until [`unsubscribe`](Self::unsubscribe), and returns the one of that
    /// name that it replaces.
    pub fn insert(&self, key: impl AsRef<str>, capacity: Capacity) -> Option<Broadcast<T>> {
        let entry = Entry {
            channel: Broadcast::new(capacity),
            kept: true,
        };
        let key = key.as_ref().to_owned();
        let replaced = self.lock().map.insert(key, entry);
        replaced.map(|replaced| replaced.channel)
    }

    /// A receiver of the channel, if there is one of that name.
    pub fn subscribe(&self, key: impl AsRef<str>) -> Option<BroadcastMapReceiver<T>> {
        let key = key.as_ref();
        let entries = self.lock();
        entries.map.get(key).map(|entry| entry.channel.subscribe())
    }

    /// A receiver of the channel, which is made if there is none of that name.
    ///
    /// Whoever subscribes at the same time gets the same channel.
    pub fn subscribe_or_insert(
        &self,
        key: impl AsRef<str>,
        capacity: Capacity,
    ) -> BroadcastMapReceiver<T> {
        let key = key.as_ref();
        let mut entries = self.lock();
        if let Some(entry) = entries.map.get(key) {
            return entry.channel.subscribe();
        }
        let abandoned = entries.sweep();
        let channel = Broadcast::new(capacity);
        let receiver = channel.subscribe();
        entries.map.insert(
            key.to_owned(),
            Entry {
                channel,
                kept: false,
            },
        );
        drop(entries);
        // Values that were never received are dropped with them: code of the program, which may ask this map.
        drop(abandoned);
        receiver
    }

    /// As [`subscribe_or_insert`](Self::subscribe_or_insert), with the default capacity.
    pub fn subscribe_or_default(&self, key: impl AsRef<str>) -> BroadcastMapReceiver<T> {
        self.subscribe_or_insert(key, DEFAULT_BROADCAST_SENDER_CAPACITY)
    }

    /// How many receivers the channel has, if there is one of that name.
    pub fn receiver_count(&self, key: impl AsRef<str>) -> Option<ReceiverCount> {
        let key = key.as_ref();
        let entries = self.lock();
        entries
            .map
            .get(key)
            .map(|entry| entry.channel.receiver_count())
    }

    /// Sends a value to every receiver of the channel and returns how many there are; `None` when there
    /// is no channel of that name.
    ///
    /// # Errors
    /// None at present: to nobody is `Ok(Some(0))`. The form is that of existing programs.
    pub fn try_send(
        &self,
        key: impl AsRef<str>,
        value: T,
    ) -> Result<Option<ReceiverCount>, BroadcastMapSendError<T>> {
        Ok(self.send(key, value))
    }

    /// Sends a value to every receiver of the channel and returns how many there are; `None` when there
    /// is no channel of that name.
    pub fn send(&self, key: impl AsRef<str>, value: T) -> Option<ReceiverCount> {
        // Cloned out of the lock: receivers of other channels need not wait.
        let key = key.as_ref();
        let channel = self.lock().map.get(key)?.channel.clone();
        // Without a receiver the value comes back as an error: nobody missed it.
        Some(channel.send(value).unwrap_or(0))
    }

    /// Removes the channel: its receivers get what was sent before and then the end.
    pub fn unsubscribe(&self, key: impl AsRef<str>) -> Option<Broadcast<T>> {
        let key = key.as_ref();
        let removed = self.lock().map.remove(key);
        removed.map(|entry| entry.channel)
    }

    /// How many channels there are, abandoned ones that were not noticed yet included.
    pub fn len(&self) -> usize {
        self.lock().map.len()
    }

    /// Whether there is no channel.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl<T: Clone> Entries<T> {
    /// Forgets abandoned channels, when the map has doubled since the last time: constant cost per
    /// insertion on average. They are to be dropped when the map is not locked.
    #[must_use]
    fn sweep(&mut self) -> Vec<(String, Entry<T>)> {
        if self.map.len() < self.sweep_at {
            return Vec::new();
        }
        let is_abandoned = |entry: &Entry<T>| !entry.kept && entry.channel.receiver_count() == 0;
        let abandoned = self
            .map
            .extract_if(|_, entry| is_abandoned(entry))
            .collect();
        self.map.shrink_to(FIRST_SWEEP);
        self.sweep_at = (self.map.len() * 2).max(FIRST_SWEEP);
        abandoned
    }
}

impl<T: Clone> Default for BroadcastMap<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> fmt::Debug for BroadcastMap<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BroadcastMap").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn the_first_to_join_keep_their_channel() {
        for round in 0..300 {
            let map = Arc::new(BroadcastMap::new());
            let key = format!("room {round}");
            let start = Arc::new(std::sync::Barrier::new(2));
            let joiners: Vec<_> = (0..2)
                .map(|_| {
                    let (map, key, start) = (map.clone(), key.clone(), start.clone());
                    std::thread::spawn(move || {
                        start.wait();
                        map.subscribe_or_insert(&key, 4)
                    })
                })
                .collect();
            let mut receivers: Vec<_> = joiners.into_iter().map(|it| it.join().unwrap()).collect();
            assert_eq!(map.send(&key, round), Some(2));
            for receiver in &mut receivers {
                assert_eq!(receiver.try_recv().unwrap(), round);
            }
        }
    }

    #[test]
    fn abandoned_channels_are_forgotten() {
        let map: BroadcastMap<u8> = BroadcastMap::new();
        map.insert("kept", 4);
        for room in 0..10_000 {
            drop(map.subscribe_or_insert(format!("room {room}"), 4));
        }
        assert!(map.len() <= FIRST_SWEEP + 1, "{} left", map.len());
        assert!(map.subscribe("kept").is_some());
    }

    #[test]
    fn what_a_value_does_when_it_is_dropped_may_ask_the_map() {
        /// Asks the map as it goes, as its key does when it is read.
        #[derive(Clone)]
        struct Asks(Arc<std::sync::OnceLock<std::sync::Weak<BroadcastMap<Asks>>>>);

        impl Asks {
            fn ask(&self) {
                let map = self.0.get().and_then(std::sync::Weak::upgrade);
                assert!(map.is_none_or(|map| map.len() < 1000));
            }
        }

        impl Drop for Asks {
            fn drop(&mut self) {
                self.ask();
            }
        }

        impl AsRef<str> for Asks {
            fn as_ref(&self) -> &str {
                self.ask();
                "asks"
            }
        }

        let asks = Asks(Arc::default());
        let map = Arc::new(BroadcastMap::new());
        assert!(asks.0.set(Arc::downgrade(&map)).is_ok());
        for room in 0..2 * FIRST_SWEEP {
            let receiver = map.subscribe_or_insert(format!("room {room}"), 4);
            map.send(format!("room {room}"), asks.clone());
            drop(receiver);
        }
        map.insert(asks.clone(), 4);
        assert!(map.subscribe(asks.clone()).is_some());
        assert_eq!(map.receiver_count(asks.clone()), Some(0));
        assert_eq!(map.send(asks.clone(), asks.clone()), Some(0));
        drop(map.subscribe_or_insert(asks.clone(), 4));
        assert!(map.unsubscribe(asks.clone()).is_some());
    }

    #[test]
    fn sending_to_nobody_is_no_error() {
        let map = BroadcastMap::new();
        map.insert("empty", 4);
        assert_eq!(map.send("empty", 1), Some(0));
        assert_eq!(map.try_send("empty", 1).unwrap(), Some(0));
        assert_eq!(map.try_send("missing", 1).unwrap(), None);
        assert!(map.unsubscribe("empty").is_some());
        assert_eq!(map.receiver_count("empty"), None);
    }

    #[test]
    fn a_lagging_receiver_is_told_how_much_it_missed() {
        let channel = Broadcast::new(2);
        let mut receiver = channel.subscribe();
        for value in 0..5 {
            channel.send(value).unwrap();
        }
        let error = receiver.try_recv().unwrap_err();
        assert_eq!(
            error,
            tokio::sync::broadcast::error::TryRecvError::Lagged(3)
        );
        assert_eq!(receiver.try_recv().unwrap(), 3);
    }
}
