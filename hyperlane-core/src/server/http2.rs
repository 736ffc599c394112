//! HTTP/2 connections (RFC 9113).
//!
//! One task drives a connection and all of its streams. Each poll has the same steps:
//!
//! 1. The task accepts the streams whose requests have arrived.
//! 2. It polls the streams that have been woken. Each stream is a [`ConnectionTask`] with a link of its own.
//! 3. It repeats both steps while the streams have sent something.
//! 4. It writes everything in one system call.
//!
//! A task per stream would be woken for each request, and each answer would be a write of its own. A stream gets a task of
//! its own only if its handler asks for it, or by configuration: see [`StreamTask`].

mod block;
mod frames;
mod io;
mod quiet;
mod stream;

use std::{
    future::Future,
    net::SocketAddr,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak, atomic::Ordering},
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use futures_core::Stream as _;
use futures_util::stream::FuturesUnordered;
use h2::{
    Reason, RecvStream,
    server::{Connection, Handshake, SendResponse},
};

use self::{
    io::{Io, SharedIo},
    quiet::Quiet,
    stream::StreamTask,
};
use super::connections::Connections;
use crate::{
    config::{ServerConfig, ServerProtocol},
    conn::{
        driver::signals,
        facts::Facts,
        http2::{Http2Stream, StreamCounts, hand_over},
        link::Link,
        task::{ConnectionGuard, ConnectionTask},
        transport::{self, Duplex, Reader, Writer},
    },
    env::{
        peer::{Peer, Via},
        timers::Tick,
    },
    pipeline::{app::App, serve::serve},
};

/// Maximum number of rounds of one poll. After it, the task lets other tasks run.
const MAX_ROUNDS: usize = 16;

/// Maximum time for the last bytes of a connection that has ended, and for the client's end.
const LAST_WRITE: Duration = Duration::from_secs(2);

/// Makes the server speak HTTP/2 with clients that begin with its preface.
pub(crate) fn enable(connections: &Arc<Connections>, app: &Arc<App>) {
    if connections.env.config.protocol != ServerProtocol::Http2 {
        return;
    }
    let (to, of): (Weak<Connections>, Weak<App>) =
        (Arc::downgrade(connections), Arc::downgrade(app));
    let _ = app.http2.set(Box::new(move |link: &Link| {
        let (Some(connections), Some(app)) = (to.upgrade(), of.upgrade()) else {
            return false;
        };
        let local = link.lock_input().reader.local_addr();
        let Some((socket, unread)) = hand_over(link) else {
            return false;
        };
        let from = (link.peer(), link.facts.via());
        let env = connections.env.clone();
        let task = task(
            &connections,
            &app,
            (socket, unread),
            (from, local),
            |facts| {
                facts.inherit(&link.facts);
            },
        );
        env.spawn(task);
        true
    }));
}

/// Creates the task of a connection whose client speaks HTTP/2. `socket` comes with the bytes that were read from it.
/// `local` is the address of the server's end, if the facts of the connection do not have it. `prepare` sets these facts.
pub(crate) fn task(
    connections: &Arc<Connections>,
    app: &Arc<App>,
    (socket, unread): (Box<dyn Duplex>, Bytes),
    (from, local): ((Peer, Via), Option<SocketAddr>),
    prepare: impl FnOnce(&Facts),
) -> impl Future<Output = ()> + Send + 'static {
    let link = connections.live.insert(|key| {
        let closed = (Reader::Closed, Writer::Closed);
        Link::new(key, from, closed, connections.env.clone())
    });
    prepare(&link.facts);
    if link.env.is_shutting_down() {
        // The server may have told its connections already.
        link.driver.signal(signals::SHUTDOWN);
    }
    let guard = ConnectionGuard::resume(link.clone());
    let config = &connections.env.config;
    let io = Arc::new(Mutex::new(Io::new(socket, unread, link.now())));
    let handshake = builder(config).handshake(SharedIo(io.clone()));
    link.arm(link.now().after(config.header_timeout));
    let counts = Arc::new(StreamCounts::new(local));
    let (connections, app) = (connections.clone(), app.clone());
    let (parent, stream_counts) = (link.clone(), counts.clone());
    let serve_stream = move |request, respond| {
        let stream = Http2Stream::new(request, respond, stream_counts.clone());
        let halves = transport::http2(stream);
        let env = &connections.env;
        let link = connections
            .live
            .insert_stream(|key| Link::new(key, from, halves, env.clone()));
        link.facts.inherit(&parent.facts);
        let task = ConnectionTask::new(link.clone(), None, serve(link.clone(), app.clone()));
        StreamTask::new(link, task, env.config.http2_spawned)
    };
    Http2Task {
        begun: link.now(),
        idle_since: link.now(),
        link,
        _guard: guard,
        io,
        quiet: Arc::default(),
        state: State::Handshake(Box::new(handshake)),
        streams: FuturesUnordered::new(),
        serve_stream,
        counts,
        lingers_until: None,
        is_leaving: false,
        is_refused: false,
        is_full: false,
    }
}

