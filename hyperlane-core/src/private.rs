//! The functions and types that the code of expanded attribute macros uses. The expanded code uses nothing else of this
//! crate. The items are not part of the API and change with the macros.

use std::{any::Any, convert::Infallible};

#[cfg(feature = "cookies")]
#[path = "private/cookies.rs"]
mod cookies;

pub use inventory;

#[cfg(feature = "cookies")]
pub use self::cookies::{request_cookie, request_cookies, try_request_cookie};
pub use crate::{
    Attributes, BodyMode, BodyStream, Context, FromContext, HttpVersion, IntoResponse, PanicData,
    Request, RequestBody, RequestError, RouteParams, Server, ServerHook, Status, Stream,
    error::Place,
    error::SetupError,
    extract::argument,
    hook::setup::RouteSetup,
    hook::{
        Guard, GuardKind, HandlerReturn, HookFn, HookFuture, HookKind, Middleware, Registration,
        Scope, ScopeRegistration, Taker, refuse,
    },
};
use serde_json::Error as JsonError;

use crate::{
    Body, Headers, IntoBody, Querys, ResponseError, ServerSentEvents, WebSocket,
    context::Stage,
    error::FAILURE,
    http::{HttpStatus, describe},
};

/// A return type of functions that a guard, `filter` or `reject` may skip.
#[diagnostic::on_unimplemented(
    message = "a function that `filter`, `reject` or a guard may skip must return `Status` or nothing, not `{Self}`",
    label = "this function has no value to return when it is skipped"
)]
pub trait Skipped {
    fn skipped() -> Self;
}

impl Skipped for () {
    fn skipped() -> Self {}
}

impl Skipped for Status {
    fn skipped() -> Self {
        Self::Continue
    }
}

pub fn skip<T: Skipped>() -> T {
    T::skipped()
}

/// Handles a request that a guard has declined. The code of a macro calls this for a guard that it checks inside the
/// function. The router does not check such a guard. In a route, sets the response to the status of the guard's kind.
pub fn decline(ctx: &mut Context, kind: GuardKind) {
    // Outside of a route, a guard only skips the hook.
    if ctx.stage == Stage::Route {
        crate::pipeline::refusal::describe_declined(ctx, kind);
    }
}

/// Sets a 403 response for a request that a condition (`filter` or `reject`) declines. The response does not name the
/// condition.
pub fn decline_by_condition(ctx: &mut Context) -> Status {
    describe(ctx.get_mut_response(), 403);
    Status::Continue
}

pub fn respond_value<R: HandlerReturn>(ctx: &mut Context, value: R) -> Status {
    value.apply(ctx)
}

pub fn respond<R: IntoResponse>(ctx: &mut Context, value: R) {
    value.into_response(ctx.get_mut_response());
}

/// Checks, when a server starts, that the route can provide the argument. The second parameter only passes the type of
/// the argument and is never called.
pub fn needs<T: FromContext>(setup: &RouteSetup<'_>, _: fn(T)) -> Result<(), SetupError> {
    T::check(setup)
}

/// Returns the way in which an argument reads the body. The parameter only passes the type of the argument and is never
/// called.
pub const fn body_of<T: FromContext>(_: fn(T)) -> Option<BodyMode> {
    T::BODY
}

// ---------------------------------------------------------------- guards

pub fn guard_method(ctx: &Context, names: &[&str]) -> bool {
    crate::pipeline::app::takes_method(names, ctx.get_request().get_method())
}

pub fn guard_upgrade(ctx: &Context, protocol: &str) -> bool {
    let headers = ctx.get_request().get_headers();
    headers.has_token("upgrade", protocol)
        || (protocol == "tls"
            && headers
                .get_all("upgrade")
                .any(|value| value.to_ascii_lowercase().starts_with("tls")))
}

pub fn guard_websocket(ctx: &Context) -> bool {
    guard_upgrade(ctx, "websocket")
}

pub fn guard_no_upgrade(ctx: &Context) -> bool {
    ctx.get_request().is_unknown_upgrade_type()
}

pub fn guard_version(ctx: &Context, is: fn(&HttpVersion) -> bool) -> bool {
    is(ctx.get_request().get_version())
}

pub fn guard_host(ctx: &Context, host: impl AsRef<str>) -> bool {
    ctx.get_request()
        .get_host()
        .eq_ignore_ascii_case(host.as_ref())
}

pub fn guard_referer(ctx: &Context, referer: impl AsRef<str>) -> bool {
    ctx.get_request().get_headers().get("referer") == Some(referer.as_ref())
}

// ---------------------------------------------------------------- reads

