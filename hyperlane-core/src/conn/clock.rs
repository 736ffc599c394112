//! Time limits of a connection, and its heartbeats.

use std::time::Duration;

use bytes::Bytes;

use super::{
    barrier::{AfterLast, PastHeld, Undelivered},
    handshake::answer_late_handshake,
    input::{Input, Mode, Wait},
    lifecycle::Transport,
    link::Link,
    send::LastOrder,
};
use crate::{
    env::timers::{MaybeTick, Tick},
    proto::ws::{CloseCode, Message, encode_close, encode_to_bytes},
    wire::WireFormat,
};

/// Maximum time in which a client may complete the head of a request after a shutdown has begun. Within this time, the
/// server still answers a request that was in transit when the shutdown began.
const LAST_HEAD: Duration = Duration::from_secs(1);

/// The heartbeat of an event stream: a comment line. The comment keeps proxies from closing the connection. Browsers
/// ignore comments.
const HEARTBEAT: &[u8] = b":\n";

/// Delay before the server tries again to send a ping for an acknowledgement, if the outbox was full or closed. The
/// ping asks a client to acknowledge the messages of its channel (see `check_ack_ping`).
const ACK_PING_RETRY: Duration = Duration::from_secs(1);

impl Link {
    /// Returns the time limit of a wait; `None` for no limit.
    pub(super) fn wait_limit(&self, wait: Wait) -> Option<Duration> {
        let config = &self.env.config;
        match wait {
            Wait::Idle => Some(config.keep_alive_timeout),
            Wait::Head | Wait::Drain if self.env.is_shutting_down() => {
                Some(LAST_HEAD.min(config.shutdown_timeout / 2))
            }
            // `Drain` is the wait for the rest of a body that the program has not read. It has the time limit of a
            // head.
            Wait::Head | Wait::Drain => Some(config.header_timeout),
            Wait::Body => Some(config.body_timeout),
            Wait::Nothing => None,
        }
    }

