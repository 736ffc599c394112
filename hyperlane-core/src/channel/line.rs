//! A connection as a channel sees it.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
};

use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;

use super::{
    log::{Item, ResumeId},
    state::Link,
};
use crate::{
    conn::{Conn, timers::Tick},
    error::PushError,
    proto::{
        http::chunked::LAST_CHUNK,
        sse::{Event, POSITION},
        ws::{CloseCode, Message},
    },
    wire::WireFormat,
};

/// How far a WebSocket is: pings carry the offset of what was written before them, and pongs bring it back
/// (RFC 6455 §5.5.3).
#[derive(Debug, Default)]
pub(crate) struct Acks {
    written: AtomicU64,
    acknowledged: AtomicU64,
    /// A ping of the channel's own is out.
    asked: AtomicBool,
    /// The tick of the last of those.
    asked_at: AtomicU32,
    /// Nothing is read from the client, pongs neither: the program does not receive what it has said before.
    paused: AtomicBool,
    /// Something has changed that the channel has not looked at.
    news: AtomicBool,
}

/// How many ticks are between two pings that nothing but the passing of time asks for.
const ASK_EVERY: u32 = 3;

impl Acks {
    pub(crate) fn new() -> Arc<Self> {
        Arc::default()
    }

    /// The connection begins with all up to this offset.
    pub(crate) fn begin(&self, from: u64) {
        self.written.store(from, Ordering::Release);
        self.acknowledged.store(from, Ordering::Release);
    }

    /// What a ping that is sent now proves when it comes back.
    pub(crate) fn stamp(&self) -> u64 {
        self.written.load(Ordering::Acquire)
    }

    /// A pong has brought a stamp back. What was never written cannot have arrived, whatever a client says. True for
    /// something new.
    pub(crate) fn returned(&self, stamp: u64) -> bool {
        let stamp = stamp.min(self.stamp());
        let before = self.acknowledged.fetch_max(stamp, Ordering::AcqRel);
        let is_new = before < stamp;
        if is_new {
            self.news.store(true, Ordering::Release);
        }
        is_new
    }

    /// Some pong has come: the next ping may go out.
    pub(crate) fn answered(&self) {
        self.asked.store(false, Ordering::Release);
    }

    fn acknowledged(&self) -> u64 {
        self.acknowledged.load(Ordering::Acquire)
    }

    /// When the client has to be asked, if it is behind and no ping is out.
    pub(crate) fn due(&self) -> Option<Tick> {
        let is_due = self.stamp() > self.acknowledged() && !self.asked.load(Ordering::Acquire);
        let last = self.asked_at.load(Ordering::Acquire);
        is_due.then(|| Tick(last.saturating_add(ASK_EVERY)))
    }

    /// The payload of a ping that asks how far the client is; `None` while one is out, and where nothing is to be learned.
    pub(crate) fn ask(&self, now: Tick) -> Option<Bytes> {
        if self.stamp() <= self.acknowledged() || self.asked.swap(true, Ordering::AcqRel) {
            return None;
        }
        self.asked_at.store(now.0, Ordering::Release);
        Some(ping(0, self))
    }

    /// Reading pauses. True if it did not before.
    pub(crate) fn pause(&self) -> bool {
        let begins = !self.paused.swap(true, Ordering::AcqRel);
        if begins {
            self.news.store(true, Ordering::Release);
        }
        begins
    }

    /// Reading goes on.
    pub(crate) fn go_on(&self) {
        self.paused.store(false, Ordering::Release);
    }

    pub(crate) fn has_news(&self) -> bool {
        self.news.load(Ordering::Acquire)
    }

    pub(crate) fn take_news(&self) -> bool {
        self.has_news() && self.news.swap(false, Ordering::AcqRel)
    }
}

/// A connection that messages are written to.
pub(crate) struct Line {
    connection: Arc<Conn>,
    /// None for an event stream.
    acks: Option<Arc<Acks>>,
    /// Of the request that opened it.
    number: u64,
}

impl Line {
    pub(crate) fn new(connection: Arc<Conn>, acks: Option<Arc<Acks>>, number: u64) -> Self {
        Self {
            connection,
            acks,
            number,
        }
    }

    pub(crate) fn connection(&self) -> &Arc<Conn> {
        &self.connection
    }

