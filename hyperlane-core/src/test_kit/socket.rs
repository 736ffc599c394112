//! A client of a WebSocket.

use std::{
    collections::VecDeque,
    fmt,
    future::{Future, poll_fn},
    panic::Location,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Buf;
use serde::{Serialize, de::DeserializeOwned};
use tokio::sync::mpsc;

use super::{
    TestError,
    push::{Pushes, macro_methods},
    request::or_panic,
    wire::Wire,
};
use crate::{
    CloseCode, CloseFrame, Headers, Message, Utf8Bytes,
    proto::ws::{Decoder, Incoming, Limits, Role, encode_masked_message},
};

/// The maximum number of messages that have arrived and that the test has not received. Beyond it, the client does not
/// read, so the server sees a slow client.
const MAX_ARRIVED: usize = 1024;

/// The maximum number of steps of the test that the task of the client has not yet taken.
const MAX_STEPS: usize = 64;

/// The maximum number of bytes that the client has not sent, before a step of the test waits.
const MAX_QUEUED: usize = 1024 * 1024;

/// Maximum length of a message, in bytes.
const MAX_MESSAGE: usize = 64 * 1024 * 1024;

/// A client of a WebSocket, from [`TestClient::socket`](super::TestClient::socket).
///
/// A task of the client reads all the time, answers pings, and answers the close frame of the server. At most 1024
/// messages wait for the test; the client then stops to read. A message has at most 64 MiB. Dropping the socket closes
/// the connection without a close frame.
///
/// [`assert_push!`](crate::assert_push), [`refute_push!`](crate::refute_push) and
/// [`assert_closed!`](crate::assert_closed) are assertions about what the server sends.
///
/// ```
/// use hyperlane_core::{Context, Server, Status, Stream, assert_push, test_kit::TestServer};
///
/// async fn echo(stream: &mut Stream, ctx: &mut Context) -> Status {
///     let Ok(socket) = ctx.upgrade(stream).await else { return Status::Reject };
///     while let Ok(message) = socket.recv().await {
///         let _ = socket.send(message).await;
///     }
///     Status::Continue
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let mut server = Server::new();
/// server.at("/echo").get(echo);
/// let mut socket = TestServer::start(&server)?.client().socket("/echo").await;
/// socket.send("hello").await;
/// assert_push!(socket, "hello");
/// socket.close(1000, "done").await?;
/// # Ok(())
/// # }
/// ```
pub struct TestSocket {
    headers: Headers,
    steps: mpsc::Sender<Step>,
    arrived: mpsc::Receiver<Result<Message, End>>,
    kept: VecDeque<Message>,
    end: Option<End>,
    pings: Arc<AtomicU64>,
    patience: Duration,
}

/// What the test asks the task to do.
enum Step {
    Send(Message),
    AnswerPings(bool),
    Cut,
    CutAfterSent(usize),
    CutAfterReceived(usize),
}

/// The end of a connection.
#[derive(Clone, Debug)]
enum End {
    Closed(CloseCode, Utf8Bytes),
    Ended,
    Cut,
    Protocol(String),
}

impl From<End> for TestError {
    fn from(end: End) -> Self {
        match end {
            End::Closed(code, reason) => Self::Closed { code, reason },
            End::Ended => Self::Ended,
            End::Cut => Self::Cut,
            End::Protocol(rule) => Self::Protocol(rule),
        }
    }
}

impl TestSocket {
    pub(super) fn new(wire: Wire, headers: Headers) -> Self {
        let (steps, taken) = mpsc::channel(MAX_STEPS);
        let (arrives, arrived) = mpsc::channel(MAX_ARRIVED);
        let pings = Arc::new(AtomicU64::new(0));
        let patience = wire.patience();
        let limits = Limits::default().frame(MAX_MESSAGE).message(MAX_MESSAGE);
        let task = Task {
            wire,
            decoder: Decoder::new(Role::Client, limits),
            steps: taken,
            arrives,
            pings: pings.clone(),
            answers_pings: true,
            has_closed: false,
            frames: 0,
        };
        tokio::spawn(task.run());
        Self {
            headers,
            steps,
            arrived,
            kept: VecDeque::new(),
            end: None,
            pings,
            patience,
        }
    }

    /// Returns the header fields of the server's answer to the handshake.
    pub fn headers(&self) -> &Headers {
        &self.headers
    }

    /// Sends a message. The future is ready as soon as the client has queued it.
    ///
    /// # Panics
    /// Panics if the connection has ended.
    #[track_caller]
    pub fn send(&mut self, message: impl Into<Message>) -> impl Future<Output = ()> + Send {
        let (message, place) = (message.into(), Location::caller());
        or_panic(place, "send".to_owned(), async move {
            self.step(Step::Send(message)).await
        })
    }

    /// Sends a value as a text message of JSON.
    ///
    /// # Panics
    /// Panics if the connection has ended, or if the value cannot be written as JSON.
    #[track_caller]
    pub fn send_json(
        &mut self,
        value: &(impl Serialize + ?Sized),
    ) -> impl Future<Output = ()> + Send {
        let (text, place) = (serde_json::to_string(value), Location::caller());
        or_panic(place, "send_json".to_owned(), async move {
            self.step(Step::Send(text?.into())).await
        })
    }

    /// Waits for the next message: data, or the pong to a ping of the test.
    ///
    /// # Errors
    /// Returns [`TestError::Closed`] after the close frame of the server, and another [`TestError`] if the connection
    /// has ended otherwise or if nothing arrives within the patience of the client.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn recv(&mut self) -> Result<Message, TestError> {
        self.next().await
    }

    /// Waits for the next message and returns it as text.
    ///
    /// # Panics
    /// Panics if no message arrives, or if it is not text.
    #[track_caller]
    pub fn recv_text(&mut self) -> impl Future<Output = String> + Send {
        let place = Location::caller();
        or_panic(place, "recv_text".to_owned(), async {
            let message = self.next().await?;
            let text = message.to_str();
            text.map(str::to_owned)
                .map_err(|error| TestError::Protocol(error.to_string()))
        })
    }

    /// Waits for the next message and parses it as JSON.
    ///
    /// # Panics
    /// Panics if no message arrives, or if it is not JSON that fits the type.
    #[track_caller]
    pub fn recv_json<T: DeserializeOwned + Send>(&mut self) -> impl Future<Output = T> + Send {
        let place = Location::caller();
        or_panic(place, "recv_json".to_owned(), async {
            let message = self.next().await?;
            serde_json::from_slice(message.as_bytes())
                .map_err(|error| TestError::Protocol(format!("{error}, in {:?}", message.to_str())))
        })
    }

    /// Sends a close frame and waits for that of the server. Drops the messages that arrive before. Returns the code of
    /// the server.
    ///
    /// # Errors
    /// Returns a [`TestError`] if the connection has ended, or ends without a close frame, or if nothing arrives within
    /// the patience of the client.
    pub async fn close(
        &mut self,
        code: impl Into<CloseCode>,
        reason: &str,
    ) -> Result<CloseCode, TestError> {
        let frame = CloseFrame::new(code, reason.to_owned());
        self.step(Step::Send(Message::Close(Some(frame)))).await?;
        loop {
            match self.next().await {
                Ok(_) => {}
                Err(TestError::Closed { code, .. }) => return Ok(code),
                Err(error) => return Err(error),
            }
        }
    }

    /// Returns the number of pings that the server has sent.
    pub fn pings(&self) -> u64 {
        self.pings.load(Ordering::Relaxed)
    }

    /// Sets whether the client answers pings. Default: true. A client that does not looks like one whose network is
    /// gone.
    pub async fn answer_pings(&mut self, answer: bool) {
        // The step fails only if the connection has ended.
        let _ = self.step(Step::AnswerPings(answer)).await;
    }

    /// Cuts the connection now. The server sees a reset, as after a crash of the client. What has arrived before remains.
    pub async fn cut(&mut self) {
        let _ = self.step(Step::Cut).await;
    }

    /// Cuts the connection as soon as the client has sent `bytes` more bytes. A frame of up to 125 bytes of payload has 6
    /// bytes of header.
    pub async fn cut_after_sent(&mut self, bytes: usize) {
        let _ = self.step(Step::CutAfterSent(bytes)).await;
    }

    /// Cuts the connection as soon as the client has received `bytes` more bytes.
    pub async fn cut_after_received(&mut self, bytes: usize) {
        let _ = self.step(Step::CutAfterReceived(bytes)).await;
    }

    /// Waits for the end and checks its code. Called by `assert_closed!`.
    #[doc(hidden)]
    pub async fn __closed(&mut self, code: impl Into<CloseCode>) -> Result<(), String> {
        let code = code.into();
        loop {
            let found = match self.next().await {
                Ok(_) => continue,
                Err(TestError::Closed { code, .. }) => code,
                Err(TestError::Ended) => CloseCode::ABNORMAL,
                Err(error) => {
                    return Err(format!("not closed with code {}: {error}", code.get()));
                }
            };
            return match found == code {
                true => Ok(()),
                false => Err(format!(
                    "closed with code {} instead of {}",
                    found.get(),
                    code.get()
                )),
            };
        }
    }

    async fn step(&mut self, step: Step) -> Result<(), TestError> {
        match tokio::time::timeout(self.patience, self.steps.send(step)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(self.last().await),
            Err(_) => Err(TestError::Timeout(self.patience)),
        }
    }

    /// Returns the end of a connection whose task has ended, and keeps the messages before it.
    async fn last(&mut self) -> TestError {
        while self.end.is_none() {
            match self.arrived.recv().await {
                Some(Ok(message)) => self.kept.push_back(message),
                Some(Err(end)) => self.end = Some(end),
                None => self.end = Some(End::Ended),
            }
        }
        self.end.clone().unwrap_or(End::Ended).into()
    }
}

