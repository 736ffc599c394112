//! The raw connection as hooks see it.

pub(crate) mod body;
mod content;

use std::{
    future::poll_fn,
    io,
    net::SocketAddr,
    sync::Arc,
    task::{Context as TaskContext, Poll, ready},
};

use bytes::Bytes;

use crate::{
    Context, Headers, Method, Request, RequestBody, Response, Upgrade, WebSocket,
    conn::{
        Conn,
        buffer::READ_BUFFER,
        cork,
        extensions::Extensions,
        handshake::Handshake,
        input::{Fill, Wait},
        outbox::Outbox,
        wakers::UntilEnd,
        websocket::WsEnd,
    },
    env::ids::next_id,
    error::{RequestError, ResponseError},
    hook::BodyPlan,
    http::{Framing, HttpVersion, title_case},
    observe::{self, Observed, RouteLabel},
    proto::{
        http::{
            chunked::LAST_CHUNK,
            head::{self, HeadScanner, HeadStorage},
            host::HostRefused,
            track::ResponseTracker,
        },
        ws::{
            Message,
            handshake::{self, HandshakeRequest},
        },
    },
    sse::ServerSentEvents,
    wire::WireFormat,
};

use self::body::{BodyHead, Incoming};

/// What the connection carries now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Carries {
    Http,
    /// A WebSocket handshake is accepted. Its 101 waits for the first read, send or `upgrade`, or has gone out since.
    Handshake,
    WebSocket,
    /// Typed events; `chunked` unless the client speaks HTTP/1.0.
    Events {
        chunked: bool,
    },
}

/// How the current request was answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answered {
    /// Nothing was sent.
    No,
    /// A whole response was sent; another request may follow.
    Whole,
    /// Something was sent after which only the end of the connection can follow.
    ThenClose,
    /// The connection has become a WebSocket.
    WebSocket,
}

/// The connection, lent to a hook.
///
/// What is sent during one poll of the hook leaves in one system call when that poll ends; nothing
/// is held back behind an await. Sends wait only while more than the outbox's high-water mark
/// waits for the peer.
pub struct Stream {
    connection: Arc<Conn>,
    scanner: HeadScanner,
    tracker: ResponseTracker,
    carries: Carries,
    /// A whole response went out on the typed path; with `must_close` after it.
    sent: Option<bool>,
    closed: bool,
    head_request: bool,
    version_1_0: bool,
    /// The client allows another request on this connection.
    client_keeps_alive: bool,
    /// Which request of the connection this is: 0 before the first, 1, and 2 for all after it.
    turn: u8,
    /// A request was read before the one ahead of it was answered: of answers that follow, nobody could say whose they are.
    skipped: bool,
    /// Somebody waits for a request, or has dropped that wait.
    reading: bool,
    /// The body of the current request, unless it was read before the hooks.
    body: Option<Arc<Incoming>>,
    /// The head of a response is out, and not all of its body.
    unfinished: bool,
    /// Response middleware runs before the head of an event stream.
    opening: bool,
    /// The current request, while somebody listens.
    pub(crate) observed: Option<Arc<Observed>>,
}

/// The socket of a connection, as far as it can be asked.
#[derive(Clone, Copy)]
pub struct Transport<'a>(&'a Stream);

impl Transport<'_> {
    /// The address of the peer.
    ///
    /// # Errors
    /// [`AddrNotAvailable`](io::ErrorKind::AddrNotAvailable) for a Unix socket.
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        let address = self.0.peer_addr();
        address.ok_or_else(|| io::ErrorKind::AddrNotAvailable.into())
    }
}

impl Stream {
    pub(crate) fn new(connection: Arc<Conn>) -> Self {
        Self {
            connection,
            scanner: HeadScanner::default(),
            tracker: ResponseTracker::default(),
            carries: Carries::Http,
            sent: None,
            closed: false,
            head_request: false,
            version_1_0: false,
            client_keeps_alive: true,
            turn: 0,
            skipped: false,
            reading: false,
            body: None,
            unfinished: false,
            opening: false,
            observed: None,
        }
    }

    /// A number for the request: those that came later have higher ones. A connection that was kept, by a proxy for
    /// instance, may bring a later request than one that was made after it.
    pub(crate) fn request_number(&self) -> u64 {
        match self.turn {
            0 | 1 => self.connection.id,
            _ => next_id(),
        }
    }

    /// The address of the peer at the other end of the socket; `None` for Unix sockets.
    pub fn peer_addr(&self) -> Option<SocketAddr> {
        self.connection.peer().address()
    }