/// Returns the settings of a connection. Each limit is finite.
fn builder(config: &ServerConfig) -> h2::server::Builder {
    let mut builder = h2::server::Builder::new();
    let header_list = u32::try_from(config.max_header_bytes).unwrap_or(u32::MAX);
    builder
        .max_concurrent_streams(config.http2_streams)
        .max_header_list_size(header_list)
        .initial_window_size(config.http2_stream_window)
        .initial_connection_window_size(config.http2_window)
        .max_send_buffer_size(config.outbox_bytes.min(MAX_SEND_BUFFER))
        .max_pending_accept_reset_streams(20)
        // An early refusal resets the stream while its data is still on its way. What comes for a stream that is forgotten
        // counts as a fault of the connection.
        .max_concurrent_reset_streams(RESET_STREAMS.max(2 * config.http2_streams as usize))
        .reset_stream_duration(RESET_TIME)
        .max_local_error_reset_streams(Some(MAX_REFUSED))
        .data_frame_budget(DATA_BUDGET)
        .enable_connect_protocol();
    builder
}

/// Minimum number of streams that the server has reset and still knows.
const RESET_STREAMS: usize = 50;

/// The time for which the server knows a stream that it has reset.
const RESET_TIME: Duration = Duration::from_secs(10);

/// Maximum number of streams that the server resets because of a fault of the client, or refuses, in the life of a
/// connection. A proxy may keep a connection for weeks. The crate's own limit, 1 024, would end it early.
const MAX_REFUSED: usize = 8 * 1024;

/// The budget for `DATA` frames that are not read yet and have less than 256 bytes: each takes its difference to 256. The
/// crate keeps about as many bytes for each such frame.
const DATA_BUDGET: usize = 2 * 1024 * 1024;

/// Maximum number of bytes of a stream that have left its outbox and wait for the connection.
const MAX_SEND_BUFFER: usize = 256 * 1024;

type Socket = SharedIo;

/// The state of the protocol.
enum State {
    Handshake(Box<Handshake<Socket, Bytes>>),
    Open(Box<Connection<Socket, Bytes>>),
    /// The connection has ended. Its handlers may still run.
    Closed,
}

/// The task of a connection. `F` is the task of a stream.
struct Http2Task<F, S> {
    /// The link of the connection itself: its timer, and the signals of the server.
    link: Arc<Link>,
    _guard: ConnectionGuard,
    io: Arc<Mutex<Io>>,
    quiet: Arc<Quiet>,
    state: State,
    streams: FuturesUnordered<F>,
    serve_stream: S,
    counts: Arc<StreamCounts>,
    begun: Tick,
    /// The tick since which the connection has no stream.
    idle_since: Tick,
    /// The tick at which a connection that has ended is closed.
    lingers_until: Option<Tick>,
    /// True after the shutdown of an idle connection has begun.
    is_leaving: bool,
    /// True after the connection was ended because of a fault of the client.
    is_refused: bool,
    /// True if no stream was accepted in the last round, because the handlers of as many streams as allowed run.
    is_full: bool,
}

// No field is pinned: the streams are in allocations of their own.
impl<F, S> Unpin for Http2Task<F, S> {}

