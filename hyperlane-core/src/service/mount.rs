//! Services of other crates as routes: under a path prefix, or for all requests that match no route.

use std::{
    future::poll_fn,
    pin::pin,
    sync::{Arc, Mutex, PoisonError},
    task::Poll,
};

use bytes::Bytes;
use http::{HeaderName, HeaderValue, StatusCode, Uri, header};
use tower_service::Service;

use super::{BoxError, ClientAddr, HopByHop, OriginalUri, PeerAddr, Pieces, stated_length};
use crate::{
    Body, BodyStream, Context, HttpVersion, Server, Status, Stream,
    hook::{HookFuture, Run},
    http::describe,
    pipeline::chain::PlannedKind,
};

impl Server {
    /// Passes requests of any method for all paths under `prefix` to a service. For `/static`, these are paths such as
    /// `/static`, `/static/` and `/static/a/b`, but not `/staticfoo`.
    ///
    /// Routes of the server under the prefix take precedence. The service gets the URI without the prefix (`/` for the
    /// prefix alone) and with the query. The request has the extensions [`OriginalUri`], [`PeerAddr`] and
    /// [`ClientAddr`]. If the prefix has parameters, the request also has the extension
    /// [`RouteParams`](crate::RouteParams).
    ///
    /// Middleware runs before and after the service, as for a route. If middleware has set a header field before, a
    /// field of the service's response with the same name replaces it. Only `set-cookie` and `vary` are combined.
    ///
    /// The server streams the body of the request, and only the service limits its length. The server drops an unread
    /// remainder, as for any [`BodyStream`]. The server also streams the body of the response. The length of the
    /// response comes from the service's head or size hint. Without a length, the server sends chunks. If the body has
    /// another length than declared, the server cuts the connection. The server drops trailers.
    ///
    /// The server sets the fields that concern the connection (RFC 9110 §7.6.1), and closes the connection if the
    /// service sends `connection: close`. The server adds no `content-type` to a response without this field. The
    /// service does not know its prefix, and the server does not change `location`. For example, `ServeDir` under
    /// `/static` redirects `/static/folder` to `/folder/`, a path outside of the mount. To avoid this redirect, link to
    /// folders with a final slash.
    ///
    /// If the client disconnects, the server drops the future or the body of the service.
    ///
    /// If the service fails, the server answers 500 and logs the error with its causes. The server handles a panic like
    /// a panic in a hook. If the service sends a 101, the server answers 501 instead, because the service cannot get
    /// the connection. Serve WebSockets by a route. (axum detects the missing connection itself and answers 426.)
    ///
    /// The server clones the service for every request, and waits until the clone is ready.
    ///
    /// ```
    /// use std::convert::Infallible;
    ///
    /// use hyperlane_core::{BodyStream, Server};
    ///
    /// async fn echo(request: http::Request<BodyStream>) -> Result<http::Response<BodyStream>, Infallible> {
    ///     Ok(http::Response::new(request.into_body()))
    /// }
    ///
    /// let mut server = Server::new();
    /// server.mount("/echo", tower::service_fn(echo));
    /// ```
    #[track_caller]
    pub fn mount<S, B>(&mut self, prefix: impl AsRef<str>, service: S) -> &mut Self
    where
        S: Service<http::Request<BodyStream>, Response = http::Response<B>>,
        S: Clone + Send + 'static,
        S::Future: Send,
        S::Error: Into<BoxError>,
        B: http_body::Body + Send + 'static,
        B::Error: Into<BoxError>,
    {
        let prefix = prefix.as_ref().trim_end_matches('/');
        let run = run(service, prefix.matches('/').count());
        let name = short_name::<S>();
        self.add_streaming(PlannedKind::Mount(prefix.to_owned()), run, name)
    }

    /// Passes requests that match no route to a service, instead of a 404. Works like [`mount`](Self::mount), but the
    /// service gets the whole URI. Only the last call has an effect.
    ///
    /// If a path has routes, but none for the method, the server still answers 405.
    ///
    /// ```
    /// use std::convert::Infallible;
    ///
    /// use hyperlane_core::{BodyStream, Server};
    ///
    /// async fn lost(_: http::Request<BodyStream>) -> Result<http::Response<String>, Infallible> {
    ///     Ok(http::Response::new("lost?".to_owned()))
    /// }
    ///
    /// let mut server = Server::new();
    /// server.fallback_service(tower::service_fn(lost));
    /// ```
    #[track_caller]
    pub fn fallback_service<S, B>(&mut self, service: S) -> &mut Self
    where
        S: Service<http::Request<BodyStream>, Response = http::Response<B>>,
        S: Clone + Send + 'static,
        S::Future: Send,
        S::Error: Into<BoxError>,
        B: http_body::Body + Send + 'static,
        B::Error: Into<BoxError>,
    {
        let name = short_name::<S>();
        self.add_streaming(PlannedKind::Fallback, run(service, 0), name)
    }
}

