//! Posts: published messages, encoded once per wire format.

use std::{
    collections::HashSet,
    fmt, mem,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use bytes::Bytes;
use hyperlane_core::{Event, Message, Outbox, WireFormat};

use crate::{
    ledger::{Kept, Ledger},
    locks::assert_unlocked,
    member::MemberId,
    offset::Offset,
    panics::guarded,
};

/// The members that receive a message.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Audience {
    All,
    /// All members but one.
    Except(MemberId),
    /// These members alone. The list is sorted for a binary search.
    Only(Box<[MemberId]>),
    /// The members with this user name. The room sets the sorted list of these members when it takes the message. A
    /// member that receives the message from the history may have joined later with the same name.
    User {
        name: Arc<str>,
        members: Box<[MemberId]>,
    },
    /// All members but these. The list is sorted for a binary search.
    Others(Box<[MemberId]>),
}

impl Audience {
    pub(crate) fn includes(&self, member: MemberId) -> bool {
        match self {
            Self::All => true,
            Self::Except(excepted) => *excepted != member,
            Self::Only(members) | Self::User { members, .. } => {
                members.binary_search(&member).is_ok()
            }
            Self::Others(members) => members.binary_search(&member).is_err(),
        }
    }

    /// Returns whether the message is for all members with this user name, also for those that join later. The empty
    /// name stands for no user.
    pub(crate) fn includes_user(&self, user: &str) -> bool {
        matches!(self, Self::User { name, .. } if !user.is_empty() && **name == *user)
    }

    /// Returns whether the message is for some members alone.
    pub(crate) fn is_private(&self) -> bool {
        matches!(self, Self::Only(_) | Self::User { .. })
    }

    /// Returns the size of the list of members, in bytes.
    fn list_bytes(&self) -> usize {
        match self {
            Self::All | Self::Except(_) => 0,
            Self::Only(members) | Self::Others(members) | Self::User { members, .. } => {
                size_of_val(&**members)
            }
        }
    }
}

/// The form of a message for event streams.
#[derive(Clone, Debug)]
pub(crate) struct NamedEvent {
    pub(crate) name: Box<str>,
    pub(crate) event: Event,
}

/// The members to which a message for several rooms has been sent so far. The rooms of one message share the value.
#[derive(Debug, Default)]
pub(crate) struct Recipients(Mutex<Sent>);

#[derive(Debug, Default)]
pub(crate) struct Sent {
    /// The numbers of the members' connections.
    pub(crate) members: HashSet<u64>,
    /// The places of the message in the rooms that have it.
    pub(crate) offsets: Vec<Offset>,
}

impl Recipients {
    /// Locks the value. A thread may hold the lock of a room's state, but takes no other lock.
    pub(crate) fn lock(&self) -> MutexGuard<'_, Sent> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A message before it is published, with the options of its sender.
#[derive(Clone, Debug)]
pub(crate) struct Draft {
    pub(crate) message: Message,
    /// The form for event streams, if it is not the message's text.
    pub(crate) event: Option<Box<NamedEvent>>,
    pub(crate) audience: Audience,
    /// Messages with the same key replace each other for slow members of a room with
    /// [`SlowPolicy::Conflate`](crate::SlowPolicy::Conflate).
    pub(crate) key: Option<Box<str>>,
    /// A volatile message is not kept in the history, and slow members do not receive it.
    pub(crate) is_volatile: bool,
    /// A local message is not passed on to other nodes.
    pub(crate) is_local: bool,
    /// For a message to several rooms: the members that have it already.
    pub(crate) recipients: Option<Arc<Recipients>>,
    /// For a message to several rooms: its places in the rooms that took it before.
    pub(crate) earlier: Box<[Offset]>,
}

impl Draft {
    /// Returns a draft of a message for all members.
    pub(crate) fn new(message: Message) -> Self {
        Self {
            message,
            event: None,
            audience: Audience::All,
            key: None,
            is_volatile: false,
            is_local: false,
            recipients: None,
            earlier: Box::default(),
        }
    }

    /// Returns the length of the message, in bytes.
    pub(crate) fn len(&self) -> usize {
        self.message.len()
    }

