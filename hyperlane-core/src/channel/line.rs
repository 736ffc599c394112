//! A connection as a channel sees it.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;

use super::{
    log::{Item, ResumeId},
    state::Link,
};
use crate::{
    conn::{Conn, WireFormat, out::PushError},
    proto::{
        sse::Event,
        ws::{CloseCode, Message},
    },
    sse::LAST_CHUNK,
};

/// How far a WebSocket is: pings carry the offset of what was written before them, and pongs bring it back
/// (RFC 6455 §5.5.3).
#[derive(Debug, Default)]
pub(crate) struct Acks {
    written: AtomicU64,
    acknowledged: AtomicU64,
    /// A ping of the channel's own is out.
    asked: AtomicBool,
    /// Something was acknowledged that the channel has not looked at.
    news: AtomicBool,
}

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
        self.asked.store(false, Ordering::Release);
        let before = self.acknowledged.fetch_max(stamp, Ordering::AcqRel);
        let is_new = before < stamp;
        if is_new {
            self.news.store(true, Ordering::Release);
        }
        is_new
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

/// An item as an event with its id. Bytes that are no text have a kind of their own, in base64.
fn event(id: ResumeId, item: &Item) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let message = match item {
        Item::Message(message) => message,
        Item::Event(fields) => {
            bytes.extend_from_slice(fields);
            // Of several ids in an event the last one counts.
            Event::new().id(id.to_string()).encode(&mut bytes).ok()?;
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
            Item::Event(_) if format.is_websocket() => {}
            item => {
                let event = event(id, item).ok_or(PushError::Closed)?;
                self.connection
                    .send_bytes(&crate::sse::frame(format, &event))?;
            }
        }
        self.connection.server.metrics.message_sent();
        if let Some(acks) = &self.acks {
            acks.written.store(id.offset, Ordering::Release);
        }
        Ok(())
    }

    fn acknowledged(&self) -> u64 {
        self.acks
            .as_ref()
            .map_or(0, |acks| acks.acknowledged.load(Ordering::Acquire))
    }

    fn number(&self) -> u64 {
        self.number
    }

    fn ask(&self) {
        let Some(acks) = &self.acks else { return };
        if acks.stamp() > self.acknowledged() && !acks.asked.swap(true, Ordering::AcqRel) {
            let ping = Message::Ping(ping(0, acks));
            if self.connection.send_message(&ping).is_err() {
                acks.asked.store(false, Ordering::Release);
            }
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
