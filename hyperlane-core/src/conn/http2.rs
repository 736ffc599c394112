//! A stream of an HTTP/2 connection (RFC 9113 §5), as the transport of a link.
//!
//! Each stream carries one request and its answer, and has a link of its own. The bytes of its lane are the data of the
//! answer, of a WebSocket (RFC 8441) or of an event stream. The heads pass beside the lane, as fields. So all that works
//! on a connection also works on a stream: handles, rooms, channels, time limits.

pub(crate) mod head;
mod text;

use std::{
    collections::{HashMap, hash_map::Entry},
    io::{self, IoSlice},
    net::SocketAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    task::{Context, Poll, Waker, ready},
};

use bytes::{Buf, Bytes, BytesMut};
use h2::{Reason, RecvStream, SendStream, server::SendResponse};
use http::{HeaderMap, Response, StatusCode};

pub(crate) use self::text::write_text;
use self::{head::TextHead, text::RawAnswer};
use super::{
    buffer::ReadBuffer,
    link::Link,
    transport::{self, Duplex, Reader},
};

/// Maximum length of the body of a pushed response, in bytes: the client has to take it at once.
const MAX_PUSH: usize = 64 * 1024;

/// Maximum number of bytes that one write hands over to the connection.
const MAX_WRITE: usize = 64 * 1024;

/// Facts that the streams of a connection report to it.
#[derive(Debug, Default)]
pub(crate) struct StreamCounts {
    /// Number of streams that the client has cancelled before they were answered.
    pub(crate) cancelled: AtomicU32,
    /// The address of the server's end of the connection.
    pub(crate) local: Option<SocketAddr>,
    /// True after the end of the connection.
    closed: AtomicBool,
    /// The streams that have sent everything and wait for the end of the connection, by their ids.
    waiting: Mutex<HashMap<u32, Waker>>,
}

impl StreamCounts {
    pub(crate) fn new(local: Option<SocketAddr>) -> Self {
        Self {
            local,
            ..Self::default()
        }
    }

    /// Tells the streams that the connection has ended. Those that have sent everything do not learn it from the protocol.
    pub(crate) fn set_closed(&self) {
        if !self.closed.swap(true, Ordering::AcqRel) {
            let waiting = std::mem::take(&mut *self.lock_waiting());
            waiting.into_values().for_each(Waker::wake);
        }
    }

    /// Waits for the end of the connection, as the stream with this id.
    fn poll_closed(&self, id: u32, cx: &Context<'_>) -> Poll<()> {
        let mut waiting = self.lock_waiting();
        if self.closed.load(Ordering::Acquire) {
            return Poll::Ready(());
        }
        match waiting.entry(id) {
            Entry::Occupied(mut known) => known.get_mut().clone_from(cx.waker()),
            Entry::Vacant(vacant) => _ = vacant.insert(cx.waker().clone()),
        }
        Poll::Pending
    }

    /// Ends the wait of a stream. A connection without streams needs no memory for them.
    fn forget(&self, id: u32) {
        let mut waiting = self.lock_waiting();
        waiting.remove(&id);
        if waiting.is_empty() {
            *waiting = HashMap::new();
        }
    }

    fn lock_waiting(&self) -> MutexGuard<'_, HashMap<u32, Waker>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A stream of an HTTP/2 connection.
pub(crate) struct Http2Stream {
    /// The head of the request, until the exchange takes it.
    request: Option<Box<http::request::Parts>>,
    receive: RecvStream,
    /// The rest of a frame that has not been read yet.
    unread: Bytes,
    send: Sending,
    counts: Arc<StreamCounts>,
    id: u32,
    /// True if the stream has waited for the end of the connection.
    awaits_end: bool,
    /// The answer of a program that writes it as text.
    raw: Option<Box<RawAnswer>>,
    /// True if the client has ended its direction, and all its data was read.
    has_read_all: bool,
    /// True from the end of the client's direction until the readers have been told of it.
    is_end_news: bool,
    /// True if the stream is a WebSocket: the end of the client's direction then ends the connection.
    is_tunnel: bool,
    /// True if the request is an extended CONNECT (RFC 8441): an answer of 2xx then opens a tunnel.
    is_connect: bool,
    /// True if the answer ends although a part of it is missing.
    is_cut: bool,
    /// True if the whole answer has been handed over. The stream ends when the outbox is empty.
    is_whole: bool,
    /// The fields that the client has sent after its data.
    received_trailers: Option<Box<HeaderMap>>,
    /// The fields that end the answer.
    trailers: Option<Box<HeaderMap>>,
}

/// The sending side of a stream.
enum Sending {
    /// No final head was sent.
    Head(SendResponse<Bytes>),
    /// The head was sent, and data may follow.
    Data(SendStream<Bytes>),
    /// Everything was sent.
    Ended,
}

/// The reason why a head cannot be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HeadFailure {
    /// The client has cancelled the stream, or the connection has ended.
    Closed,
    /// A head was sent already.
    Sent,
}