    /// Returns the bytes that the message takes in memory, before it is encoded.
    pub(crate) fn weight(&self) -> usize {
        // The payload of an event is kept a second time, as the text for WebSockets. A key is kept up to three times.
        let event = self.event.as_ref().map_or(0, |_| self.len());
        let key = self.key.as_ref().map_or(0, |key| 3 * key.len());
        let lists = self.audience.list_bytes() + size_of_val(&*self.earlier);
        self.len() + event + key + lists
    }

    /// Returns the message as an event without an id. Returns `None` for bytes that are not UTF-8.
    fn to_event(&self) -> Option<Event> {
        match &self.event {
            Some(named) => Some(named.event.clone()),
            None => self.message.to_str().ok().map(Event::from),
        }
    }
}

impl Drop for Draft {
    /// The program may have given the payload a destructor, and the destructor may panic. A panic would end the pass of a
    /// hub or the hook of an ended connection. Two panics of messages that are dropped together would end the process.
    fn drop(&mut self) {
        assert_unlocked();
        let message = mem::replace(&mut self.message, Message::Close(None));
        guarded("the destructor of a message's payload", || drop(message));
    }
}

/// A message that is not published yet. It is a post without a number, so that the steps of a publish pass on a pointer
/// instead of moving the message.
#[derive(Clone)]
pub(crate) struct Unpublished(Arc<Post>);

impl Unpublished {
    pub(crate) fn new(draft: Draft) -> Self {
        Self(Arc::new(Post::new(0, draft)))
    }

    /// Returns a message for this audience.
    pub(crate) fn for_audience(message: Message, audience: Audience) -> Self {
        let mut draft = Draft::new(message);
        draft.audience = audience;
        Self::new(draft)
    }

    #[cfg(test)]
    pub(crate) fn text(text: impl Into<Message>) -> Self {
        Self::for_audience(text.into(), Audience::All)
    }

    pub(crate) fn draft(&self) -> &Draft {
        &self.0.draft
    }

    pub(crate) fn draft_mut(&mut self) -> &mut Draft {
        &mut Arc::make_mut(&mut self.0).draft
    }

    /// Gives the message its number.
    pub(crate) fn publish(self, number: u64) -> Arc<Post> {
        let mut post = self.0;
        let own = Arc::make_mut(&mut post);
        own.number = number;
        own.kept = Kept::new(own.queue_bytes());
        post
    }
}

impl fmt::Debug for Unpublished {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.draft().fmt(f)
    }
}

/// Messages that a room has dropped under its lock. The caller drops them without the lock, because the program may have
/// given a payload a destructor. Most publishes drop one message, which takes no allocation.
#[derive(Default)]
pub(crate) struct Dropped {
    first: Option<Arc<Post>>,
    rest: Vec<Arc<Post>>,
}

impl Dropped {
    pub(crate) fn push(&mut self, post: Arc<Post>) {
        match self.first {
            None => self.first = Some(post),
            Some(_) => self.rest.push(post),
        }
    }

    pub(crate) fn len(&self) -> usize {
        usize::from(self.first.is_some()) + self.rest.len()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Arc<Post>> {
        self.first.iter().chain(&self.rest)
    }
}

/// A published message with its number and its encodings.
pub(crate) struct Post {
    /// The number of the message in its room. For a volatile message, the number of the kept message before it.
    pub(crate) number: u64,
    pub(crate) draft: Draft,
    frame: Encoding,
    /// Boxed like the next field, because most rooms have no members that need it.
    events: OnceLock<Box<Events>>,
    /// Compressed WebSocket frames, one per window size. Index 0 is for a window of 8 bits, index 7 for 15 bits.
    deflated: OnceLock<Box<[Encoding; 8]>>,
    pub(crate) kept: Kept,
    is_removed: AtomicBool,
}

/// The message in one form. `None` if the form cannot carry the message.
type Encoding = OnceLock<Option<Bytes>>;

/// The message as an event of a stream without chunked encoding, and as a chunk.
#[derive(Default)]
struct Events {
    plain: [Encoding; 2],
    /// The event with the offset as its id.
    with_id: [Encoding; 2],
}

impl Clone for Post {
    /// Returns a copy without encodings.
    fn clone(&self) -> Self {
        Self::new(self.number, self.draft.clone())
    }
}

impl Post {
    /// The bytes that a message takes beside its text.
    pub(crate) const OVERHEAD: usize = size_of::<Self>();

