//! Channels between tasks, by name.

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
/// The error type of [`BroadcastMap::try_send`]. The method never returns this error: a send to a channel without
/// receivers returns `Ok(Some(0))`.
pub type BroadcastMapSendError<T> = BroadcastSendError<T>;

/// A map from names to [`Broadcast`] channels.
///
/// [`subscribe_or_insert`](Self::subscribe_or_insert) creates a channel if the map has none of this name. Such a
/// channel becomes unused when its last receiver is dropped. The map does not remove unused channels at once. A call of
/// `subscribe_or_insert` removes all of them when the map has at least 64 channels, and twice as many as after the last
/// removal. A channel created by [`insert`](Self::insert) stays until [`unsubscribe`](Self::unsubscribe).
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
    table: Mutex<ChannelTable<T>>,
}

struct ChannelTable<T> {
    map: HashMap<String, NamedChannel<T>>,
    /// [`sweep`](Self::sweep) does nothing while the map has fewer channels than this number.
    sweep_at: usize,
}

struct NamedChannel<T> {
    channel: Broadcast<T>,
    /// True for a channel created by `insert`: it stays in the map until `unsubscribe`.
    is_kept: bool,
}

/// Minimum of [`sweep_at`](ChannelTable::sweep_at). A map with fewer channels keeps the unused ones, because they use
/// little memory.
const MIN_SWEEP: usize = 64;

impl<T: Clone> BroadcastMap<T> {
    /// Creates an empty map.
    pub fn new() -> Self {
        Self {
            table: Mutex::new(ChannelTable {
                map: HashMap::new(),
                sweep_at: MIN_SWEEP,
            }),
        }
    }

    fn lock(&self) -> MutexGuard<'_, ChannelTable<T>> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Creates a channel that stays until [`unsubscribe`](Self::unsubscribe). If a channel of this name exists,
    /// the new channel replaces it, and the call returns the old channel. [`Broadcast::new`] describes the limits of
    /// `capacity`.
    pub fn insert(&self, key: impl AsRef<str>, capacity: Capacity) -> Option<Broadcast<T>> {
        let named = NamedChannel {
            channel: Broadcast::new(capacity),
            is_kept: true,
        };
        let key = key.as_ref().to_owned();
        let replaced = self.lock().map.insert(key, named);
        replaced.map(|replaced| replaced.channel)
    }

    /// Returns a receiver of the channel of this name. Returns `None` if the map has no such channel.
    pub fn subscribe(&self, key: impl AsRef<str>) -> Option<BroadcastMapReceiver<T>> {
        let key = key.as_ref();
        let table = self.lock();
        table.map.get(key).map(|named| named.channel.subscribe())
    }

    /// Returns a receiver of the channel of this name. Creates the channel if the map has no such channel.
    /// [`Broadcast::new`] describes the limits of `capacity`.
    ///
    /// Concurrent calls with the same name share one channel.
    pub fn subscribe_or_insert(
        &self,
        key: impl AsRef<str>,
        capacity: Capacity,
    ) -> BroadcastMapReceiver<T> {
        let key = key.as_ref();
        let mut table = self.lock();
        if let Some(named) = table.map.get(key) {
            return named.channel.subscribe();
        }
        let unused = table.sweep();
        let channel = Broadcast::new(capacity);
        let receiver = channel.subscribe();
        table.map.insert(
            key.to_owned(),
            NamedChannel {
                channel,
                is_kept: false,
            },
        );
        drop(table);
        // The unused channels are dropped after the lock is released. A channel may still contain values, and the
        // destructor of a value may call this map.
        drop(unused);
        receiver
    }

    /// Calls [`subscribe_or_insert`](Self::subscribe_or_insert) with the default capacity.
    pub fn subscribe_or_default(&self, key: impl AsRef<str>) -> BroadcastMapReceiver<T> {
        self.subscribe_or_insert(key, DEFAULT_BROADCAST_SENDER_CAPACITY)
    }

    /// Returns the number of receivers of the channel of this name. Returns `None` if the map has no such channel.
    pub fn receiver_count(&self, key: impl AsRef<str>) -> Option<ReceiverCount> {
        let key = key.as_ref();
        let table = self.lock();
        table
            .map
            .get(key)
            .map(|named| named.channel.receiver_count())
    }