    pub(crate) fn write_control(&self, message: &Message) -> Result<(), PushError> {
        match self.connection.format().is_websocket() {
            true => self.connection.send_message(message),
            false => Ok(()),
        }
    }

    /// Ends a connection that came by an id that its session has no more. The client comes back with the cookie that the
    /// answer to the renewal has set.
    pub(crate) fn close_for_new_id(&self) {
        self.close(
            CloseCode::SERVICE_RESTART,
            "the session has another id: connect anew",
        );
    }

    /// Ends the connection after what was written to it.
    pub(crate) fn close(&self, code: CloseCode, reason: &str) {
        match self.connection.format() {
            // Closed before: nothing is left to say.
            format if format.is_websocket() => {
                let _ = self.connection.close_websocket(code, reason, false);
            }
            format => {
                if format == WireFormat::EventStreamChunked {
                    let _ = self.connection.push_last(LAST_CHUNK, false);
                }
                self.connection.signal_close();
            }
        }
    }
}

/// An event with an id, which is its data as well: Firefox and WebKit ignore an id in a block without data.
pub(crate) fn at(name: &str, id: ResumeId) -> Event {
    Event::new()
        .event(name)
        .id(id.to_string())
        .data(id.to_string())
}

/// An item as an event with its id, and with data. Bytes that are no text have a kind of their own, in base64.
fn event(id: ResumeId, item: &Item) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let message = match item {
        Item::Message(message) => message,
        Item::Event { fields, has_data } => {
            bytes.extend_from_slice(fields);
            match has_data {
                // The end of the event whose data stands before it.
                true => bytes.extend_from_slice(format!("id: {id}\n\n").as_bytes()),
                false => at(POSITION, id).encode(&mut bytes).ok()?,
            }
            return Some(bytes);
        }
    };
    let event = Event::new().id(id.to_string());
    let event = match message.to_str() {
        Ok(text) => event.data(text),
        Err(_) => event
            .event("binary")
            .data(STANDARD.encode(message.as_bytes())),
    };
    event.encode(&mut bytes).ok()?;
    Some(bytes)
}

impl Link for Line {
    fn write(&self, id: ResumeId, item: &Item) -> Result<(), PushError> {
        let format = self.connection.format();
        match item {
            Item::Message(message) if format.is_websocket() => {
                self.connection.send_message(message)?
            }
            // Only event streams have events of their own.
            Item::Event { .. } if format.is_websocket() => {}
            item => {
                let event = event(id, item).ok_or(PushError::Closed)?;
                self.connection.send_bytes(&format.frame(&event))?;
            }
        }
        self.connection.server.metrics.message_sent();
        if let Some(acks) = &self.acks {
            acks.written.store(id.offset, Ordering::Release);
        }
        Ok(())
    }

    fn acknowledged(&self) -> u64 {
        self.acks.as_ref().map_or(0, |acks| acks.acknowledged())
    }

    fn is_paused(&self) -> bool {
        self.acks
            .as_ref()
            .is_some_and(|acks| acks.paused.load(Ordering::Acquire))
    }

    fn number(&self) -> u64 {
        self.number
    }

    fn ask(&self) {
        let Some(acks) = &self.acks else { return };
        if let Some(ping) = acks.ask(self.connection.now())
            && self.connection.send_message(&Message::Ping(ping)).is_err()
        {
            acks.answered();
        }
    }

    fn ask_in_time(&self) {
        let due = self.acks.as_ref().and_then(|acks| acks.due());
        match due {
            Some(due) if due <= self.connection.now() => self.ask(),
            Some(due) => self.connection.arm(due),
            // The pong that is on its way has the next one sent.
            None => {}
        }
    }
}

/// The payload of a ping: a number, and the stamp.
pub(crate) fn ping(number: u64, acks: &Acks) -> Bytes {
    let mut payload = [0; 16];
    let (left, right) = payload.split_at_mut(8);
    left.copy_from_slice(&number.to_be_bytes());
    right.copy_from_slice(&acks.stamp().to_be_bytes());
    Bytes::copy_from_slice(&payload)
}

/// Takes the payload of a pong apart.
pub(crate) fn pong(payload: &[u8]) -> Option<(u64, u64)> {
    let (number, stamp) = payload.split_first_chunk()?;
    Some((
        u64::from_be_bytes(*number),
        u64::from_be_bytes(stamp.try_into().ok()?),
    ))
}
