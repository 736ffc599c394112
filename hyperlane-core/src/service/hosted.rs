//! A whole server as a `tower` service in another HTTP stack.

use std::{
    convert::Infallible,
    fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri, Version, header};
use http_body::Body;
use http_body_util::LengthLimitError;
use hyper::upgrade::OnUpgrade;
use tokio::{runtime::Handle, sync::Semaphore, task::AbortHandle};
use tower_service::Service;

use super::{
    BoxError, HopByHop, PeerAddr, Pieces, is_always_of_connection,
    pipe::{Demand, Pipe, ServiceBody, ServiceError, Upload, UploadFraming},
    stated_length, switch,
};
use crate::{
    Context as HookContext, Server, ServerError,
    conn::{cork, transport},
    env::{
        hosts::Hosts,
        peer::{Peer, Via},
    },
    http::list_items,
    pipeline::app::App,
    proto::http::write::HeadWriter,
    server::{connections::Connections, control::end_connections, listener::Accepted, task},
};

impl Server {
    /// Converts the server to a service for use in another stack: as a route or fallback of an axum `Router`, behind
    /// layers, or in process. The service does not listen, so the server's addresses have no effect.
    ///
    /// Middleware, limits, event streams and raw writes work as on a socket. See [`HyperlaneService`].
    ///
    /// # Errors
    /// Returns the same errors as [`run`](Self::run), and [`ServerError::NoRuntime`] outside of a tokio runtime.
    ///
    /// ```
    /// use hyperlane_core::{Context, Server, ServerHook, Status, Stream};
    /// use tower_service::Service;
    ///
    /// struct Hello;
    ///
    /// impl ServerHook for Hello {
    ///     async fn new(_: &mut Stream, _: &mut Context) -> Self {
    ///         Self
    ///     }
    ///
    ///     async fn handle(self, _: &mut Stream, ctx: &mut Context) -> Status {
    ///         ctx.get_mut_response().set_body("hello");
    ///         Status::Continue
    ///     }
    /// }
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let mut server = Server::new();
    /// server.route::<Hello>("/hello");
    /// let mut service = server.into_service()?;
    /// let request = http::Request::get("/hello").body(String::new())?;
    /// let response = service.call(request).await?;
    /// assert_eq!(response.headers()["content-length"], "5");
    /// # Ok(())
    /// # }
    /// ```
    pub fn into_service(self) -> Result<HyperlaneService, ServerError> {
        let app = self.check_start()?;
        let runtime = Handle::try_current().map_err(|_| ServerError::NoRuntime)?;
        let config = self.get_server_config().clone();
        let connections = Connections::new(config, Hosts::default());
        app.share_program(&connections.env);
        let permits = connections.env.permits.clone();
        let clock = runtime
            .spawn(connections.clone().keep_time())
            .abort_handle();
        Ok(HyperlaneService {
            hosted: Arc::new(Hosted {
                connections,
                app,
                permits,
                clock,
            }),
        })
    }
}

