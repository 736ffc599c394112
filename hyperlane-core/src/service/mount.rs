//! Services of other crates under a path of ours, or for whatever no route takes.

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
    server::app::PlannedKind,
};

impl Server {
    /// Serves all paths under `prefix` by a service, whatever the method: `/static`, `/static/` and `/static/a/b` for the
    /// prefix `/static`, not `/staticfoo`.
    ///
    /// Routes of the server's own under the prefix come first. The service sees the URI without the prefix (`/` for the
    /// prefix alone) and with the query; [`OriginalUri`], [`PeerAddr`] and [`ClientAddr`] are extensions of the request. The
    /// prefix may have parameters, which stand in an extension [`RouteParams`](crate::RouteParams).
    ///
    /// Middleware runs around the service as around a route; what it has set of a response's fields gives way to what
    /// the service sets, except for `set-cookie` and `vary`, which add up. The body of the request is streamed, without a
    /// limit but the service's own; what the service leaves of it is dropped as for any [`BodyStream`]. The body of the
    /// response is streamed in the length that the service states, else that
    /// its size hint knows, else in chunks; where it turns out shorter or longer, the connection is cut. Fields about the
    /// connection are the server's (RFC 9110 §7.6.1), and `connection: close` is heeded. Trailers are dropped. A
    /// body without a `content-type` gets none. A `location` stays as it is, although the service does not know its prefix:
    /// `ServeDir` under `/static` redirects `/static/folder` to `/folder/`, so link to folders with their slash.
    ///
    /// When the client leaves or ends its side, the service's future or body is dropped and the connection with it.
    ///
    /// A service that fails is answered for with 500, and the error logged with its causes; a panic goes the way of every
    /// panic. An answer of 101 becomes 501, as the connection is not given away: serve WebSockets by a route. (axum sees that
    /// itself, and answers 426.)
    ///
    /// The service is cloned for every request, and waited for until it is ready.
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

    /// Serves by a service what no route takes, instead of the answer 404; see [`mount`](Self::mount), but the URI stays
    /// whole. The last one given counts.
    ///
    /// A path that has routes, none of them for the method, is still answered with 405.
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

/// The name of a type as people write it: neither its modules nor what it is made of, which fills lines for a stack of
/// layers.
fn short_name<S>() -> &'static str {
    let name = std::any::type_name::<S>();
    let name = name.split('<').next().unwrap_or(name);
    name.rsplit("::").next().unwrap_or(name)
}

/// Makes a hook of a service that is mounted under so many segments.
fn run<S, B>(service: S, segments: usize) -> Run
where
    S: Service<http::Request<BodyStream>, Response = http::Response<B>>,
    S: Clone + Send + 'static,
    S::Future: Send,
    S::Error: Into<BoxError>,
    B: http_body::Body + Send + 'static,
    B::Error: Into<BoxError>,
{
    // Not every service can be shared; to copy it takes a moment.
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

/// Lets the compiler see the lifetimes of a closure.
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
        // A service learns by being dropped that nobody waits for it.
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

/// Makes the request that the service sees; an error is the answer.
fn translate(ctx: &Context, segments: usize) -> Result<http::Request<BodyStream>, StatusCode> {
    let request = ctx.get_request();
    let refused = StatusCode::BAD_REQUEST;
    let original = Uri::try_from(request.get_target()).map_err(|_| refused)?;
    let mut translated = http::Request::new(ctx.body_stream());
    *translated.uri_mut() = match segments {
        0 => original.clone(),
        _ => {
            // Middleware may have changed the path since the route was found.
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
    // The host of an absolute target counts, whatever the field says (RFC 9112 §3.2.2).
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

/// Takes so many segments off a target. Routes tell segments by the slashes of the raw path, too.
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

/// Makes the service's response ours.
fn fill<B>(ctx: &mut Context, response: http::Response<B>)
where
    B: http_body::Body + Send + 'static,
    B::Error: Into<BoxError>,
{
    let (parts, body) = response.into_parts();
    if parts.status.is_informational() {
        let status = parts.status;
        let (answer, cause) = if status == StatusCode::SWITCHING_PROTOCOLS {
            let cause = "a mounted service wants to switch protocols, but gets no connection: serve it by a route";
            (501, cause.to_owned())
        } else {
            (
                500,
                format!("a mounted service gave an interim answer as its only one: {status}"),
            )
        };
        let response = ctx.get_mut_response();
        describe(response, answer);
        return response.fail_because(cause);
    }
    if parts.status == StatusCode::UPGRADE_REQUIRED && ctx.get_request().is_ws_upgrade_type() {
        // What axum answers; the client, which did ask, cannot know why.
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
        // RFC 9110 §15.5.22: this answer names the protocol.
        response.set_header("upgrade", protocol);
        response.set_header("connection", "upgrade");
    }
    if of_connection.names("close") {
        response.set_header("connection", "close");
    }
    let known = body.size_hint().exact();
    let length = match stated_length(&parts.headers) {
        None if is_head && body.is_end_stream() => None,
        None => known,
        stated => stated,
    };
    match length {
        // The body that HEAD must not have says nothing about the length that GET would have.
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
