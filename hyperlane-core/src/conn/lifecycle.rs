//! The lifecycle of a connection.

use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};

/// The state of a connection in three parts: its sending side, its transport and its peer.
///
/// Each part moves forward only. In the table, "the handler's side" is the future that reads requests and runs hooks
/// (the program's functions that handle requests). End hooks are functions that run when the connection has ended.
///
/// | part | from | to | when |
/// |---|---|---|---|
/// | sending | `Open` | `Closing` | the handler's side has ended, a task closes the connection, or the peer is gone |
/// | sending | `Open` | `Held` | a Close frame or the end of an event stream waits behind a [barrier](super::barrier) |
/// | sending | `Open`, `Held`, `Closing` | `LastWord` | a Close frame or a last chunk is queued as the last entry |
/// | sending | any | `Lost` | the transport has failed or is closed; the queue is dropped |
/// | transport | `Open` | `Flushing` | the handler's side has ended, or a task closes the connection |
/// | transport | `Open` | `Flushing` | the peer has sent a Close frame or broken the protocol |
/// | transport | `Flushing` | `Lingering` | the queue is empty, and the peer has to end its sending direction first |
/// | transport | any | `Closed` | the peer has ended, a time limit has passed, or the connection is aborted or done |
/// | peer | here | ended | the peer has ended its sending direction, or the transport has failed: no more input comes |
/// | peer | here, ended | gone | the task has noticed the connection's end, runs the end hooks and wakes all waiters |
///
/// The end of input is set under the lock `input`. `LastWord` and `Lost` are set under the lock `out`.
#[derive(Debug)]
pub(crate) struct Lifecycle {
    sending: AtomicU8,
    transport: AtomicU8,
    input_ended: AtomicBool,
    gone: AtomicBool,
}

/// State of the sending side.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Sending {
    /// Everything can be sent.
    Open,
    /// Messages are refused, except those that were on their way when the connection began to close. The last word is
    /// sent after them.
    Held,
    /// Messages are refused. Only the connection itself can still send its last bytes.
    Closing,
    /// No more bytes are accepted, and the task sends the queue. The last entry of the queue is the last word: a Close
    /// frame or a last chunk.
    LastWord,
    /// Nothing can be sent: the transport has failed or is closed.
    Lost,
}

/// State of the transport.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Transport {
    /// In use.
    Open,
    /// The task sends the queue. Then the transport closes, or lingers first if `linger` is true.
    Flushing { linger: bool },
    /// The server has ended its sending direction. The task reads and drops the peer's bytes: closing a socket with
    /// unread bytes resets the connection, and a reset could destroy the last word in transit (RFC 9112 §9.6).
    Lingering,
    /// The socket is closed.
    Closed,
}

impl Transport {
    const ALL: [Self; 5] = [
        Self::Open,
        Self::Flushing { linger: false },
        Self::Flushing { linger: true },
        Self::Lingering,
        Self::Closed,
    ];

    const fn to_index(self) -> u8 {
        match self {
            Self::Open => 0,
            Self::Flushing { linger: false } => 1,
            Self::Flushing { linger: true } => 2,
            Self::Lingering => 3,
            Self::Closed => 4,
        }
    }
}

/// A state to wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Until {
    /// The peer has ended its sending direction, or the connection has ended.
    PeerEnded,
    /// No message can be sent any more, or the server shuts down.
    Closed,
    /// `PeerEnded` or `Closed`, whichever comes first.
    Either,
}

impl Lifecycle {
    pub(super) fn new() -> Self {
        Self {
            sending: AtomicU8::new(Sending::Open as u8),
            transport: AtomicU8::new(Transport::Open.to_index()),
            input_ended: AtomicBool::new(false),
            gone: AtomicBool::new(false),
        }
    }

    /// Returns whether more bytes may be queued.
    #[inline]
    pub(super) fn takes_bytes(&self) -> bool {
        self.sending.load(Ordering::Acquire) < Sending::LastWord as u8
    }

    /// Returns whether messages can still be sent.
    pub(crate) fn is_open(&self) -> bool {
        self.sending.load(Ordering::Acquire) == Sending::Open as u8
    }

    /// Returns whether the last word waits behind a barrier.
    pub(super) fn is_held(&self) -> bool {
        self.sending.load(Ordering::Acquire) == Sending::Held as u8
    }

    /// Returns whether messages that are on their way can still be sent.
    #[inline]
    pub(super) fn takes_deliveries(&self) -> bool {
        self.sending.load(Ordering::Acquire) <= Sending::Held as u8
    }

