//! Channels that send every value to every receiver.

use std::fmt;

use tokio::sync::broadcast;

/// Number of receivers.
pub type ReceiverCount = usize;
/// Maximum number of values that wait for the slowest receiver.
pub type Capacity = usize;
/// The receiving side. A receiver that lags by more than the capacity gets an error with the number of
/// missed values.
pub type BroadcastReceiver<T> = broadcast::Receiver<T>;
/// The sending side.
pub type BroadcastSender<T> = broadcast::Sender<T>;
/// Error of a send without receivers, with the value.
pub type BroadcastSendError<T> = broadcast::error::SendError<T>;
/// Result of a send: the number of receivers.
pub type BroadcastSendResult<T> = Result<ReceiverCount, BroadcastSendError<T>>;

/// Default capacity, in values.
pub const DEFAULT_BROADCAST_SENDER_CAPACITY: Capacity = 1024;

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
    /// Makes a channel in which at most `capacity` values, at least one, wait for the slowest receiver.
    pub fn new(capacity: Capacity) -> Self {
        // The maximum of tokio.
        let most = usize::MAX >> 1;
        Self {
            sender: BroadcastSender::new(capacity.clamp(1, most)),
        }
    }

    /// Returns a receiver of all later values.
    pub fn subscribe(&self) -> BroadcastReceiver<T> {
        self.sender.subscribe()
    }

    /// Sends a value to every receiver and returns their number.
    ///
    /// # Errors
    /// Returns the value if there is no receiver.
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