/// Returns the short name of a type, without modules and type arguments. The full name of a stack of layers would fill
/// several lines.
fn short_name<S>() -> &'static str {
    let name = std::any::type_name::<S>();
    let name = name.split('<').next().unwrap_or(name);
    name.rsplit("::").next().unwrap_or(name)
}

/// Creates the hook (the function that the server calls for a request) for a service. The mount's prefix has `segments`
/// segments; the fallback has none.
fn run<S, B>(service: S, segments: usize) -> Run
where
    S: Service<http::Request<BodyStream>, Response = http::Response<B>>,
    S: Clone + Send + 'static,
    S::Future: Send,
    S::Error: Into<BoxError>,
    B: http_body::Body + Send + 'static,
    B::Error: Into<BoxError>,
{
    // Not every service is `Sync`, so a mutex protects it. The mutex is locked only for the clone.
    let original = Arc::new(Mutex::new(service));
    shared(move |stream, ctx| {
        let original = original.clone();
        Box::pin(async move {
            let copy = original
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .clone();
            serve(copy, stream, ctx, segments).await
        })
    })
}

/// Creates a hook from a closure. The bound lets the compiler infer the lifetimes of the closure.
fn shared<F>(hook: F) -> Run
where
    F: for<'a> Fn(&'a mut Stream, &'a mut Context) -> HookFuture<'a> + Send + Sync + 'static,
{
    Run::Shared(Arc::new(hook))
}

async fn serve<S, B>(
    mut service: S,
    stream: &mut Stream,
    ctx: &mut Context,
    segments: usize,
) -> Status
where
    S: Service<http::Request<BodyStream>, Response = http::Response<B>>,
    S::Error: Into<BoxError>,
    B: http_body::Body + Send + 'static,
    B::Error: Into<BoxError>,
{
    let request = match translate(ctx, segments) {
        Ok(request) => request,
        Err(status) => {
            describe(ctx.get_mut_response(), status.as_u16().into());
            return Status::Continue;
        }
    };
    let answered = {
        let mut gone = pin!(stream.disconnected());
        let mut work = pin!(async move {
            poll_fn(|cx| service.poll_ready(cx).map_err(Into::into)).await?;
            service.call(request).await.map_err(Into::into)
        });
        // If the client disconnects, the future of the service is dropped.
        poll_fn(|cx| match work.as_mut().poll(cx) {
            Poll::Ready(answered) => Poll::Ready(Some(answered)),
            Poll::Pending => gone.as_mut().poll(cx).map(|()| None),
        })
        .await
    };
    match answered {
        Some(Ok(response)) => fill(ctx, response),
        Some(Err(error)) => {
            let error: BoxError = error;
            let error = crate::Error::internal(error);
            let response = ctx.get_mut_response();
            describe(response, 500);
            response.fail_because(format!("a mounted service failed: {error}"));
        }
        None => {
            stream.exchange.cut();
            return Status::Reject;
        }
    }
    Status::Continue
}

/// Creates the request for the service. An error is the status with which the server answers instead of the service.
fn translate(ctx: &Context, segments: usize) -> Result<http::Request<BodyStream>, StatusCode> {
    let request = ctx.get_request();
    let refused = StatusCode::BAD_REQUEST;
    let original = Uri::try_from(request.get_target()).map_err(|_| refused)?;
    let mut translated = http::Request::new(ctx.body_stream());
    *translated.uri_mut() = match segments {
        0 => original.clone(),
        _ => {
            // Middleware may have changed the path after routing. If the path has fewer segments than the prefix, the
            // answer is 404.
            let target = without_prefix(request.get_target(), segments);
            let target = target.ok_or(StatusCode::NOT_FOUND)?;
            Uri::try_from(target).map_err(|_| refused)?
        }
    };
    *translated.method_mut() =
        http::Method::from_bytes(request.get_method().as_str().as_bytes()).map_err(|_| refused)?;
    *translated.version_mut() = match request.get_version() {
        HttpVersion::Http1_0 => http::Version::HTTP_10,
        _ => http::Version::HTTP_11,
    };
    let headers = translated.headers_mut();
    for (name, value) in request.get_headers() {
        let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| refused)?;
        let value =
            HeaderValue::from_str(value).or_else(|_| HeaderValue::from_bytes(value.as_bytes()));
        headers.append(name, value.map_err(|_| refused)?);
    }
    // `get_host` prefers the host of an absolute target to the `Host` field (RFC 9112 §3.2.2).
    if let Ok(host) = HeaderValue::from_str(request.get_host())
        && !host.is_empty()
    {
        headers.insert(header::HOST, host);
    }
    let extensions = translated.extensions_mut();
    extensions.insert(OriginalUri(original));
    if let Some(peer) = ctx.peer_addr() {
        extensions.insert(PeerAddr(peer));
    }
    if let Some(client) = ctx.client_addr() {
        extensions.insert(ClientAddr(client));
    }
    let params = ctx.get_route_params();
    if !params.is_empty() {
        extensions.insert(params.clone());
    }
    Ok(translated)
}

