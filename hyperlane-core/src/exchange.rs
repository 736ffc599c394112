//! One request and its answer.
//!
//! Each connection has one [`Exchange`]. The exchange handles the requests of the connection one after the other.
//! [`Answer`] is the state of the current answer. [`Wire`] reads requests from the wire and writes answers to it. The
//! pipeline runs the hooks (the program's functions that handle requests), and asks [`Exchange::progress`] how much of
//! the answer was sent.

pub(crate) mod answer;
pub(crate) mod body;
pub(crate) mod hints;
mod http1;
#[cfg(feature = "http2")]
mod http2;
mod send;
pub(crate) mod switch;

use std::{future::poll_fn, sync::Arc};

use crate::{
    conn::link::Link,
    error::RequestError,
    http::{Method, Request},
    observe::Record,
    proto::http::{host::HostRefused, track::ResponseTracker},
};

use self::{
    answer::{Answer, Progress},
    body::{BodyHead, Incoming},
    http1::{HeadRead, RequestEnd, Wire},
};

/// The current request of a connection, and its answer.
pub(crate) struct Exchange {
    pub(crate) wire: Wire,
    answer: Answer,
    /// The body of the request; `None` if there is no body, if it was read to its end, or if the connection closes
    /// without reading it.
    body: Option<Arc<Incoming>>,
    /// The record of the request, for its tracing span and metrics.
    pub(crate) record: Record,
}

impl Exchange {
    pub(crate) fn new(connection: Arc<Link>) -> Self {
        Self {
            wire: Wire::new(connection),
            answer: Answer::None,
            body: None,
            record: Record::default(),
        }
    }

    pub(crate) fn connection(&self) -> &Arc<Link> {
        self.wire.connection()
    }

    /// Reads the head of the next request.
    #[expect(
        clippy::manual_async_fn,
        reason = "an idle connection waits in here, and an `async fn` holds its arguments twice"
    )]
    pub(crate) fn next_head<'a>(
        &'a mut self,
        request: &'a mut Request,
    ) -> impl Future<Output = Result<BodyHead, Box<RequestError>>> {
        async move {
            if matches!(
                self.answer,
                Answer::Switched | Answer::Accepted | Answer::Events { .. }
            ) {
                return Err(Box::new(RequestError::Upgraded));
            }
            self.wire.begin_reading();
            if self.has_body_left() {
                // A hook asks for the next request although the body of the current request is unread.
                Box::pin(self.finish_body()).await;
            }
            let progress = self.progress();
            let is_last =
                progress == Progress::Last || self.wire.is_last(progress != Progress::Unanswered);
            if self.wire.closes || is_last || !self.connection().lane.is_open() {
                return Err(RequestEnd::Closed.into_error());
            }
            // Waits for room in the outbox, the queue of bytes to the client. Otherwise, a client that sends requests
            // without reading the answers could make the outbox grow without limit.
            if !self.connection().lane().has_room() {
                let room = poll_fn(|cx| self.connection().lane().poll_room(cx)).await;
                if room.is_err() {
                    self.wire.closes = true;
                    return Err(RequestEnd::Closed.into_error());
                }
            }
            let read = poll_fn(|cx| self.wire.poll_head(request, cx)).await;
            let read = self.begin(read);
            self.wire.closes |= read.is_err();
            read
        }
    }

    /// Begins the next request with the result of reading its head. Resets the state of the answer, if the server will
    /// answer: with the answer to the request, or with an error. At the end of the connection, the state of the
    /// previous answer stays.
    fn begin(&mut self, read: HeadRead) -> Result<BodyHead, Box<RequestError>> {
        match read {
            HeadRead::Request(head) => {
                let is_answered = self.progress() != Progress::Unanswered;
                self.wire.count_request(is_answered);
                self.answer = Answer::None;
                head
            }
            HeadRead::Refused(error) => {
                self.answer = Answer::None;
                Err(error)
            }
            HeadRead::End(end) => Err(end.into_error()),
        }
    }

    /// Checks the request's host.
    ///
    /// # Errors
    /// [`HostRefused`] for a host that the server does not answer to.
    pub(crate) fn check_host(&self, request: &Request) -> Result<(), HostRefused> {
        // The target of CONNECT is not a host of this server, but the other end of a tunnel (RFC 9110 §9.3.6). The
        // check protects against requests of foreign web pages (DNS rebinding). No web page can send CONNECT, so the
        // check is not needed.
        match request.get_method() {
            Method::Connect => Ok(()),
            _ if self.wire.facts.is_host_allowed => Ok(()),
            _ => {
                let connection = self.connection();
                let host = request.get_host();
                connection
                    .env
                    .check_host(host, connection.facts.via(), connection.peer())
            }
        }
    }

    /// Returns the progress of the answer.
    pub(crate) fn progress(&self) -> Progress {
        self.answer.progress()
    }

    /// Returns the state of the answer.
    pub(crate) fn answer(&self) -> &Answer {
        &self.answer
    }

    /// Returns whether the connection reads another request after this one.
    pub(crate) fn keeps_alive(&self) -> bool {
        self.progress() == Progress::Whole && !self.wire.closes && self.wire.keeps_alive()
    }

    /// Makes the server end the connection without an answer, or in the middle of an answer. Sets the state of an
    /// answer whose body is incomplete, because the server cuts the connection in this state.
    #[cfg(feature = "tower")]
    pub(crate) fn cut(&mut self) {
        self.answer = Answer::Streaming {
            closes: true,
            chunked: false,
        };
        self.wire.closes = true;
    }

    /// Ends the current request. Drops the exchange's reference to the record of the request. The record reports the
    /// span and the metrics of the request when its last reference is dropped. If a hook has waited for a further
    /// request, this method also ends the timer of that wait: the next wait starts a new timer.
    pub(crate) fn end_request(&mut self) {
        self.record.end();
        self.wire.stop_reading();
    }

    /// Returns the connection if the current request is a WebSocket handshake without an answer.
    pub(crate) fn open_handshake(&self) -> Option<Arc<Link>> {
        let connection = self.connection();
        connection.lane.is_handshake().then(|| connection.clone())
    }

    /// Returns the tracker of a raw answer: an answer that the program writes as bytes of HTTP. If no part of the
    /// answer was sent yet, creates the tracker. Returns `None` for an answer that is not raw.
    fn tracker(&mut self) -> Option<&mut ResponseTracker> {
        if matches!(self.answer, Answer::None | Answer::Refused(_)) {
            let mut tracker = Box::<ResponseTracker>::default();
            tracker.begin(self.wire.facts.is_head);
            self.answer = Answer::Raw(tracker);
        }
        match &mut self.answer {
            Answer::Raw(tracker) => Some(tracker),
            _ => None,
        }
    }
}