impl Http2Stream {
    pub(crate) fn new(
        request: http::Request<RecvStream>,
        respond: SendResponse<Bytes>,
        counts: Arc<StreamCounts>,
    ) -> Self {
        let (parts, receive) = request.into_parts();
        let has_read_all = receive.is_end_stream();
        let is_connect = parts.extensions.get::<h2::ext::Protocol>().is_some();
        Self {
            id: respond.stream_id().as_u32(),
            awaits_end: false,
            request: Some(Box::new(parts)),
            receive,
            unread: Bytes::new(),
            send: Sending::Head(respond),
            counts,
            raw: None,
            has_read_all,
            is_end_news: false,
            is_tunnel: false,
            is_connect,
            is_cut: false,
            is_whole: false,
            received_trailers: None,
            trailers: None,
        }
    }

    /// Takes the head of the request; `None` if it was taken before.
    pub(crate) fn take_request(&mut self) -> Option<Box<http::request::Parts>> {
        self.request.take()
    }

    /// Returns whether no more data comes.
    pub(crate) fn has_read_all(&self) -> bool {
        self.has_read_all
    }

    /// Returns whether the request is an extended CONNECT.
    pub(super) fn is_connect(&self) -> bool {
        self.is_connect
    }

    /// Makes the stream a WebSocket: the end of the client's direction ends the connection.
    pub(crate) fn set_tunnel(&mut self) {
        self.is_tunnel = true;
    }

    /// Makes the end of the answer a reset: the client would take a regular end for the whole answer.
    pub(super) fn set_cut(&mut self) {
        self.is_cut = true;
    }

    /// Notes that the whole answer has been handed over. What the handler does afterwards does not delay its end.
    pub(crate) fn set_whole(&mut self) {
        self.is_whole = true;
    }

    /// Takes the fields that the client has sent after its data.
    pub(super) fn take_trailers(&mut self) -> Option<Box<HeaderMap>> {
        self.received_trailers.take()
    }

    /// Ends the server's direction if the whole answer was handed over. The caller has written all of it.
    pub(super) fn end_if_whole(&mut self) {
        if self.is_whole {
            self.end();
        }
    }

    /// Returns whether the stream is a WebSocket.
    pub(super) fn is_tunnel(&self) -> bool {
        self.is_tunnel
    }

    /// Returns the address of the server's end of the connection.
    pub(super) fn local_addr(&self) -> Option<SocketAddr> {
        self.counts.local
    }

    /// Returns true once after the end of the client's direction.
    pub(super) fn take_end_news(&mut self) -> bool {
        std::mem::take(&mut self.is_end_news)
    }

    // ---------------------------------------------------------------- heads

    /// Sends the final head. With `body`, which is the whole body, also sends the body if the client takes it now.
    /// Returns the part of the body that the client does not take yet. `ends` says that no body follows.
    pub(crate) fn send_head(
        &mut self,
        mut head: Response<()>,
        ends: bool,
        body: Option<&Bytes>,
    ) -> Result<Option<Bytes>, HeadFailure> {
        if self.is_connect && !self.is_tunnel && head.status().is_success() {
            // A page instead of a WebSocket. Over HTTP/1.1 its 200 refuses the handshake, here it would accept it.
            *head.status_mut() = StatusCode::BAD_REQUEST;
        }
        let Sending::Head(respond) = &mut self.send else {
            return Err(HeadFailure::Sent);
        };
        let mut stream = respond
            .send_response(head, ends)
            .map_err(|_| HeadFailure::Closed)?;
        if ends {
            self.send = Sending::Ended;
            return Ok(None);
        }
        let Some(body) = body else {
            self.send = Sending::Data(stream);
            return Ok(None);
        };
        // Nearly every body fits into the window, and then needs no queue.
        stream.reserve_capacity(body.len());
        if stream.capacity() >= body.len() {
            let sent = stream.send_data(body.clone(), true);
            self.send = Sending::Ended;
            return match sent {
                Ok(()) => Ok(None),
                Err(_) => Err(HeadFailure::Closed),
            };
        }
        self.send = Sending::Data(stream);
        Ok(Some(body.clone()))
    }

