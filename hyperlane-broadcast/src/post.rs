//! Posts: published messages, encoded once per wire format.

use std::{
    any::Any,
    mem,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::OnceLock,
};

use bytes::Bytes;
use hyperlane_core::{Event, Message, Outbox, WireFormat};

use crate::{
    ledger::{Kept, Ledger},
    member::MemberId,
};

/// The members that receive a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Audience {
    All,
    /// All members but one.
    Except(MemberId),
    /// These members alone. The list is sorted for a binary search.
    Only(Box<[MemberId]>),
    /// All members but these. The list is sorted for a binary search.
    Others(Box<[MemberId]>),
}

impl Audience {
    pub(crate) fn includes(&self, member: MemberId) -> bool {
        match self {
            Self::All => true,
            Self::Except(excepted) => *excepted != member,
            Self::Only(members) => members.binary_search(&member).is_ok(),
            Self::Others(members) => members.binary_search(&member).is_err(),
        }
    }
}

/// A message before it is published, with the options of its sender.
#[derive(Clone, Debug)]
pub(crate) struct Draft {
    pub(crate) message: Message,
    /// The form for event streams, if it is not the message's text.
    pub(crate) event: Option<Box<Event>>,
    pub(crate) audience: Audience,
    /// Messages with the same key replace each other for slow members of a room with
    /// [`SlowPolicy::Conflate`](crate::SlowPolicy::Conflate).
    pub(crate) key: Option<Box<str>>,
    /// A volatile message is not kept in the history, and slow members do not receive it.
    pub(crate) is_volatile: bool,
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
        }
    }

    /// Returns the length of the message, in bytes.
    pub(crate) fn len(&self) -> usize {
        self.message.len()
    }
}

impl Drop for Draft {
    /// The program may have given the payload a destructor, and the destructor may panic. A panic would end the pass of a
    /// hub or the hook of an ended connection. Two panics of messages that are dropped together would end the process.
    fn drop(&mut self) {
        let message = mem::replace(&mut self.message, Message::Close(None));
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| drop(message))) {
            let text = panic_text(&*panic);
            tracing::error!("the destructor of a message's payload panicked: {text}");
        }
    }
}

/// Returns the text of a panic.
pub(crate) fn panic_text(panic: &(dyn Any + Send)) -> &str {
    let literal = panic.downcast_ref::<&str>().copied();
    let owned = || panic.downcast_ref::<String>().map(String::as_str);
    literal.or_else(owned).unwrap_or("no text")
}

/// A published message with its number and its encodings.
pub(crate) struct Post {
    /// The number of the message in its room. For a volatile message, the number of the kept message before it.
    pub(crate) number: u64,
    pub(crate) draft: Draft,
    frame: OnceLock<Option<Bytes>>,
    event: OnceLock<Option<Bytes>>,
    chunk: OnceLock<Option<Bytes>>,
    /// Compressed WebSocket frames, one per window size. Index 0 is for a window of 8 bits, index 7 for 15 bits.
    deflated: OnceLock<Box<[OnceLock<Option<Bytes>>; 8]>>,
    pub(crate) kept: Kept,
}

impl Post {
    /// The bytes that a message takes beside its text.
    pub(crate) const OVERHEAD: usize = size_of::<Self>();

    pub(crate) fn new(number: u64, draft: Draft) -> Self {
        Self {
            number,
            kept: Kept::new(draft.len() + Self::OVERHEAD),
            draft,
            frame: OnceLock::new(),
            event: OnceLock::new(),
            chunk: OnceLock::new(),
            deflated: OnceLock::new(),
        }
    }

    pub(crate) fn audience(&self) -> &Audience {
        &self.draft.audience
    }

    pub(crate) fn is_volatile(&self) -> bool {
        self.draft.is_volatile
    }

    /// Returns the bytes that the post adds to a queue.
    pub(crate) fn queue_bytes(&self) -> usize {
        self.draft.len() + Self::OVERHEAD
    }

    /// Returns the message in the wire format of `outbox`. All outboxes of the same format share the bytes. Returns
    /// `None` if the format cannot carry the message, or if outboxes of this format cannot share bytes
    /// ([`WireFormat::WebSocketTakeover`]). A new encoding adds its size to the room's counts.
    pub(crate) fn encoded(&self, outbox: &Outbox, ledger: &Ledger) -> Option<&Bytes> {
        let format = outbox.format();
        let slot = match format {
            WireFormat::WebSocket => &self.frame,
            WireFormat::EventStream => &self.event,
            WireFormat::EventStreamChunked => &self.chunk,
            WireFormat::WebSocketDeflate { window_bits } => self
                .deflated
                .get_or_init(Box::default)
                .get(usize::from(window_bits.saturating_sub(8)))?,
            _ => return None,
        };
        let encode = || {
            let encoded = match (&self.draft.event, format.is_websocket()) {
                (Some(event), false) => format.encode_event(event),
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
}