    /// Gives what can be asked of the socket, under the name that Hyperlane programs use.
    pub fn get_stream(&self) -> Transport<'_> {
        Transport(self)
    }

    /// Waits until the client has gone or the server shuts down.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn closed(&self) {
        UntilEnd::new(&*self.connection, Conn::poll_over).await;
    }

    /// A future that ends when the client is gone: when it has ended its side or the connection broke.
    ///
    /// It borrows nothing, so it can be waited for beside other work on the stream or the context, and in other tasks.
    /// A client that only ended its side may still read; sends tell. While a streamed body fills the inbox (64 KiB) and
    /// nobody reads it, the end behind it is not seen.
    ///
    /// # Cancel safety
    /// Cancel safe; it can be asked for again at any time.
    ///
    /// ```
    /// use hyperlane_core::{Context, ServerHook, Status, Stream};
    ///
    /// async fn expensive() -> String {
    ///     "result".to_owned()
    /// }
    ///
    /// struct Report;
    ///
    /// impl ServerHook for Report {
    ///     async fn new(_: &mut Stream, _: &mut Context) -> Self {
    ///         Self
    ///     }
    ///
    ///     async fn handle(self, stream: &mut Stream, ctx: &mut Context) -> Status {
    ///         tokio::select! {
    ///             report = expensive() => {
    ///                 ctx.get_mut_response().set_body(report);
    ///             }
    ///             // Nobody waits for it any more.
    ///             _ = stream.disconnected() => {}
    ///         }
    ///         Status::Continue
    ///     }
    /// }
    /// ```
    pub fn disconnected(&self) -> impl Future<Output = ()> + Send + Sync + use<> {
        UntilEnd::new(self.connection.clone(), Conn::poll_disconnected)
    }

    /// A handle through which other tasks send to this connection once it is a WebSocket or an event
    /// stream. A WebSocket handshake that waits for the handler's answer is answered by this with its 101.
    pub fn outbox(&self) -> Outbox {
        if self.carries == Carries::Handshake {
            self.connection.answer_handshake();
        }
        Outbox::new(self.connection.clone())
    }

    /// Whether the connection will be closed after this request.
    pub fn get_closed(&self) -> bool {
        self.closed
    }

    /// Has the connection closed after this request; a WebSocket with a Close frame.
    pub fn set_closed(&mut self, closed: bool) -> &mut Self {
        self.closed = closed;
        self
    }

    /// Whether another request may follow, given what the client wants.
    pub fn is_keep_alive(&self, client_keeps_alive: bool) -> bool {
        client_keeps_alive && !self.closed && self.connection.is_open()
    }

    // ---------------------------------------------------------------- reading

    /// Reads the next request of this connection, body included.
    ///
    /// If the current one is unanswered, it stays so: answer it first. The connection ends with the next answer then,
    /// which the client takes for the first that is missing.
    ///
    /// # Errors
    /// [`RequestError::ConnectionClosed`] when there is no further request, or none may follow since the client or the
    /// answer said so (RFC 9112 §9.6); otherwise the rule that it breaks, after which no request can be read any more.
    ///
    /// # Cancel safety
    /// Dropped before the head is here, nothing is lost. A request whose body was still to come is, and counts as
    /// unanswered.
    pub async fn try_get_http_request(&mut self) -> Result<Request, RequestError> {
        let mut request = Request::default();
        self.try_fill_http_request(&mut request).await?;
        Ok(request)
    }

    /// Reads the next request into `request`; see [`try_get_http_request`](Self::try_get_http_request).
    ///
    /// # Errors
    /// As there.
    pub async fn try_fill_http_request(
        &mut self,
        request: &mut Request,
    ) -> Result<(), RequestError> {
        let head = self.next_head(request).await?;
        if let Err(refused) = self.check_host(request) {
            self.closed = true;
            return Err(refused.into());
        }
        if !self.start_body(request, head, BodyPlan::default())? {
            request.set_body(Box::pin(self.read_rest()).await?);
        }
        Ok(())
    }

    /// Refuses a request for a host that the server does not answer to.
    pub(crate) fn check_host(&self, request: &Request) -> Result<(), HostRefused> {
        // The target of CONNECT is for the other end of a tunnel (RFC 9110 §9.3.6), and no page can send it.
        match request.get_method() {
            Method::Connect => Ok(()),
            _ => self.connection.env.check_host(
                request.get_host(),
                self.connection.via,
                self.connection.peer(),
            ),
        }
    }

    /// Logs that the client speaks TLS.
    pub(crate) fn log_tls(&self) {
        self.connection.env.log_mix_up(
            self.peer_addr(),
            "plain",
            &"a TLS ClientHello on a plain port",
        );
    }

    /// Reads the next request as far as its body.
    #[expect(
        clippy::manual_async_fn,
        reason = "an idle connection waits in here, and an `async fn` holds its arguments twice"
    )]
    pub(crate) fn next_head<'a>(
        &'a mut self,
        request: &'a mut Request,
    ) -> impl Future<Output = Result<BodyHead, RequestError>> {
        async move {
            if self.carries != Carries::Http {
                return Err(RequestError::Upgraded);
            }
            self.reading = true;
            if self.has_body_left() {
                // A hook reads the next request before it has read the body of this one.
                Box::pin(self.finish_body()).await;
            }
            if self.closed || self.is_last() || !self.connection.is_open() {
                return Err(RequestError::ConnectionClosed);
            }
            // A client that sends and does not read gets no further answers queued.
            let room = poll_fn(|cx| self.connection.poll_room(cx)).await;
            if room.is_err() {
                self.closed = true;
                return Err(RequestError::ConnectionClosed);
            }
            self.scanner.reset();
            request.reset();
            let read = poll_fn(|cx| self.poll_head(request, cx)).await;
            self.closed |= read.is_err();
            self.reading = false;
            read
        }
    }

    fn poll_head(
        &mut self,
        request: &mut Request,
        cx: &mut TaskContext<'_>,
    ) -> Poll<Result<BodyHead, RequestError>> {
        let head = loop {
            match self.take_head(request) {
                Ok(Some(head)) => break head,
                Ok(None) => {}
                Err(error) => {
                    if matches!(error, RequestError::Head(_)) {
                        // What is known of the version is of the request before.
                        self.version_1_0 = false;
                        self.begin_response(false);
                    }
                    return Poll::Ready(Err(error));
                }
            }
            let wait = self.head_wait();
            let most = self.connection.env.head_space().max(READ_BUFFER);
            let error = match ready!(self.connection.poll_more(cx, wait, most)) {
                Fill::Bytes => continue,
                Fill::End if !self.has_begun() => RequestError::ConnectionClosed,
                Fill::End => RequestError::ClientDisconnected,
                Fill::TimedOut(Wait::Head) if self.has_begun() => {
                    self.begin_response(false);
                    match self.connection.env.is_shutting_down() {
                        true => RequestError::ShuttingDown,
                        false => RequestError::HeadTimeout,
                    }
                }
                // Full: the scanner refuses a head long before.
                Fill::TimedOut(_) | Fill::Full => RequestError::ConnectionClosed,
            };
            return Poll::Ready(Err(error));
        };
        self.turn = (self.turn + 1).min(2);
        let now = self.connection.now();
        self.connection.lock_input().wait_for(Wait::Nothing, now);
        Poll::Ready(Ok(head))
    }

    /// Whether nothing may follow the current request.
    fn is_last(&self) -> bool {
        let said_close = self.tracker.complete() && self.tracker.must_close();
        let answered = self.answered() != Answered::No;
        said_close
            || self.sent == Some(true)
            || !self.client_keeps_alive
            || (self.skipped && answered)
    }

    /// The time since a hook has dropped its wait for a request was the hook's: the client's begins anew.
    pub(crate) fn forget_reading(&mut self) {
        if std::mem::take(&mut self.reading) {
            let now = self.connection.now();
            let mut input = self.connection.lock_input();
            input.wait_for(Wait::Nothing, now);
        }
    }

    /// From here on there is a request to answer; until then, the last one's answer stands.
    fn begin_response(&mut self, head_request: bool) {
        self.head_request = head_request;
        self.sent = None;
        self.tracker.begin(head_request);
    }

    fn head_wait(&self) -> Wait {
        if self.turn == 0 || self.has_begun() {
            Wait::Head
        } else {
            Wait::Idle
        }
    }

    /// Whether anything of the next request is here. Empty lines are nothing of it, nor is the first half of one.
    fn has_begun(&self) -> bool {
        !matches!(self.connection.lock_input().buffer.unread(), [] | [b'\r'])
    }

    /// Takes a whole head off the buffer, if it is there.
    fn take_head(&mut self, request: &mut Request) -> Result<Option<BodyHead>, RequestError> {
        let limits = &self.connection.env.head_limits;
        let mut input = self.connection.lock_input();
        // Old clients send an empty line behind a body (RFC 9112 §2.2). A head that has begun starts with its method.
        while input.buffer.unread().starts_with(b"\r\n") {
            input.buffer.consume(2);
        }
        let Some(length) = self.scanner.scan(input.buffer.unread(), limits)? else {
            return Ok(None);
        };
        let bytes = input.buffer.unread().get(..length).unwrap_or_default();
        let mut storage = HeadStorage::new();
        let head = head::parse(bytes, limits, &mut storage)?;
        let head_request = head.method == "HEAD";
        self.version_1_0 = head.version == head::Version::Http10;
        // What a client sends behind CONNECT is for the other end of a tunnel, whether it waits for one or not (RFC 9110
        // §9.3.6): no request of ours.
        self.client_keeps_alive = head.keep_alive && head.method != "CONNECT";
        let version = if self.version_1_0 {
            HttpVersion::Http1_0
        } else {
            HttpVersion::Http1_1
        };
        let assigned = request.assign_head(head.method, &head.target, version);
        if assigned.is_ok() {
            let headers = request.get_mut_headers();
            for field in head.fields.iter() {
                headers.append_parsed(field.name, field.value);
            }
            // Whoever reads or passes on the fields sees one length (RFC 9110 §8.6).
            if let (true, head::BodyFraming::Length(length)) = (head.length_repeated, head.framing)
            {
                headers.remove("content-length");
                headers.append_parsed("content-length", length.to_string().as_bytes());
            }
        }
        let head_asks_upgrade = head.upgrade;
        let taken = BodyHead {
            framing: head.framing,
            expects_continue: head.expect_continue,
        };
        input.buffer.consume(length);
        drop(input);
        self.skipped |= self.turn > 0 && self.answered() == Answered::No;
        self.begin_response(head_request);
        let is_handshake =
            head_asks_upgrade && request.get_headers().has_token("upgrade", "websocket");
        self.connection.set_handshake(is_handshake);
        assigned.map_err(|_| RequestError::InvalidPath)?;
        self.connection.charge(512 + length);
        Ok(Some(taken))
    }

    /// Waits for the next data message of the WebSocket.
    ///
    /// # Errors
    /// [`RequestError::WebSocketClosed`] after a Close of the client, and the reason in every other case
    /// in which no message comes any more.
    ///
    /// # Cancel safety
    /// Cancel safe: no message is lost.
    pub async fn try_get_websocket_request(&mut self) -> Result<RequestBody, RequestError> {
        if self.carries == Carries::Handshake {
            self.switch();
        }
        if self.carries != Carries::WebSocket {
            if !self.tracker.switching() {
                return Err(RequestError::NotUpgraded);
            }
            // The program has answered the handshake itself.
            self.begin_websocket();
        }
        poll_fn(|cx| self.connection.poll_message(cx))
            .await
            .map(RequestBody::from_message)
            .map_err(|end| match end {
                WsEnd::Closed(frame) => RequestError::WebSocketClosed(frame),
                WsEnd::Violation(error) => RequestError::WebSocketProtocol(error),
                WsEnd::Lost => RequestError::ClientDisconnected,
            })
    }

    // ---------------------------------------------------------------- sending

    /// Sends raw bytes: (parts of) an HTTP response, or after an upgrade whole frames.
    ///
    /// The server follows what is sent: it knows when the response is complete, keeps the body of a
    /// response to HEAD back, and never sends a second response.
    ///
    /// # Errors
    /// [`ResponseError::ConnectionClosed`] when the client is gone, [`ResponseError::AlreadyComplete`] for
    /// bytes after a complete response.
    ///
    /// # Cancel safety
    /// The bytes are taken at the first poll; dropped later, only the wait for room is lost.
    pub async fn try_send(&mut self, data: impl AsRef<[u8]>) -> Result<(), ResponseError> {
        let sent = self.send_raw(data.as_ref());
        self.room_after(sent).await
    }

    /// As [`try_send`](Self::try_send), but an error is logged and the connection closed.
    pub async fn send(&mut self, data: impl AsRef<[u8]>) {
        let sent = self.try_send(data).await;
        self.note_failure(sent);
    }

    /// Sends several pieces as one: nothing comes between them.
    ///
    /// # Errors
    /// As [`try_send`](Self::try_send).
    pub async fn try_send_list<I>(&mut self, list: I) -> Result<(), ResponseError>
    where
        I: IntoIterator,
        I::Item: AsRef<[u8]>,
    {
        let mut whole = Vec::new();
        for piece in list {
            whole.extend_from_slice(piece.as_ref());
        }
        let sent = self.send_raw(&whole);
        self.room_after(sent).await
    }

    /// As [`try_send_list`](Self::try_send_list), but an error is logged and the connection closed.
    pub async fn send_list<I>(&mut self, list: I)
    where
        I: IntoIterator,
        I::Item: AsRef<[u8]>,
    {
        let mut whole = Vec::new();
        for piece in list {
            whole.extend_from_slice(piece.as_ref());
        }
        let sent = self.try_send(whole).await;
        self.note_failure(sent);
    }

    /// Waits until everything that was sent is with the operating system.
    ///
    /// # Errors
    /// [`ResponseError::ConnectionClosed`] when the client is gone before.
    pub async fn try_flush(&mut self) -> Result<(), ResponseError> {
        self.connection.flush_cork();
        poll_fn(|cx| self.connection.poll_flushed(cx)).await?;
        Ok(())
    }

    /// As [`try_flush`](Self::try_flush), but an error is logged and the connection closed.
    pub async fn flush(&mut self) {
        let flushed = self.try_flush().await;
        self.note_failure(flushed);
    }

    pub(crate) fn note_failure(&mut self, result: Result<(), ResponseError>) {
        if let Err(error) = result {
            tracing::debug!(peer = %self.connection.peer(), %error, "send failed: the connection is closed");
            self.closed = true;
        }
    }

    async fn room(&mut self) -> Result<(), ResponseError> {
        poll_fn(|cx| self.connection.poll_room(cx)).await?;
        Ok(())
    }

    /// As [`room`](Self::room), after a send: a hook that sends in a loop lets others run also when the client is gone.
    async fn room_after(&mut self, sent: Result<(), ResponseError>) -> Result<(), ResponseError> {
        match sent {
            Ok(()) | Err(ResponseError::ConnectionClosed) => self.room().await.and(sent),
            refused => refused,
        }
    }

    fn send_raw(&mut self, data: &[u8]) -> Result<(), ResponseError> {
        self.connection.charge(32 + data.len() / 4);
        if self.carries == Carries::Handshake && !data.is_empty() {
            match is_http(data) {
                // Too late where the 101 is out: a response would be noise among frames.
                true if !self.take_back_handshake() => return Err(ResponseError::AlreadyComplete),
                true => {}
                false => self.switch(),
            }
        }
        if self.opening {
            // Middleware that answers every request: the answer is an event stream, whose head is about to go out.
            return Err(ResponseError::AlreadyComplete);
        }
        if !self.connection.is_open() {
            self.connection.note_sent_in_vain();
            return Err(ResponseError::ConnectionClosed);
        }
        let events =
            matches!(self.carries, Carries::Events { .. }) || self.tracker.is_event_stream();
        if events && self.connection.is_at_line_end() && data.starts_with(b"HTTP/1.") {
            // Middleware that answers every request: no line of events begins like a response.
            return Err(ResponseError::AlreadyComplete);
        }
        match self.carries {
            Carries::Handshake => {}
            Carries::WebSocket => self.write(data),
            Carries::Events { .. } => {
                let framed = self.connection.format().frame(data);
                self.write(&framed);
                self.connection.note_line_end(data);
            }
            Carries::Http => {
                if self.sent.is_some() {
                    return Err(ResponseError::AlreadyComplete);
                }
                let tracked = self.tracker.track(data);
                if self.tracker.started() {
                    self.note_answer();
                }
                if let Some(status) = self.tracker.status() {
                    self.note_status(usize::from(status));
                }
                self.write(tracked.to_wire(data));
                if self.tracker.is_event_stream() {
                    self.connection.begin_events(WireFormat::EventStream);
                    self.connection.note_line_end(data);
                }
                if tracked.excess > 0 {
                    return Err(ResponseError::AlreadyComplete);
                }
            }
        }
        Ok(())
    }

    /// Whether what is unread of the body keeps the connection from going on after an answer.
    fn body_forces_close(&self, may_read: bool) -> bool {
        self.body
            .as_ref()
            .is_some_and(|body| body.forces_close(may_read))
    }

    fn note_answer(&self) {
        if let Some(body) = &self.body {
            body.note_answer();
        }
    }

    fn note_status(&self, status: usize) {
        if let Some(observed) = &self.observed {
            observed.set_status(u16::try_from(status).unwrap_or_default());
        }
    }

    fn write(&self, bytes: &[u8]) {
        self.connection.set_handshake(false);
        write_own(&self.connection, bytes);
    }

    /// The connection, while its request is a WebSocket handshake without an answer.
    pub(crate) fn open_handshake(&self) -> Option<Arc<Conn>> {
        let is_open = self.connection.is_handshake();
        is_open.then(|| self.connection.clone())
    }

    // ---------------------------------------------------------------- the server's side

    /// Sends the response: as a whole answer, or its body as a message or as events.
    pub(crate) async fn send_bare(&mut self, ctx: &mut Context) -> Result<(), ResponseError> {
        if self.opening && self.carries == Carries::Http {
            self.write_events_head(ctx)?;
            return self.room().await;
        }
        ctx.attach_session();
        if self.carries == Carries::Handshake {
            let is_streamed = ctx.get_response().is_body_streamed();
            match ctx.get_response().get_status_code() {
                // The handler refuses, or answers the handshake itself.
                101 | 400.. if self.take_back_handshake() => {}
                _ => {
                    self.switch_with(ctx, Upgrade::new())
                        .map_err(|_| ResponseError::ConnectionClosed)?;
                    if is_streamed {
                        return Err(ResponseError::NotAMessage);
                    }
                }
            }
        }
        if self.carries == Carries::Http && ctx.get_response().get_status_code() != 101 {
            ctx.refuse_interim();
        }
        let response = ctx.get_response();
        match self.carries {
            Carries::Http if self.tracker.switching() || self.tracker.started() => {
                return Err(ResponseError::AlreadyComplete);
            }
            Carries::Http if response.get_status_code() == 101 => {
                // The program answers the handshake itself.
                let mut head = ctx.get_mut_response().build();
                self.spell_names(&mut head);
                self.send_raw(&head)?;
            }
            Carries::Http if response.is_body_streamed() => {
                return Box::pin(self.send_streamed(ctx)).await;
            }
            Carries::Http => self.send_response(response, false)?,
            _ if response.is_body_streamed() => return Err(ResponseError::NotAMessage),
            Carries::WebSocket | Carries::Handshake => {
                let message = match std::str::from_utf8(response.get_body()) {
                    Ok(text) => Message::from(text),
                    Err(_) => Message::Binary(response.body_bytes().clone()),
                };
                // The send before waited for room, whoever has taken it since.
                self.connection.send_promised(&message)?;
            }
            Carries::Events { .. } => {
                let body = response.body_bytes().clone();
                let sent = self.send_raw(&body);
                return self.room_after(sent).await;
            }
        }
        self.room().await
    }

    /// Sends the response of the context as a whole.
    pub(crate) fn send_response(
        &mut self,
        response: &Response,
        close: bool,
    ) -> Result<(), ResponseError> {
        let framing = match response.framing() {
            // Events that are all here have a length like anything else.
            Framing::UntilClose => Framing::Length(response.get_body().len() as u64),
            framing => framing,
        };
        self.send_answer(response, close, framing, Some(response.body_bytes()), false)
    }

    /// Sends the response of the context, whose body is a file or a stream; waits while the client takes it.
    ///
    /// # Errors
    /// [`ResponseError`] when the client is gone, and when the body failed: then the response is unfinished.
    pub(crate) async fn send_streamed(&mut self, ctx: &mut Context) -> Result<(), ResponseError> {
        ctx.attach_session();
        let content = ctx.get_mut_response().take_body().0;
        self.send_content(ctx, content).await
    }

    /// Sends the head of a response, and its body if it is here. `may_read`: the body may read that of the request.
    fn send_answer(
        &mut self,
        response: &Response,
        close: bool,
        framing: Framing,
        body: Option<&Bytes>,
        may_read: bool,
    ) -> Result<(), ResponseError> {
        if self.carries != Carries::Http || self.sent.is_some() || self.tracker.started() {
            return Err(ResponseError::AlreadyComplete);
        }
        if !self.connection.is_open() {
            return Err(ResponseError::ConnectionClosed);
        }
        let close = close
            || self.closed
            || !self.client_keeps_alive
            || self.skipped
            || response.get_headers().has_token("connection", "close")
            || self.connection.env.is_shutting_down()
            || framing == Framing::UntilClose
            || self.body_forces_close(may_read);
        self.note_answer();
        self.connection.set_handshake(false);
        let is_1_0 = self.version_1_0 || response.get_version().is_http1_0();
        let connection = match (close, is_1_0) {
            (true, _) => Some("close"),
            (false, true) => Some("keep-alive"),
            (false, false) => None,
        };
        let body = body.filter(|_| matches!(framing, Framing::Length(1..)) && !self.head_request);
        let full = cork::with(self.connection.id, |cork| {
            self.write_head(cork.bytes(), response, framing, connection);
            if let Some(body) = body {
                cork.push(body);
            }
            cork.is_full()
        });
        match full {
            Some(true) => self.connection.flush_cork(),
            Some(false) => {}
            None => {
                let mut bytes = Vec::with_capacity(256 + body.map_or(0, Bytes::len));
                self.write_head(&mut bytes, response, framing, connection);
                if let Some(body) = body {
                    bytes.extend_from_slice(body);
                }
                self.connection.push_slice(&bytes)?;
            }
        }
        self.sent = Some(close);
        self.note_status(response.get_status_code());
        Ok(())
    }

    fn write_head(
        &self,
        out: &mut Vec<u8>,
        response: &Response,
        framing: Framing,
        connection: Option<&str>,
    ) {
        let start = out.len();
        response.write_head(out, framing, &self.connection.env.date(), connection);
        if let Some(head) = out.get_mut(start..) {
            self.spell_names(head);
        }
    }

    /// Writes the names in a head as the configuration says.
    fn spell_names(&self, head: &mut [u8]) {
        if self.connection.env.config.title_case_headers {
            title_case(head);
        }
    }

    /// How the current request was answered.
    pub(crate) fn answered(&self) -> Answered {
        match (self.carries, self.sent) {
            (Carries::WebSocket, _) => Answered::WebSocket,
            (Carries::Handshake, _) => Answered::No,
            _ if self.tracker.switching() => Answered::WebSocket,
            (Carries::Events { .. }, _) => Answered::ThenClose,
            _ if self.unfinished => Answered::ThenClose,
            (_, Some(true)) => Answered::ThenClose,
            (_, Some(false)) => Answered::Whole,
            (_, None) if !self.tracker.started() => Answered::No,
            _ if self.tracker.complete() && !self.tracker.must_close() => Answered::Whole,
            _ => Answered::ThenClose,
        }
    }

    /// Begins to observe a request, if somebody listens; `request`: method and path, unless the head was refused.
    #[cold]
    pub(crate) fn observe(&mut self, route: &Arc<RouteLabel>, request: Option<(&Method, &str)>) {
        self.observed = Observed::begin(
            &self.connection,
            &self.connection.env.metrics,
            route,
            request,
        );
    }

    /// Whether somebody may listen: looked at before anything is made ready for [`observe`](Self::observe).
    pub(crate) fn is_heard(&self) -> bool {
        observe::is_heard(&self.connection.env.metrics)
    }

    /// Works within the span of the current request.
    pub(crate) fn in_scope<R>(&self, work: impl FnOnce() -> R) -> R {
        match &self.observed {
            Some(observed) => observed.in_scope(work),
            None => work(),
        }
    }

    /// Whether a streamed response was begun and not brought to its end.
    pub(crate) fn is_unfinished(&self) -> bool {
        self.unfinished
    }

    /// Ends the connection without an answer, or without the rest of one.
    #[cfg(feature = "tower")]
    pub(crate) fn abandon(&mut self) {
        self.unfinished = true;
        self.closed = true;
    }

    /// Whether everything that the current request's answer needs was sent.
    pub(crate) fn is_complete(&self) -> bool {
        self.sent.is_some() || self.tracker.complete()
    }

    /// Whether another request is read after this one.
    pub(crate) fn goes_on(&self) -> bool {
        self.answered() == Answered::Whole
            && self.client_keeps_alive
            && !self.skipped
            && !self.closed
            && self.connection.is_open()
            && !self.connection.env.is_shutting_down()
    }

    /// Ends a typed event stream with its last chunk.
    pub(crate) fn end_events(&mut self) {
        if self.carries == (Carries::Events { chunked: true }) && self.connection.is_open() {
            self.write(LAST_CHUNK);
        }
    }

    pub(crate) fn connection(&self) -> &Arc<Conn> {
        &self.connection
    }

    /// Makes the connection a WebSocket as the program says.
    pub(crate) fn upgrade_with(
        &mut self,
        ctx: &mut Context,
        upgrade: Upgrade,
    ) -> Result<WebSocket, RequestError> {
        match self.carries {
            Carries::Http if self.tracker.switching() => {
                self.begin_websocket();
                ctx.shrink();
            }
            Carries::Http => {
                let accepted = self.check_handshake(ctx, &upgrade)?;
                self.connection.keep_handshake(accepted);
                self.carries = Carries::Handshake;
                if let Err(error) = self.switch_with(ctx, upgrade) {
                    // The hook can still answer.
                    self.take_back_handshake();
                    return Err(error);
                }
            }
            Carries::Handshake => self.switch_with(ctx, upgrade)?,
            Carries::WebSocket => {}
            Carries::Events { .. } => return Err(RequestError::Upgraded),
        }
        Ok(WebSocket::new(self.connection.clone()))
    }

    /// Refuses what [`upgrade_with`](Self::upgrade_with) would refuse, before anything begins for it.
    pub(crate) fn check_upgrade(
        &self,
        ctx: &mut Context,
        upgrade: &Upgrade,
    ) -> Result<(), RequestError> {
        match self.carries {
            Carries::Http if !self.tracker.switching() => {
                self.check_handshake(ctx, upgrade).map(drop)
            }
            _ => Ok(()),
        }
    }

    /// Accepts the handshake of a request. Its 101 waits for the first read, send or `upgrade`.
    pub(crate) fn accept_handshake(&mut self, ctx: &mut Context) -> Result<(), RequestError> {
        match self.carries {
            Carries::Http if self.tracker.switching() => {}
            Carries::Http => {
                let mut upgrade = Upgrade::new();
                let mut accepted = self.check_handshake(ctx, &upgrade)?;
                self.choose_protocol(ctx, &mut upgrade, &mut accepted)?;
                accepted.headers = ctx.get_response().get_headers().clone();
                self.connection.keep_handshake(accepted);
                self.carries = Carries::Handshake;
            }
            Carries::Handshake | Carries::WebSocket => {}
            Carries::Events { .. } => return Err(RequestError::Upgraded),
        }
        Ok(())
    }

    /// Checks what a handshake must be, and the page's origin.
    fn check_handshake(
        &self,
        ctx: &mut Context,
        upgrade: &Upgrade,
    ) -> Result<Box<Handshake>, RequestError> {
        if self.sent.is_some() || self.tracker.started() {
            return Err(RequestError::Upgraded);
        }
        if self.has_body_left() {
            // Its bytes would be taken for frames.
            return Err(RequestError::BodyUnavailable);
        }
        ctx.attach_session();
        let request = ctx.get_request();
        let headers = request.get_headers();
        let accepted = handshake::validate(HandshakeRequest {
            method: request.get_method().as_str(),
            version: if self.version_1_0 { (1, 0) } else { (1, 1) },
            headers: headers.iter(),
        })?;
        ctx.check_origin(upgrade.origins()?)?;
        let offered = headers.get_all("sec-websocket-extensions");
        Ok(Box::new(Handshake {
            accept_key: accepted.accept_key,
            extensions: Extensions::negotiate(offered, &self.connection.env.config)?,
            subprotocol: None,
            headers: Headers::new(),
            session: ctx.get_response().session().cloned(),
            path: request.get_path().into(),
            since: self.connection.now(),
        }))
    }

    fn choose_protocol(
        &self,
        ctx: &Context,
        upgrade: &mut Upgrade,
        handshake: &mut Handshake,
    ) -> Result<(), RequestError> {
        let offered = ctx.get_request().get_headers();
        let wanted = ctx.get_response().get_headers();
        handshake.subprotocol = upgrade.choose(
            offered.get_all("sec-websocket-protocol"),
            wanted.get("sec-websocket-protocol"),
            &self.connection.env.config,
        )?;
        Ok(())
    }

    /// Sends the 101 of an accepted handshake, with what the program has set by now. After an error nothing was sent.
    fn switch_with(&mut self, ctx: &mut Context, mut upgrade: Upgrade) -> Result<(), RequestError> {
        ctx.attach_session();
        if let Some(mut handshake) = self.connection.take_handshake() {
            let chosen = self.choose_protocol(ctx, &mut upgrade, &mut handshake);
            // Too late to let a page in, but not to tell of a text that is no origin.
            let checked = chosen.and_then(|()| upgrade.origins().map(|_| ()));
            let added = match checked.and_then(|()| upgrade.headers()) {
                Ok(added) => added,
                Err(error) => {
                    self.connection.keep_handshake(handshake);
                    return Err(error);
                }
            };
            handshake.headers = std::mem::take(ctx.get_mut_response().get_mut_headers());
            handshake.session = ctx.get_response().session().cloned();
            let head = handshake.head(&self.connection, added);
            self.write(&head);
            self.connection
                .begin_websocket(handshake.extensions, handshake.subprotocol);
        }
        self.carries = Carries::WebSocket;
        self.note_status(101);
        // A bare send makes it a message.
        let body = ctx.get_response().body_bytes().clone();
        ctx.shrink();
        if !body.is_empty() {
            ctx.get_mut_response().set_body_bytes(body);
        }
        Ok(())
    }

    /// Sends the 101 of an accepted handshake with what was set when it was accepted.
    fn switch(&mut self) {
        self.connection.answer_handshake();
        self.carries = Carries::WebSocket;
        self.note_status(101);
    }

    /// Makes an accepted handshake an ordinary request again; false if its 101 is out.
    fn take_back_handshake(&mut self) -> bool {
        let is_open = self.connection.take_handshake().is_some();
        self.carries = match is_open {
            true => Carries::Http,
            false => Carries::WebSocket,
        };
        if !is_open {
            self.note_status(101);
        }
        is_open
    }

    /// Whether the route has accepted a handshake whose 101 was not seen to go out.
    pub(crate) fn has_handshake(&self) -> bool {
        self.carries == Carries::Handshake
    }

    /// Settles a handshake that the route has accepted and neither answered nor used. `is_answered`: the response is an
    /// answer.
    pub(crate) fn settle_handshake(&mut self, ctx: &mut Context, is_answered: bool) {
        if self.carries != Carries::Handshake || is_answered && self.take_back_handshake() {
            return;
        }
        // The response goes, but not what its Close has to tell.
        let failure = ctx.take_failure();
        // The check of its protocol has passed before; if it fails now, the answer is the response.
        if self.switch_with(ctx, Upgrade::new()).is_err() {
            self.take_back_handshake();
        }
        if let Some(failure) = failure {
            ctx.get_mut_response().fail(*failure);
        }
    }

    fn begin_websocket(&mut self) {
        self.connection.begin_websocket(Extensions::default(), None);
        self.carries = Carries::WebSocket;
    }

    /// Makes the connection the WebSocket that the program's own 101 said it is, if no hook has used it
    /// as one: it is closed as one, too.
    pub(crate) fn finish_switching(&mut self) {
        if self.carries == Carries::Http && self.connection.is_open() {
            self.begin_websocket();
        }
    }

    /// Prepares the head of a typed event stream, which [`start_events`](Self::start_events) sends: until then response
    /// middleware works on it.
    pub(crate) fn open_events(&mut self, ctx: &mut Context) -> Result<Opening<'_>, ResponseError> {
        if self.carries == Carries::Handshake {
            self.take_back_handshake();
        }
        self.check_events(ctx)?;
        ctx.get_mut_response()
            .set_header("content-type", "text/event-stream");
        self.opening = true;
        Ok(Opening(self))
    }

    fn check_events(&self, ctx: &Context) -> Result<(), ResponseError> {
        if self.carries != Carries::Http || self.sent.is_some() || self.tracker.started() {
            return Err(ResponseError::AlreadyComplete);
        }
        if !self.connection.is_open() {
            return Err(ResponseError::ConnectionClosed);
        }
        if ctx.get_response().is_empty_by_status() {
            return Err(ResponseError::NoContent);
        }
        Ok(())
    }

    /// Starts a typed event stream, unless middleware has sent its head meanwhile.
    pub(crate) fn start_events(
        &mut self,
        ctx: &mut Context,
    ) -> Result<ServerSentEvents, ResponseError> {
        if !matches!(self.carries, Carries::Events { .. }) {
            self.write_events_head(ctx)?;
        }
        Ok(ServerSentEvents::new(self.connection.clone()))
    }

    fn write_events_head(&mut self, ctx: &mut Context) -> Result<(), ResponseError> {
        self.check_events(ctx)?;
        let response = ctx.get_response();
        let chunked = !self.version_1_0 && !response.get_version().is_http1_0();
        self.note_answer();
        let format = if chunked {
            WireFormat::EventStreamChunked
        } else {
            WireFormat::EventStream
        };
        ctx.attach_session();
        let response = ctx.get_mut_response();
        response.set_header("content-type", "text/event-stream");
        if !response.get_headers().contains("cache-control") {
            response.set_header("cache-control", "no-cache");
        }
        if !response.get_headers().contains("x-accel-buffering") {
            // Proxies that buffer would hold events back.
            response.set_header("x-accel-buffering", "no");
        }
        let framing = match chunked {
            true => Framing::Chunked,
            false => Framing::UntilClose,
        };
        let mut head = Vec::with_capacity(256);
        self.write_head(&mut head, ctx.get_response(), framing, Some("close"));
        self.write(&head);
        self.note_status(ctx.get_response().get_status_code());
        self.carries = Carries::Events { chunked };
        if self.head_request {
            // Only the head was asked for.
            self.closed = true;
            self.connection.signal_close();
        }
        self.connection.begin_events(format);
        ctx.shrink();
        Ok(())
    }
}

/// While it lives, the head of an event stream is about to go out; a hook that gives up the wait can answer otherwise.
pub(crate) struct Opening<'a>(&'a mut Stream);

impl Opening<'_> {
    pub(crate) fn stream(&mut self) -> &mut Stream {
        self.0
    }
}

impl Drop for Opening<'_> {
    fn drop(&mut self) {
        self.0.opening = false;
    }
}

/// Whether bytes begin like an HTTP response, or may: they can come in pieces.
fn is_http(data: &[u8]) -> bool {
    let begin = b"HTTP/1.";
    data.starts_with(begin) || begin.starts_with(data)
}

/// Sends bytes in the order of the connection's own sends.
fn write_own(connection: &Arc<Conn>, bytes: &[u8]) {
    let corked = cork::with(connection.id, |cork| {
        if bytes.len() >= cork::SPILL {
            return None;
        }
        cork.bytes().extend_from_slice(bytes);
        Some(cork.is_full())
    });
    match corked {
        Some(Some(false)) => {}
        Some(Some(true)) => connection.flush_cork(),
        // Too large to copy twice, or not in its own task: written or queued at once. Errors show in
        // the next look at the connection.
        Some(None) | None => drop(connection.push_slice(bytes)),
    }
}
