//! HTTP/1.1 for an [`Exchange`](super::Exchange) (one request and its answer). [`Wire`] reads one head after the other
//! from the connection's buffer, and sends the answers in order.
//!
//! Another version of HTTP would be another type with the same methods. The connection's task calls the methods
//! directly, without a second task and without a pipe in memory between two tasks.
//!
//! | step | here |
//! |---|---|
//! | poll head | [`Wire::poll_head`] |
//! | poll body | `Incoming::poll_piece` in [`body`](super::body) |
//! | send head, with its fields and length | [`Wire::send_head`] |
//! | send data | [`Wire::send_data`] |
//! | finish | [`Wire::finish`] |
//! | reset | the end of the connection ([`Ending::Abort`](crate::conn::end::Ending)), since HTTP/1.1 has no reset |
//! | switch | [`Wire::switch_to_websocket`], [`Wire::switch_to_events`] |
//!
//! The state of the answer belongs to the exchange and is the same for all versions of HTTP.

mod read;

use std::{
    cell::RefCell,
    sync::Arc,
    task::{Context as TaskContext, Poll, ready},
};

use bytes::Bytes;

use self::read::take_head;
use super::body::BodyHead;
#[cfg(feature = "http2")]
use crate::conn::http2;
use crate::{
    conn::{
        handshake::Handshake,
        input::{Fill, Input, Wait},
        lane::Awaited,
        link::Link,
        send::{Limit, Order, Payload},
    },
    env::{ids::next_id, peer::Via},
    error::{RequestError, ResponseError},
    http::{Added, Framing, Head, Headers, Request},
    proto::http::{
        chunked::{CHUNK_END, LAST_CHUNK, encode_chunk_head, encode_last_chunk},
        head::HeadStorage,
        title_case::title_case,
    },
    wire::WireFormat,
};

thread_local! {
    /// The parser that all connections of the thread use in turn.
    static PARSER: RefCell<Parser> = const { RefCell::new(Parser::new()) };
}

/// The memory for parsing heads.
struct Parser {
    storage: HeadStorage,
    /// A host that a server answers to. Nearly all requests have the same host, which is checked once.
    allowed: Option<AllowedHost>,
}

/// A server, the kind of one of its addresses, and the number of a host in the [`HeadStorage`].
type AllowedHost = (u32, Via, u64);

impl Parser {
    const fn new() -> Self {
        Self {
            storage: HeadStorage::new(),
            allowed: None,
        }
    }
}

/// Facts in the head of a request that decide the form of its answer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Facts {
    /// The method is HEAD, so the answer has no body.
    pub(crate) is_head: bool,
    /// The client speaks HTTP/1.0, which has no chunks.
    pub(crate) is_1_0: bool,
    /// The client allows another request on this connection, and the method is not CONNECT.
    pub(super) keeps_alive: bool,
    /// The server answers to the host of the request for every peer. If false, the peer decides.
    pub(super) is_host_allowed: bool,
}

impl Default for Facts {
    fn default() -> Self {
        Self {
            is_head: false,
            is_1_0: false,
            keeps_alive: true,
            is_host_allowed: false,
        }
    }
}

/// The result of reading a head. Errors are boxed, because a request without an error moves through many functions.
pub(super) enum HeadRead {
    /// A request was read. `Err` means that the server refuses the request with this error.
    Request(Result<BodyHead, Box<RequestError>>),
    /// No request was read. The server answers with this error.
    Refused(Box<RequestError>),
    /// No request was read. The connection ends for this reason, without an answer.
    End(RequestEnd),
}

/// The reason why a connection ends while it waits for a request.
#[derive(Clone, Copy)]
pub(super) enum RequestEnd {
    /// No request has begun.
    Closed,
    /// A part of a request has arrived.
    Disconnected,
}

impl RequestEnd {
    #[cold]
    pub(super) fn into_error(self) -> Box<RequestError> {
        Box::new(match self {
            Self::Closed => RequestError::ConnectionClosed,
            Self::Disconnected => RequestError::ClientDisconnected,
        })
    }
}

