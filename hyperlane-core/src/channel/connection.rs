//! The connection that a channel writes to: encoding of messages, and acknowledgements.

use std::sync::Arc;

use base64::{Engine, engine::general_purpose::STANDARD};

use super::{
    log::{Item, ResumeId},
    state::Connection,
};
use crate::{
    conn::{
        acks::Acks,
        link::Link,
        outbox::Outbox,
        send::{Limit, Order, Payload},
    },
    error::PushError,
    proto::{
        sse::{Event, event::POSITION},
        ws::{CloseCode, Message},
    },
};

/// A connection that the channel writes to.
pub(crate) struct ChannelConnection {
    connection: Arc<Link>,
    /// The acknowledgements of a WebSocket; `None` for an event stream.
    acks: Option<Arc<Acks>>,
    /// Number of the request that opened the connection.
    number: u64,
}

impl ChannelConnection {
    pub(crate) fn new(connection: Arc<Link>, acks: Option<Arc<Acks>>, number: u64) -> Self {
        Self {
            connection,
            acks,
            number,
        }
    }

    pub(crate) fn connection(&self) -> &Arc<Link> {
        &self.connection
    }

    fn send(&self, payload: Payload<'_>) -> Result<(), PushError> {
        self.connection
            .lane()
            .send(payload, Order::Own, Limit::Mark)
    }

    pub(crate) fn write_control(&self, message: &Message) -> Result<(), PushError> {
        match self.connection.lane.format().is_websocket() {
            true => self.send(Payload::Message(message)),
            false => Ok(()),
        }
    }

    /// Closes the connection after all written messages are sent.
    pub(crate) fn close(&self, code: CloseCode, reason: &str) {
        Outbox::new(self.connection.clone()).close(code, reason, false);
    }
}

/// Closes a connection that was opened with a former id of the session, an id that was replaced. The response to the
/// request that replaced the id sets a cookie with the new id. With this cookie, the client can connect again.
pub(crate) fn close_for_new_id(connection: &Arc<Link>) {
    Outbox::new(connection.clone()).close(
        CloseCode::SERVICE_RESTART,
        "the session has another id: connect again",
        false,
    );
}

/// Makes an event whose data repeats its id. The event needs data, because Firefox and WebKit ignore the id of an event
/// without data.
pub(crate) fn position_event(name: &str, id: ResumeId) -> Event {
    Event::new()
        .event(name)
        .id(id.to_string())
        .data(id.to_string())
}

/// Encodes an item as an event with an id and with data. A message that is not text becomes base64 in an event named
/// `binary`. The program's event without data becomes a [`position_event`] that also has the program's fields.
fn event(id: ResumeId, item: &Item) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let message = match item {
        Item::Message(message) => message,
        Item::Event { fields, has_data } => {
            bytes.extend_from_slice(fields);
            match has_data {
                // The encoded fields end with the data. The id and an empty line complete the event.
                true => bytes.extend_from_slice(format!("id: {id}\n\n").as_bytes()),
                false => position_event(POSITION, id).encode(&mut bytes).ok()?,
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

impl Connection for ChannelConnection {
    fn write(&self, id: ResumeId, item: &Item) -> Result<(), PushError> {
        let format = self.connection.lane.format();
        match item {
            Item::Message(message) if format.is_websocket() => {
                self.send(Payload::Message(message))?
            }
            // A WebSocket cannot carry an event, so the channel skips it.
            Item::Event { .. } if format.is_websocket() => {}
            item => {
                let event = event(id, item).ok_or(PushError::Closed)?;
                self.send(Payload::Shared(&format.frame(&event)))?;
            }
        }
        self.connection.env.metrics.message_sent();
        if let Some(acks) = &self.acks {
            acks.set_written(id.offset);
        }
        Ok(())
    }

    fn acknowledged(&self) -> u64 {
        self.acks.as_ref().map_or(0, |acks| acks.acknowledged())
    }

    fn is_paused(&self) -> bool {
        self.acks.as_ref().is_some_and(|acks| acks.is_paused())
    }

    fn number(&self) -> u64 {
        self.number
    }

    fn request_ack(&self) {
        let Some(acks) = &self.acks else { return };
        if let Some(ping) = acks.next_ping(self.connection.now())
            && self.send(Payload::Message(&Message::Ping(ping))).is_err()
        {
            acks.clear_pending_ping();
        }
    }

    fn request_ack_soon(&self) {
        let due = self.acks.as_ref().and_then(|acks| acks.ping_due());
        match due {
            Some(due) if due <= self.connection.now() => self.request_ack(),
            Some(due) => self.connection.arm(due),
            // There are three cases. The connection is an event stream, or all messages are acknowledged, or a ping is
            // pending. The pong to a pending ping will trigger the next ping.
            None => {}
        }
    }
}