impl Pushes for TestSocket {
    type Item = Message;

    fn kept(&mut self) -> &mut VecDeque<Message> {
        &mut self.kept
    }

    async fn arrival(&mut self) -> Result<Message, TestError> {
        if let Some(end) = &self.end {
            return Err(end.clone().into());
        }
        let arrived = tokio::time::timeout(self.patience, self.arrived.recv())
            .await
            .map_err(|_| TestError::Timeout(self.patience))?;
        match arrived {
            Some(Ok(message)) => Ok(message),
            end => {
                let end = end.and_then(Result::err).unwrap_or(End::Ended);
                self.end = Some(end.clone());
                Err(end.into())
            }
        }
    }
}

macro_methods!(TestSocket, Message, |message| message.to_str().ok());

impl fmt::Debug for TestSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TestSocket")
            .field("kept", &self.kept)
            .field("end", &self.end)
            .field("pings", &self.pings())
            .finish_non_exhaustive()
    }
}

/// The task of a client, which drives its connection.
struct Task {
    wire: Wire,
    decoder: Decoder,
    steps: mpsc::Receiver<Step>,
    arrives: mpsc::Sender<Result<Message, End>>,
    pings: Arc<AtomicU64>,
    answers_pings: bool,
    /// True if the client has sent a close frame.
    has_closed: bool,
    /// The number of frames sent, which makes the keys of their masks.
    frames: u32,
}

