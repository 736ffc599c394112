//! Brokers: where the messages of rooms get their order.

use std::{fmt, future::Future, pin::Pin, sync::Arc};

use crate::{delivery::core::RoomCore, error::PublishError, offset::Offset, post::Unpublished};

/// Gives the messages of rooms their order, and brings them to the nodes that have members.
///
/// The rooms of a process use the broker [`InProcess`] unless the program passes another one to
/// [`RoomsBuilder::broker`](crate::RoomsBuilder::broker).
///
/// # Contract
/// - **Order.** All messages of a room have one order: the order of their numbers. The broker hands them to each node in
///   this order ([`BrokerRoom::append`]). Messages of different rooms have no order.
/// - **Atomicity.** A publish is done for all members or for none. It is `Ok` only after the broker has given the
///   message its place.
/// - **Waiting.** [`publish`](Self::publish) is called on threads that run other tasks, also inside the poll of a
///   connection. It must return at once. What takes time goes into [`Publishing::Later`].
/// - **Idempotence.** A refused publication has left no trace, and may be published again. Each call of `append`
///   publishes once.
/// - **Locks.** `publish` is called without any lock of the rooms, at the same time on several threads.
///
/// ```
/// use std::sync::{Arc, atomic::{AtomicUsize, Ordering}};
/// use hyperlane_broadcast::{Broker, BrokerRoom, Publication, Publishing, Rooms};
///
/// /// Counts what is published.
/// #[derive(Clone, Default)]
/// struct Counting(Arc<AtomicUsize>);
///
/// impl Broker for Counting {
///     fn publish(&self, room: &BrokerRoom<'_>, publication: Publication) -> Publishing {
///         self.0.fetch_add(1, Ordering::Relaxed);
///         Publishing::Done(room.append(publication))
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let counting = Counting::default();
/// let rooms = Rooms::builder().broker(counting.clone()).build();
/// rooms.room("prices")?.broadcast("42").await?;
/// assert_eq!(counting.0.load(Ordering::Relaxed), 1);
/// # Ok(())
/// # }
/// ```
pub trait Broker: Send + Sync + 'static {
    /// Publishes a message in a room. A message that is local only ([`Publication::is_local_only`]) is not passed on to
    /// other nodes.
    fn publish(&self, room: &BrokerRoom<'_>, publication: Publication) -> Publishing;

    /// Removes messages of a room on all nodes. The default removes them on this node. A removal may come again, and may
    /// come for messages that are gone.
    fn remove(&self, room: &BrokerRoom<'_>, removal: Removal) -> Removing {
        Removing::Done(Ok(room.remove(removal)))
    }
}

/// Messages that a room removes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Removal {
    /// The message at this offset.
    One(Offset),
    /// All messages that the room has now.
    All,
}

/// The state of a removal. The result is the number of messages that were removed.
pub enum Removing {
    /// It has ended.
    Done(Result<usize, PublishError>),
    /// It goes on, as in [`Publishing::Later`].
    Later(Pin<Box<dyn Future<Output = Result<usize, PublishError>> + Send>>),
}

impl fmt::Debug for Removing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Done(result) => f.debug_tuple("Done").field(result).finish(),
            Self::Later(_) => f.write_str("Later"),
        }
    }
}

/// The broker of a single process: a room's own lock gives its messages their order.
#[derive(Clone, Copy, Debug, Default)]
pub struct InProcess;

impl Broker for InProcess {
    fn publish(&self, room: &BrokerRoom<'_>, publication: Publication) -> Publishing {
        Publishing::Done(room.append(publication))
    }
}

/// A message on its way to a room, with the options of its sender.
#[derive(Clone, Debug)]
pub struct Publication {
    pub(crate) post: Unpublished,
}

impl Publication {
    /// Returns the message.
    pub fn message(&self) -> &hyperlane_core::Message {
        &self.post.draft().message
    }

    /// Returns whether the message is volatile: not kept in the history, and not received by slow members.
    pub fn is_volatile(&self) -> bool {
        self.post.draft().is_volatile
    }

    /// Returns whether the message is for the members on this node alone. The broker must not pass it on.
    pub fn is_local_only(&self) -> bool {
        self.post.draft().is_local
    }
}

/// The side of a room that a broker sees.
pub struct BrokerRoom<'a> {
    pub(crate) core: &'a Arc<RoomCore>,
}

impl BrokerRoom<'_> {
    /// Returns the room's name.
    pub fn name(&self) -> &str {
        &self.core.name
    }

    /// Removes messages on this node: from the history, and for all members that have not received them yet. Returns the
    /// number of messages.
    pub fn remove(&self, removal: Removal) -> usize {
        match removal {
            Removal::One(offset) => usize::from(self.core.remove(offset)),
            Removal::All => self.core.clear(),
        }
    }

    /// Gives the publication the next number of the room on this node, and brings it to the members.
    ///
    /// # Errors
    /// Returns the publication with [`PublishError::Full`] if the room's queue is full, and with other errors if the
    /// room cannot take it.
    pub fn append(&self, publication: Publication) -> Result<Published, Box<Refused>> {
        match self.core.publish(publication.post) {
            Ok(receipt) => Ok(Published {
                offset: receipt.offset,
                members: receipt.members,
                scope: PublishScope::Local,
            }),
            Err((error, post)) => Err(Box::new(Refused {
                error,
                publication: Publication { post },
            })),
        }
    }
}

impl fmt::Debug for BrokerRoom<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BrokerRoom")
            .field("name", &self.name())
            .finish()
    }
}

/// A publication that was refused.
#[derive(Debug)]
pub struct Refused {
    /// The reason.
    pub error: PublishError,
    /// The publication, for another try.
    pub publication: Publication,
}

/// The state of a publish.
pub enum Publishing {
    /// It has ended.
    Done(Result<Published, Box<Refused>>),
    /// It goes on. The future must not hold up other tasks, and ends within the broker's own limits of time.
    Later(Pin<Box<dyn Future<Output = Result<Published, Box<Refused>>> + Send>>),
}

impl fmt::Debug for Publishing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Done(result) => f.debug_tuple("Done").field(result).finish(),
            Self::Later(_) => f.write_str("Later"),
        }
    }
}

/// A message that a room has taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Published {
    /// The place of the message in its room. A volatile message has the offset of the kept message before it.
    pub offset: Offset,
    /// Number of members on this node to which the message is sent. 0 in an empty room.
    pub members: usize,
    /// How far the message goes.
    pub scope: PublishScope,
}

/// How far a message goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PublishScope {
    /// To the members on this node.
    Local,
    /// To the members on all nodes.
    Cluster,
}