/// A server as a `tower::Service`. Clones refer to the same server.
///
/// Each request becomes an in-memory connection. The connection has a pipe of 64 KiB per direction, in addition to the
/// usual buffers of a connection. Bodies are streamed. All timeouts apply.
///
/// The connection counts towards [`ServerConfig::max_connections`](crate::ServerConfig), and a call waits until the
/// number of connections is below this limit. If the address of the peer is known, the connection also counts towards
/// the limit per address. Beyond the limit per address, the service answers 503.
///
/// The request's extension [`PeerAddr`](super::PeerAddr) sets the peer's address; without it, the address is unknown.
/// Hooks read other extensions of the request by [`Context::extension`](crate::Context::extension). The outer server,
/// and not the service, answers `Expect: 100-continue`. The service does not poll the body of a request with the field
/// `Expect` until a hook needs it.
///
/// If the body of a request fails before the response begins, the service answers 400. If the body failed because it
/// exceeds the limit of a layer such as `tower_http::limit`, the service answers 413 instead. It recognises every layer
/// whose body error is, or is caused by, `http_body_util::LengthLimitError`.
///
/// If the outer stack drops the future or the response body before its end, the hooks see a disconnected client
/// ([`Stream::disconnected`](crate::Stream::disconnected)).
///
/// If the hooks' connection ends before the head of their response, the service answers 500. If the connection ends
/// after the head, but before the response is complete, the response body ends with an error. The outer stack then
/// aborts its response to the client.
///
/// The service does not forward interim responses and trailers.
///
/// Some stacks, such as hyper, answer `Expect: 100-continue` when the body is polled, and only before the head of the
/// response. If a hook has requested the body of a request with this field, the service therefore holds back the head
/// until the body begins or the response is complete, for at most 1 s.
///
/// WebSockets need an outer server that is based on hyper and hands over upgraded connections. `axum::serve` and
/// hyper's `serve_connection_with_upgrades` do this. With another outer server, the service answers a handshake with
/// 501. WebSocket handshakes over HTTP/2 are not supported.
///
/// The server lives until the last clone is dropped and the last connection has ended.
///
/// The server runs on the runtime in which it was created. Calls may come from any thread.
#[derive(Clone)]
pub struct HyperlaneService {
    hosted: Arc<Hosted>,
}

/// The state that all clones and connections share.
struct Hosted {
    connections: Arc<Connections>,
    app: Arc<App>,
    permits: Arc<Semaphore>,
    clock: AbortHandle,
}

impl Drop for Hosted {
    fn drop(&mut self) {
        self.clock.abort();
    }
}

impl HyperlaneService {
    /// Shuts the server down like [`ServerControlHook::shutdown`](crate::ServerControlHook::shutdown), and waits until
    /// the server has ended. Within a hook of this server, returns at once, because the shutdown waits for the hook.
    /// The service answers later calls with 503.
    ///
    /// # Cancel safety
    /// After the first poll, the shutdown continues even if the future is dropped.
    pub async fn shutdown(&self) {
        let env = &self.hosted.connections.env;
        env.begin_shutdown();
        let hosted = self.hosted.clone();
        let ending = env.spawn(async move { end_connections(&hosted.connections).await });
        // The shutdown waits for all hooks, so a hook that waits for the shutdown would wait for itself.
        if let Some(ending) = ending.filter(|_| !cork::is_polling_for(env)) {
            // An error means that the runtime has ended together with the connections.
            let _ = ending.await;
        }
    }

    /// Returns whether the service serves calls. Returns false after a shutdown has begun, and after the end of the
    /// runtime in which the service was created.
    pub fn is_ready(&self) -> bool {
        self.hosted.is_ready()
    }

    /// Returns the number of requests and WebSockets in progress.
    pub fn connections(&self) -> usize {
        self.hosted.connections.live.len()
    }
}

impl fmt::Debug for HyperlaneService {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HyperlaneService")
            .field("connections", &self.connections())
            .finish_non_exhaustive()
    }
}

impl<B> Service<Request<B>> for HyperlaneService
where
    B: Body + Send + 'static,
    B::Error: Into<BoxError>,
{
    type Response = Response<ServiceBody>;
    type Error = Infallible;
    type Future = ServiceFuture;

    /// Always ready. The future of a call waits until the number of connections is below the limit.
    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> ServiceFuture {
        let (parts, body) = request.into_parts();
        let framing = match stated_length(&parts.headers).or(body.size_hint().exact()) {
            Some(length) => UploadFraming::Length(length),
            None => UploadFraming::Chunked,
        };
        let has_body = !body.is_end_stream() || !matches!(framing, UploadFraming::Length(0));
        let upload = Upload {
            pending: Default::default(),
            body: has_body.then(|| Box::pin(Pieces { body }) as _),
            framing,
            demand: Demand::Free,
        };
        ServiceFuture {
            inner: Box::pin(self.hosted.clone().serve(parts, upload)),
        }
    }
}