impl Task {
    async fn run(mut self) {
        let end = self.drive().await;
        // The test may have dropped the socket, or may have seen the end.
        let _ = self.arrives.send(Err(end)).await;
    }

    async fn drive(&mut self) -> End {
        loop {
            // While the test does not receive, the client does not read.
            while !self.wire.input.is_empty() && self.arrives.capacity() > 0 {
                if let Err(end) = self.decode() {
                    return end;
                }
            }
            let is_full = self.arrives.capacity() == 0;
            let can_take = self.wire.queued() < MAX_QUEUED;
            let wire = &mut self.wire;
            let sender = &self.arrives;
            let step = tokio::select! {
                biased;
                step = self.steps.recv(), if can_take => step,
                // The permit is given back at once. Its only purpose is to wait for space.
                _ = sender.reserve(), if is_full => continue,
                filled = poll_fn(|cx| wire.poll_fill(cx)), if !is_full => match filled {
                    Ok(true) => continue,
                    Ok(false) => return End::Ended,
                    Err(_) => return End::Cut,
                },
            };
            let is_over = step.is_none();
            if let Some(step) = step {
                self.take(step);
            }
            let sent = poll_fn(|cx| std::task::Poll::Ready(self.wire.poll_send(cx))).await;
            if is_over || sent.is_err() {
                return End::Cut;
            }
        }
    }

    fn take(&mut self, step: Step) {
        match step {
            Step::Send(message) => self.send(&message),
            Step::AnswerPings(answer) => self.answers_pings = answer,
            Step::Cut => self.wire.cut(),
            Step::CutAfterSent(bytes) => self.wire.cuts.sent = Some(bytes),
            Step::CutAfterReceived(bytes) => self.wire.cuts.received = Some(bytes),
        }
    }

    fn send(&mut self, message: &Message) {
        self.has_closed |= message.is_close();
        self.frames = self.frames.wrapping_add(1);
        let mut frame = Vec::new();
        encode_masked_message(message, self.frames.to_be_bytes(), &mut frame);
        self.wire.queue(&frame);
    }

    /// Decodes the next message of the input. There is space for it.
    fn decode(&mut self) -> Result<(), End> {
        let decoded = self
            .decoder
            .next(&self.wire.input)
            .map_err(|error| End::Protocol(error.to_string()))?;
        self.wire.input.advance(decoded.consumed);
        let Some(event) = decoded.event else {
            return Ok(());
        };
        let arrived = match event {
            Incoming::Ping(payload) => {
                self.pings.fetch_add(1, Ordering::Relaxed);
                if self.answers_pings && !self.has_closed {
                    self.send(&Message::Pong(payload));
                }
                return Ok(());
            }
            Incoming::Close(frame) => {
                if !self.has_closed {
                    self.send(&Message::Close(frame.clone()));
                }
                Err(match frame {
                    Some(frame) => End::Closed(frame.code, frame.reason),
                    None => End::Closed(CloseCode::NO_STATUS, Utf8Bytes::default()),
                })
            }
            event => match Message::try_from(event) {
                Ok(message) => Ok(message),
                Err(compressed) => return Err(End::Protocol(compressed.to_string())),
            },
        };
        // The send fails only if the test has dropped the socket. The next step then ends the task.
        let _ = self.arrives.try_send(arrived);
        Ok(())
    }
}
