//! Receiving: messages from the clients to the program.

use std::{
    io,
    task::{Context, Poll},
};

use super::{Channel, memory::NoMemory, waiters::Waiter};
use crate::{conn::inbox, proto::ws::Message};

/// Limit of the inbox, in bytes. The inbox has the messages that the program has not received yet.
const MAX_INBOX: usize = 64 * 1024;

impl Channel {
    /// Polls for the next message from a client.
    pub(crate) fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        waiter: Option<&mut Waiter<'_>>,
    ) -> Poll<io::Result<Message>> {
        let mut inner = self.lock();
        if let Some(message) = inner.inbox.pop() {
            // A connection that waits for room in the inbox is in the list of senders.
            inner.wake_senders();
            self.discharge_unused(inner);
            return Poll::Ready(Ok(message));
        }
        if let Some(end) = &inner.end {
            return Poll::Ready(Err(end.clone().into()));
        }
        inner.receivers.add(cx, waiter);
        Poll::Pending
    }

    /// Moves a message from a client into the inbox. Waits while the inbox is full.
    ///
    /// # Errors
    /// Returns the reason why the message stays: the channel has ended, or `session_memory` has no room for it. The
    /// latter happens only while no client is connected: to a POST.
    pub(crate) fn poll_deliver(
        &self,
        cx: &mut Context<'_>,
        message: &mut Option<Message>,
        waiter: Option<&mut Waiter<'_>>,
    ) -> Poll<Result<(), Undelivered>> {
        let Some(weight) = message.as_ref().map(inbox::weight) else {
            return Poll::Ready(Ok(()));
        };
        let mut charge = None;
        loop {
            let mut inner = self.lock();
            if inner.end.is_some() {
                return Poll::Ready(Err(Undelivered::Over));
            }
            if inner.inbox.bytes() >= MAX_INBOX {
                inner.senders.add(cx, waiter);
                drop(inner);
                return Poll::Pending;
            }
            if charge.is_none() && inner.is_disconnected() {
                drop(inner);
                charge = Some(self.charge(weight)?);
                // The channel may have changed meanwhile.
                continue;
            }
            if let Some(message) = message.take() {
                inner.inbox.push(message);
            }
            if let Some(charge) = &mut charge {
                charge.keep(&mut inner);
            }
            inner.wake_receivers();
            return Poll::Ready(Ok(()));
        }
    }
}

/// The reason why a message of a client was not delivered.
#[derive(Debug)]
pub(crate) enum Undelivered {
    /// The channel has ended.
    Over,
    /// `session_memory` has no room.
    NoMemory,
}

impl From<NoMemory> for Undelivered {
    fn from(_: NoMemory) -> Self {
        Self::NoMemory
    }
}