/// Accepts the handshake of a WebSocket in a route. The first read, the first send or `Context::upgrade` sends the 101
/// later. Outside of a route, this function does nothing: there, the guard `is_ws_upgrade_type` only inspects the
/// request.
pub async fn upgrade(stream: &mut Stream, ctx: &mut Context) {
    if ctx.stage == Stage::Route
        && let Err(refusal) = stream.accept_handshake(ctx).map_err(refuse)
    {
        match refusal.await {}
    }
}

/// Returns the next message. Returns `None` after the end of the WebSocket.
pub async fn read_websocket(stream: &mut Stream, ctx: &mut Context) -> Option<RequestBody> {
    // Makes the connection a WebSocket, if it is not one yet.
    if let Err(refusal) = ctx.upgrade(stream).await.map_err(refuse) {
        match refusal.await {}
    }
    // Drops the previous message. Otherwise the request would keep the message while the hook waits for the next
    // message.
    ctx.get_mut_request().set_body(RequestBody::new());
    if stream.get_closed() {
        return None;
    }
    let message = stream.try_get_websocket_request().await.ok()?;
    // Macros in the body of the read loop take the message from the request.
    ctx.get_mut_request().set_body(message.clone());
    Some(message)
}

/// Returns the next request of the connection. Returns `None` after the last request.
pub async fn read_http(stream: &mut Stream, ctx: &mut Context) -> Option<Request> {
    ctx.next_request(stream).await.ok()?;
    // Macros in the body of the read loop use the request of the context.
    Some(ctx.get_request().clone())
}

// ---------------------------------------------------------------- handles

/// Makes the connection a WebSocket. If this fails, for example because the request is no valid handshake, ends the
/// hook with the error.
pub async fn websocket(stream: &mut Stream, ctx: &mut Context) -> WebSocket {
    match ctx.upgrade(stream).await.map_err(refuse) {
        Ok(socket) => socket,
        Err(refusal) => match refusal.await {},
    }
}

/// Starts an event stream. If this fails, ends the hook with an error. Reasons are a client that has disconnected, a
/// request that was already answered, and a status that allows no content.
pub async fn sse(stream: &mut Stream, ctx: &mut Context) -> ServerSentEvents {
    let started = ctx.event_stream(stream).await;
    let started = started.map_err(|error| {
        refuse(match error {
            ResponseError::ConnectionClosed => RequestError::ClientDisconnected,
            // The client gets a plain 500, and the text goes to the log.
            error => RequestError::refused(500, format!("no event stream can begin: {error}")),
        })
    });
    match started {
        Ok(events) => events,
        Err(refusal) => match refusal.await {},
    }
}

// ---------------------------------------------------------------- extractors

/// Returns a value that the hook needs. On an error, ends the hook with this error.
pub async fn need<T>(found: Result<T, RequestError>) -> T {
    match found.map_err(refuse) {
        Ok(value) => value,
        Err(refusal) => match refusal.await {},
    }
}

/// The result of one iteration of a read loop. The body of the loop returns a `Status` or `()`, or it never returns
/// (its type is `!`). In the last case, nothing determines `T`. The compiler then chooses `Turn<Status>`, because an
/// inherent method (the `status` of `Turn<Status>`) takes precedence over a method of a trait.
pub struct Turn<T>(pub T);

impl Turn<Status> {
    pub fn status(self) -> Status {
        self.0
    }
}

/// The method `status` for the result of an iteration whose body returns `()`.
pub trait UnitTurn: Sized {
    fn status(self) -> Status {
        Status::Continue
    }
}

impl UnitTurn for Turn<()> {}

pub fn request_body(ctx: &Context) -> RequestBody {
    ctx.get_request().get_body().clone()
}

pub fn request_version(ctx: &Context) -> HttpVersion {
    ctx.get_request().get_version().clone()
}

pub fn request_path(ctx: &Context) -> String {
    ctx.get_request().path().to_owned()
}

pub fn request_querys(ctx: &Context) -> Querys {
    ctx.get_request().get_querys().clone()
}

pub fn request_headers(ctx: &Context) -> Headers {
    ctx.get_request().get_headers().clone()
}

pub fn route_params(ctx: &Context) -> RouteParams {
    ctx.get_route_params().clone()
}

pub fn attributes(ctx: &Context) -> Attributes {
    ctx.get_attributes().clone()
}

pub fn body_stream(ctx: &Context) -> BodyStream {
    ctx.body_stream()
}

pub fn request_body_json<T: serde::de::DeserializeOwned>(ctx: &Context) -> Result<T, RequestError> {
    crate::context::typed::read_json(ctx.get_request().get_body())
}