impl<F, S> Future for Http2Task<F, S>
where
    F: Future<Output = ()>,
    S: FnMut(http::Request<RecvStream>, SendResponse<Bytes>) -> F,
{
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        let signals = this.link.driver.begin_poll(cx);
        let waker = this.quiet.begin(cx.waker());
        let now = this.link.now();
        this.lock_io().set_now(now);
        if signals & signals::TIMER != 0 {
            // What a slow client has read in the meantime counts before its time limit is checked. The last step of the poll
            // meets an error again.
            let _ = this.lock_io().poll_write_out(cx, now);
        }
        this.handle_signals(signals);
        let mut quiet_cx = Context::from_waker(&waker);
        for _ in 0..MAX_ROUNDS {
            this.quiet.take_woken();
            this.poll_protocol(&mut quiet_cx);
            let mut has_place = false;
            while let Poll::Ready(Some(())) = Pin::new(&mut this.streams).poll_next(&mut quiet_cx) {
                has_place = this.is_full;
            }
            if has_place {
                // Streams may wait to be accepted.
                quiet_cx.waker().wake_by_ref();
            }
            if this.has_fault() {
                this.poll_protocol(&mut quiet_cx);
            }
            if !this.quiet.is_woken() {
                break;
            }
        }
        let has_ended = matches!(this.state, State::Closed);
        if has_ended {
            this.counts.set_closed();
        }
        let written = this.lock_io().poll_write_out(cx, this.link.now());
        if this.quiet.end() {
            cx.waker().wake_by_ref();
        }
        match written {
            Poll::Ready(Err(_)) => this.close(),
            Poll::Ready(Ok(())) if has_ended => {
                let ended = this.lock_io().poll_linger(cx);
                match ended {
                    Poll::Ready(()) => this.close(),
                    Poll::Pending => this.linger(),
                }
            }
            Poll::Ready(Ok(())) => {}
            Poll::Pending => {
                let limit = this.stall_limit();
                this.link.arm(now.after(limit));
            }
        }
        this.watch_idle();
        if this.lock_io().is_closed() && this.streams.is_empty() {
            return Poll::Ready(());
        }
        Poll::Pending
    }
}