impl HookContext {
    /// Returns a value that a layer around a [`HyperlaneService`] has stored in the extensions of the request, such as
    /// the user or a request id. Returns `None` if there is no value of this type. On connections to the server's own
    /// listeners, always returns `None`.
    ///
    /// ```
    /// use hyperlane_core::{Context, Error};
    ///
    /// #[derive(Clone)]
    /// struct User(String);
    ///
    /// // #[get("/me")]
    /// async fn me(ctx: &mut Context) -> Result<String, Error> {
    ///     match ctx.extension::<User>() {
    ///         Some(User(name)) => Ok(name),
    ///         None => Err(Error::new(401, "log in first")),
    ///     }
    /// }
    /// ```
    pub fn extension<T: Clone + Send + Sync + 'static>(&self) -> Option<T> {
        self.connection.as_ref()?.facts.extensions()?.get().cloned()
    }
}

/// The future of a [`HyperlaneService`]'s response.
pub struct ServiceFuture {
    inner: Pin<Box<dyn Future<Output = Response<ServiceBody>> + Send>>,
}

impl Future for ServiceFuture {
    type Output = Result<Response<ServiceBody>, Infallible>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.inner.as_mut().poll(cx).map(Ok)
    }
}

impl fmt::Debug for ServiceFuture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServiceFuture").finish_non_exhaustive()
    }
}

impl Hosted {
    fn is_ready(&self) -> bool {
        // The clock task ends when the runtime ends, and the service cannot serve without the runtime.
        !self.connections.env.is_shutting_down() && !self.clock.is_finished()
    }

    async fn serve(
        self: Arc<Self>,
        mut parts: http::request::Parts,
        upload: Upload,
    ) -> Response<ServiceBody> {
        let switch = parts.extensions.remove::<OnUpgrade>();
        let version = parts.version;
        let env = self.connections.env.clone();
        let mut pipe = match self.connect(parts, upload, switch.is_some()).await {
            Ok(pipe) => pipe,
            Err((status, text)) => return plain(status, text),
        };
        let head = match pipe.head().await {
            Ok(head) => head,
            Err(error) => return answer_failure(&error),
        };
        let body = match (head.status, switch) {
            (StatusCode::SWITCHING_PROTOCOLS, Some(switch)) => {
                let (io, first) = pipe.into_parts();
                env.spawn(switch::relay(switch, io, first));
                ServiceBody::default()
            }
            (StatusCode::SWITCHING_PROTOCOLS, None) => {
                tracing::error!("a hook sent 101 without an upgrade request: answering 501");
                return plain(StatusCode::NOT_IMPLEMENTED, "501 Not Implemented\n");
            }
            _ => ServiceBody::of_pipe(pipe),
        };
        let mut response = Response::new(body);
        *response.status_mut() = head.status;
        *response.headers_mut() = head.headers;
        if version > Version::HTTP_11 {
            // HTTP/2 and later versions do not allow these fields (RFC 9113 §8.2.2).
            response.headers_mut().remove(header::CONNECTION);
            response.headers_mut().remove(header::UPGRADE);
        }
        response
    }

