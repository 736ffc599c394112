//! Requests of a test client.

use std::{
    fmt,
    future::{Future, IntoFuture},
    panic::Location,
    pin::Pin,
};

use bytes::Bytes;
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use serde::Serialize;

use super::{TestClient, TestError, TestEvents, TestResponse, TestSocket, wire::Cuts};
use crate::{
    Headers, Method,
    proto::{http::write::HeadWriter, ws::handshake::accept_key},
};

/// The key of every handshake: the example of RFC 6455 §1.3. A client on a network needs a random one.
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";

/// What a target may not contain as it is.
const UNSAFE: &AsciiSet = &CONTROLS.add(b' ').add(b'"').add(b'<').add(b'>');

/// A request, which a test completes and awaits.
///
/// Awaiting the request sends it and returns the response; a failure panics. [`send`](Self::send) returns the failure.
/// [`socket`](Self::socket) and [`events`](Self::events) open a WebSocket and an event stream.
///
/// ```
/// use hyperlane_core::{Context, Json, Server, test_kit::TestServer};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), hyperlane_core::ServerError> {
/// let mut server = Server::new();
/// server.at("/sum").post(async |ctx: &mut Context, Json(numbers): Json<Vec<u32>>| {
///     let name = ctx.get_request().header("x-name").unwrap_or_default().to_owned();
///     format!("{name}: {}", numbers.iter().sum::<u32>())
/// });
///
/// let client = TestServer::start(&server)?.client();
/// let response = client.post("/sum").header("x-name", "ada").json(&[1, 2, 3]).await;
/// assert_eq!(response.text(), "ada: 6");
/// # Ok(())
/// # }
/// ```
#[must_use = "await the request to send it"]
pub struct TestRequest {
    client: Option<TestClient>,
    method: Method,
    target: String,
    headers: Headers,
    body: Bytes,
    cuts: Cuts,
    /// The first mistake in the request. `send` returns it.
    mistake: Option<TestError>,
    /// The line of the test that begins the request.
    place: &'static Location<'static>,
}

impl TestRequest {
    /// Creates a request without a client, for [`call`](super::call) and [`TestClient::send`].
    ///
    /// `target` is a path with or without a query. Blanks and characters beyond ASCII are percent-encoded.
    #[track_caller]
    pub fn new(method: impl Into<Method>, target: &str) -> Self {
        Self {
            client: None,
            method: method.into(),
            target: utf8_percent_encode(target, UNSAFE).to_string(),
            headers: Headers::new(),
            body: Bytes::new(),
            cuts: Cuts::default(),
            mistake: None,
            place: Location::caller(),
        }
    }

    /// Creates a GET request without a client. See [`new`](Self::new).
    #[track_caller]
    pub fn get(target: &str) -> Self {
        Self::new(Method::Get, target)
    }

    /// Creates a POST request without a client. See [`new`](Self::new).
    #[track_caller]
    pub fn post(target: &str) -> Self {
        Self::new(Method::Post, target)
    }

    /// Adds a header field. A field `Host`, `Cookie` or `Content-Length` replaces the one that the client would send.
    pub fn header(mut self, name: &str, value: &str) -> Self {
        if let Err(error) = self.headers.try_add(name, value) {
            self.mistake.get_or_insert(error.into());
        }
        self
    }

