//! Sending answers: responses, bodies in pieces, and raw bytes of the program.

use bytes::Bytes;

use super::{Answer, Exchange};
use crate::{
    conn::lane::Awaited,
    error::ResponseError,
    http::{Framing, Head, Headers},
    proto::http::track::events_of,
    wire::WireFormat,
};

impl Exchange {
    /// Sends a response whose body is complete.
    pub(crate) fn send_response(&mut self, head: Head<'_>) -> Result<(), ResponseError> {
        let response = head.response;
        let framing = match head.framing() {
            // The body is complete, so the head states its length, even if the type is `text/event-stream`.
            Framing::UntilClose => Framing::Length(response.body().len() as u64),
            framing => framing,
        };
        let closes = self.send_head(head, framing, Some(response.body_bytes()), false)?;
        self.answer = Answer::Typed { closes };
        Ok(())
    }

    /// Sends the head of a response whose body follows by [`send_data`](Self::send_data) and
    /// [`end_body`](Self::end_body). Returns false if no body follows.
    #[inline(never)]
    pub(crate) fn begin_body(
        &mut self,
        head: Head<'_>,
        framing: Framing,
    ) -> Result<bool, ResponseError> {
        let response = head.response;
        let framing = match response.is_empty_by_status() {
            true => head.framing(),
            false => framing,
        };
        let follows =
            response.allows_body() && !self.wire.facts.is_head && framing != Framing::Length(0);
        let closes = self.send_head(head, framing, None, follows)?;
        self.answer = match follows {
            true => Answer::Streaming {
                closes,
                chunked: framing == Framing::Chunked,
            },
            false => Answer::Typed { closes },
        };
        Ok(follows)
    }

    /// Sends a piece of the body that [`begin_body`](Self::begin_body) has begun. Does nothing if no body is in
    /// progress.
    pub(crate) fn send_data(&self, piece: &Bytes) -> Result<(), ResponseError> {
        match self.answer {
            // An empty chunk would end the body.
            Answer::Streaming { chunked, .. } if !piece.is_empty() => {
                self.wire.send_data(piece, chunked)
            }
            _ => Ok(()),
        }
    }

    /// Ends the body. A body in chunks, and a stream of HTTP/2, then end with `trailers`.
    pub(crate) fn end_body(&mut self, trailers: &Headers) {
        if let Answer::Streaming { closes, chunked } = self.answer {
            self.wire.finish(chunked, trailers);
            self.answer = Answer::Typed { closes };
        }
    }

    /// Sends a head, and `body` if the body is complete. Returns whether the connection closes after the answer.
    /// `may_read` is true if the program may still read the body of the request to produce the rest of the answer.
    #[inline(always)]
    fn send_head(
        &mut self,
        head: Head<'_>,
        framing: Framing,
        body: Option<&Bytes>,
        may_read: bool,
    ) -> Result<bool, ResponseError> {
        if !self.answer.can_begin() {
            return Err(ResponseError::AlreadyComplete);
        }
        let connection = self.connection();
        if !connection.lane.is_open() {
            return Err(ResponseError::ConnectionClosed);
        }
        let closes = self.wire.closes
            || self.wire.closes_after(head, framing)
            || self.body_requires_close(may_read);
        self.end_expectation();
        connection.lane.set_awaited(Awaited::Nothing);
        self.wire.send_head(head, framing, body, closes)?;
        self.record.set_status(head.response.get_status_code());
        Ok(closes)
    }

    /// Sends a 101 that the program itself has built.
    pub(crate) fn send_switching(&mut self, head: Head<'_>) -> Result<(), ResponseError> {
        let mut bytes = Vec::with_capacity(256);
        self.wire.write_switching(&mut bytes, head);
        self.send_raw(&bytes)
    }

    /// Sends raw bytes of the program: parts of an HTTP response, whole WebSocket frames, or events.
    pub(crate) fn send_raw(&mut self, data: &[u8]) -> Result<(), ResponseError> {
        self.connection().driver.charge(32 + data.len() / 4);
        if self.answer.is_accepted() && !data.is_empty() {
            match is_http(data) {
                // The 101 was already sent. After it, a response would be an invalid frame.
                true if !self.withdraw_handshake() => return Err(ResponseError::AlreadyComplete),
                true => {}
                false => self.answer_handshake(),
            }
        }
        if matches!(self.answer, Answer::Opening) {
            // A response middleware tries to answer while the head of an event stream is pending. The event stream is
            // the answer, so these bytes are refused.
            return Err(ResponseError::AlreadyComplete);
        }
        let connection = self.connection();
        if !connection.lane.is_open() {
            connection.driver.count_failed_send(connection.id());
            return Err(ResponseError::ConnectionClosed);
        }
        if self.answer.is_event_stream()
            && connection.lane.is_at_line_end()
            && data.starts_with(HTTP)
        {
            // No line of an event stream begins like a response, so these bytes are no events. Programs for published
            // versions build the whole response anew for each event: its body is the event. A response middleware that
            // tries to answer after an event stream has begun is refused.
            return match (&self.answer, events_of(data)) {
                (Answer::Raw(raw), Some(events)) if !raw.is_handled() => self.send_http(events),
                _ => Err(ResponseError::AlreadyComplete),
            };
        }
        match self.answer {
            // `data` is empty here, and empty bytes do not answer the handshake.
            Answer::Accepted => Ok(()),
            Answer::Switched => {
                self.wire.write(data);
                Ok(())
            }
            Answer::Events { .. } => {
                self.wire.write(&connection.lane.format().frame(data));
                connection.lane.track_line_end(data);
                Ok(())
            }
            _ => self.send_http(data),
        }
    }

    /// Sends a part of an HTTP response that the program writes itself.
    fn send_http(&mut self, data: &[u8]) -> Result<(), ResponseError> {
        let Some(tracker) = self.tracker() else {
            return Err(ResponseError::AlreadyComplete);
        };
        let tracked = tracker.track(data);
        let (has_started, status) = (tracker.started(), tracker.status());
        let is_event_stream = tracker.is_event_stream();
        if has_started {
            self.end_expectation();
        }
        if let Some(status) = status {
            self.record.set_status(usize::from(status));
        }
        self.wire.write_text(tracked.to_wire(data));
        if is_event_stream {
            let connection = self.connection();
            connection.begin_events(WireFormat::EventStream);
            connection.lane.track_line_end(data);
        }
        match tracked.excess {
            0 => Ok(()),
            _ => Err(ResponseError::AlreadyComplete),
        }
    }

    /// Ends the expectation of `100 Continue`: the client gets a final answer instead.
    pub(super) fn end_expectation(&self) {
        if let Some(body) = &self.body {
            body.end_expectation();
        }
    }

    /// Returns whether the unread rest of the request's body requires the connection to close after the answer.
    fn body_requires_close(&self, may_read: bool) -> bool {
        self.body
            .as_ref()
            .is_some_and(|body| body.requires_close(may_read))
    }
}

/// The first bytes of an HTTP/1 response.
const HTTP: &[u8] = b"HTTP/1.";

/// Returns whether `data` begins with [`HTTP`], or is itself a beginning of [`HTTP`].
fn is_http(data: &[u8]) -> bool {
    data.starts_with(HTTP) || HTTP.starts_with(data)
}