/// The wire of an exchange. A connection of HTTP/1.1 and a stream of HTTP/2 share the state.
pub(crate) struct Wire {
    connection: Arc<Link>,
    pub(crate) facts: Facts,
    /// The connection closes after this request.
    pub(crate) closes: bool,
    /// Number of requests so far. The count stops at 2.
    request_count: u8,
    /// A request was read before the previous one was answered, so the client cannot tell which request an answer is
    /// for.
    has_skipped_answer: bool,
    reading: Reading,
}

/// The state of the wait for a request. It stays if a hook drops the future of the wait.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Reading {
    /// No wait has begun since the last request.
    No,
    /// The wait has begun.
    Begun,
    /// The wait has cleared the previous request.
    Cleared,
}

impl Wire {
    pub(super) fn new(connection: Arc<Link>) -> Self {
        Self {
            connection,
            facts: Facts::default(),
            closes: false,
            request_count: 0,
            has_skipped_answer: false,
            reading: Reading::No,
        }
    }

    /// Returns whether the connection is a stream of HTTP/2.
    pub(crate) fn is_http2(&self) -> bool {
        self.connection.lane.is_stream
    }

    pub(crate) fn connection(&self) -> &Arc<Link> {
        &self.connection
    }

    /// Returns a number for the request; later requests have higher numbers. The first request has the number of its
    /// connection. Later requests need new numbers, because an old connection (of a proxy, for example) may carry a
    /// request that is newer than the requests of newer connections.
    pub(crate) fn request_number(&self) -> u64 {
        match self.request_count {
            0 | 1 => self.connection.id(),
            _ => next_id(),
        }
    }

    // ---------------------------------------------------------------- reading

    /// Prepares to read the next head.
    pub(super) fn begin_reading(&mut self) {
        self.reading = Reading::Begun;
    }

    /// Waits for the head of the next request.
    pub(super) fn poll_head(
        &mut self,
        request: &mut Request,
        cx: &mut TaskContext<'_>,
    ) -> Poll<HeadRead> {
        #[cfg(feature = "http2")]
        if self.is_http2() {
            return Poll::Ready(self.take_head_http2(request));
        }
        let link = &*self.connection;
        let is_first = self.request_count == 0;
        // One lock for the whole poll: a lock per step would cost more than the steps.
        let mut input = link.lock_input();
        let read = loop {
            let taken =
                PARSER.with_borrow_mut(|parser| take_head(link, &mut input, request, parser));
            if !matches!(taken, Ok(Some(_))) && self.reading != Reading::Cleared {
                // A connection that waits needs no memory of its previous request, and a refused head leaves none.
                request.reset();
                self.reading = Reading::Cleared;
            }
            match taken {
                Ok(Some(taken)) => {
                    self.facts = taken.facts;
                    input.wait_for(Wait::Nothing, link.now());
                    break HeadRead::Request(taken.body);
                }
                Ok(None) => {}
                Err(error) => {
                    self.facts = Facts::default();
                    break HeadRead::Refused(error);
                }
            }
            let wait = match is_first || has_begun(&input) {
                true => Wait::Head,
                false => Wait::Idle,
            };
            let most = link.env.head_space();
            break match ready!(input.poll_more(link, cx, wait, most)) {
                Fill::Bytes => continue,
                Fill::End if !has_begun(&input) => HeadRead::End(RequestEnd::Closed),
                Fill::End => HeadRead::End(RequestEnd::Disconnected),
                Fill::TimedOut(Wait::Head) if has_begun(&input) => {
                    self.facts.is_head = false;
                    HeadRead::Refused(Box::new(match link.env.is_shutting_down() {
                        true => RequestError::ShuttingDown,
                        false => RequestError::HeadTimeout,
                    }))
                }
                // The buffer never becomes full here, because the scanner refuses a head that is too long before it
                // fills the buffer.
                Fill::TimedOut(_) | Fill::Full => HeadRead::End(RequestEnd::Closed),
            };
        };
        drop(input);
        self.reading = Reading::No;
        Poll::Ready(read)
    }

    /// Counts a request whose head was read. `is_answered` says whether the previous request was answered.
    pub(super) fn count_request(&mut self, is_answered: bool) {
        self.has_skipped_answer |= self.request_count > 0 && !is_answered;
        self.request_count = (self.request_count + 1).min(2);
    }

