//! A published message, encoded once per wire format.

use std::sync::OnceLock;

use bytes::Bytes;
use hyperlane_core::{Message, Outbox, WireFormat};

use crate::member::MemberId;

/// The place of a message in its room, from 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Offset(pub u64);

impl Offset {
    pub(crate) fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

/// For whom a message is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Audience {
    All,
    Except(MemberId),
    /// These connections; sorted.
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

/// A message in a room.
pub(crate) struct Post {
    pub(crate) offset: Offset,
    pub(crate) audience: Audience,
    pub(crate) message: Message,
    frame: OnceLock<Option<Bytes>>,
    event: OnceLock<Option<Bytes>>,
    chunk: OnceLock<Option<Bytes>>,
    /// Compressed frames, one for each size of window, from 8 bits.
    packed: OnceLock<Box<[OnceLock<Option<Bytes>>; 8]>>,
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
            packed: OnceLock::new(),
        }
    }

    /// Bytes that it counts in the history.
    pub(crate) fn weight(&self) -> usize {
        self.message.len() + size_of::<Self>()
    }

    /// The wire bytes for `outbox` and all others of its format; `None` where the format cannot carry
    /// the message.
    pub(crate) fn encoded(&self, outbox: &Outbox) -> Option<&Bytes> {
        let format = outbox.format();
        let slot = match format {
            WireFormat::WebSocket => &self.frame,
            WireFormat::EventStream => &self.event,
            WireFormat::EventStreamChunked => &self.chunk,
            WireFormat::WebSocketDeflate { window_bits } => {
                self.packed
                    .get_or_init(Box::default)
                    .get(usize::from(window_bits.saturating_sub(8)))?
            }
            _ => return None,
        };
        let encode = || {
            outbox.encode(&self.message).inspect_err(|error| {
                // Once per message and format, because the outcome is kept.
                tracing::warn!(%error, ?format, "a message was kept from members of this format");
            })
        };
        slot.get_or_init(|| encode().ok()).as_ref()
    }
}