pub fn request_body_json_result<T: serde::de::DeserializeOwned>(
    ctx: &Context,
) -> Result<T, JsonError> {
    ctx.get_request().try_get_body_json()
}

pub fn try_route_param(ctx: &Context, name: impl AsRef<str>) -> Option<String> {
    ctx.try_get_route_param(name)
}

pub fn route_param(ctx: &Context, name: impl AsRef<str>) -> Result<String, RequestError> {
    let name = name.as_ref();
    try_route_param(ctx, name).ok_or_else(|| RequestError::missing("route parameter", name))
}

pub fn try_request_query(ctx: &Context, name: impl AsRef<str>) -> Option<String> {
    ctx.get_request().try_get_query_front(name.as_ref())
}

pub fn request_query(ctx: &Context, name: impl AsRef<str>) -> Result<String, RequestError> {
    let name = name.as_ref();
    try_request_query(ctx, name).ok_or_else(|| RequestError::missing("query parameter", name))
}

pub fn try_request_header(ctx: &Context, name: impl AsRef<str>) -> Option<String> {
    ctx.get_request()
        .get_headers()
        .get_last(name.as_ref())
        .map(str::to_owned)
}

pub fn request_header(ctx: &Context, name: impl AsRef<str>) -> Result<String, RequestError> {
    let name = name.as_ref();
    try_request_header(ctx, name).ok_or_else(|| RequestError::missing("header", name))
}

pub fn try_attribute<T: Any + Send + Sync + Clone>(
    ctx: &Context,
    key: impl AsRef<str>,
) -> Option<T> {
    ctx.try_get_attribute(key)
}

pub fn attribute<T: Any + Send + Sync + Clone>(
    ctx: &Context,
    key: impl AsRef<str>,
) -> Result<T, RequestError> {
    ctx.get_attribute(key)
}

pub fn try_task_panic_data(ctx: &Context) -> Option<PanicData> {
    ctx.try_get_task_panic_data()
}

pub fn task_panic_data(ctx: &Context) -> Result<PanicData, RequestError> {
    ctx.get_task_panic_data()
}

pub fn try_request_error_data(ctx: &Context) -> Option<RequestError> {
    ctx.try_get_request_error_data()
}

pub fn request_error_data(ctx: &Context) -> Result<RequestError, RequestError> {
    ctx.try_get_request_error_data()
        .ok_or_else(|| RequestError::missing(FAILURE, "request error"))
}

// ---------------------------------------------------------------- setters and sends

/// A type that the macro for the status code accepts: an integer or [`HttpStatus`].
pub trait StatusCode {
    fn code(self) -> usize;
}

macro_rules! status_codes {
    ($($number:ty)*) => {$(
        impl StatusCode for $number {
            fn code(self) -> usize {
                // A number that does not fit becomes 0, which is no valid status code. The response stores 500 instead
                // of an invalid code.
                usize::try_from(self).unwrap_or(0)
            }
        }
    )*};
}

status_codes!(u8 u16 u32 u64 usize i16 i32 i64 isize);

impl StatusCode for HttpStatus {
    fn code(self) -> usize {
        HttpStatus::code(&self)
    }
}

pub fn set_status(ctx: &mut Context, status: impl StatusCode) {
    ctx.get_mut_response().set_status_code(status.code());
}

/// Converts a value that may borrow from the context to a body, before the context is borrowed mutably.
pub fn body(value: impl IntoBody) -> Body {
    value.into_body()
}

/// Copies a text that may borrow from the context, before the context is borrowed mutably.
pub fn text(value: impl AsRef<str>) -> String {
    value.as_ref().to_owned()
}

pub async fn try_send(stream: &mut Stream, ctx: &mut Context) {
    // `try_send` ignores errors. The next read or send reports them.
    let _ = stream.send_bare(ctx).await;
}

pub async fn send(stream: &mut Stream, ctx: &mut Context) {
    let sent = stream.send_bare(ctx).await;
    stream.close_on_failure(sent);
}

pub async fn try_send_bytes(stream: &mut Stream, data: impl AsRef<[u8]>) {
    let _ = stream.try_send(data).await;
}

pub async fn send_bytes(stream: &mut Stream, data: impl AsRef<[u8]>) {
    stream.send(data).await;
}

pub async fn spawned(stream: &mut Stream) {
    stream.spawned().await;
}

pub async fn try_flush(stream: &mut Stream) {
    let _ = stream.try_flush().await;
}

pub async fn flush(stream: &mut Stream) {
    stream.flush().await;
}

pub fn closed(stream: &mut Stream) {
    stream.set_closed(true);
}

/// The name of `Infallible` in generated code.
pub type Never = Infallible;