    /// Ends a wait for a request. The next wait starts a new timer. The time in between, in which a hook (a function of
    /// the program) works, therefore does not count against the client.
    pub(super) fn stop_reading(&mut self) {
        if std::mem::replace(&mut self.reading, Reading::No) != Reading::No {
            let now = self.connection.now();
            self.connection.lock_input().wait_for(Wait::Nothing, now);
        }
    }

    // ---------------------------------------------------------------- writing

    /// Sends the head of an answer. `body` is the whole body if it is known already. Also sends `body` if the framing
    /// is a length above 0 and the method is not HEAD.
    #[inline]
    pub(super) fn send_head(
        &self,
        head: Head<'_>,
        framing: Framing,
        body: Option<&Bytes>,
        closes: bool,
    ) -> Result<(), ResponseError> {
        #[cfg(feature = "http2")]
        if self.is_http2() {
            return self.send_head_http2(head, framing, body);
        }
        let is_1_0 = self.facts.is_1_0 || head.response.get_version().is_http1_0();
        let connection = match (closes, is_1_0) {
            (true, _) => Some("close"),
            (false, true) => Some("keep-alive"),
            (false, false) => None,
        };
        let body = body.filter(|_| matches!(framing, Framing::Length(1..)) && !self.facts.is_head);
        self.connection.lane().compose(|cork| {
            self.write_head(cork.bytes(), head, framing, connection);
            if let Some(body) = body {
                cork.push(body);
            }
        })?;
        Ok(())
    }

    /// Encodes the head of an answer.
    #[inline(always)]
    pub(super) fn write_head(
        &self,
        out: &mut Vec<u8>,
        head: Head<'_>,
        framing: Framing,
        connection: Option<&'static str>,
    ) {
        let server = &self.connection.env;
        let added = Added {
            framing,
            date: Some(&server.date()),
            connection,
            title_case: server.config.title_case_headers,
        };
        head.write(out, added);
    }

    /// Encodes the head of an event stream whose events the program sends as raw bytes. The stream ends with the
    /// connection.
    pub(crate) fn events_head(&self, head: Head<'_>) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(256);
        self.write_head(&mut bytes, head, Framing::UntilClose, Some("close"));
        bytes
    }

    /// Encodes a head that switches protocols.
    pub(super) fn write_switching(&self, out: &mut Vec<u8>, head: Head<'_>) {
        let added = Added {
            framing: Framing::None,
            date: None,
            connection: None,
            title_case: self.connection.env.config.title_case_headers,
        };
        head.write_apart(out, added);
    }

    /// Sends a piece of the body.
    pub(super) fn send_data(&self, piece: &Bytes, chunked: bool) -> Result<(), ResponseError> {
        let connection = &self.connection;
        if !connection.lane.is_open() {
            return Err(ResponseError::ConnectionClosed);
        }
        connection.driver.charge(32 + piece.len() / 4);
        let chunked = chunked && !self.is_http2();
        connection.lane().compose(|cork| {
            if chunked {
                encode_chunk_head(piece.len(), cork.bytes());
            }
            cork.push(piece);
            if chunked {
                cork.bytes().extend_from_slice(CHUNK_END);
            }
        })?;
        Ok(())
    }

    /// Ends the body: sends the last chunk, with the trailers, if the body is chunked.
    pub(super) fn finish(&self, chunked: bool, trailers: &Headers) {
        #[cfg(feature = "http2")]
        if self.is_http2() {
            return self.finish_http2(trailers);
        }
        if !chunked {
            return;
        }
        if trailers.is_empty() {
            return self.write(LAST_CHUNK);
        }
        let mut last = Vec::new();
        encode_last_chunk(trailers.bytes(), &mut last);
        if self.connection.env.config.title_case_headers {
            title_case(&mut last);
        }
        self.write(&last);
    }

    /// Sends an interim head, after which the client waits on.
    pub(super) fn write_interim(&self, head: &[u8]) -> Result<(), ResponseError> {
        #[cfg(feature = "http2")]
        if self.is_http2() {
            http2::write_text(&self.connection, head, self.facts.is_head);
            return Ok(());
        }
        let lane = self.connection.lane();
        Ok(lane.send(Payload::Copied(head), Order::Own, Limit::None)?)
    }