/// Removes `segments` segments from a target. Like the router, the function splits the raw path at its slashes.
fn without_prefix(target: &str, segments: usize) -> Option<String> {
    let path_end = target.find('?').unwrap_or(target.len());
    let (path, query) = target.split_at_checked(path_end)?;
    let mut rest = path;
    for _ in 0..segments {
        rest = rest.strip_prefix('/')?;
        rest = rest
            .find('/')
            .and_then(|at| rest.get(at..))
            .unwrap_or_default();
    }
    let rest = if rest.is_empty() { "/" } else { rest };
    Some(format!("{rest}{query}"))
}

/// Copies the service's response into the response of the context.
fn fill<B>(ctx: &mut Context, response: http::Response<B>)
where
    B: http_body::Body + Send + 'static,
    B::Error: Into<BoxError>,
{
    let (parts, body) = response.into_parts();
    if parts.status.is_informational() {
        let status = parts.status;
        let (answer, cause) = if status == StatusCode::SWITCHING_PROTOCOLS {
            let cause =
                "a mounted service sent 101, but cannot get the connection: serve it by a route";
            (501, cause.to_owned())
        } else {
            (
                500,
                format!(
                    "a mounted service sent an interim response as its only response: {status}"
                ),
            )
        };
        let response = ctx.get_mut_response();
        describe(response, answer);
        return response.fail_because(cause);
    }
    if parts.status == StatusCode::UPGRADE_REQUIRED && ctx.get_request().is_ws_upgrade_type() {
        // axum answers 426 if the server does not hand the connection over. The 426 misleads a client that did request
        // a WebSocket, so the log names the cause.
        tracing::warn!(
            "a mounted service refuses a WebSocket, as it gets no connection: serve it by a route"
        );
    }
    let is_head = ctx.get_request().get_method().is_head();
    let response = ctx.get_mut_response();
    response.set_status_code(parts.status.as_u16().into());
    let of_connection = HopByHop::of(&parts.headers);
    let adds_up = |name: &HeaderName| [header::SET_COOKIE, header::VARY].contains(name);
    for name in parts.headers.keys().filter(|name| !adds_up(name)) {
        response.remove_header(name.as_str());
    }
    for (name, value) in &parts.headers {
        if of_connection.has(name) || *name == header::CONTENT_LENGTH {
            continue;
        }
        match str::from_utf8(value.as_bytes()) {
            Ok(value) => {
                response.add_header(name.as_str(), value);
            }
            Err(_) => response
                .get_mut_headers()
                .append_parsed(name.as_str(), value.as_bytes()),
        }
    }
    if let (StatusCode::UPGRADE_REQUIRED, Some(Ok(protocol))) = (
        parts.status,
        parts.headers.get(header::UPGRADE).map(HeaderValue::to_str),
    ) {
        // A 426 names the required protocol (RFC 9110 §15.5.22).
        response.set_header("upgrade", protocol);
        response.set_header("connection", "upgrade");
    }
    if of_connection.names("close") {
        response.set_header("connection", "close");
    }
    let known = body.size_hint().exact();
    let length = match stated_length(&parts.headers) {
        // A response to HEAD has no body. An empty body therefore does not show the length of the response to GET.
        None if is_head && body.is_end_stream() => None,
        None => known,
        stated => stated,
    };
    match length {
        Some(0) if known == Some(0) => response.set_body_bytes(Bytes::new()),
        length => response.set_body(Body::of_service(Pieces { body }, length)),
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_short() {
        assert_eq!(short_name::<Vec<std::fmt::Error>>(), "Vec");
        assert_eq!(short_name::<StatusCode>(), "StatusCode");
        assert_eq!(short_name::<u8>(), "u8");
    }

    #[test]
    fn a_prefix_goes_and_the_rest_stays_as_it_came() {
        for (target, segments, rest) in [
            ("/static", 1, Some("/")),
            ("/static/", 1, Some("/")),
            ("/static?a=1", 1, Some("/?a=1")),
            ("/static/a%2Fb/c?x=/y", 1, Some("/a%2Fb/c?x=/y")),
            ("/static//a", 1, Some("//a")),
            ("/a/b/c", 2, Some("/c")),
            ("/a", 2, None),
            ("*", 1, None),
        ] {
            assert_eq!(
                without_prefix(target, segments).as_deref(),
                rest,
                "{target}"
            );
        }
    }
}