    /// Returns whether the connection may write more of its own bytes: its last word is neither held nor queued.
    #[inline]
    pub(super) fn takes_own_bytes(&self) -> bool {
        const OPEN: u8 = Sending::Open as u8;
        const CLOSING: u8 = Sending::Closing as u8;
        matches!(self.sending.load(Ordering::Acquire), OPEN | CLOSING)
    }

    /// Returns whether nothing can be sent any more.
    pub(super) fn is_lost(&self) -> bool {
        self.sending.load(Ordering::Acquire) == Sending::Lost as u8
    }

    /// Moves the sending side forward to `to`. A side that is already past `to` stays where it is.
    pub(super) fn advance(&self, to: Sending) {
        self.sending.fetch_max(to as u8, Ordering::AcqRel);
    }

    /// Refuses further messages. The bytes in the cork are still sent.
    pub(crate) fn refuse_messages(&self) {
        self.advance(Sending::Closing);
    }

    pub(super) fn transport(&self) -> Transport {
        let index = usize::from(self.transport.load(Ordering::Acquire));
        let transport = Transport::ALL.get(index);
        transport.copied().unwrap_or(Transport::Closed)
    }

    /// Returns whether the transport is in use and has not begun to close.
    pub(super) fn is_transport_open(&self) -> bool {
        self.transport.load(Ordering::Acquire) == Transport::Open.to_index()
    }

    /// Sets the state of the transport. A closed transport stays closed.
    pub(super) fn set_transport(&self, to: Transport) {
        let closed = Transport::Closed.to_index();
        let moved = |from| (from != closed).then_some(to.to_index());
        let _ = self
            .transport
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, moved);
    }

    /// Returns whether the peer has ended its sending direction.
    pub(crate) fn has_input_ended(&self) -> bool {
        self.input_ended.load(Ordering::Acquire)
    }

    pub(super) fn set_input_ended(&self) {
        self.input_ended.store(true, Ordering::Release);
    }

    /// Returns whether the peer is gone.
    pub(crate) fn is_gone(&self) -> bool {
        self.gone.load(Ordering::Acquire)
    }

    /// Marks the peer as gone; returns false if it was gone before.
    pub(super) fn set_gone(&self) -> bool {
        !self.gone.swap(true, Ordering::AcqRel)
    }

    /// Returns whether the connection has reached the state `until`.
    pub(super) fn has_reached(&self, until: Until, is_shutting_down: bool) -> bool {
        let has_ended = self.is_gone() || until != Until::Closed && self.has_input_ended();
        has_ended || until != Until::PeerEnded && (!self.is_open() || is_shutting_down)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sending_moves_forward_only() {
        let life = Lifecycle::new();
        for (to, at) in [
            (Sending::Held, Sending::Held),
            (Sending::Closing, Sending::Closing),
            (Sending::Held, Sending::Closing),
            (Sending::LastWord, Sending::LastWord),
            (Sending::Closing, Sending::LastWord),
            (Sending::Lost, Sending::Lost),
            (Sending::LastWord, Sending::Lost),
        ] {
            life.advance(to);
            assert_eq!(life.sending.load(Ordering::Acquire), at as u8);
            assert_eq!(life.takes_bytes(), at < Sending::LastWord);
            assert_eq!(life.takes_deliveries(), at < Sending::Closing);
            assert_eq!(life.takes_own_bytes(), at == Sending::Closing);
            assert_eq!(life.is_held(), at == Sending::Held);
            assert!(!life.is_open());
        }
        assert!(life.is_lost());
    }

    #[test]
    fn a_closed_transport_stays_closed() {
        let life = Lifecycle::new();
        for transport in Transport::ALL {
            life.set_transport(transport);
            assert_eq!(life.transport(), transport);
        }
        life.set_transport(Transport::Flushing { linger: true });
        assert_eq!(life.transport(), Transport::Closed);
    }

    #[test]
    fn each_wait_names_its_state() {
        let reached = |life: &Lifecycle, stop| {
            [Until::PeerEnded, Until::Closed, Until::Either].map(|it| life.has_reached(it, stop))
        };
        let life = Lifecycle::new();
        assert_eq!(reached(&life, false), [false, false, false]);
        assert_eq!(reached(&life, true), [false, true, true]);
        life.set_input_ended();
        assert_eq!(reached(&life, false), [true, false, true]);
        life.advance(Sending::Closing);
        assert_eq!(reached(&life, false), [true, true, true]);
        let life = Lifecycle::new();
        assert!(life.set_gone() && !life.set_gone());
        assert_eq!(reached(&life, false), [true, true, true]);
    }
}
