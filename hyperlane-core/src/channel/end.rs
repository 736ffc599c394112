//! The end of a channel.

use std::{fmt, future::poll_fn, io, task::Poll, time::Duration};

use super::{Channel, Locked, attach::close, state::State};
use crate::proto::ws::CloseCode;

/// Why a channel is over.
#[derive(Clone, Debug)]
pub(crate) enum End {
    /// Nobody came back in time.
    Grace(Duration),
    /// Its clients have gone, and what it keeps for them finds no room.
    Memory,
    /// The program closed it.
    Closed,
    /// The session is over.
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
                "the channel is over: the client has gone, and there is no room in `session_memory` to wait for it",
            ),
            Self::Closed => f.write_str("the channel is over: it was closed"),
            Self::Session => f.write_str("the channel is over: its session is"),
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
    /// The program closes the channel, for good.
    pub(crate) fn close(&self, code: CloseCode, reason: &str) -> io::Result<()> {
        if let Some(end) = &self.lock().end {
            return Err(end.clone().into());
        }
        self.end(End::Closed, code, reason);
        Ok(())
    }

    /// Waits until the channel is over.
    pub(crate) async fn over(&self) {
        let mut waiter = self.waiter();
        poll_fn(|cx| {
            let mut inner = self.lock();
            if inner.end.is_some() {
                return Poll::Ready(());
            }
            inner.receivers.enlist(cx, Some(&mut waiter));
            Poll::Pending
        })
        .await;
    }

    /// Ends the channel, and its connections with these words.
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
            "the session is over",
        );
    }

    pub(super) fn finish(&self, mut inner: Locked<'_>, end: End) {
        if inner.end.is_some() {
            return;
        }
        let lost = inner.state.untaken();
        let reason = end.clone();
        let epoch = inner.state.log.epoch;
        inner.end = Some(end);
        let state = std::mem::replace(&mut inner.state, State::new(epoch));
        let inbox = std::mem::take(&mut inner.inbox);
        inner.wake_senders();
        inner.wake_receivers();
        let rest = (inner.timer.take(), inner.kept.take());
        let charged = std::mem::take(&mut inner.charged);
        drop(inner);
        drop((rest, state, inbox));
        // What listens to the log may ask this very channel.
        if lost > 0 {
            tracing::debug!(lost, %reason, "messages reach nobody any more");
        }
        self.discharge(charged);
    }
}
