//! The end of a channel.

use std::{fmt, future::poll_fn, io, task::Poll, time::Duration};

use super::{Channel, Locked, attach::close, slots::release, state::ChannelState};
use crate::proto::ws::CloseCode;

/// The reason why a channel has ended.
#[derive(Clone, Debug)]
pub(crate) enum End {
    /// No client came back within this time.
    Grace(Duration),
    /// All clients have left, and the memory for sessions (`session_memory`) has no room for the channel's messages.
    Memory,
    /// The program closed the channel.
    Closed,
    /// The session has ended.
    Session,
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Grace(grace) => write!(
                f,
                "the channel is over: the client did not come back within {grace:?}"
            ),
            Self::Memory => f.write_str(
                "the channel is over: its client has gone, and `session_memory` has no room for its messages",
            ),
            Self::Closed => f.write_str("the channel is over: it was closed"),
            Self::Session => f.write_str("the channel is over: its session has ended"),
        }
    }
}

impl std::error::Error for End {}

impl From<End> for io::Error {
    fn from(end: End) -> Self {
        Self::new(io::ErrorKind::BrokenPipe, end)
    }
}

impl Channel {
    /// Ends the channel because the program closes it. Returns an error if the channel has ended before. An ended
    /// channel never opens again.
    pub(crate) fn close(&self, code: CloseCode, reason: &str) -> io::Result<()> {
        if let Some(end) = &self.lock().end {
            return Err(end.clone().into());
        }
        self.end(End::Closed, code, reason);
        Ok(())
    }

    /// Waits until the channel has ended.
    pub(crate) async fn over(&self) {
        let mut waiter = self.waiter();
        poll_fn(|cx| {
            let mut inner = self.lock();
            if inner.end.is_some() {
                return Poll::Ready(());
            }
            inner.receivers.add(cx, Some(&mut waiter));
            Poll::Pending
        })
        .await;
    }

    /// Ends the channel, and closes the channel's connections with this code and reason.
    fn end(&self, end: End, code: CloseCode, reason: &str) {
        let positions = {
            let mut inner = self.lock();
            if inner.end.is_some() {
                return;
            }
            let positions = inner.state.remove_all();
            self.finish(inner, end);
            positions
        };
        for position in &positions {
            close(position, code, reason);
        }
    }

    pub(super) fn end_with_session(&self) {
        self.end(
            End::Session,
            CloseCode::POLICY_VIOLATION,
            "the session has ended",
        );
    }

    pub(super) fn finish(&self, mut inner: Locked<'_>, end: End) {
        if inner.end.is_some() {
            return;
        }
        let lost = inner.state.undelivered();
        let reason = end.clone();
        let epoch = inner.state.log.epoch;
        inner.end = Some(end);
        let state = std::mem::replace(&mut inner.state, ChannelState::new(epoch));
        let inbox = std::mem::take(&mut inner.inbox);
        inner.wake_senders();
        inner.wake_receivers();
        let rest = (inner.timer.take(), inner.kept.take());
        let charged = std::mem::take(&mut inner.charged);
        drop(inner);
        drop((rest, state, inbox));
        if self.settings.name.is_some()
            && let Some(session) = self.session.upgrade()
        {
            release(&session, self, &reason, epoch);
        }
        // The lock is released before this log entry, because a `tracing` subscriber may use this channel.
        if lost > 0 {
            tracing::debug!(lost, %reason, channel = self.name(), "messages discarded: the channel has ended");
        }
        self.discharge(charged);
    }
}
