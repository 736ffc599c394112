//! A client of a server in memory.

use std::{
    fmt,
    future::Future,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use super::{
    TestError, TestEvents, TestRequest, TestResponse, TestSocket,
    cookies::Cookies,
    response::Head,
    wire::{Cuts, Wire},
};
use crate::{Method, ServerControlHook};

/// The time for which a client waits for the server, unless the test sets another one.
const PATIENCE: Duration = Duration::from_secs(10);

/// A client of a [`TestServer`](super::TestServer), like a browser: it keeps the cookies that the server sets, and
/// sends its requests over one connection as long as the server keeps this connection open. Clones are the same
/// browser: they share cookies and the connection.
///
/// The methods named like HTTP methods begin a request. Await the request for its response.
///
/// ```
/// use hyperlane_core::{Context, Server, test_kit::TestServer};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), hyperlane_core::ServerError> {
/// let mut server = Server::new();
/// server.at("/login").post(async |ctx: &mut Context, name: String| {
///     ctx.get_mut_response().set_header("set-cookie", format!("name={name}"));
/// });
/// server.at("/me").get(async |ctx: &mut Context| {
///     ctx.get_request().header("cookie").unwrap_or("unknown").to_owned()
/// });
///
/// let client = TestServer::start(&server)?.client();
/// assert_eq!(client.get("/me").await.text(), "unknown");
/// client.post("/login").body("ada").await;
/// assert_eq!(client.get("/me").await.text(), "name=ada");
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct TestClient {
    control: ServerControlHook,
    shared: Arc<Mutex<Shared>>,
    peer: Option<SocketAddr>,
    patience: Duration,
}

/// What the clones of a client share.
#[derive(Default)]
struct Shared {
    cookies: Cookies,
    /// A connection whose last request has its response.
    idle: Option<Wire>,
}

impl TestClient {
    pub(super) fn new(control: ServerControlHook) -> Self {
        Self {
            control,
            shared: Arc::default(),
            peer: None,
            patience: PATIENCE,
        }
    }

    /// Sets the address from which the client connects, as [`Context::peer_addr`](crate::Context::peer_addr) returns
    /// it. Default: none, as over a Unix socket. The client begins a new connection.
    pub fn with_peer(mut self, peer: SocketAddr) -> Self {
        self.peer = Some(peer);
        self.lock().idle = None;
        self
    }

    /// Sets the time for which the client waits for bytes of the server; also on its WebSockets and event streams.
    /// Default: 10 seconds, of tokio's clock.
    pub fn with_patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self.lock().idle = None;
        self
    }

    /// Returns the value of a cookie that the client keeps.
    pub fn cookie(&self, name: &str) -> Option<String> {
        self.lock().cookies.get(name).map(str::to_owned)
    }

    /// Sets a cookie for all paths, as if the server had set it.
    pub fn set_cookie(&self, name: &str, value: &str) {
        self.lock().cookies.set(name, value);
    }

    /// Begins a request with any method.
    #[track_caller]
    pub fn request(&self, method: impl Into<Method>, target: &str) -> TestRequest {
        TestRequest::new(method, target).by(self.clone())
    }

    /// Opens a WebSocket. [`TestRequest::socket`] opens one with header fields.
    ///
    /// # Panics
    /// Panics if the server refuses the handshake.
    #[track_caller]
    pub fn socket(&self, target: &str) -> impl Future<Output = TestSocket> + Send + use<> {
        self.get(target).socket()
    }

    /// Opens an event stream. [`TestRequest::events`] opens one with header fields.
    ///
    /// # Panics
    /// Panics if the server answers with another response than an event stream.
    #[track_caller]
    pub fn events(&self, target: &str) -> impl Future<Output = TestEvents> + Send + use<> {
        self.get(target).events()
    }

    /// Sends a request that was created without a client.
    ///
    /// # Errors
    /// Returns the same errors as [`TestRequest::send`].
    pub async fn send(&self, request: TestRequest) -> Result<TestResponse, TestError> {
        request.by(self.clone()).send().await
    }

    /// Sends a request and reads its whole response.
    pub(super) async fn exchange(&self, request: &TestRequest) -> Result<TestResponse, TestError> {
        let (mut wire, head) = self.begin(request).await?;
        let keeps_alive = head.keeps_alive();
        let response = head.whole(&mut wire).await?;
        if keeps_alive && wire.is_idle() {
            wire.cuts = Cuts::default();
            self.lock().idle = Some(wire);
        }
        Ok(response)
    }

    /// Sends a request and reads the head of its response.
    pub(super) async fn begin(&self, request: &TestRequest) -> Result<(Wire, Head), TestError> {
        let head_only = request.method().is_head();
        let cookies = self.lock().cookies.field(request.path());
        let bytes = request.encode(cookies.as_deref());
        // The counts of a cut begin with the connection.
        let idle = match request.cuts().is_none() {
            true => self.lock().idle.take(),
            false => None,
        };
        if let Some(mut wire) = idle {
            wire.queue(&bytes);
            match Head::read(&mut wire, head_only).await {
                // The server has closed the connection, as it may do between requests.
                Err(TestError::Ended) if wire.input.is_empty() => {}
                head => return self.took(request, wire, head?),
            }
        }
        let mut wire = self.connect().await?;
        wire.cuts = request.cuts();
        wire.queue(&bytes);
        let head = Head::read(&mut wire, head_only).await?;
        self.took(request, wire, head)
    }

    /// Keeps the cookies of a response.
    fn took(
        &self,
        request: &TestRequest,
        wire: Wire,
        head: Head,
    ) -> Result<(Wire, Head), TestError> {
        let mut shared = self.lock();
        for field in head.headers.get_all("set-cookie") {
            shared.cookies.take(field, request.path());
        }
        drop(shared);
        Ok((wire, head))
    }

    async fn connect(&self) -> Result<Wire, TestError> {
        let (wire, end) = Wire::new(self.patience);
        // The server takes the connection once it has fewer connections than its limit.
        tokio::time::timeout(self.patience, self.control.serve(end, self.peer))
            .await
            .map_err(|_| TestError::Timeout(self.patience))?;
        Ok(wire)
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Methods that begin a request, one for each HTTP method.
macro_rules! methods {
    ($($name:ident $method:ident;)+) => {
        impl TestClient {$(
            #[doc = concat!("Begins a request with the method `", stringify!($method), "`.")]
            #[track_caller]
            pub fn $name(&self, target: &str) -> TestRequest {
                self.request(Method::$method, target)
            }
        )+}
    };
}

methods! {
    get Get;
    post Post;
    put Put;
    patch Patch;
    delete Delete;
    head Head;
    options Options;
}

impl fmt::Debug for TestClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TestClient")
            .field("cookies", &self.lock().cookies)
            .field("peer", &self.peer)
            .field("patience", &self.patience)
            .finish_non_exhaustive()
    }
}
