//! Switching a connection from requests to a WebSocket or an event stream.

use super::{Answer, Exchange};
use crate::{
    conn::{extensions::Extensions, handshake::Handshake},
    error::{RequestError, ResponseError},
    http::{Head, Headers, Response},
    proto::http::chunked::LAST_CHUNK,
};

/// The step that a connection has reached on its way to a WebSocket.
pub(crate) enum Upgradable {
    /// A request whose handshake is checked next.
    Request,
    /// A request whose handshake is accepted.
    Accepted,
    /// A WebSocket, or a connection on which the program has sent a 101 of its own.
    Switched,
}

impl Exchange {
    /// Returns the step that the connection has reached on its way to a WebSocket.
    ///
    /// # Errors
    /// [`RequestError::Upgraded`] if a response or an event stream has begun. [`RequestError::BodyUnavailable`] if the
    /// body of the request is unread: the server would parse the rest of the body as frames.
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

    /// Accepts a WebSocket handshake without sending the response, the 101. The 101 is sent when the handler (the
    /// program's function for the route) first reads or sends, or calls `Context::upgrade`.
    pub(crate) fn accept_handshake(&mut self, handshake: Box<Handshake>) {
        self.connection().keep_handshake(handshake);
        self.answer = Answer::Accepted;
    }

    /// Sends the 101 of a handshake with the fields that the program has set.
    pub(crate) fn send_handshake(&mut self, handshake: Box<Handshake>, added: &Headers) {
        self.wire.switch_to_websocket(handshake, added);
        self.set_switched();
    }

    /// Sends the 101 of an accepted handshake, without further fields from the handler.
    pub(crate) fn answer_handshake(&mut self) {
        if self.answer.is_accepted() {
            self.connection().answer_handshake();
            self.set_switched();
        }
    }

    /// Sets the answer to `Switched`, and the recorded status to 101.
    pub(crate) fn set_switched(&mut self) {
        self.answer = Answer::Switched;
        self.record.set_status(101);
    }

    /// Withdraws the acceptance of a handshake. The program can then answer the request by HTTP. Returns false if the
    /// 101 was already sent.
    pub(crate) fn withdraw_handshake(&mut self) -> bool {
        let is_open = self.connection().lock_input().take_handshake().is_some();
        match is_open {
            true => self.answer = Answer::None,
            false => self.set_switched(),
        }
        is_open
    }

    /// Makes the connection a WebSocket after the program has sent its own 101. Returns false if the program has not
    /// sent a 101.
    pub(crate) fn switch_raw(&mut self) -> bool {
        let is_promised = self.answer.is_switching_raw();
        if is_promised {
            self.connection()
                .begin_websocket(Extensions::default(), None);
            self.answer = Answer::Switched;
        }
        is_promised
    }

    /// Makes the connection a WebSocket after a handler has sent its own 101 and returned without using the WebSocket.
    /// The server can then close the connection with a Close frame.
    pub(crate) fn finish_switching(&mut self) {
        if self.connection().lane.is_open() {
            self.switch_raw();
        }
    }

    /// Reserves the answer for an event stream. An accepted handshake is withdrawn. The response middleware runs next,
    /// and then [`begin_events`](Self::begin_events) sends the head.
    pub(crate) fn open_events(&mut self, response: &Response) -> Result<(), ResponseError> {
        if self.answer.is_accepted() {
            self.withdraw_handshake();
        }
        self.check_events(response)?;
        self.answer = Answer::Opening;
        Ok(())
    }

    /// Cancels an event stream whose head was not sent. The hook can then send another answer.
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

    /// Sends the head of an event stream. The response already has the content type.
    pub(crate) fn begin_events(&mut self, head: Head<'_>) -> Result<(), ResponseError> {
        self.check_events(head.response)?;
        let chunked = !self.wire.is_http2()
            && !self.wire.facts.is_1_0
            && !head.response.get_version().is_http1_0();
        self.end_expectation();
        self.wire.switch_to_events(head, chunked);
        self.record.set_status(head.response.get_status_code());
        self.answer = Answer::Events { chunked };
        // The answer to HEAD has no body, so no event may follow. Nor can another request follow, because a connection
        // stays an event stream. So the connection closes.
        self.wire.closes |= self.wire.facts.is_head;
        Ok(())
    }

    /// Ends an event stream, after the messages that are on their way to it. A chunked stream of typed events gets its
    /// last chunk. Does nothing for any other answer, or if the lane is closed.
    pub(crate) fn end_events(&mut self) {
        let lane = &self.connection().lane;
        if !self.answer.is_event_stream() || !lane.is_open() {
            return;
        }
        if lane.has_barriers() {
            self.connection().lane().end_events(false);
        } else if matches!(self.answer, Answer::Events { chunked: true }) {
            // One write for the last events and the last chunk.
            self.wire.write(LAST_CHUNK);
            lane.life.refuse_messages();
        }
    }
}