    /// Starts a connection for a request. If the request cannot be served, returns the status and text of the response.
    async fn connect(
        self: Arc<Self>,
        parts: http::request::Parts,
        mut upload: Upload,
        can_switch: bool,
    ) -> Result<Pipe, (StatusCode, &'static str)> {
        if !can_switch && is_websocket_handshake(&parts) {
            tracing::error!(
                "cannot serve a WebSocket: the stack around this service does not hand connections over; \
                 answering 501"
            );
            return Err((
                StatusCode::NOT_IMPLEMENTED,
                "WebSockets cannot be served here\n",
            ));
        }
        let Ok(permit) = self.permits.clone().acquire_owned().await else {
            // Not reached: the semaphore is never closed.
            return Err((StatusCode::SERVICE_UNAVAILABLE, "503 Service Unavailable\n"));
        };
        let peer = match parts.extensions.get::<PeerAddr>() {
            Some(PeerAddr(address)) => Peer::Inet(*address),
            None => Peer::Local,
        };
        if !self.is_ready() || !self.connections.env.admit(peer) {
            return Err((StatusCode::SERVICE_UNAVAILABLE, "503 Service Unavailable\n"));
        }
        if parts.headers.contains_key(header::EXPECT) {
            upload.demand = Demand::Held;
        }
        let framing = upload.body.is_some().then_some(upload.framing);
        let head = write_head(&parts, framing, can_switch);
        upload.pending.push_back(Bytes::from(head));
        let (pipe, inner) = Pipe::new(upload, parts.method == Method::HEAD);
        let accepted = Accepted {
            peer,
            halves: transport::driven(inner),
            via: Via::Trusted,
        };
        let extensions = parts.extensions;
        let connection = task::task_of(
            &self.connections,
            &self.app,
            accepted,
            permit,
            |connection| {
                if !extensions.is_empty() {
                    connection.facts.set_extensions(extensions);
                }
            },
        );
        let env = self.connections.env.clone();
        env.spawn(async move {
            connection.await;
            // The task holds `self`, so the clock runs as long as there are connections.
            drop(self);
        });
        Ok(pipe)
    }
}

/// Creates the response to a request for which the hooks sent no head.
fn answer_failure(error: &ServiceError) -> Response<ServiceBody> {
    match error {
        ServiceError::Request(cause) if is_over_limit(&**cause) => {
            tracing::debug!(error = %cause, "answering 413");
            plain(StatusCode::PAYLOAD_TOO_LARGE, "413 Content Too Large\n")
        }
        ServiceError::Request(_) => {
            tracing::debug!(%error, "answering 400");
            plain(StatusCode::BAD_REQUEST, "400 Bad Request\n")
        }
        ServiceError::Cut(_) => {
            tracing::error!(%error, "answering 500");
            plain(
                StatusCode::INTERNAL_SERVER_ERROR,
                "500 Internal Server Error\n",
            )
        }
    }
}

fn plain(status: StatusCode, text: &'static str) -> Response<ServiceBody> {
    let mut response = Response::new(ServiceBody::of_text(text));
    *response.status_mut() = status;
    response.headers_mut().insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("text/plain; charset=utf-8"),
    );
    response
}

