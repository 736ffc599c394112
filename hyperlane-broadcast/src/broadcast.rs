//! A channel that hands every value to every receiver.

use std::fmt;

use tokio::sync::broadcast;

/// How many receivers there are.
pub type ReceiverCount = usize;
/// How many values wait for the slowest receiver at most.
pub type Capacity = usize;
/// The receiving side; a receiver that lags by more than the capacity is told how much it missed.
pub type BroadcastReceiver<T> = broadcast::Receiver<T>;
/// The sending side.
pub type BroadcastSender<T> = broadcast::Sender<T>;
/// A value that nobody received.
pub type BroadcastSendError<T> = broadcast::error::SendError<T>;
/// How many received a value.
pub type BroadcastSendResult<T> = Result<ReceiverCount, BroadcastSendError<T>>;

/// The default capacity, in values.
pub const DEFAULT_BROADCAST_SENDER_CAPACITY: Capacity = 1024;

/// A channel that hands every value to every receiver.
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
    /// A channel in which `capacity` values wait for the slowest receiver at most; at least one.
    pub fn new(capacity: Capacity) -> Self {
        // What tokio takes at most.
        let most = usize::MAX >> 1;
        Self {
            sender: BroadcastSender::new(capacity.clamp(1, most)),
        }
    }

    /// A receiver of all values sent from now on.
    pub fn subscribe(&self) -> BroadcastReceiver<T> {
        self.sender.subscribe()
    }

    /// Sends a value to every receiver and returns how many there are.
    ///
    /// # Errors
    /// Gives the value back when there is no receiver.
    pub fn send(&self, value: T) -> BroadcastSendResult<T> {
        self.sender.send(value)
    }

    /// How many receivers there are.
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