    /// Sends bytes of an answer that the program has written as text of HTTP/1.1.
    pub(super) fn write_text(&self, bytes: &[u8]) {
        #[cfg(feature = "http2")]
        if self.is_http2() {
            self.connection.lane.set_awaited(Awaited::Nothing);
            return http2::write_text(&self.connection, bytes, self.facts.is_head);
        }
        self.write(bytes);
    }

    /// Sends bytes in order: after the earlier sends of the connection's own hook, and before its later ones. An error
    /// is ignored here. The next read or send reports it.
    pub(super) fn write(&self, bytes: &[u8]) {
        self.connection.lane.set_awaited(Awaited::Nothing);
        let _ = self
            .connection
            .lane()
            .send(Payload::Copied(bytes), Order::Own, Limit::None);
    }

    // ---------------------------------------------------------------- switching

    /// Sends the 101 of a handshake and makes the connection a WebSocket.
    #[expect(
        clippy::boxed_local,
        reason = "freed before the WebSocket's state is allocated, the box would leave a hole in the heap per connection"
    )]
    pub(super) fn switch_to_websocket(&self, handshake: Box<Handshake>, added: &Headers) {
        let head = handshake.head(&self.connection, added);
        #[cfg(feature = "http2")]
        let is_sent = self.is_http2() && http2::send_handshake(&self.connection, &head);
        #[cfg(not(feature = "http2"))]
        let is_sent = false;
        match is_sent {
            true => self.connection.lane.set_awaited(Awaited::Nothing),
            false => self.write(&head),
        }
        self.connection
            .begin_websocket(handshake.extensions, handshake.subprotocol);
    }

    /// Sends the head of an event stream, and makes the connection an event stream. After HEAD, the connection closes
    /// at once.
    pub(super) fn switch_to_events(&self, head: Head<'_>, chunked: bool) {
        #[cfg(feature = "http2")]
        if self.is_http2() {
            // The next use of the connection meets an error.
            let framing = match self.facts.is_head {
                true => Framing::None,
                false => Framing::UntilClose,
            };
            let _ = self.send_head_http2(head, framing, None);
            self.connection.lane.set_awaited(Awaited::Nothing);
            if self.facts.is_head {
                self.connection.signal_close();
            }
            return self.connection.begin_events(WireFormat::EventStream);
        }
        let (format, framing) = match chunked {
            true => (WireFormat::EventStreamChunked, Framing::Chunked),
            false => (WireFormat::EventStream, Framing::UntilClose),
        };
        let mut bytes = Vec::with_capacity(256);
        let server = &self.connection.env;
        let added = Added {
            framing,
            date: Some(&server.date()),
            connection: Some("close"),
            title_case: server.config.title_case_headers,
        };
        head.write_apart(&mut bytes, added);
        self.write(&bytes);
        if self.facts.is_head {
            self.connection.signal_close();
        }
        self.connection.begin_events(format);
    }

    // ---------------------------------------------------------------- what follows

    /// Returns whether the connection must close after an answer because of the client, the response or the server.
    pub(super) fn closes_after(&self, head: Head<'_>, framing: Framing) -> bool {
        !self.facts.keeps_alive
            || self.has_skipped_answer
            || framing == Framing::UntilClose
            || head.closes()
            || self.connection.env.is_shutting_down()
    }

    /// Returns whether no request was read.
    #[cfg(feature = "http2")]
    pub(crate) fn is_first(&self) -> bool {
        self.request_count == 0
    }

    /// Returns whether the current request is the last on its connection: the client allows no other request, or an
    /// earlier request has no answer and the current answer has begun (`is_begun`).
    pub(super) fn is_last(&self, is_begun: bool) -> bool {
        !self.facts.keeps_alive || self.has_skipped_answer && is_begun
    }

    /// Returns whether the connection reads another request after a complete answer.
    pub(super) fn keeps_alive(&self) -> bool {
        self.facts.keeps_alive
            && !self.has_skipped_answer
            && self.connection.lane.is_open()
            && !self.connection.env.is_shutting_down()
    }
}

/// Returns whether bytes of the next request have arrived. An empty line, or its first byte, does not count.
fn has_begun(input: &Input) -> bool {
    !matches!(input.buffer.unread(), [] | [b'\r'])
}