/// Returns whether the body of a request failed because it exceeds the limit of an outer layer.
fn is_over_limit(error: &(dyn std::error::Error + 'static)) -> bool {
    std::iter::successors(Some(error), |error| error.source())
        .any(|error| error.is::<LengthLimitError>())
}

fn is_websocket_handshake(parts: &http::request::Parts) -> bool {
    let has = |name, token: &str| {
        parts
            .headers
            .get_all(name)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(list_items)
            .any(|item| item.eq_ignore_ascii_case(token))
    };
    // HTTP/1.0 has no upgrades (RFC 9110 §7.8).
    parts.version != Version::HTTP_10
        && has(header::UPGRADE, "websocket")
        && has(header::CONNECTION, "upgrade")
}

/// Writes the head of a request for the in-memory connection. Field values of crate `http` contain no line breaks, so
/// no value can add a field to the head.
fn write_head(
    parts: &http::request::Parts,
    framing: Option<UploadFraming>,
    may_switch: bool,
) -> Vec<u8> {
    let mut out = Vec::with_capacity(512);
    let target = target(&parts.method, &parts.uri);
    let mut head = HeadWriter::request(&mut out, parts.method.as_str(), &target);
    let headers = &parts.headers;
    match host(&parts.uri) {
        Some(host) => head.field("host", host.as_bytes()),
        None if headers.contains_key(header::HOST) => {
            for host in headers.get_all(header::HOST) {
                head.field("host", host.as_bytes());
            }
        }
        // The request names no host, for example because it was created in process.
        None => head.field("host", b"localhost"),
    }
    // The loop does not skip the fields that `Connection` lists. The client wrote this list, and must not be able to
    // remove fields that the outer stack has added.
    for (name, value) in headers {
        let is_ours = is_always_of_connection(name)
            || [header::HOST, header::CONTENT_LENGTH, header::COOKIE].contains(name);
        if !is_ours {
            head.field(name.as_str(), value.as_bytes());
        }
    }
    // HTTP/2 may split the `Cookie` field. The parts are joined again here (RFC 9113 §8.2.3).
    let cookies: Vec<&[u8]> = headers
        .get_all(header::COOKIE)
        .iter()
        .map(HeaderValue::as_bytes)
        .collect();
    if !cookies.is_empty() {
        head.field("cookie", &cookies.join(&b"; "[..]));
    }
    match framing {
        Some(UploadFraming::Chunked) => head.field("transfer-encoding", b"chunked"),
        Some(UploadFraming::Length(length)) => head.content_length(length),
        None if headers.contains_key(header::CONTENT_LENGTH) => head.field("content-length", b"0"),
        None => {}
    }
    match upgrade(headers).filter(|_| may_switch) {
        Some(protocol) => {
            head.field("upgrade", protocol.as_bytes());
            head.field("connection", b"upgrade, close");
        }
        // Each connection serves only one request.
        None => head.field("connection", b"close"),
    }
    head.end(false);
    out
}

fn target(method: &Method, uri: &Uri) -> String {
    if *method == Method::CONNECT {
        return host(uri).unwrap_or_default();
    }
    match uri.path_and_query().map(|target| target.as_str()) {
        None | Some("") => "/".to_owned(),
        Some(query) if query.starts_with('?') => format!("/{query}"),
        Some(target) => target.to_owned(),
    }
}

/// Returns the host of a URI with its port, without userinfo.
fn host(uri: &Uri) -> Option<String> {
    let host = uri.host()?;
    Some(match uri.port() {
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    })
}

fn upgrade(headers: &HeaderMap) -> Option<&HeaderValue> {
    let asked = HopByHop::of(headers).names("upgrade");
    headers.get(header::UPGRADE).filter(|_| asked)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head_of(request: http::request::Builder, framing: Option<UploadFraming>) -> String {
        let (parts, ()) = request.body(()).unwrap().into_parts();
        String::from_utf8(write_head(&parts, framing, true)).unwrap()
    }

    #[test]
    fn a_request_is_written_as_one_of_a_connection_of_its_own() {
        let request = Request::get("https://user@example.org:8443?q=1")
            .header("host", "elsewhere")
            .header("connection", "x-own, keep-alive")
            .header("x-own", "1")
            .header("cookie", "a=1")
            .header("cookie", "b=2")
            .header("transfer-encoding", "gzip")
            .header("upgrade", "not asked for by `connection`");
        assert_eq!(
            head_of(request, None),
            "GET /?q=1 HTTP/1.1\r\nhost: example.org:8443\r\nx-own: 1\r\ncookie: a=1; b=2\r\nconnection: close\r\n\r\n"
        );
        let request = Request::options("*").header("content-length", "7");
        assert_eq!(
            head_of(request, Some(UploadFraming::Length(7))),
            "OPTIONS * HTTP/1.1\r\nhost: localhost\r\ncontent-length: 7\r\nconnection: close\r\n\r\n"
        );
        let request = Request::post("/a%20b")
            .header("upgrade", "websocket")
            .header("connection", "Upgrade");
        assert_eq!(
            head_of(request, Some(UploadFraming::Chunked)),
            "POST /a%20b HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\nupgrade: websocket\r\n\
             connection: upgrade, close\r\n\r\n"
        );
    }

    #[tokio::test]
    async fn the_clock_ends_with_the_last_clone() {
        let service = Server::new().into_service().unwrap();
        let clone = service.clone();
        // The clock task holds the connections, too. They are freed only when this task has ended.
        let connections = Arc::downgrade(&service.hosted.connections);
        let clock = service.hosted.clock.clone();
        drop(service);
        tokio::task::yield_now().await;
        assert!(!clock.is_finished());
        drop(clone);
        while connections.upgrade().is_some() {
            tokio::task::yield_now().await;
        }
        assert!(clock.is_finished());
    }
}
