//! Switching a connection from requests to a WebSocket or an event stream.

use super::{Answer, Exchange};
use crate::{
    conn::{extensions::Extensions, handshake::Handshake},
    error::{RequestError, ResponseError},
    http::{Head, Headers, Response},
    proto::http::chunked::LAST_CHUNK,
};

/// State of a connection that is about to be upgraded.
pub(crate) enum Upgradable {
    /// A request whose handshake is checked next.
    Request,
    /// A request whose handshake is accepted.
    Accepted,
    /// A WebSocket, or a connection with the program's own 101.
    Switched,
}

impl Exchange {
    /// Returns whether the connection can become a WebSocket or is one.
    ///
    /// # Errors
    /// [`RequestError::Upgraded`] if the request is answered, [`RequestError::BodyUnavailable`] if its body is
    /// unread and would be taken for frames.
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

    /// Accepts a handshake. The first read, send or `upgrade` sends its 101.
    pub(crate) fn accept_handshake(&mut self, handshake: Box<Handshake>) {
        self.connection().keep_handshake(handshake);
        self.answer = Answer::Accepted;
    }

    /// Sends the 101 of a handshake with the fields that the program has set.
    pub(crate) fn send_handshake(&mut self, handshake: Box<Handshake>, added: &Headers) {
        self.wire.switch_to_websocket(handshake, added);
        self.set_switched();
    }

    /// Sends the 101 of an accepted handshake with the fields of its acceptance.
    pub(crate) fn answer_handshake(&mut self) {
        if self.answer.is_accepted() {
            self.connection().answer_handshake();
            self.set_switched();
        }
    }

    /// Sets the answer to `Switched`.
    pub(crate) fn set_switched(&mut self) {
        self.answer = Answer::Switched;
        self.record.set_status(101);
    }

    /// Withdraws the acceptance of a handshake, so that HTTP can answer it; returns false if its 101 was sent.
    pub(crate) fn withdraw_handshake(&mut self) -> bool {
        let is_open = self.connection().lock_input().take_handshake().is_some();
        match is_open {
            true => self.answer = Answer::None,
            false => self.set_switched(),
        }
        is_open
    }

    /// Makes the connection a WebSocket after the program's own 101; returns false if there was none.
    pub(crate) fn switch_raw(&mut self) -> bool {
        let is_promised = self.answer.is_switching_raw();
        if is_promised {
            self.connection()
                .begin_websocket(Extensions::default(), None);
            self.answer = Answer::Switched;
        }
        is_promised
    }

    /// Makes the connection a WebSocket after the program's own 101 if no hook has, so that it is closed as one.
    pub(crate) fn finish_switching(&mut self) {
        if self.connection().lane.is_open() {
            self.switch_raw();
        }
    }

    /// Opens an event stream. Response middleware works on its head before that is sent.
    pub(crate) fn open_events(&mut self, response: &Response) -> Result<(), ResponseError> {
        if self.answer.is_accepted() {
            self.withdraw_handshake();
        }
        self.check_events(response)?;
        self.answer = Answer::Opening;
        Ok(())
    }

    /// Cancels an event stream whose head was not sent, so that the hook can send another answer.
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

    /// Sends the head of an event stream. The response has its content type.
    pub(crate) fn begin_events(&mut self, head: Head<'_>) -> Result<(), ResponseError> {
        self.check_events(head.response)?;
        let chunked = !self.wire.facts.is_1_0 && !head.response.get_version().is_http1_0();
        self.end_expectation();
        self.wire.switch_to_events(head, chunked);
        self.record.set_status(head.response.get_status_code());
        self.answer = Answer::Events { chunked };
        // HEAD asks only for the head.
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
