//! A request becomes something else: a WebSocket, or a stream of events.

use super::{Answer, Exchange};
use crate::{
    conn::{extensions::Extensions, handshake::Handshake},
    error::{RequestError, ResponseError},
    http::{Head, Headers, Response},
    proto::http::chunked::LAST_CHUNK,
};

/// What an upgrade finds.
pub(crate) enum Upgradable {
    /// A handshake that is checked next.
    Request,
    /// A handshake that is accepted.
    Accepted,
    /// A WebSocket, or the program's own 101, which promises one.
    Switched,
}

impl Exchange {
    /// Whether the connection can become a WebSocket, or is one.
    ///
    /// # Errors
    /// [`RequestError::Upgraded`] where the request is answered, [`RequestError::BodyUnavailable`] where the bytes of its body
    /// would be taken for frames.
    pub(crate) fn upgradable(&self) -> Result<Upgradable, RequestError> {
        match &self.answer {
            Answer::Switched => Ok(Upgradable::Switched),
            Answer::Accepted => Ok(Upgradable::Accepted),
            answer if answer.is_switching_raw() => Ok(Upgradable::Switched),
            answer if !answer.can_begin() => Err(RequestError::Upgraded),
            _ if self.has_body_left() => Err(RequestError::BodyUnavailable),
            _ => Ok(Upgradable::Request),
        }
    }

    /// Accepts a handshake. Its 101 waits for the first read, send or `upgrade`.
    pub(crate) fn accept_handshake(&mut self, handshake: Box<Handshake>) {
        self.connection().keep_handshake(handshake);
        self.answer = Answer::Accepted;
    }

    /// Sends the 101 of a handshake with what the program has set.
    pub(crate) fn send_handshake(&mut self, handshake: Handshake, added: &Headers) {
        self.wire.switch_to_websocket(handshake, added);
        self.set_switched();
    }

    /// Sends the 101 of an accepted handshake with what was set when it was accepted.
    pub(crate) fn answer_handshake(&mut self) {
        if self.answer.is_accepted() {
            self.connection().answer_handshake();
            self.set_switched();
        }
    }

    /// Notes that the connection is a WebSocket.
    pub(crate) fn set_switched(&mut self) {
        self.answer = Answer::Switched;
        self.record.set_status(101);
    }

    /// Makes an accepted handshake an ordinary request again; false if its 101 is out.
    pub(crate) fn withdraw_handshake(&mut self) -> bool {
        let is_open = self.connection().lock_input().take_handshake().is_some();
        match is_open {
            true => self.answer = Answer::None,
            false => self.set_switched(),
        }
        is_open
    }

    /// Makes the connection a WebSocket for a program that has promised one by a 101 of its own; false if none was promised.
    pub(crate) fn switch_raw(&mut self) -> bool {
        let is_promised = self.answer.is_switching_raw();
        if is_promised {
            self.connection()
                .begin_websocket(Extensions::default(), None);
            self.answer = Answer::Switched;
        }
        is_promised
    }

    /// Makes the connection the WebSocket that the program's own 101 said it is, if no hook has used it as one: it is closed
    /// as one, too.
    pub(crate) fn finish_switching(&mut self) {
        if self.connection().lane.is_open() {
            self.switch_raw();
        }
    }

    /// Prepares a stream of events: until its head goes out, response middleware works on it.
    pub(crate) fn open_events(&mut self, response: &Response) -> Result<(), ResponseError> {
        if self.answer.is_accepted() {
            self.withdraw_handshake();
        }
        self.check_events(response)?;
        self.answer = Answer::Opening;
        Ok(())
    }

    /// Gives up to open a stream of events, whose head is not out: the hook can answer otherwise.
    pub(crate) fn cancel_opening(&mut self) {
        if self.answer.is_opening() {
            self.answer = Answer::None;
        }
    }

    fn check_events(&self, response: &Response) -> Result<(), ResponseError> {
        if !self.answer.can_begin() {
            return Err(ResponseError::AlreadyComplete);
        }
        if !self.connection().lane.is_open() {
            return Err(ResponseError::ConnectionClosed);
        }
        if response.is_empty_by_status() {
            return Err(ResponseError::NoContent);
        }
        Ok(())
    }

    /// Sends the head of an event stream, whose type the response has.
    pub(crate) fn begin_events(&mut self, head: Head<'_>) -> Result<(), ResponseError> {
        self.check_events(head.response)?;
        let chunked = !self.wire.facts.is_1_0 && !head.response.get_version().is_http1_0();
        self.end_expectation();
        self.wire.switch_to_events(head, chunked);
        self.record.set_status(head.response.get_status_code());
        self.answer = Answer::Events { chunked };
        // Only the head was asked for.
        self.closes |= self.wire.facts.is_head;
        Ok(())
    }

    /// Ends a typed event stream with its last chunk.
    pub(crate) fn end_events(&mut self) {
        if matches!(self.answer, Answer::Events { chunked: true })
            && self.connection().lane.is_open()
        {
            self.wire.write(LAST_CHUNK);
        }
    }
}
