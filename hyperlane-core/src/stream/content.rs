//! Sending responses whose body is a file or a stream.

use std::{
    fs::File,
    future::poll_fn,
    io::{self, Read, Seek, SeekFrom},
    ops::Range,
    task::Poll,
    time::{SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;

use super::{Stream, hints::push_responses};
use crate::{
    Context, Upgrade,
    conn::send::{Limit, Order, Payload},
    error::ResponseError,
    http::{
        Content, EntityTag, Failed, FileBody, Framing, Part, Pieces, Precondition, StreamBody,
        Trailers, Validators, describe,
    },
    proto::ws::Message,
};

/// Maximum size of a read from a file, in bytes.
const FILE_PIECE: u64 = 64 * 1024;

/// An open file with its metadata.
struct Opened {
    file: File,
    length: u64,
    modified: Option<SystemTime>,
}

impl Opened {
    fn open(body: &FileBody) -> io::Result<Self> {
        // This check comes before the file is opened, because opening a named pipe waits until another process opens it
        // for writing.
        if !std::fs::metadata(body.path())?.is_file() {
            return Err(io::ErrorKind::NotFound.into());
        }
        let file = File::open(body.path())?;
        let metadata = file.metadata()?;
        Ok(Self {
            length: metadata.len(),
            modified: metadata.modified().ok(),
            file,
        })
    }

    /// Returns validators made of the length and the modification time in nanoseconds. If a program replaces a file by
    /// another one of the same length within one tick of the file system's clock, the validators do not change. All
    /// validators made of only these two values have this limit.
    fn validators(&self) -> Validators {
        let since = self
            .modified
            .and_then(|time| time.duration_since(UNIX_EPOCH).ok());
        Validators {
            etag: since.map(|since| {
                EntityTag::strong(format!("{:x}-{:x}", since.as_nanos(), self.length))
            }),
            last_modified: since.and(self.modified),
        }
    }
}

/// The part of a file to send.
enum FilePart {
    Content(Range<u64>),
    /// The server sends no part of the file; the status of the response says why.
    None,
}

/// Stores the reason why the response is incomplete. The log shows this reason. Returns the error that makes the server
/// cut the connection.
fn cut_off(ctx: &mut Context, cause: impl Into<String>) -> ResponseError {
    ctx.get_mut_response().fail_because(cause);
    ResponseError::ConnectionClosed
}

/// Runs blocking work on the thread pool of tokio.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(_) => Err(io::Error::other("the runtime is shutting down")),
    }
}

/// Reads `want` bytes, or fewer at the end of the file.
fn read_piece(mut file: File, want: u64) -> io::Result<(File, Bytes)> {
    let mut piece = Vec::with_capacity(usize::try_from(want).unwrap_or_default());
    (&mut file).take(want).read_to_end(&mut piece)?;
    Ok((file, piece.into()))
}

impl Stream {
    /// Sends the response that the hook has set in the context. On a WebSocket the body is sent as a message, and on an
    /// event stream as raw events.
    pub(crate) async fn send_bare(&mut self, ctx: &mut Context) -> Result<(), ResponseError> {
        if self.exchange.answer().is_opening() {
            self.send_events_head(ctx)?;
            return self.room().await;
        }
        if self.exchange.answer().is_accepted() {
            let is_streamed = ctx.get_response().is_body_streamed();
            match ctx.get_response().get_status_code() {
                // With a status of 400 or more, the handler refuses the handshake. With 101, it answers the handshake
                // itself.
                101 | 400.. if self.exchange.withdraw_handshake() => {}
                _ => {
                    self.send_handshake(ctx, Upgrade::new())
                        .map_err(|_| ResponseError::ConnectionClosed)?;
                    if is_streamed {
                        return Err(ResponseError::NotAMessage);
                    }
                }
            }
        }
        let is_message = self.exchange.answer().is_switched();
        if (is_message || self.exchange.answer().is_typed_events())
            && ctx.get_response().is_body_streamed()
        {
            return Err(ResponseError::NotAMessage);
        }
        if is_message {
            let response = ctx.get_response();
            let message = match std::str::from_utf8(response.body()) {
                Ok(text) => Message::from(text),
                Err(_) => Message::Binary(response.body_bytes().clone()),
            };
            // Every send of a hook, this one included, ends with a wait for space in the queue (`room`). So the message
            // itself needs no limit.
            self.connection()
                .lane()
                .send(Payload::Message(&message), Order::Own, Limit::None)?;
        } else if self.exchange.answer().is_typed_events() {
            let body = ctx.get_response().body_bytes().clone();
            let sent = self.exchange.send_raw(&body);
            return self.room_after(sent).await;
        } else if !self.exchange.answer().can_begin() {
            return Err(ResponseError::AlreadyComplete);
        } else if ctx.get_response().get_status_code() == 101 {
            // The program answers the handshake itself, by a 101 of its own.
            self.exchange.send_switching(ctx.head())?;
        } else if ctx.get_response().begins_events() {
            // The events follow as raw bytes.
            let bytes = self.exchange.wire.events_head(ctx.head());
            self.exchange.send_raw(&bytes)?;
        } else {
            ctx.refuse_interim();
            if ctx.get_response().is_sent_apart() {
                return Box::pin(self.send_streamed(ctx)).await;
            }
            self.exchange.send_response(ctx.head())?;
        }
        self.room().await
    }

