//! What time does to a connection, and how its transport comes to an end.

use std::{
    borrow::Cow,
    sync::atomic::Ordering,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;

use super::{
    Conn, buffer,
    input::{Fill, Input, Mode, Transport, Wait},
    out::Sending,
    transport::Reader,
};
use crate::{
    env::timers::{TICK, Tick},
    error::PushError,
    proto::{
        http::chunked::LAST_CHUNK,
        ws::{CloseCode, Message, encode_close, encode_to_bytes},
    },
    wire::WireFormat,
};

/// What the rest of a head may take from the beginning of a shutdown on: a request that is on its way is still answered.
const LAST_HEAD: Duration = Duration::from_secs(1);

/// How the work on a connection ended, as the handler's side sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// The last response is out.
    Http,
    /// The connection was waiting for a request that did not come.
    Idle,
    /// The WebSocket's handler returned; what the Close says.
    WebSocket(CloseCode, Cow<'static, str>),
    /// Nothing more can or shall be said.
    Abort,
}

/// A comment, which keeps an event stream alive through proxies and is seen by nobody.
const HEARTBEAT: &[u8] = b":\n";

/// How long to wait where the outbox had no room for a ping.
const ASK_AGAIN: Duration = Duration::from_secs(1);

/// How long the peer may take to end its side after we ended ours.
const LINGER: Duration = Duration::from_secs(2);

impl Conn {
    /// The limit of time on what is waited for.
    pub(super) fn wait_limit(&self, wait: Wait) -> Option<Duration> {
        let config = &self.env.config;
        match wait {
            Wait::Idle => Some(config.keep_alive_timeout),
            Wait::Head | Wait::Drain if self.env.is_shutting_down() => {
                Some(LAST_HEAD.min(config.shutdown_timeout / 2))
            }
            // What nobody wants may not take longer than a head.
            Wait::Head | Wait::Drain => Some(config.header_timeout),
            Wait::Body => Some(config.body_timeout),
            Wait::Nothing => None,
        }
    }

    /// Looks at every limit of time and arms the timer for the next one.
    pub(super) fn on_timer(&self) {
        let now = self.now();
        let mut input = self.lock_input();
        let mut next = Tick(u32::MAX);
        if let Some(by) = input.close_by {
            if by <= now {
                input.transport = Transport::Closed;
                return;
            }
            next = next.min(by);
        }
        if let Some(limit) = self.wait_limit(input.wait) {
            let by = input.wait_since.after(limit);
            if by <= now {
                input.timed_out = true;
                input.wake_readers();
            } else {
                next = next.min(by);
            }
        }
        let handshake_due = self.handshake_due(&input.mode);
        if let Some(due) = handshake_due.filter(|due| *due > now) {
            next = next.min(due);
        }
        self.check_stall(&mut input, now, &mut next);
        if input.transport == Transport::Open {
            match self.format() {
                WireFormat::Http => {}
                WireFormat::EventStream | WireFormat::EventStreamChunked => {
                    self.check_heartbeat(now, &mut next);
                }
                _ => {
                    self.check_ask(&mut input, now, &mut next);
                    self.check_ping(&mut input, now, &mut next);
                }
            }
        }
        drop(input);
        if handshake_due.is_some_and(|due| due <= now) {
            self.answer_late_handshake();
        }
        if next.0 != u32::MAX {
            self.arm(next);
        }
    }

    /// A peer that takes nothing is let go: politely if that is still possible, once.
    fn check_stall(&self, input: &mut Input, now: Tick, next: &mut Tick) {
        let (stalled_since, sending) = {
            let out = self.lock_out();
            (out.stalled_since(), out.sending)
        };
        let Some(since) = stalled_since else { return };
        let by = since.after(self.stall_time());
        if by > now {
            *next = (*next).min(by);
            return;
        }
        if self.takes_more() {
            *next = (*next).min(now.after(self.stall_time()));
            return;
        }
        if input.close_by.is_none() {
            self.env.metrics.client_dropped("stalled");
        }
        tracing::debug!(peer = %self.peer(), "the client takes nothing: connection closed");
        let mut said = false;
        if sending == Sending::Open
            && let Some(websocket) = input.websocket()
            && !websocket.close_sent
        {
            websocket.close_sent = true;
            let mut bytes = Vec::new();
            encode_close(CloseCode::TRY_AGAIN_LATER, "reads too slowly", &mut bytes);
            said = self.push_last(&bytes, true).is_ok();
        }
        if said {
            let by = now.after(self.env.config.close_timeout);
            input.close_by = Some(by);
            *next = (*next).min(by);
        } else if input.close_by.is_none() {
            input.transport = Transport::Closed;
        }
    }

    /// Says how often this connection shows life when it is quiet.
    pub(crate) fn set_heartbeat(&self, every: Duration) {
        let ticks = every.as_millis().div_ceil(TICK.as_millis()).max(1);
        let ticks = u32::try_from(ticks).unwrap_or(u32::MAX);
        self.heartbeat.store(ticks, Ordering::Relaxed);
        self.arm(self.now().after(every));
    }

    fn heartbeat(&self, configured: Option<Duration>) -> Option<Duration> {
        match self.heartbeat.load(Ordering::Relaxed) {
            0 => configured,
            ticks => Some(TICK * ticks),
        }
    }

    fn check_ping(&self, input: &mut Input, now: Tick, next: &mut Tick) {
        let Some(every) = self.heartbeat(self.env.config.ping_interval) else {
            return;
        };
        let last = input.last_received;
        let inbox = self.env.config.inbox_bytes;
        let Some(websocket) = input.websocket() else {
            return;
        };
        // Anything that comes in shows life. What we do not read cannot: the clock stands still.
        if websocket.ping_sent.is_some_and(|sent| last > sent) || websocket.is_full(inbox) {
            websocket.ping_sent = None;
        }
        if let Some(sent) = websocket.ping_sent
            && let Some(within) = self.env.config.pong_timeout
        {
            if self.has_backlog() {
                // The ping may still wait behind other messages: the limit on stalling judges until then.
                websocket.ping_sent = Some(now);
                *next = (*next).min(now.after(within));
                return;
            }
            let by = sent.after(within);
            if by > now {
                *next = (*next).min(by);
                return;
            }
            self.env.metrics.client_dropped("no_pong");
            tracing::debug!(peer = %self.peer(), "no answer to a ping: connection closed");
            websocket.ended_without_close();
            input.transport = Transport::Closed;
            return;
        }
        // Without a limit on the pong, pings go on at their interval all the same.
        let due = websocket.ping_sent.unwrap_or(last).max(last).after(every);
        if due > now {
            *next = (*next).min(due);
            return;
        }
        let mut wait = every;
        if !websocket.close_sent && !websocket.is_full(inbox) {
            let ping = websocket.next_ping();
            // Full or closed: nothing was asked, so no answer is missed; the stall or close limits act.
            if self.push_ping(ping).is_ok() {
                websocket.ping_sent = Some(now);
                wait = self.env.config.pong_timeout.unwrap_or(every);
            }
        }
        *next = (*next).min(now.after(wait));
    }

    /// Sends a ping that asks how far the client is, where the channel has written what no ping has asked for yet.
    fn check_ask(&self, input: &mut Input, now: Tick, next: &mut Tick) {
        let inbox = self.env.config.inbox_bytes;
        let Some(websocket) = input.websocket() else {
            return;
        };
        let Some(due) = websocket.ask_due() else {
            return;
        };
        // The answer would not be read, or follow a Close.
        if websocket.close_sent || websocket.is_full(inbox) {
            return;
        }
        if due > now {
            *next = (*next).min(due);
        } else if let Some(ping) = websocket.ask(now)
            && self.push_ping(ping).is_err()
        {
            // Something waits for the client, which takes nothing.
            websocket.was_not_asked();
            *next = (*next).min(now.after(ASK_AGAIN));
        }
    }

    fn push_ping(&self, payload: Bytes) -> Result<(), PushError> {
        self.send_ping(|| self.push(&encode_to_bytes(&Message::Ping(payload))))
    }

    fn check_heartbeat(&self, now: Tick, next: &mut Tick) {
        let Some(every) = self.heartbeat(self.env.config.sse_heartbeat) else {
            return;
        };
        let due = self.lock_out().last_sent.after(every);
        if due > now {
            *next = (*next).min(due);
            return;
        }
        // A comment line breaks no event, but it must not land inside a line of the program's own.
        if self.is_at_line_end() {
            let comment = self.format().frame(HEARTBEAT);
            let _ = self.push(&comment);
        }
        *next = (*next).min(now.after(every));
    }

    /// The server shuts down: says so where a protocol has words for it.
    pub(super) fn on_shutdown(&self) {
        if self.format().is_websocket() {
            let _ = self.close_websocket(CloseCode::GOING_AWAY, "server shutting down", false);
        }
        {
            let mut input = self.lock_input();
            if matches!(input.wait, Wait::Head | Wait::Drain) {
                // The shorter limit counts from here.
                input.wait_since = self.now();
                self.arm(self.now());
            }
            input.wake_readers();
        }
        let waiters = self.lock_out().take_waiters();
        waiters.wake();
    }

    /// The server shuts down, which the hook of an event stream has just been told: what it has sent since still goes out,
    /// and then the stream ends, whatever the hook does.
    pub(super) fn end_events_on_shutdown(&self) {
        let format = self.format();
        let is_events = matches!(
            format,
            WireFormat::EventStream | WireFormat::EventStreamChunked
        );
        if !is_events || !self.is_open() {
            return;
        }
        if format == WireFormat::EventStreamChunked {
            // One that is gone needs no last chunk.
            let _ = self.push_last(LAST_CHUNK, false);
        }
        self.signal_close();
    }

    /// The handler's side is done.
    pub(super) fn finish(&self, ending: Ending) {
        match ending {
            Ending::Http => {
                let mut input = self.lock_input();
                if input.transport == Transport::Open {
                    self.set_not_open();
                    if input.ended {
                        input.transport = Transport::Flushing { linger: false };
                    } else {
                        self.begin_linger(&mut input);
                    }
                }
            }
            Ending::Idle => {
                let mut input = self.lock_input();
                if input.transport == Transport::Open {
                    self.set_not_open();
                    // The last answer is long out, so there is nothing that a reset could destroy.
                    input.transport = Transport::Flushing { linger: false };
                }
            }
            Ending::WebSocket(code, reason) => {
                self.stop_reading_messages();
                let mut input = self.lock_input();
                if input.transport != Transport::Open {
                    // The peer is gone, or being let go: a Close now would tell it the wrong reason.
                } else if input.websocket().is_some() {
                    drop(input);
                    let _ = self.close_websocket(code, &reason, false);
                } else {
                    // The program switched protocols itself and never spoke WebSocket.
                    self.set_not_open();
                    self.begin_linger(&mut input);
                }
            }
            Ending::Abort => self.lock_input().transport = Transport::Closed,
        }
    }

    /// Sends what waits, ends our side, and waits a moment for the peer to end its side.
    pub(super) fn begin_linger(&self, input: &mut Input) {
        input.transport = Transport::Flushing { linger: true };
        input.wait = Wait::Nothing;
    }

    /// Reads ahead, or brings the transport to its end. Ready when it is closed.
    pub(super) fn poll_transport(&self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            let transport = self.lock_input().transport;
            match transport {
                Transport::Open => {
                    self.read_ahead();
                    if self.lock_input().transport == Transport::Open {
                        return Poll::Pending;
                    }
                }
                Transport::Flushing { linger } => {
                    self.flush_cork();
                    if self.has_backlog() && self.poll_flush(cx).is_pending() {
                        return Poll::Pending;
                    }
                    let mut input = self.lock_input();
                    if !linger || input.ended {
                        input.transport = Transport::Closed;
                        continue;
                    }
                    self.lock_out().writer.shutdown();
                    // A transport that cannot end its side at once does it when it is dropped.
                    let _ = input.reader.poll_shutdown_driven(cx);
                    let by = self.now().after(LINGER);
                    let by = input.close_by.map_or(by, |limit| limit.min(by));
                    input.close_by = Some(by);
                    input.transport = Transport::Lingering;
                    drop(input);
                    self.arm(by);
                }
                Transport::Lingering => {
                    let mut input = self.lock_input();
                    input.buffer.discard();
                    match self.poll_fill(&mut input, buffer::READ_BUFFER) {
                        Poll::Ready(Fill::End) => input.transport = Transport::Closed,
                        Poll::Ready(_) => {}
                        Poll::Pending => return Poll::Pending,
                    }
                }
                Transport::Closed => {
                    self.close_transport();
                    return Poll::Ready(());
                }
            }
        }
    }

    /// Ends the connection from outside its task.
    pub(crate) fn signal_close(&self) {
        {
            let mut input = self.lock_input();
            if input.transport == Transport::Open {
                self.begin_linger(&mut input);
            }
        }
        self.set_not_open();
        self.signal(super::signals::LOOK);
    }

    /// Sends events from here on; the client has nothing more to say.
    pub(crate) fn begin_events(&self, format: WireFormat) {
        let mut input = self.lock_input();
        if matches!(input.mode, Mode::Discard) {
            return;
        }
        // The head goes out before any other task can have the handle: events must not overtake it.
        self.flush_cork();
        input.mode = Mode::Discard;
        input.wait_for(Wait::Nothing, self.now());
        drop(input);
        self.set_format(format);
        if let Some(every) = self.env.config.sse_heartbeat {
            self.arm(self.now().after(every));
        }
        if self.env.is_shutting_down() {
            // It has heard of it as a request, if at all.
            self.signal(super::signals::SHUTDOWN);
        }
    }

    /// Notes where `data` leaves a raw event stream.
    pub(crate) fn note_line_end(&self, data: &[u8]) {
        if let Some(last) = data.last() {
            self.at_line_end
                .store(*last == b'\n', std::sync::atomic::Ordering::Relaxed);
        }
    }

    /// Whether a raw event stream stands at the start of a line.
    pub(crate) fn is_at_line_end(&self) -> bool {
        self.at_line_end.load(std::sync::atomic::Ordering::Relaxed)
    }

    /// Nothing can be exchanged any more.
    pub(super) fn abort(&self) {
        self.lock_input().transport = Transport::Closed;
    }

    /// Whether the end has begun, so that nobody should count on the peer any more.
    pub(super) fn is_ending(&self) -> bool {
        self.format() != WireFormat::Http && self.lock_input().transport != Transport::Open
    }

    /// Closes the socket, whoever still holds a handle to the connection.
    fn close_transport(&self) {
        {
            let mut input = self.lock_input();
            if matches!(input.reader, Reader::Gone) {
                return;
            }
            input.ended = true;
            input.reader = Reader::Gone;
            input.buffer = buffer::ReadBuffer::default();
            input.close_by = None;
            input.wait = Wait::Nothing;
            if let Some(websocket) = input.websocket() {
                websocket.ended_without_close();
                websocket.drop_window();
            }
            input.wake_readers();
        }
        let waiters = {
            let mut out = self.lock_out();
            out.drop_window();
            self.lost(&mut out);
            out.writer.close();
            out.take_waiters()
        };
        // Those who began to wait after the end had begun.
        waiters.wake();
        self.backlog
            .store(false, std::sync::atomic::Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpStream,
    };

    use crate::{Context, Server, ServerHook, Status, Stream, conn::buffer::MADE};

    struct Echo;

    impl ServerHook for Echo {
        async fn new(_: &mut Stream, _: &mut Context) -> Self {
            Self
        }

        async fn handle(self, stream: &mut Stream, ctx: &mut Context) -> Status {
            if let Ok(socket) = ctx.upgrade(stream).await {
                while let Ok(message) = socket.recv().await {
                    let _ = socket.send(message).await;
                }
            }
            Status::Continue
        }
    }

    const HANDSHAKE: &[u8] = b"GET /echo HTTP/1.1\r\nhost: localhost\r\nupgrade: websocket\r\n\
        connection: upgrade\r\nsec-websocket-version: 13\r\n\
        sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    const CLOSE: &[u8] = b"\x88\x82\0\0\0\0\x03\xe8";

    #[tokio::test]
    async fn each_connection_gives_the_read_buffer_back_when_it_closes() {
        let mut server = Server::new();
        server.bind("127.0.0.1:0").route::<Echo>("/echo");
        let control = server.run().await.unwrap();
        let made = MADE.get();
        for round in 0..30 {
            let mut client = TcpStream::connect(control.local_addr().unwrap())
                .await
                .unwrap();
            let ends: &[&[u8]] = match round % 3 {
                // A closing handshake, a client that just goes, an answer after which the server closes.
                0 => &[HANDSHAKE, CLOSE],
                1 => &[HANDSHAKE],
                _ => &[b"GET / HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n"],
            };
            for bytes in ends {
                client.write_all(bytes).await.unwrap();
            }
            let mut first = [0; 16];
            client.read_exact(&mut first).await.unwrap();
            if round % 3 != 1 {
                client.read_to_end(&mut Vec::new()).await.unwrap();
            }
            drop(client);
            while control.connections() > 0 {
                tokio::task::yield_now().await;
            }
        }
        let made = MADE.get() - made;
        assert!(
            made <= 2,
            "{made} buffers for connections one after the other"
        );
    }
}