    /// Checks every time limit, and arms the timer for the limit that ends next.
    pub(super) fn on_timer(&self) {
        let now = self.now();
        let mut input = self.lock_input();
        let mut next = Tick(u32::MAX);
        if let Some(by) = input.close_by.get() {
            if by <= now {
                self.lane.life.set_transport(Transport::Closed);
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
        let handshake_due = handshake_due(self, &input.mode);
        if let Some(due) = handshake_due.filter(|due| *due > now) {
            next = next.min(due);
        }
        input.check_stall(self, now, &mut next);
        if self.lane.life.is_transport_open() {
            match self.lane.format() {
                WireFormat::Http => {}
                WireFormat::EventStream | WireFormat::EventStreamChunked => {
                    check_heartbeat(self, now, &mut next);
                }
                _ => {
                    input.check_ack_ping(self, now, &mut next);
                    input.check_ping(self, now, &mut next);
                }
            }
        }
        drop(input);
        // The stall may have ended the sending side.
        self.lane().settle_closed();
        if self.lane.has_held()
            && let Some(at) = self.lane().check_held(now)
        {
            next = next.min(at);
        }
        if handshake_due.is_some_and(|due| due <= now) {
            answer_late_handshake(self);
        }
        if next.0 != u32::MAX {
            self.arm(next);
        }
    }

    /// Sets the interval of heartbeats. The connection's task sends heartbeats only while the connection is quiet.
    pub(crate) fn set_heartbeat(&self, every: Duration) {
        self.lane.set_heartbeat(every);
        self.arm(self.now().after(every));
    }
}

impl Input {
    /// Ends the connection if its peer has read nothing for too long:
    ///
    /// - If a WebSocket has no Close frame in its queue yet, the server queues one after the first message, and drops
    ///   all other messages. An event stream ends after its first event, too. The connection closes `close_timeout`
    ///   later at the latest. A client that reads again until then finds the end of the messages that it got.
    /// - Otherwise, if the time of closing is set already (`close_by`), the connection closes at this time.
    /// - Otherwise the connection closes at once.
    fn check_stall(&mut self, link: &Link, now: Tick, next: &mut Tick) {
        let (stalled, is_flushing) = {
            let out = link.lane.lock_out();
            (out.stalled_since(), out.is_flushing())
        };
        let Some(since) = stalled else {
            return;
        };
        // How much of its last bytes a transport has passed on is not known. They get the longer of the two limits.
        let limit = match is_flushing {
            true => link.stall_time().max(link.env.config.write_timeout),
            false => link.stall_time(),
        };
        let by = since.after(limit);
        if by > now {
            *next = (*next).min(by);
            return;
        }
        if !is_flushing && link.lane.lock_out().try_write_more(link) {
            *next = (*next).min(now.after(link.stall_time()));
            return;
        }
        if self.close_by.is_none() {
            link.env.metrics.client_dropped("stalled");
        }
        tracing::debug!(peer = %link.peer(), "write stall: connection closed");
        let mut is_closing = false;
        if link.lane.life.takes_bytes()
            && let Some(websocket) = self.websocket()
            && (!websocket.close_sent || link.lane.life.is_held())
        {
            websocket.close_sent = true;
            let mut bytes = Vec::new();
            encode_close(CloseCode::TRY_AGAIN_LATER, "reads too slowly", &mut bytes);
            let (after, order) = (AfterLast::AwaitClose, LastOrder::DropUnsent);
            is_closing = link.lane().send_last(&bytes, after, order).is_ok();
        } else if link.lane.life.takes_bytes() && link.lane.format().is_events() {
            let (after, order) = (AfterLast::Close, LastOrder::DropUnsent);
            is_closing = link.lane().send_last(&[], after, order).is_ok();
            #[cfg(feature = "http2")]
            if let Some(stream) = self.reader.http2() {
                stream.set_cut();
            }
            link.begin_linger(self);
        }
        if is_closing {
            let by = now.after(link.env.config.close_timeout);
            self.close_by.set(by);
            *next = (*next).min(by);
        } else if self.close_by.is_none() {
            link.lane.life.set_transport(Transport::Closed);
        }
    }

    /// Pings a peer that has sent nothing for the ping interval. Closes the connection if neither the pong nor other
    /// input arrives within `pong_timeout`.
    fn check_ping(&mut self, link: &Link, now: Tick, next: &mut Tick) {
        let Some(every) = link.lane.heartbeat(link.env.config.ping_interval) else {
            return;
        };
        let last = self.last_received;
        let inbox = link.env.config.inbox_bytes;
        let Some(websocket) = self.websocket() else {
            return;
        };
        // Any input from the peer ends the wait for the pong. A full inbox also ends the wait: the task then does not
        // read, so it would not see the pong.
        if websocket.ping_sent.get().is_some_and(|sent| last > sent) || websocket.is_full(inbox) {
            websocket.ping_sent = MaybeTick::NONE;
        }
        if let Some(sent) = websocket.ping_sent.get()
            && let Some(within) = link.env.config.pong_timeout
        {
            if link.lane.has_backlog() {
                // The ping may still be in the queue. Until the queue is empty, only the limit on stalls applies
                // (`check_stall`).
                websocket.ping_sent.set(now);
                *next = (*next).min(now.after(within));
                return;
            }
            let by = sent.after(within);
            if by > now {
                *next = (*next).min(by);
                return;
            }
            link.env.metrics.client_dropped("no_pong");
            tracing::debug!(peer = %link.peer(), "pong timeout: connection closed");
            websocket.set_lost();
            link.lane.life.set_transport(Transport::Closed);
            return;
        }
        // Without `pong_timeout`, pings continue at their interval even if no pong comes.
        let due = websocket
            .ping_sent
            .get()
            .unwrap_or(last)
            .max(last)
            .after(every);
        if due > now {
            *next = (*next).min(due);
            return;
        }
        let mut wait = every;
        if !websocket.close_sent && !websocket.is_full(inbox) {
            let ping = websocket.next_ping(link.env.timers.elapsed());
            // If the outbox is full or closed, the ping was not sent and no pong is due. The time limits on stalls and
            // on closing still apply.
            if send_ping(link, ping).is_ok() {
                websocket.ping_sent.set(now);
                wait = link.env.config.pong_timeout.unwrap_or(every);
            }
        }
        *next = (*next).min(now.after(wait));
    }

    /// When the ping for an acknowledgement is due, sends it if the client still has unacknowledged messages of its
    /// channel. A channel carries the messages of a session, and keeps them until the clients have acknowledged them.
    fn check_ack_ping(&mut self, link: &Link, now: Tick, next: &mut Tick) {
        let inbox = link.env.config.inbox_bytes;
        let Some(websocket) = self.websocket() else {
            return;
        };
        let Some(due) = websocket.ack_ping_due() else {
            return;
        };
        // No ping follows a Close frame. While the inbox is full, the task does not read and would not see the pong.
        if websocket.close_sent || websocket.is_full(inbox) {
            return;
        }
        if due > now {
            *next = (*next).min(due);
        } else if let Some(ping) = websocket.ack_ping(now)
            && send_ping(link, ping).is_err()
        {
            // The outbox is full or closed. The timer tries again later.
            websocket.clear_pending_ack_ping();
            *next = (*next).min(now.after(ACK_PING_RETRY));
        }
    }
}

/// Returns the tick at which the server itself completes a handshake that the handler has not answered.
fn handshake_due(link: &Link, mode: &Mode) -> Option<Tick> {
    match mode {
        Mode::Handshake(handshake) => {
            Some(handshake.since.after(link.env.config.handshake_timeout))
        }
        _ => None,
    }
}

fn send_ping(link: &Link, payload: Bytes) -> Result<(), Undelivered> {
    let ping = encode_to_bytes(&Message::Ping(payload));
    link.lane.open_ping();
    // The order of pings and messages does not matter, so a ping waits for no barrier.
    let sent = link.lane().deliver(&ping, usize::MAX, PastHeld::Yes);
    if sent.is_err() {
        link.lane.take_open_ping();
    }
    sent
}

/// Sends a comment if nothing was sent on the event stream for the interval of heartbeats.
fn check_heartbeat(link: &Link, now: Tick, next: &mut Tick) {
    let Some(every) = link.lane.heartbeat(link.env.config.sse_heartbeat) else {
        return;
    };
    let due = link.lane.lock_out().last_sent().after(every);
    if due > now {
        *next = (*next).min(due);
        return;
    }
    // A comment between two lines does not change an event. If the program has written only a part of a line, a comment
    // would break this line. While events of the program are held, the line end may be among them.
    if link.lane.is_at_line_end() && !link.lane.has_held() {
        let comment = link.lane.format().frame(HEARTBEAT);
        let _ = link.lane().deliver(&comment, usize::MAX, PastHeld::Yes);
    }
    *next = (*next).min(now.after(every));
}