    /// Sets the body.
    pub fn body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self
    }

    /// Sets the body to a value as JSON, and the field `Content-Type`.
    pub fn json(mut self, value: &(impl Serialize + ?Sized)) -> Self {
        match serde_json::to_vec(value) {
            Ok(body) => self.body = body.into(),
            Err(error) => {
                self.mistake.get_or_insert(error.into());
            }
        }
        self.header("content-type", "application/json")
    }

    /// Lets the client cut the connection as soon as it has sent `bytes` bytes, counted from the begin of the request.
    /// With 0, the server receives nothing. The server sees a reset, as after a crash of the client.
    ///
    /// The request uses a connection of its own. The cut also ends a WebSocket or an event stream that the request
    /// opens.
    pub fn cut_after_sent(mut self, bytes: usize) -> Self {
        self.cuts.sent = Some(bytes);
        self
    }

    /// Lets the client cut the connection as soon as it has received `bytes` bytes, counted from the begin of the
    /// response. See [`cut_after_sent`](Self::cut_after_sent).
    pub fn cut_after_received(mut self, bytes: usize) -> Self {
        self.cuts.received = Some(bytes);
        self
    }

    /// Sends the request and returns the response.
    ///
    /// # Errors
    /// Returns a [`TestError`] if no whole response arrives, or if the request is invalid.
    ///
    /// # Cancel safety
    /// Dropping the future closes the connection, as a client that no longer waits does.
    pub async fn send(mut self) -> Result<TestResponse, TestError> {
        let client = self.take_client()?;
        client.exchange(&self).await
    }

    /// Opens a WebSocket.
    ///
    /// # Panics
    /// Panics if the server refuses the handshake.
    pub fn socket(self) -> impl Future<Output = TestSocket> + Send + use<> {
        or_panic(self.place, self.to_string(), self.try_socket())
    }

    /// Opens a WebSocket.
    ///
    /// # Errors
    /// Returns [`TestError::Refused`] if the server answers with another status than 101, and another [`TestError`] if
    /// the answer is missing or invalid.
    pub async fn try_socket(mut self) -> Result<TestSocket, TestError> {
        for (name, value) in [
            ("upgrade", "websocket"),
            ("connection", "Upgrade"),
            ("sec-websocket-version", "13"),
            ("sec-websocket-key", KEY),
        ] {
            self.add_missing(name, value);
        }
        let client = self.take_client()?;
        let (mut wire, head) = client.begin(&self).await?;
        if head.status != 101 {
            return Err(TestError::Refused(Box::new(head.whole(&mut wire).await?)));
        }
        let key = self.headers.get("sec-websocket-key").unwrap_or_default();
        let accept = head.headers.get("sec-websocket-accept");
        if accept.map(str::as_bytes) != Some(&accept_key(key)[..]) {
            return Err(TestError::Protocol(format!(
                "`Sec-WebSocket-Accept: {}` does not answer the key",
                accept.unwrap_or_default()
            )));
        }
        Ok(TestSocket::new(wire, head.headers))
    }

    /// Opens an event stream.
    ///
    /// # Panics
    /// Panics if the server answers with another response than an event stream.
    pub fn events(self) -> impl Future<Output = TestEvents> + Send + use<> {
        or_panic(self.place, self.to_string(), self.try_events())
    }

    /// Opens an event stream.
    ///
    /// # Errors
    /// Returns [`TestError::Refused`] if the response is not an event stream with status 200, and another
    /// [`TestError`] if the response is missing or invalid.
    pub async fn try_events(mut self) -> Result<TestEvents, TestError> {
        self.add_missing("accept", "text/event-stream");
        let client = self.take_client()?;
        let (mut wire, head) = client.begin(&self).await?;
        let kind = head.headers.get("content-type").unwrap_or_default();
        if head.status != 200 || !kind.starts_with("text/event-stream") {
            return Err(TestError::Refused(Box::new(head.whole(&mut wire).await?)));
        }
        Ok(TestEvents::new(wire, head))
    }

    pub(super) fn by(mut self, client: TestClient) -> Self {
        self.client = Some(client);
        self
    }

    pub(super) fn method(&self) -> &Method {
        &self.method
    }

    pub(super) fn cuts(&self) -> Cuts {
        self.cuts
    }

    pub(super) fn place(&self) -> &'static Location<'static> {
        self.place
    }

    /// Returns the target without its query.
    pub(super) fn path(&self) -> &str {
        self.target.split('?').next().unwrap_or_default()
    }

    /// Encodes the request as its client sends it.
    pub(super) fn encode(&self, cookies: Option<&str>) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut head = HeadWriter::request(&mut bytes, self.method.as_str(), &self.target);
        if !self.headers.contains("host") {
            head.field("host", b"localhost");
        }
        if let Some(cookies) = cookies.filter(|_| !self.headers.contains("cookie")) {
            head.field("cookie", cookies.as_bytes());
        }
        let is_framed =
            self.headers.contains("content-length") || self.headers.contains("transfer-encoding");
        let may_have_body = !self.body.is_empty()
            || matches!(self.method, Method::Post | Method::Put | Method::Patch);
        if !is_framed && may_have_body {
            head.content_length(self.body.len() as u64);
        }
        for (name, value) in self.headers.iter() {
            head.field(name, value.as_bytes());
        }
        head.end(false);
        bytes.extend_from_slice(&self.body);
        bytes
    }

    fn add_missing(&mut self, name: &str, value: &str) {
        if !self.headers.contains(name)
            && let Err(error) = self.headers.try_add(name, value)
        {
            self.mistake.get_or_insert(error.into());
        }
    }

    fn take_client(&mut self) -> Result<TestClient, TestError> {
        if let Some(mistake) = self.mistake.take() {
            return Err(mistake);
        }
        self.client.take().ok_or(TestError::NoClient)
    }
}

/// Awaits a step of a test. Panics with the line of the test and with what the step did, if it fails.
#[allow(clippy::panic, reason = "a test fails by a panic")]
pub(super) async fn or_panic<T>(
    place: &'static Location<'static>,
    what: String,
    step: impl Future<Output = Result<T, TestError>> + Send,
) -> T {
    match step.await {
        Ok(value) => value,
        Err(error) => panic!("{what}, at {place}: {error}"),
    }
}

impl IntoFuture for TestRequest {
    type Output = TestResponse;
    type IntoFuture = Pin<Box<dyn Future<Output = TestResponse> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(or_panic(self.place, self.to_string(), self.send()))
    }
}

impl fmt::Display for TestRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.method.as_str(), self.target)
    }
}

impl fmt::Debug for TestRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TestRequest")
            .field("method", &self.method)
            .field("target", &self.target)
            .field("headers", &self.headers)
            .field("body", &self.body)
            .field("cuts", &self.cuts)
            .finish_non_exhaustive()
    }
}
