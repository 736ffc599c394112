//! Posts: published messages, encoded once per wire format.

use std::sync::OnceLock;

use bytes::Bytes;
use hyperlane_core::{Message, Outbox, WireFormat};

use crate::member::MemberId;

/// The number of a message in its room. The first message has number 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Offset(pub u64);

impl Offset {
    pub(crate) fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

/// The members that receive a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Audience {
    All,
    Except(MemberId),
    /// These members alone. The list is sorted for a binary search.
    Only(Vec<MemberId>),
}

impl Audience {
    pub(crate) fn includes(&self, member: MemberId) -> bool {
        match self {
            Self::All => true,
            Self::Except(excepted) => *excepted != member,
            Self::Only(members) => members.binary_search(&member).is_ok(),
        }
    }
}

/// A published message with its offset and its encodings.
pub(crate) struct Post {
    pub(crate) offset: Offset,
    pub(crate) audience: Audience,
    pub(crate) message: Message,
    frame: OnceLock<Option<Bytes>>,
    event: OnceLock<Option<Bytes>>,
    chunk: OnceLock<Option<Bytes>>,
    /// Compressed WebSocket frames, one per window size. Index 0 is for a window of 8 bits, index 7 for 15 bits.
    deflated: OnceLock<Box<[OnceLock<Option<Bytes>>; 8]>>,
}

impl Post {
    pub(crate) fn new(offset: Offset, audience: Audience, message: Message) -> Self {
        Self {
            offset,
            audience,
            message,
            frame: OnceLock::new(),
            event: OnceLock::new(),
            chunk: OnceLock::new(),
            deflated: OnceLock::new(),
        }
    }

    /// Returns the number of bytes that the post adds to the size of a [`History`](crate::history::History).
    pub(crate) fn history_bytes(&self) -> usize {
        self.message.len() + size_of::<Self>()
    }

    /// Returns the message in the wire format of `outbox`. All outboxes of the same format share the bytes. Returns
    /// `None` if the format cannot carry the message, or if outboxes of this format cannot share bytes
    /// ([`WireFormat::WebSocketTakeover`]).
    pub(crate) fn encoded(&self, outbox: &Outbox) -> Option<&Bytes> {
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
            outbox.encode(&self.message).inspect_err(|error| {
                // The slot stores the failure too. The message is therefore logged once per wire format.
                tracing::warn!(%error, ?format, "message skipped: the wire format cannot carry it");
            })
        };
        slot.get_or_init(|| encode().ok()).as_ref()
    }
}