    /// Sends an interim head (1xx). Has no effect after the final head.
    pub(crate) fn send_interim(&mut self, status: StatusCode, fields: HeaderMap) {
        if let Sending::Head(respond) = &mut self.send {
            let mut head = Response::new(());
            *head.status_mut() = status;
            *head.headers_mut() = fields;
            // The client may have cancelled the stream. The final head meets the same error.
            let _ = respond.send_informational(head);
        }
    }

    /// Sends a response to a request that the client has not sent. Returns false if the client does not allow it, or after the
    /// final head.
    pub(crate) fn push(
        &mut self,
        request: http::Request<()>,
        head: Response<()>,
        body: &Bytes,
    ) -> bool {
        let Sending::Head(respond) = &mut self.send else {
            return false;
        };
        if body.len() > MAX_PUSH {
            return false;
        }
        let Ok(mut pushed) = respond.push_request(request) else {
            return false;
        };
        if let Ok(mut stream) = pushed.send_response(head, body.is_empty())
            && !body.is_empty()
        {
            stream.reserve_capacity(body.len());
            match stream.capacity() >= body.len() {
                true => _ = stream.send_data(body.clone(), true),
                // No task waits for a window. The client asks for the resource itself.
                false => stream.send_reset(Reason::CANCEL),
            }
        }
        true
    }

    // ---------------------------------------------------------------- data

    /// Reads into `target` and returns the number of bytes; 0 means the end of a WebSocket.
    ///
    /// A client of plain HTTP that has ended its direction waits for its answer. Then the read waits as well, until the
    /// client cancels the stream.
    pub(super) fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        target: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        loop {
            if !self.unread.is_empty() {
                let count = self.unread.len().min(target.len());
                if let (Some(to), Some(from)) = (target.get_mut(..count), self.unread.get(..count))
                {
                    to.copy_from_slice(from);
                }
                self.unread.advance(count);
                // The window of the stream opens only as far as its data is read. It cannot exceed what was received.
                let _ = self.receive.flow_control().release_capacity(count);
                return Poll::Ready(Ok(count));
            }
            if self.has_read_all {
                return match self.is_tunnel {
                    true => Poll::Ready(Ok(0)),
                    false => self.poll_cancelled(cx),
                };
            }
            match ready!(self.receive.poll_data(cx)) {
                Some(Ok(data)) => self.unread = data,
                Some(Err(error)) => return Poll::Ready(Err(self.failed(error))),
                None => match ready!(self.receive.poll_trailers(cx)) {
                    Ok(trailers) => {
                        self.received_trailers = trailers.map(Box::new);
                        self.has_read_all = true;
                        self.is_end_news = true;
                    }
                    Err(error) => return Poll::Ready(Err(self.failed(error))),
                },
            }
        }
    }

    /// Waits until the client cancels the stream.
    pub(super) fn poll_cancelled(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let cancelled = match &mut self.send {
            Sending::Head(respond) => ready!(respond.poll_reset(cx)),
            Sending::Data(stream) => ready!(stream.poll_reset(cx)),
            Sending::Ended => {
                self.awaits_end = true;
                ready!(self.counts.poll_closed(self.id, cx));
                return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
            }
        };
        let error = match cancelled {
            Ok(reason) => {
                self.count_cancelled();
                reason.into()
            }
            Err(error) => error,
        };
        Poll::Ready(Err(self.failed(error)))
    }

    /// Writes data as far as the windows of the stream and of the connection allow.
    pub(super) fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let Sending::Data(stream) = &mut self.send else {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        };
        let wanted = slices.iter().map(|slice| slice.len()).sum::<usize>();
        let wanted = wanted.min(MAX_WRITE);
        if wanted == 0 {
            return Poll::Ready(Ok(0));
        }
        stream.reserve_capacity(wanted);
        while stream.capacity() == 0 {
            match ready!(stream.poll_capacity(cx)) {
                Some(Ok(_)) => {}
                Some(Err(error)) => return Poll::Ready(Err(self.failed(error))),
                None => return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
            }
        }
        let count = stream.capacity().min(wanted);
        let mut data = BytesMut::with_capacity(count);
        for slice in slices {
            let room = count - data.len();
            data.extend_from_slice(slice.get(..room).unwrap_or(slice));
        }
        match stream.send_data(data.freeze(), false) {
            Ok(()) => Poll::Ready(Ok(count)),
            Err(error) => Poll::Ready(Err(self.failed(error))),
        }
    }

    /// Ends the server's direction after all data.
    pub(super) fn end(&mut self) {
        let is_cut = self.is_cut || self.raw.as_ref().is_some_and(|raw| raw.is_incomplete());
        if let Sending::Data(stream) = &mut self.send {
            if is_cut {
                stream.send_reset(Reason::INTERNAL_ERROR);
            } else {
                // If the client has cancelled the stream, it expects no end.
                let _ = match self.trailers.take() {
                    Some(trailers) => stream.send_trailers(*trailers),
                    None => stream.send_data(Bytes::new(), true),
                };
            }
            self.send = Sending::Ended;
        }
    }

    fn count_cancelled(&mut self) {
        if !matches!(self.send, Sending::Ended) {
            self.counts.cancelled.fetch_add(1, Ordering::Relaxed);
            self.send = Sending::Ended;
        }
    }

    fn failed(&mut self, error: h2::Error) -> io::Error {
        if error.is_remote() && error.is_reset() {
            self.count_cancelled();
        }
        io::Error::new(io::ErrorKind::ConnectionReset, error)
    }
}

