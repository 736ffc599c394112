//! How a connection ends: the steps in which its task closes it, and the end hooks, which run afterwards.

use std::{
    borrow::Cow,
    sync::{Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
};

use super::{
    barrier::AfterLast,
    buffer,
    driver::signals,
    input::{Fill, Input, Mode, Wait},
    lane::LaneRef,
    lifecycle::{Lifecycle, Sending, Transport},
    link::Link,
    send::LastOrder,
    transport::Reader,
};
use crate::{
    env::{ids::next_id, timers::MaybeTick},
    panic::contain,
    proto::{http::chunked::LAST_CHUNK, ws::CloseCode},
    wire::WireFormat,
};

/// Maximum time for which the server waits for the peer to end its sending direction, after the server has ended its
/// own.
const LINGER: std::time::Duration = std::time::Duration::from_secs(2);

/// The way in which the handler's side of a connection ended. The handler's side is the future that reads requests and
/// runs hooks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// The last response was sent. Or the client speaks TLS to a port without TLS, and gets no response.
    Http,
    /// No further request came.
    Idle,
    /// The handler of a connection that switched protocols (101) returned. If the connection is a WebSocket, its Close
    /// frame has this code and reason.
    WebSocket(CloseCode, Cow<'static, str>),
    /// The connection is cut without a Close frame or a last chunk.
    Abort,
    /// The client speaks HTTP/2: another task has taken the socket.
    HandedOver,
}

/// A function that runs after a connection has ended.
pub(crate) type EndHook = Box<dyn FnOnce() + Send>;

/// Runs an end hook. If the hook panics, or a destructor of the values that it owns panics, the other hooks still run
/// and the task continues.
pub(super) fn run_end_hook(hook: EndHook) {
    contain("in a hook on the end of a connection", hook);
}

/// The end hooks of a connection, each with the key that cancels it. Most connections have none or one. The hooks are a
/// linked list, because a list without hooks then takes one word, and a hook one allocation.
#[derive(Default)]
pub(crate) struct EndHooks(Mutex<HookList>);

/// The end hooks of a connection, in the order of their addition.
#[derive(Default)]
pub(super) struct HookList(Option<Box<HookNode>>);

struct HookNode {
    key: u64,
    hook: EndHook,
    next: HookList,
}

impl EndHooks {
    fn lock(&self) -> MutexGuard<'_, HookList> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Stores a hook for the end of the connection and returns its key. If the peer is gone already, runs the hook at
    /// once and returns `None`.
    pub(super) fn add(&self, life: &Lifecycle, hook: EndHook) -> Option<u64> {
        let mut hooks = self.lock();
        if life.is_gone() {
            drop(hooks);
            run_end_hook(hook);
            return None;
        }
        // A key is unique among the hooks of all connections. An old key thus cancels no other hook.
        let key = next_id();
        hooks.push(key, hook);
        Some(key)
    }

    /// Cancels the hook for which [`add`](Self::add) returned `key`.
    pub(super) fn cancel(&self, key: u64) {
        let hook = self.lock().remove(key);
        // The hook is dropped after the lock is released: a destructor of the program may add or cancel hooks, and
        // would wait for the lock forever.
        contain(
            "while a hook on the end of a connection was dropped",
            || {
                drop(hook);
            },
        );
    }

    /// Marks the peer as gone, and removes and returns the hooks. Returns `None` if the peer was marked before.
    pub(super) fn take_last(&self, life: &Lifecycle) -> Option<HookList> {
        let mut hooks = self.lock();
        life.set_gone().then(|| std::mem::take(&mut *hooks))
    }
}

impl HookList {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    pub(super) fn push(&mut self, key: u64, hook: EndHook) {
        let mut end = &mut self.0;
        while let Some(node) = end {
            end = &mut node.next.0;
        }
        let next = Self::default();
        *end = Some(Box::new(HookNode { key, hook, next }));
    }

    fn pop(&mut self) -> Option<EndHook> {
        let HookNode { hook, next, .. } = *self.0.take()?;
        *self = next;
        Some(hook)
    }

    fn remove(&mut self, key: u64) -> Option<EndHook> {
        let mut at = self;
        while at.0.as_ref()?.key != key {
            at = &mut at.0.as_mut()?.next;
        }
        at.pop()
    }

    pub(super) fn run(mut self) {
        while let Some(hook) = self.pop() {
            run_end_hook(hook);
        }
    }
}

impl Drop for HookList {
    fn drop(&mut self) {
        // One after the other: the drop of a node would otherwise drop the next within itself.
        while let Some(hook) = self.pop() {
            drop(hook);
        }
    }
}

impl Link {
    /// Handles a shutdown: closes a WebSocket, shortens the time limit for the rest of a head or of an unused body, and
    /// wakes all waiting tasks.
    pub(super) fn on_shutdown(&self) {
        if self.lane.format().is_websocket() {
            let _ = self.close_websocket(CloseCode::GOING_AWAY, "server shutting down", false);
        }
        {
            let mut input = self.lock_input();
            if matches!(input.wait, Wait::Head | Wait::Drain) {
                // The shorter limit begins now.
                input.wait_since = self.now();
                self.arm(self.now());
            }
            input.wake_readers();
        }
        let waiters = self.lane.lock_out().take_waiters();
        waiters.wake();
    }

    /// Ends an event stream at a shutdown. The connection's task polls the program's handler before this call, so the
    /// last events of the handler are sent.
    pub(super) fn end_events_on_shutdown(&self) {
        if self.lane.format().is_events() && self.lane.is_open() {
            self.lane().end_events(false);
        }
    }

    /// Begins to close the connection after the handler's side has ended.
    pub(super) fn finish(&self, ending: Ending) {
        match ending {
            // The end of an event stream waits behind a barrier.
            Ending::Http | Ending::Idle if self.lane.life.is_held() => {}
            Ending::Http | Ending::Idle => {
                self.lane().send_held();
                let mut input = self.lock_input();
                let life = &self.lane.life;
                if life.is_transport_open() {
                    life.advance(Sending::Closing);
                    // Closing a socket with unread bytes resets the connection, and the reset could destroy a response
                    // in transit. Lingering (waiting until the client has ended its direction) prevents this. An idle
                    // client already has its last response, so it needs no lingering. After the end of input, there are
                    // no unread bytes.
                    match ending == Ending::Idle || life.has_input_ended() {
                        true => life.set_transport(Transport::Flushing { linger: false }),
                        false => self.begin_linger(&mut input),
                    }
                }
            }
            Ending::WebSocket(code, reason) => {
                if let Some(websocket) = self.lock_input().websocket() {
                    websocket.stop_receiving();
                }
                let mut input = self.lock_input();
                if !self.lane.life.is_transport_open() {
                    // The peer is gone, or another reason, such as a time limit, has closed the transport. A Close
                    // frame with the handler's code would state a wrong reason, so none is sent.
                } else if input.websocket().is_some() {
                    drop(input);
                    let _ = self.close_websocket(code, &reason, false);
                } else {
                    // The program sent its own 101 and then did not use the connection as a WebSocket.
                    self.lane().send_held();
                    self.lane.life.advance(Sending::Closing);
                    self.begin_linger(&mut input);
                }
            }
            Ending::Abort | Ending::HandedOver => {
                self.lane.life.set_transport(Transport::Closed);
            }
        }
    }

    /// Begins an orderly end of the transport: the task sends the queue, ends the server's sending direction, and waits
    /// for the end of the peer's direction, at most [`LINGER`].
    pub(super) fn begin_linger(&self, input: &mut Input) {
        self.lane
            .life
            .set_transport(Transport::Flushing { linger: true });
        input.wait = Wait::Nothing;
    }

    /// If the transport is open, reads ahead of the handler. Otherwise takes the next steps to close the transport.
    /// Ready when the transport is closed.
    pub(super) fn poll_transport(&self, cx: &mut Context<'_>) -> Poll<()> {
        let life = &self.lane.life;
        loop {
            match life.transport() {
                Transport::Open => {
                    self.read_ahead();
                    if life.is_transport_open() {
                        return Poll::Pending;
                    }
                }
                Transport::Flushing { linger } => {
                    self.lane().flush();
                    if self.lane.has_backlog() && self.poll_flush(cx).is_pending() {
                        return Poll::Pending;
                    }
                    let mut input = self.lock_input();
                    if !linger || life.has_input_ended() || !input.may_linger() {
                        // TLS tells the peer that no bytes are missing (`close_notify`), and a stream of HTTP/2 ends.
                        let _ = input.reader.poll_shutdown_driven(cx);
                        life.set_transport(Transport::Closed);
                        continue;
                    }
                    self.lane.lock_out().shut_down();
                    // A transport that cannot end its sending direction at once ends it when it is dropped.
                    let _ = input.reader.poll_shutdown_driven(cx);
                    let by = self.now().after(LINGER);
                    let by = input.close_by.get().map_or(by, |limit| limit.min(by));
                    input.close_by.set(by);
                    life.set_transport(Transport::Lingering);
                    drop(input);
                    self.arm(by);
                }
                Transport::Lingering => {
                    let mut input = self.lock_input();
                    input.buffer.discard();
                    match input.poll_fill(self, buffer::READ_BUFFER) {
                        Poll::Ready(Fill::End) => life.set_transport(Transport::Closed),
                        Poll::Ready(_) => {}
                        Poll::Pending if input.has_read_all() => {
                            life.set_transport(Transport::Closed);
                        }
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

    /// Begins to close the connection. Any task may call this.
    pub(crate) fn signal_close(&self) {
        {
            let mut input = self.lock_input();
            if self.lane.life.is_transport_open() {
                self.begin_linger(&mut input);
            }
        }
        self.lane.life.advance(Sending::Closing);
        self.driver.signal(signals::RECHECK);
        self.lane().settle_closed();
    }

    /// Makes the connection an event stream. The task discards all later bytes from the client.
    pub(crate) fn begin_events(&self, format: WireFormat) {
        // The head of the response is in the queue before another task can get a handle to the event stream. Otherwise an
        // event could overtake the head. It leaves when the handler joins a room, or first waits: a client that has
        // received it is a member.
        self.lane().queue_cork();
        let mut input = self.lock_input();
        if matches!(input.mode, Mode::Discard) {
            return;
        }
        input.mode = Mode::Discard;
        input.wait_for(Wait::Nothing, self.now());
        drop(input);
        self.set_format(format);
        if let Some(every) = self.env.config.sse_heartbeat {
            self.arm(self.now().after(every));
        }
        if self.env.is_shutting_down() {
            // The task may have handled the shutdown already, when the connection was not an event stream yet. The
            // signal makes the task handle the shutdown again, and end the event stream.
            self.driver.signal(signals::SHUTDOWN);
        }
    }

    /// Returns whether a WebSocket or an event stream has begun to close. Its peer then counts as gone.
    pub(super) fn is_ending(&self) -> bool {
        !self.lane.life.is_transport_open() && self.lane.format() != WireFormat::Http
    }

    /// Closes the socket, even if the program still has handles to the connection.
    fn close_transport(&self) {
        {
            let mut input = self.lock_input();
            if matches!(input.reader, Reader::Closed) {
                return;
            }
            self.lane.life.set_input_ended();
            input.reader = Reader::Closed;
            input.buffer = buffer::ReadBuffer::default();
            input.close_by = MaybeTick::NONE;
            input.wait = Wait::Nothing;
            if let Some(websocket) = input.websocket() {
                websocket.set_lost();
                websocket.drop_window();
            }
            input.wake_readers();
        }
        let waiters = {
            let mut out = self.lane.lock_out();
            out.drop_window();
            out.lose(self.lane());
            out.close();
            self.lane.end_backlog();
            out.take_waiters()
        };
        // Wakes the tasks that began to wait while the connection closed.
        waiters.wake();
    }
}

impl LaneRef<'_> {
    /// Ends an event stream, after the messages that are on their way to it. With `drop_unsent`, ends it at once: all
    /// events of the outbox except the first are dropped, and no last chunk follows, because events are missing.
    pub(crate) fn end_events(self, drop_unsent: bool) {
        #[cfg(feature = "http2")]
        if drop_unsent && let Some(stream) = self.link.lock_input().reader.http2() {
            stream.set_cut();
        }
        let (order, last) = match self.lane.format() {
            _ if drop_unsent => (LastOrder::DropUnsent, &b""[..]),
            WireFormat::EventStreamChunked => (LastOrder::Held, LAST_CHUNK),
            _ => (LastOrder::Held, &b""[..]),
        };
        match self.send_last(last, AfterLast::Close, order) {
            Ok(Some(number)) => self.ask(number),
            // The stream ends already, when its barriers let it.
            Err(_) if self.lane.life.is_held() => {}
            Ok(None) | Err(_) => self.link.signal_close(),
        }
        if drop_unsent {
            // The client may have read nothing for long. It gets the time of a closing WebSocket.
            let by = self.link.now().after(self.link.env.config.close_timeout);
            self.link.lock_input().close_by.set_first(by);
            self.link.arm(by);
        }
    }
}

#[cfg(test)]
mod tests;