    pub(crate) fn new(number: u64, draft: Draft) -> Self {
        Self {
            number,
            kept: Kept::new(draft.weight() + Self::OVERHEAD),
            draft,
            frame: OnceLock::new(),
            events: OnceLock::new(),
            deflated: OnceLock::new(),
            is_removed: AtomicBool::new(false),
        }
    }

    /// Marks the message as removed. Members that have not received it yet do not receive it.
    pub(crate) fn set_removed(&self) {
        self.is_removed.store(true, Ordering::Release);
    }

    pub(crate) fn is_removed(&self) -> bool {
        self.is_removed.load(Ordering::Acquire)
    }

    pub(crate) fn audience(&self) -> &Audience {
        &self.draft.audience
    }

    pub(crate) fn is_volatile(&self) -> bool {
        self.draft.is_volatile
    }

    /// Returns the bytes that the post adds to a queue.
    pub(crate) fn queue_bytes(&self) -> usize {
        self.draft.weight() + Self::OVERHEAD
    }

    /// Returns the message in the wire format of `outbox`. All outboxes of the same format share the bytes. Returns
    /// `None` if the format cannot carry the message, or if outboxes of this format cannot share bytes
    /// ([`WireFormat::WebSocketTakeover`]). A new encoding adds its size to the room's counts.
    pub(crate) fn encoded(&self, outbox: &Outbox, ledger: &Ledger) -> Option<&Bytes> {
        let format = outbox.format();
        let slot = match format {
            WireFormat::WebSocket => &self.frame,
            WireFormat::EventStream => {
                let [plain, _] = &self.events(ledger).plain;
                plain
            }
            WireFormat::EventStreamChunked => {
                let [_, chunk] = &self.events(ledger).plain;
                chunk
            }
            WireFormat::WebSocketDeflate { window_bits } => self
                .deflated
                .get_or_init(|| self.boxed(ledger))
                .get(usize::from(window_bits.saturating_sub(8)))?,
            _ => return None,
        };
        let encode = || {
            let encoded = match (&self.draft.event, format.is_websocket()) {
                (Some(named), false) => format.encode_event(&named.event),
                _ => outbox.encode(&self.draft.message),
            };
            match encoded {
                Ok(bytes) => {
                    self.kept.grow(bytes.len(), ledger);
                    Some(bytes)
                }
                Err(error) => {
                    // The slot stores the failure too. The message is therefore logged once per wire format.
                    tracing::warn!(%error, ?format, "message skipped: the wire format cannot carry it");
                    None
                }
            }
        };
        slot.get_or_init(encode).as_ref()
    }

    fn events(&self, ledger: &Ledger) -> &Events {
        self.events.get_or_init(|| self.boxed(ledger))
    }

    /// Returns room for encodings. It counts as memory of the post.
    fn boxed<T: Default>(&self, ledger: &Ledger) -> Box<T> {
        self.kept.grow(size_of::<T>(), ledger);
        Box::default()
    }

    /// Returns the message as an event with its offset as the id, like [`encoded`](Self::encoded). A volatile message
    /// has no place in the room, and so no id.
    pub(crate) fn encoded_with_id(
        &self,
        outbox: &Outbox,
        epoch: u64,
        ledger: &Ledger,
    ) -> Option<&Bytes> {
        if self.is_volatile() {
            return self.encoded(outbox, ledger);
        }
        let format = outbox.format();
        let [plain, chunk] = &self.events(ledger).with_id;
        let slot = match format {
            WireFormat::EventStreamChunked => chunk,
            _ => plain,
        };
        let encode = || {
            let number = self.number;
            let bytes = self.encode_event(format, Some(&Offset { epoch, number }.to_string()))?;
            self.kept.grow(bytes.len(), ledger);
            Some(bytes)
        };
        slot.get_or_init(encode).as_ref()
    }

    /// Encodes the message as an event with this id. Returns `None` for a message that no event can carry.
    pub(crate) fn encode_event(&self, format: WireFormat, id: Option<&str>) -> Option<Bytes> {
        let event = self.draft.to_event()?;
        let event = match id {
            Some(id) => event.id(id),
            None => event,
        };
        format.encode_event(&event).ok()
    }
}
