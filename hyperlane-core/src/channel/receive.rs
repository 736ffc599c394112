//! Receiving: messages from the clients to the program.

use std::{
    io,
    task::{Context, Poll},
};

use super::{Channel, end::End, waiters::Waiter};
use crate::proto::ws::Message;

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
            return Poll::Ready(Ok(message));
        }
        if let Some(end) = &inner.end {
            return Poll::Ready(Err(end.clone().into()));
        }
        inner.receivers.add(cx, waiter);
        Poll::Pending
    }

    /// Moves a message from a client into the inbox. Waits while the inbox is full.
    pub(crate) fn poll_deliver(
        &self,
        cx: &mut Context<'_>,
        message: &mut Option<Message>,
        waiter: Option<&mut Waiter<'_>>,
    ) -> Poll<Result<(), End>> {
        let mut inner = self.lock();
        if let Some(end) = &inner.end {
            return Poll::Ready(Err(end.clone()));
        }
        if inner.inbox.bytes() >= MAX_INBOX {
            inner.senders.add(cx, waiter);
            return Poll::Pending;
        }
        if let Some(message) = message.take() {
            inner.inbox.push(message);
            inner.wake_receivers();
        }
        Poll::Ready(Ok(()))
    }
}