    /// Sends the response of the context, whose body is a file or a stream. Waits while the client reads slowly.
    ///
    /// # Errors
    /// [`ResponseError`] if the client has disconnected, or if the body failed after the head was sent. The response is
    /// then incomplete, so the server can only cut the connection.
    pub(crate) async fn send_streamed(&mut self, ctx: &mut Context) -> Result<(), ResponseError> {
        push_responses(self, ctx).await;
        let content = ctx.get_mut_response().take_body().0;
        self.send_content(ctx, content).await
    }

    async fn send_content(
        &mut self,
        ctx: &mut Context,
        content: Content,
    ) -> Result<(), ResponseError> {
        // A response with status 205 has no body (RFC 9110 §15.3.6).
        let content = match ctx.get_response().get_status_code() {
            205 => Content::Bytes(Bytes::new()),
            _ => content,
        };
        match content {
            Content::Bytes(bytes) => {
                ctx.get_mut_response().set_body_bytes(bytes.clone());
                if trailers(self, ctx).is_none() {
                    return self.exchange.send_response(ctx.head());
                }
                if self.exchange.begin_body(ctx.head(), Framing::Chunked)? {
                    self.exchange.send_data(&bytes)?;
                    end_body(self, ctx);
                }
                Ok(())
            }
            Content::File(file) => self.send_file(ctx, file).await,
            Content::Stream(body) => self.send_stream(ctx, &body).await,
        }
    }

    async fn send_file(&mut self, ctx: &mut Context, body: FileBody) -> Result<(), ResponseError> {
        let looked_at = body.clone();
        let opened = match blocking(move || Opened::open(&looked_at)).await {
            Ok(opened) => opened,
            Err(error) => {
                tracing::debug!(path = %body.path().display(), %error, "cannot open file");
                let status = match error.kind() {
                    io::ErrorKind::NotFound
                    | io::ErrorKind::NotADirectory
                    | io::ErrorKind::InvalidFilename => 404,
                    io::ErrorKind::PermissionDenied => 403,
                    _ => 500,
                };
                return send_plain(self, ctx, status);
            }
        };
        match self.describe_file(ctx, &body, &opened) {
            FilePart::Content(part) => self.send_part(ctx, &body, opened.file, part).await,
            FilePart::None => self.exchange.send_response(ctx.head()),
        }
    }

