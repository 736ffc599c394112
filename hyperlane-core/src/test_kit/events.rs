//! A client of an event stream.

use std::{collections::VecDeque, fmt};

use super::{
    TestError,
    push::{Pushes, macro_methods},
    response::Head,
    wire::Wire,
};
use crate::{
    Headers,
    proto::sse::{EventReader, ReceivedEvent},
};

/// A client of an event stream, from [`TestClient::events`](super::TestClient::events).
///
/// The client reads while the test waits. Otherwise up to 64 KiB wait in the pipe, and then the server sees a slow
/// client. An event has at most 16 MiB. Dropping the client closes the connection.
///
/// [`assert_push!`](crate::assert_push), [`refute_push!`](crate::refute_push) and
/// [`assert_closed!`](crate::assert_closed) are assertions about what the server sends.
///
/// ```
/// use hyperlane_core::{Context, Event, Server, Status, Stream, assert_closed, assert_push};
/// use hyperlane_core::{proto::sse::ReceivedEvent, test_kit::TestServer};
///
/// async fn prices(stream: &mut Stream, ctx: &mut Context) -> Status {
///     let Ok(events) = ctx.event_stream(stream).await else { return Status::Reject };
///     let _ = events.send_event(Event::new().event("price").id("1").data("5")).await;
///     let _ = events.send_event(Event::new().id("2").data("end of trade")).await;
///     Status::Continue
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), hyperlane_core::ServerError> {
/// let mut server = Server::new();
/// server.at("/prices").get(prices);
/// let mut events = TestServer::start(&server)?.client().events("/prices").await;
/// assert_push!(events, ReceivedEvent { event, data, .. } if event == "price" && data == "5");
/// assert_push!(events, "end of trade");
/// assert_closed!(events);
/// assert_eq!(events.last_event_id(), "2");
/// # Ok(())
/// # }
/// ```
pub struct TestEvents {
    wire: Wire,
    head: Head,
    reader: EventReader,
    /// Events that have arrived with an earlier one.
    ready: VecDeque<ReceivedEvent>,
    kept: VecDeque<ReceivedEvent>,
    received: u64,
}

impl TestEvents {
    pub(super) fn new(wire: Wire, head: Head) -> Self {
        Self {
            wire,
            head,
            reader: EventReader::new(),
            ready: VecDeque::new(),
            kept: VecDeque::new(),
            received: 0,
        }
    }

    /// Returns the header fields of the response.
    pub fn headers(&self) -> &Headers {
        &self.head.headers
    }

    /// Waits for the next event.
    ///
    /// # Errors
    /// Returns [`TestError::Ended`] at the end of the stream, and another [`TestError`] if the connection was cut or if
    /// nothing arrives within the patience of the client.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn recv(&mut self) -> Result<ReceivedEvent, TestError> {
        self.next().await
    }

    /// Returns the id of the last event that has arrived with an id, for the field `Last-Event-ID` of the next request; empty
    /// without one.
    pub fn last_event_id(&self) -> &str {
        self.reader.last_event_id()
    }

    /// Returns the number of bytes of the stream that the client has read, with comments such as heartbeats.
    pub fn received(&self) -> u64 {
        self.received
    }

    /// Cuts the connection now. The server sees a reset, as after a crash of the client. What has arrived before remains.
    pub fn cut(&mut self) {
        self.wire.cut();
    }

    /// Cuts the connection as soon as the client has received `bytes` more bytes, with the framing of chunks.
    pub fn cut_after_received(&mut self, bytes: usize) {
        self.wire.cuts.received = Some(bytes);
    }

    /// Waits for the end of the stream. Called by `assert_closed!`.
    #[doc(hidden)]
    pub async fn __ended(&mut self) -> Result<(), String> {
        loop {
            match self.next().await {
                Ok(_) => {}
                Err(TestError::Ended) => return Ok(()),
                Err(error) => return Err(format!("the event stream did not end: {error}")),
            }
        }
    }
}

impl Pushes for TestEvents {
    type Item = ReceivedEvent;

    fn kept(&mut self) -> &mut VecDeque<ReceivedEvent> {
        &mut self.kept
    }

    async fn arrival(&mut self) -> Result<ReceivedEvent, TestError> {
        let patience = self.wire.patience();
        // Heartbeats arrive as well. They do not prolong the wait.
        let wait = async {
            loop {
                if let Some(event) = self.ready.pop_front() {
                    return Ok(event);
                }
                let Some(piece) = self.head.piece(&mut self.wire).await? else {
                    return Err(TestError::Ended);
                };
                self.received += piece.len() as u64;
                let mut events = Vec::new();
                self.reader
                    .push(&piece, &mut events)
                    .map_err(|error| TestError::Protocol(error.to_string()))?;
                self.ready.extend(events);
            }
        };
        tokio::time::timeout(patience, wait)
            .await
            .map_err(|_| TestError::Timeout(patience))?
    }
}

macro_methods!(TestEvents, ReceivedEvent, |event| Some(&event.data));

impl fmt::Debug for TestEvents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TestEvents")
            .field("kept", &self.kept)
            .field("received", &self.received)
            .finish_non_exhaustive()
    }
}