    /// Sends a value to every receiver of the channel and returns the number of receivers. Returns `Ok(None)` if
    /// the map has no channel of this name.
    ///
    /// # Errors
    /// This method never returns an error: a send to a channel without receivers returns `Ok(Some(0))`. The
    /// return type is a `Result` because existing programs expect one.
    pub fn try_send(
        &self,
        key: impl AsRef<str>,
        value: T,
    ) -> Result<Option<ReceiverCount>, BroadcastMapSendError<T>> {
        Ok(self.send(key, value))
    }

    /// Sends a value to every receiver of the channel and returns the number of receivers. Returns `None` if the
    /// map has no channel of this name.
    pub fn send(&self, key: impl AsRef<str>, value: T) -> Option<ReceiverCount> {
        // The map's lock is released before the value is sent, so sends to other channels do not wait for this send.
        let key = key.as_ref();
        let channel = self.lock().map.get(key)?.channel.clone();
        // `Broadcast::send` returns an error if the channel has no receivers. This method returns `Some(0)` instead.
        Some(channel.send(value).unwrap_or(0))
    }

    /// Removes the channel from the map and returns it.
    ///
    /// After the returned channel is dropped, its receivers still get the earlier values, and then
    /// `RecvError::Closed`.
    pub fn unsubscribe(&self, key: impl AsRef<str>) -> Option<Broadcast<T>> {
        let key = key.as_ref();
        let removed = self.lock().map.remove(key);
        removed.map(|named| named.channel)
    }

    /// Returns the number of channels. The number includes channels without receivers that are not removed yet.
    pub fn len(&self) -> usize {
        self.lock().map.len()
    }

    /// Returns true if the map has no channels.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl<T: Clone> ChannelTable<T> {
    /// Removes and returns the unused channels: the channels of `subscribe_or_insert` that have no receivers.
    ///
    /// A sweep visits all channels. Therefore the method does nothing while the map has fewer channels than `sweep_at`:
    /// twice the number of channels after the last sweep, and at least [`MIN_SWEEP`]. The average cost of the sweeps
    /// per new channel is then constant.
    ///
    /// The caller must release the lock of the map before it drops the returned channels.
    #[must_use]
    fn sweep(&mut self) -> Vec<(String, NamedChannel<T>)> {
        if self.map.len() < self.sweep_at {
            return Vec::new();
        }
        let is_unused =
            |named: &NamedChannel<T>| !named.is_kept && named.channel.receiver_count() == 0;
        let unused = self.map.extract_if(|_, named| is_unused(named)).collect();
        self.map.shrink_to(MIN_SWEEP);
        self.sweep_at = (self.map.len() * 2).max(MIN_SWEEP);
        unused
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
    fn subscribers_at_the_same_time_share_a_channel() {
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
    fn channels_without_receivers_are_removed() {
        let map: BroadcastMap<u8> = BroadcastMap::new();
        map.insert("kept", 4);
        for room in 0..10_000 {
            drop(map.subscribe_or_insert(format!("room {room}"), 4));
        }
        assert!(map.len() <= MIN_SWEEP + 1, "{} left", map.len());
        assert!(map.subscribe("kept").is_some());
    }

    #[test]
    fn keys_and_dropped_values_may_call_the_map() {
        /// A type for the values and the keys of a map. Its destructor and its `as_ref` call the map.
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
        for room in 0..2 * MIN_SWEEP {
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
    fn a_send_without_receivers_is_no_error() {
        let map = BroadcastMap::new();
        map.insert("empty", 4);
        assert_eq!(map.send("empty", 1), Some(0));
        assert_eq!(map.try_send("empty", 1).unwrap(), Some(0));
        assert_eq!(map.try_send("missing", 1).unwrap(), None);
        assert!(map.unsubscribe("empty").is_some());
        assert_eq!(map.receiver_count("empty"), None);
    }

    #[test]
    fn any_capacity_makes_a_channel() {
        let map = BroadcastMap::new();
        for capacity in [0, 3, usize::MAX] {
            map.insert("kept", capacity);
            let mut kept = map.subscribe("kept").unwrap();
            let mut named = map.subscribe_or_insert(capacity.to_string(), capacity);
            assert_eq!(map.send("kept", ()), Some(1));
            assert_eq!(map.send(capacity.to_string(), ()), Some(1));
            assert!(kept.try_recv().is_ok() && named.try_recv().is_ok());
        }
    }

    #[test]
    fn a_lagging_receiver_gets_the_number_of_missed_values() {
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