    /// Sets the header fields for a file, and returns the part to send (RFC 9110 §13, §14).
    fn describe_file(&self, ctx: &mut Context, body: &FileBody, opened: &Opened) -> FilePart {
        let (request, response) = ctx.request_and_response();
        let mut validators = opened.validators();
        if response.has_header("etag") || response.has_header("last-modified") {
            // The program has set validators of its own.
            validators = response.validators();
        }
        if !response.has_header("content-type") {
            response.set_header("content-type", body.content_type());
        }
        response.set_validators(&validators);
        let mut part = 0..opened.length;
        if response.get_status_code() == 200
            && (request.get_method().is_get() || request.get_method().is_head())
        {
            let headers = request.get_headers();
            match validators.check(request.get_method(), headers) {
                Precondition::Holds => {}
                Precondition::NotModified => {
                    response.set_not_modified();
                    return FilePart::None;
                }
                Precondition::Failed => {
                    describe(response, 412);
                    return FilePart::None;
                }
            }
            response.set_header("accept-ranges", "bytes");
            let now = || {
                let own = self.connection().env.date();
                let date = response.header("date").or(own.value())?;
                httpdate::parse_http_date(date).ok()
            };
            match validators.part(request.get_method(), headers, opened.length, now) {
                Part::Whole => {}
                Part::Range(range) => {
                    response.set_status_code(206).set_header(
                        "content-range",
                        format!(
                            "bytes {}-{}/{}",
                            range.start,
                            range.end.saturating_sub(1),
                            opened.length
                        ),
                    );
                    part = range;
                }
                Part::Unsatisfiable => {
                    describe(response, 416);
                    response.set_header("content-range", format!("bytes */{}", opened.length));
                    return FilePart::None;
                }
            }
        }
        FilePart::Content(part)
    }

    /// Sends the head and a part of a file.
    async fn send_part(
        &mut self,
        ctx: &mut Context,
        body: &FileBody,
        mut file: File,
        part: Range<u64>,
    ) -> Result<(), ResponseError> {
        let mut left = part.end - part.start;
        let framing = framing_of(self, ctx, Framing::Length(left));
        if !self.exchange.begin_body(ctx.head(), framing)? {
            return Ok(());
        }
        let path = body.path().display();
        if part.start > 0
            && let Err(error) = file.seek(SeekFrom::Start(part.start))
        {
            return Err(cut_off(ctx, format!("seek error in {path}: {error}")));
        }
        while left > 0 {
            self.body_room().await?;
            let want = left.min(FILE_PIECE);
            let piece;
            (file, piece) = match blocking(move || read_piece(file, want)).await {
                Ok(read) => read,
                Err(error) => {
                    return Err(cut_off(ctx, format!("read error in {path}: {error}")));
                }
            };
            if piece.is_empty() {
                let cause = format!("file truncated while it was sent: {path}");
                return Err(cut_off(ctx, cause));
            }
            left -= piece.len() as u64;
            self.exchange.send_data(&piece)?;
        }
        end_body(self, ctx);
        Ok(())
    }

    async fn send_stream(
        &mut self,
        ctx: &mut Context,
        body: &StreamBody,
    ) -> Result<(), ResponseError> {
        let Some(mut pieces) = body.take() else {
            let sent = send_plain(self, ctx, 500);
            ctx.get_mut_response()
                .fail_because("response stream already sent");
            return sent;
        };
        let response = ctx.get_mut_response();
        // A response without a body gets no `content-type`. In a 304, the field would change the type of the client's
        // stored response (RFC 9111 §3.2).
        if body.has_default_type && response.allows_body() && !response.has_header("content-type") {
            response.set_header("content-type", "application/octet-stream");
        }
        // The stream is polled once before the head is sent, for two reasons. First, if the stream fails at once, the
        // server can still answer with a 500. Second, if the stream reads the body of the request, this poll makes the
        // server send `100 Continue`, which must precede the final response.
        let mut next = None;
        if response.allows_body() && !self.exchange.wire.facts.is_head {
            poll_fn(|cx| {
                if let Poll::Ready(first) = pieces.as_mut().poll_next(cx) {
                    next = Some(first);
                }
                Poll::Ready(())
            })
            .await;
        }
        if let Some(Some(Err(failed))) = next {
            let sent = send_plain(self, ctx, 500);
            ctx.get_mut_response().fail_because(failed.0);
            return sent;
        }
        let framing = match (body.length, &next) {
            (Some(length), _) => Framing::Length(length),
            (None, Some(None)) => Framing::Length(0),
            // HTTP/1.0 has no chunked encoding (RFC 9112 §6.1).
            (None, _)
                if self.exchange.wire.facts.is_1_0
                    || ctx.get_response().get_version().is_http1_0() =>
            {
                Framing::UntilClose
            }
            (None, _) => Framing::Chunked,
        };
        let framing = framing_of(self, ctx, framing);
        if !self.exchange.begin_body(ctx.head(), framing)? {
            return Ok(());
        }
        self.send_pieces(ctx, pieces, next, body.length).await
    }