/// Takes the socket, and the bytes that were read from it, for a task that speaks HTTP/2. That task also takes the place
/// of this connection in the limits of connections. Returns `None` if the socket is closed.
pub(crate) fn hand_over(link: &Link) -> Option<(Box<dyn Duplex>, Bytes)> {
    let mut input = link.lock_input();
    let mut out = link.lane.lock_out();
    let reader = std::mem::replace(&mut input.reader, Reader::Closed);
    let socket = transport::join(reader, out.take_writer())?;
    link.lane.pass_admission();
    let unread = Bytes::copy_from_slice(input.buffer.unread());
    input.buffer = ReadBuffer::default();
    Some((socket, unread))
}

/// Ends an answer that was sent piece by piece. The stream ends after its last byte, with `trailers` if there are any.
pub(crate) fn finish(link: &Link, trailers: Option<HeaderMap>) {
    if let Some(stream) = link.lock_input().reader.http2() {
        stream.trailers = trailers.map(Box::new);
        stream.set_whole();
    }
    link.lane.begin_backlog();
}

/// Answers a WebSocket handshake (RFC 8441 §5) whose 101 is `head`. Returns false if the connection is not a stream of
/// HTTP/2.
pub(crate) fn send_handshake(link: &Link, head: &[u8]) -> bool {
    let mut input = link.lock_input();
    let Some(stream) = input.reader.http2() else {
        return false;
    };
    stream.set_tunnel();
    if let Some(mut head) = TextHead::parse(Bytes::copy_from_slice(head)) {
        head.status = StatusCode::OK;
        // A stream that the client has cancelled is found by the next read.
        let _ = stream.send_head(head.into_response(), false, None);
    }
    true
}

impl Drop for Http2Stream {
    /// Resets a stream whose answer is incomplete.
    fn drop(&mut self) {
        if self.awaits_end {
            self.counts.forget(self.id);
        }
        match &mut self.send {
            Sending::Head(respond) => respond.send_reset(Reason::INTERNAL_ERROR),
            // The end of the client's direction is the end of a WebSocket, as on a socket (RFC 8441 §5).
            Sending::Data(stream) if self.is_tunnel && self.has_read_all => {
                let _ = stream.send_data(Bytes::new(), true);
            }
            Sending::Data(stream) if self.is_tunnel => stream.send_reset(Reason::CANCEL),
            Sending::Data(stream) => stream.send_reset(Reason::INTERNAL_ERROR),
            Sending::Ended => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::atomic::AtomicUsize, task::Wake};

    use super::*;

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn streams_that_wait_for_the_end_are_woken_by_it_alone() {
        let counts = StreamCounts::new(None);
        let wakes: Vec<Arc<Count>> = (0..1000).map(|_| Arc::default()).collect();
        let wait = |id: usize| {
            let waker = Waker::from(wakes[id].clone());
            let id = u32::try_from(id).unwrap();
            counts.poll_closed(id, &Context::from_waker(&waker))
        };
        let woken = || wakes.iter().map(|count| count.0.load(Ordering::Relaxed));
        for _ in 0..2 {
            assert!((0..1000).all(|id| wait(id).is_pending()));
        }
        counts.forget(7);
        assert_eq!(woken().sum::<usize>(), 0);
        counts.set_closed();
        assert_eq!(woken().sum::<usize>(), 999, "one has ended before");
        assert!(wait(3).is_ready());
    }
}
