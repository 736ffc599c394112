//! Sinks: members of rooms without a connection of a hyperlane server.

use std::{
    fmt,
    future::{Future, poll_fn},
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use futures_sink::Sink;
use hyperlane_core::{CloseCode, Message, PushError};

use crate::{
    member::{Connected, MemberId},
    outlet::{Next, Outlet, SinkQueue},
};

/// A sink of the program that can join rooms, as [`Rooms::sink`](crate::Rooms::sink) returns it.
///
/// The sink gets the messages of the rooms that the member has joined ([`Room::join`](crate::Room::join)), and the
/// messages of [`send`](Self::send). It leaves all rooms when the sink fails, and when the program calls
/// [`close`](Self::close) or drops the member. What is queued then still goes into the sink, for at most
/// [`RoomsConfig::sink_close_timeout`](crate::RoomsConfig::sink_close_timeout).
#[must_use = "dropping the member closes the sink"]
pub struct SinkMember {
    queue: Arc<SinkQueue>,
}

impl SinkMember {
    pub(crate) fn new(queue: Arc<SinkQueue>) -> Self {
        Self { queue }
    }

    /// Returns the id of the member.
    pub fn id(&self) -> MemberId {
        MemberId::local(self.queue.id())
    }

    /// Returns whether the sink still takes messages.
    pub fn is_open(&self) -> bool {
        self.queue.is_open()
    }

    /// Sends a message to the sink alone. Does not wait. What this task has published before in a room of this member
    /// comes first.
    ///
    /// # Errors
    /// [`PushError::Full`] if the queue of the sink has more than
    /// [`RoomsConfig::sink_bytes`](crate::RoomsConfig::sink_bytes); [`PushError::Closed`] if the sink has been closed or
    /// has failed.
    pub fn send(&self, message: impl Into<Message>) -> Result<(), PushError> {
        self.queue.send(message.into())
    }

    /// Closes the sink. A Close with `code` and `reason` is the last message that the sink gets. What this task has
    /// published before comes first.
    pub fn close(&self, code: CloseCode, reason: &str) {
        self.queue.close(code, reason, false);
    }

    /// Waits until the sink has ended: it has failed, or was closed and has taken its last message.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn closed(&self) {
        self.queue.ended().await;
    }
}

impl Connected for SinkMember {
    fn outlet(&self) -> Outlet {
        self.queue.clone().into()
    }
}

impl From<&SinkMember> for MemberId {
    fn from(member: &SinkMember) -> Self {
        member.id()
    }
}

impl Drop for SinkMember {
    fn drop(&mut self) {
        self.queue.close(CloseCode::NORMAL, "", false);
    }
}

impl fmt::Debug for SinkMember {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SinkMember")
            .field("id", &self.id())
            .field("open", &self.is_open())
            .finish()
    }
}

/// Ends the queue when the pump ends: also if the sink panics, or if the runtime drops the pump.
struct EndGuard(Arc<SinkQueue>);

impl Drop for EndGuard {
    fn drop(&mut self) {
        self.0.end();
    }
}

/// Returns the pump: the future that moves the messages of a queue into a sink, and ends with the sink.
pub(crate) fn pump<S, T>(
    queue: Arc<SinkQueue>,
    sink: S,
    mut into_item: impl FnMut(Message) -> Option<T> + Send + 'static,
    close_timeout: Duration,
) -> impl Future<Output = ()> + Send + 'static
where
    S: Sink<T> + Send + 'static,
    S::Error: fmt::Display,
    T: 'static,
{
    // The guard is made here, so that it also works if the runtime never polls the future.
    let guard = EndGuard(queue);
    async move {
        let queue = &guard.0;
        let mut sink = pin!(sink);
        let mut needs_flush = false;
        let mut step = |context: &mut Context<'_>| {
            let sink = sink.as_mut();
            // The error becomes a text at once, because it may not be `Send`.
            poll_sink(queue, sink, &mut into_item, &mut needs_flush, context)
                .map_err(|error| error.to_string())
        };
        let ended = poll_fn(|context| match step(context) {
            Poll::Ready(ended) => Poll::Ready(Some(ended)),
            Poll::Pending => queue.poll_closing(context).map(|()| None),
        })
        .await;
        let ended = match ended {
            Some(ended) => ended,
            // The queue is about to close. The sink has a limited time for the rest.
            None => match tokio::time::timeout(close_timeout, poll_fn(step)).await {
                Ok(ended) => ended,
                Err(_) => {
                    return tracing::debug!(sink = queue.id(), "sink closed: it took nothing");
                }
            },
        };
        if let Err(error) = ended {
            tracing::debug!(sink = queue.id(), %error, "sink failed");
        }
    }
}

/// Moves messages into the sink, as long as it takes them. Returns ready when the sink has ended.
fn poll_sink<S: Sink<T>, T>(
    queue: &SinkQueue,
    mut sink: Pin<&mut S>,
    into_item: &mut impl FnMut(Message) -> Option<T>,
    needs_flush: &mut bool,
    context: &mut Context<'_>,
) -> Poll<Result<(), S::Error>> {
    /// Number of messages after which the pump lets other tasks run.
    const MESSAGES_PER_POLL: usize = 64;
    for _ in 0..MESSAGES_PER_POLL {
        ready!(sink.as_mut().poll_ready(context))?;
        match queue.next(context) {
            Next::Send(message) => {
                if let Some(item) = into_item(message) {
                    sink.as_mut().start_send(item)?;
                    *needs_flush = true;
                }
            }
            Next::Flush if *needs_flush => {
                ready!(sink.as_mut().poll_flush(context))?;
                *needs_flush = false;
            }
            Next::Flush => return Poll::Pending,
            Next::Close => return sink.poll_close(context),
        }
    }
    context.waker().wake_by_ref();
    Poll::Pending
}
