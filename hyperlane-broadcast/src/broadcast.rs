//! Channels that send every value to every receiver.

use std::fmt;

use tokio::sync::broadcast;

/// A number of receivers.
pub type ReceiverCount = usize;
/// The number of values that a channel stores for its slowest receiver.
pub type Capacity = usize;
/// The receiving side of a channel. A receiver with more unread values than the channel's capacity loses the oldest of
/// them. Its next `recv` then returns `RecvError::Lagged` with the number of lost values.
pub type BroadcastReceiver<T> = broadcast::Receiver<T>;
/// The sending side of a channel.
pub type BroadcastSender<T> = broadcast::Sender<T>;
/// Error of a send to a channel without receivers. The error contains the unsent value.
pub type BroadcastSendError<T> = broadcast::error::SendError<T>;
/// Result of a send: the number of receivers, or the value if the channel has no receivers.
pub type BroadcastSendResult<T> = Result<ReceiverCount, BroadcastSendError<T>>;

/// The default capacity of a channel: 1024 values.
pub const DEFAULT_BROADCAST_SENDER_CAPACITY: Capacity = 1024;

/// The maximum capacity of a channel: 1 048 576 values. The maximum limits the memory, because a channel allocates the
/// memory for all its values when it is created.
pub const MAX_BROADCAST_SENDER_CAPACITY: Capacity = 1 << 20;

/// A channel that sends every value to every receiver.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// use hyperlane_broadcast::Broadcast;
///
/// let news = Broadcast::new(16);
/// let mut reader = news.subscribe();
/// assert_eq!(news.send("hello").unwrap(), 1);
/// assert_eq!(reader.recv().await.unwrap(), "hello");
/// # }
/// ```
#[derive(Clone)]
pub struct Broadcast<T> {
    sender: BroadcastSender<T>,
}

impl<T: Clone> Broadcast<T> {
    /// Creates a channel that stores `capacity` values for its slowest receiver. The capacity is rounded up to a power
    /// of two. A capacity of 0 counts as 1. A capacity above [`MAX_BROADCAST_SENDER_CAPACITY`] counts as this maximum.
    pub fn new(capacity: Capacity) -> Self {
        Self {
            sender: BroadcastSender::new(capacity.clamp(1, MAX_BROADCAST_SENDER_CAPACITY)),
        }
    }

    /// Returns a receiver of the values that are sent after this call.
    pub fn subscribe(&self) -> BroadcastReceiver<T> {
        self.sender.subscribe()
    }

    /// Sends a value to every receiver and returns the number of receivers.
    ///
    /// # Errors
    /// Returns an error with the value if the channel has no receivers.
    pub fn send(&self, value: T) -> BroadcastSendResult<T> {
        self.sender.send(value)
    }

    /// Returns the number of receivers.
    pub fn receiver_count(&self) -> ReceiverCount {
        self.sender.receiver_count()
    }
}

impl<T: Clone> Default for Broadcast<T> {
    fn default() -> Self {
        Self::new(DEFAULT_BROADCAST_SENDER_CAPACITY)
    }
}

impl<T> fmt::Debug for Broadcast<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Broadcast")
            .field("receivers", &self.sender.receiver_count())
            .finish()
    }
}