impl<F, S> Http2Task<F, S>
where
    F: Future<Output = ()>,
    S: FnMut(http::Request<RecvStream>, SendResponse<Bytes>) -> F,
{
    fn lock_io(&self) -> MutexGuard<'_, Io> {
        self.io.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn handle_signals(&mut self, signals: u8) {
        if signals & signals::ABORT != 0 {
            self.close();
        }
        if signals & signals::SHUTDOWN != 0 {
            match &mut self.state {
                // The client learns which of its requests are answered, and sends the others elsewhere (RFC 9113 §6.8).
                State::Open(connection) => {
                    connection.graceful_shutdown();
                    // The end waits for an answer of the client, and a silent client does not hold up the shutdown.
                    self.is_leaving = true;
                    self.link.arm(self.link.now().after(LAST_WRITE));
                }
                State::Handshake(_) => self.close(),
                State::Closed => {}
            }
        }
        if signals & signals::TIMER != 0 {
            self.on_timer();
        }
    }

    /// Returns the maximum time for which the socket may accept nothing.
    fn stall_limit(&self) -> Duration {
        match matches!(self.state, State::Closed) && !self.lock_io().is_flushing() {
            true => LAST_WRITE,
            false => self.link.env.config.write_timeout,
        }
    }

    /// Checks every time limit of the connection. The limits of a stream are those of its own link.
    fn on_timer(&mut self) {
        let now = self.link.now();
        let config = &self.link.env.config;
        let stalled = self.lock_io().stalled_since();
        if let Some(since) = stalled {
            let by = since.after(self.stall_limit());
            if by <= now {
                tracing::debug!(peer = %self.link.peer(), "write stall: connection closed");
                self.link.env.metrics.client_dropped("stalled");
                return self.close();
            }
            self.link.arm(by);
        }
        if let Some(by) = self.lingers_until {
            match by <= now {
                true => return self.close(),
                false => self.link.arm(by),
            }
        }
        // A client owes the rest of a field block as it owes the rest of a head.
        let block_since = self.lock_io().frames.block_since();
        if let (State::Open(connection), Some(since)) = (&mut self.state, block_since) {
            let by = since.after(config.header_timeout);
            match by <= now {
                true => return connection.abrupt_shutdown(Reason::ENHANCE_YOUR_CALM),
                false => self.link.arm(by),
            }
        }
        match &mut self.state {
            State::Handshake(_) => {
                let by = self.begun.after(config.header_timeout);
                match by <= now {
                    true => self.close(),
                    false => self.link.arm(by),
                }
            }
            State::Open(connection) if self.streams.is_empty() => {
                let limit = match self.is_leaving {
                    true => LAST_WRITE,
                    false => config.keep_alive_timeout,
                };
                let by = self.idle_since.after(limit);
                // The bytes of an answer may still be on their way. Their limit is that of a write stall.
                let is_busy = stalled.is_some() || connection.has_streams();
                let is_late = self.idle_since.after(config.write_timeout) <= now;
                match by <= now {
                    true if is_busy && !is_late => self.link.arm(now.after(LAST_WRITE)),
                    // A client that does not answer the PING of the shutdown gets no second chance.
                    true if self.is_leaving => self.close(),
                    true => {
                        connection.graceful_shutdown();
                        self.is_leaving = true;
                        self.link.arm(now.after(LAST_WRITE));
                    }
                    false => self.link.arm(by),
                }
            }
            _ => {}
        }
    }

    /// Moves frames between the socket and the streams, and begins the streams whose requests have arrived.
    fn poll_protocol(&mut self, cx: &mut Context<'_>) {
        if let State::Handshake(handshake) = &mut self.state {
            match Pin::new(&mut **handshake).poll(cx) {
                Poll::Pending => return,
                Poll::Ready(Ok(connection)) => self.state = State::Open(Box::new(connection)),
                Poll::Ready(Err(error)) => {
                    tracing::debug!(peer = %self.link.peer(), %error, "HTTP/2 handshake failed");
                    self.state = State::Closed;
                    return;
                }
            }
        }
        let most = usize::try_from(self.link.env.config.http2_streams).unwrap_or(usize::MAX);
        while let State::Open(connection) = &mut self.state {
            // The place of a stream in the protocol is free when the stream has ended on the wire. Its handler may still
            // run, and counts here.
            self.is_full = self.streams.len() >= most;
            if self.is_full {
                match connection.poll_closed(cx) {
                    Poll::Pending => return,
                    Poll::Ready(Ok(())) => {}
                    Poll::Ready(Err(error)) => {
                        tracing::debug!(peer = %self.link.peer(), %error, "HTTP/2 connection failed");
                    }
                }
                self.state = State::Closed;
                return;
            }
            match connection.poll_accept(cx) {
                Poll::Pending => return,
                Poll::Ready(Some(Ok((request, respond)))) => {
                    self.streams.push((self.serve_stream)(request, respond));
                    // A stream may begin and end within one poll.
                    self.idle_since = Tick(u32::MAX);
                }
                Poll::Ready(Some(Err(error))) => {
                    tracing::debug!(peer = %self.link.peer(), %error, "HTTP/2 connection failed");
                    self.state = State::Closed;
                }
                Poll::Ready(None) => self.state = State::Closed,
            }
        }
    }

    /// Ends a connection whose client breaks the rules of frames, or sends frames that cost much and ask for nothing. Returns
    /// true if the end begins now.
    fn has_fault(&mut self) -> bool {
        let fault = self.lock_io().frames.fault();
        let State::Open(connection) = &mut self.state else {
            return false;
        };
        let Some(reason) = fault.filter(|_| !self.is_refused) else {
            return false;
        };
        self.is_refused = true;
        if reason == Reason::ENHANCE_YOUR_CALM {
            let cancelled = self.counts.cancelled.load(Ordering::Relaxed);
            tracing::debug!(peer = %self.link.peer(), cancelled, "HTTP/2 flood: connection closed");
            self.link.env.metrics.client_dropped("http2_flood");
        } else {
            tracing::debug!(peer = %self.link.peer(), ?reason, "HTTP/2 connection failed");
        }
        connection.abrupt_shutdown(reason);
        true
    }

    /// Starts the timer of a connection that has ended and waits for the client's end.
    fn linger(&mut self) {
        if self.lingers_until.is_none() {
            let by = self.link.now().after(LAST_WRITE);
            self.lingers_until = Some(by);
            self.link.arm(by);
        }
    }

    /// Starts the timer of an idle connection, and that of a field block.
    fn watch_idle(&mut self) {
        let block_since = self.lock_io().frames.block_since();
        if let (State::Open(_), Some(since)) = (&self.state, block_since) {
            self.link
                .arm(since.after(self.link.env.config.header_timeout));
        }
        if !self.streams.is_empty() {
            self.idle_since = Tick(u32::MAX);
        } else if self.idle_since == Tick(u32::MAX) {
            self.idle_since = self.link.now();
            let limit = match self.is_leaving {
                true => LAST_WRITE,
                false => self.link.env.config.keep_alive_timeout,
            };
            self.link.arm(self.idle_since.after(limit));
            self.lock_io().settle();
        }
    }

    /// Closes the socket. The streams learn it from the protocol.
    fn close(&mut self) {
        self.state = State::Closed;
        self.lock_io().close();
        // Streams that have sent everything do not learn it from the protocol.
        self.counts.set_closed();
    }
}