    /// Sends the body of a response piece by piece. `next` is the result of the first poll, if the stream was ready.
    async fn send_pieces(
        &mut self,
        ctx: &mut Context,
        mut pieces: Pieces,
        mut next: Option<Option<Result<Bytes, Failed>>>,
        length: Option<u64>,
    ) -> Result<(), ResponseError> {
        // An event stream without a length may never end by itself. So a shutdown ends it. This is harmless, because
        // the client of an event stream reconnects.
        let is_events = length.is_none()
            && ctx
                .get_response()
                .get_headers()
                .get("content-type")
                .is_some_and(|kind| kind.starts_with("text/event-stream"));
        let mut left = length;
        loop {
            let piece = match next.take() {
                Some(first) => first,
                None => {
                    self.body_room().await?;
                    self.next_piece(&mut pieces, is_events).await?
                }
            };
            let piece = match piece {
                None => break,
                Some(Ok(piece)) => piece,
                Some(Err(failed)) => return Err(cut_off(ctx, failed.0)),
            };
            if let Some(left) = &mut left {
                match left.checked_sub(piece.len() as u64) {
                    Some(rest) => *left = rest,
                    None => {
                        return Err(cut_off(
                            ctx,
                            "response stream longer than its declared length",
                        ));
                    }
                }
            }
            self.exchange.send_data(&piece)?;
        }
        if left.is_some_and(|left| left > 0) {
            return Err(cut_off(
                ctx,
                "response stream shorter than its declared length",
            ));
        }
        end_body(self, ctx);
        Ok(())
    }

    /// Waits for the next piece. Returns an error if the client disconnects. During a shutdown, returns `Ok(None)` for
    /// an event stream. The event stream then ends.
    async fn next_piece(
        &self,
        pieces: &mut Pieces,
        is_events: bool,
    ) -> Result<Option<Result<Bytes, Failed>>, ResponseError> {
        let mut has_left = std::pin::pin!(self.disconnected());
        poll_fn(|cx| {
            if is_events && self.connection().env.is_shutting_down() {
                return Poll::Ready(Ok(None));
            }
            if let Poll::Ready(piece) = pieces.as_mut().poll_next(cx) {
                return Poll::Ready(Ok(piece));
            }
            has_left
                .as_mut()
                .poll(cx)
                .map(|()| Err(ResponseError::ConnectionClosed))
        })
        .await
    }

    async fn body_room(&self) -> Result<(), ResponseError> {
        poll_fn(|cx| self.connection().lane().poll_body_room(cx)).await?;
        Ok(())
    }
}

/// Returns the trailers of a response, if the client takes them (RFC 9110 §6.5.1).
fn trailers<'a>(stream: &Stream, ctx: &'a Context) -> Option<&'a Trailers> {
    let (response, wire) = (ctx.get_response(), &stream.exchange.wire);
    let trailers = response.trailer_section()?;
    let takes = wire.is_http2()
        || response.has_header("trailer")
        || ctx.get_request().get_headers().has_token("te", "trailers");
    let has_chunks = !wire.facts.is_1_0 && !response.get_version().is_http1_0();
    (takes && has_chunks).then_some(trailers)
}

/// Returns the framing of a body. Trailers follow only chunks, or the data of a stream of HTTP/2.
fn framing_of(stream: &Stream, ctx: &Context, usual: Framing) -> Framing {
    match trailers(stream, ctx) {
        Some(_) => Framing::Chunked,
        None => usual,
    }
}

/// Answers with a status and its name as text. Keeps the header fields of the response that do not describe the
/// body.
fn send_plain(stream: &mut Stream, ctx: &mut Context, status: usize) -> Result<(), ResponseError> {
    describe(ctx.get_mut_response(), status);
    stream.exchange.send_response(ctx.head())
}

fn end_body(stream: &mut Stream, ctx: &Context) {
    let trailers = trailers(stream, ctx).map(Trailers::fields);
    stream.exchange.end_body(&trailers.unwrap_or_default());
}
