//! The handler's side of a connection: request after request through the pipeline.

use std::{pin::Pin, sync::Arc};

use super::{
    app::{App, Hook, Routed, allow},
    observe::Within,
    shared::Shared,
};
use crate::{
    Context, IntoResponse, Method, Status, Stream,
    conn::{Conn, upkeep::Ending},
    context::Stage,
    error::{PanicData, RequestError, ResponseError},
    hook::{GuardKind, Guarded, Outcome, Run},
    http::describe,
    proto::{http::head::HeadError, ws::CloseCode},
    stream::Answered,
};

/// Where the pipeline goes next. Kept flat, with one await for all hooks, so that the future of an
/// idle connection stays small.
#[derive(Clone, Copy)]
enum Step {
    RequestMiddleware(u32),
    Route,
    ResponseMiddleware(u32),
    TaskPanic(u32),
    RequestError(u32),
    Done,
}

/// Serves a connection until it is over.
#[expect(
    clippy::manual_async_fn,
    reason = "every connection holds it, and an `async fn` holds its arguments twice"
)]
pub(crate) fn serve(
    connection: Arc<Conn>,
    app: Arc<App>,
    proxied: bool,
) -> impl Future<Output = Ending> + Send {
    async move {
        if proxied && let Err(problem) = Box::pin(read_proxy_header(&connection)).await {
            tracing::debug!(problem, "connection closed");
            return Ending::Abort;
        }
        let mut ctx = Context::new(app.states.clone(), connection.clone());
        let mut stream = Stream::new(connection);
        loop {
            ctx.reset();
            let mut route = None;
            let mut rejected = false;
            let mut panicked = false;
            // A scope of its own: what it holds must not stay while the hooks run.
            let mut step = {
                let read = stream.next_head(ctx.get_mut_request()).await;
                let read = read.inspect_err(|error| {
                    let is_answered = !error.is_disconnect()
                        && *error != RequestError::Head(HeadError::TlsOnPlainPort);
                    if is_answered {
                        stream.observe(&app.unrouted, None);
                    }
                });
                let started = read.and_then(|head| {
                    let plan = match app.route(&mut ctx) {
                        Routed::To(hook) => {
                            route = Some(hook);
                            hook.body
                        }
                        Routed::NotFound => {
                            not_found(&mut ctx, &app);
                            app.unrouted_body()
                        }
                        Routed::Declined(kind, allowed) => {
                            declined(&mut ctx, kind, allowed);
                            app.unrouted_body()
                        }
                    };
                    if stream.is_heard() {
                        let label = route.map_or(&app.unrouted, |hook| &hook.label);
                        let request = ctx.get_request();
                        stream.observe(label, Some((request.get_method(), request.get_raw_path())));
                    }
                    let started = stream.start_body(ctx.get_mut_request(), head, plan);
                    if let Some(incoming) = stream.incoming() {
                        ctx.set_incoming(incoming);
                    }
                    started
                });
                // On the heap, like the error: most connections never need their room.
                let started = match started.map_err(Box::new) {
                    Ok(true) if !ctx.may_have_session_to_load() => Ok(true),
                    Ok(is_ready) => make_ready(&mut stream, &mut ctx, !is_ready)
                        .await
                        .map_err(Box::new),
                    error => error,
                };
                match started.map_err(|error| *error) {
                    Ok(_) => Step::RequestMiddleware(0),
                    Err(RequestError::ConnectionClosed) => return Ending::Idle,
                    Err(error) if error.is_disconnect() => return Ending::Abort,
                    Err(RequestError::Head(HeadError::TlsOnPlainPort)) => {
                        // Plain text would be noise to such a client; whoever runs the server should know of the mix-up.
                        tracing::warn!(peer = ?stream.peer_addr(), "a TLS ClientHello on a plain port: connection closed");
                        return Ending::Http;
                    }
                    Err(error) => {
                        refuse(&mut ctx, error);
                        Step::RequestError(0)
                    }
                }
            };
            loop {
                let hook = match step {
                    Step::RequestMiddleware(at) => match app.request_middleware.get(at as usize) {
                        Some(hook) => {
                            step = Step::RequestMiddleware(at + 1);
                            hook
                        }
                        None => {
                            step = Step::Route;
                            continue;
                        }
                    },
                    Step::Route => {
                        step = Step::ResponseMiddleware(0);
                        let Some(hook) = route else { continue };
                        ctx.stage = Stage::Route;
                        hook
                    }
                    Step::ResponseMiddleware(at) => {
                        match app.response_middleware.get(at as usize) {
                            Some(hook) => {
                                step = Step::ResponseMiddleware(at + 1);
                                hook
                            }
                            None => break,
                        }
                    }
                    Step::TaskPanic(at) => match app.task_panic.get(at as usize) {
                        Some(hook) => {
                            step = Step::TaskPanic(at + 1);
                            hook
                        }
                        None => break,
                    },
                    Step::RequestError(at) => match app.request_error.get(at as usize) {
                        Some(hook) => {
                            step = Step::RequestError(at + 1);
                            hook
                        }
                        None => break,
                    },
                    Step::Done => break,
                };
                // The route's guards have been asked already.
                if ctx.stage != Stage::Route && hook.declined(&ctx).is_some() {
                    continue;
                }
                let outcome = start(hook, &mut stream, &mut ctx).await;
                ctx.stage = Stage::Middleware;
                match outcome {
                    Outcome::Done(Status::Continue) => {}
                    Outcome::Done(Status::Reject) => {
                        rejected = true;
                        // A handshake that could not be answered says more than 403.
                        let refusal = match step {
                            Step::RequestError(_) | Step::TaskPanic(_) => None,
                            _ if stream.answered() != Answered::No || !is_untouched(&ctx) => None,
                            _ => ctx.try_get_request_error_data(),
                        };
                        step = match refusal {
                            Some(error) => {
                                refuse(&mut ctx, error);
                                Step::RequestError(0)
                            }
                            None => Step::Done,
                        };
                    }
                    Outcome::Refused(error) => {
                        refuse(&mut ctx, error);
                        // A hook that refuses while errors are handled ends the handling.
                        step = match step {
                            Step::RequestError(_) | Step::TaskPanic(_) => Step::Done,
                            _ => Step::RequestError(0),
                        };
                    }
                    Outcome::Panicked(payload) => {
                        let data = PanicData::from_payload(&*payload, hook.name);
                        stream.in_scope(|| {
                            tracing::error!(hook = hook.name, place = %hook.place, "panic: {data}");
                        });
                        panicked = true;
                        let again = matches!(step, Step::TaskPanic(_));
                        fail(&mut ctx, 500);
                        ctx.set_task_panic(data);
                        step = if again {
                            Step::Done
                        } else {
                            Step::TaskPanic(0)
                        };
                    }
                }
            }
            if ctx.has_session_to_save() {
                save_session(&mut stream, &mut ctx).await;
            }
            match stream.answered() {
                Answered::No => {
                    if rejected && is_untouched(&ctx) {
                        describe(ctx.get_mut_response(), 403);
                    }
                    ctx.attach_session();
                    // The client may have gone meanwhile.
                    let _ = if ctx.get_response().is_body_streamed() {
                        send_streamed(&mut stream, &mut ctx).await
                    } else {
                        stream.send_response(ctx.get_response(), false)
                    };
                    if stream.is_unfinished() {
                        return Ending::Abort;
                    }
                }
                Answered::WebSocket => {
                    stream.finish_switching();
                    return Ending::WebSocket(if panicked {
                        CloseCode::INTERNAL_ERROR
                    } else {
                        CloseCode::NORMAL
                    });
                }
                Answered::Whole => {}
                Answered::ThenClose if stream.is_unfinished() => return Ending::Abort,
                Answered::ThenClose if panicked && !stream.is_complete() => return Ending::Abort,
                Answered::ThenClose => stream.end_events(),
            }
            stream.observed = None;
            stream.forget_reading();
            if stream.has_body_left() {
                Box::pin(stream.finish_body()).await;
            }
            if !stream.goes_on() {
                return Ending::Http;
            }
        }
    }
}

/// Reads whom a load balancer speaks for; an error is a connection that comes from none.
#[cfg(feature = "proxy-protocol")]
async fn read_proxy_header(connection: &Conn) -> Result<(), String> {
    use crate::{
        conn::{
            Peer,
            input::{Fill, Wait},
        },
        proto::proxy,
    };

    let header = loop {
        {
            let mut input = connection.lock_input();
            let parsed = proxy::parse(input.buffer.unread()).map_err(|error| error.to_string())?;
            if let Some(header) = parsed {
                input.buffer.consume(header.len);
                break header;
            }
        }
        let more = |cx: &mut std::task::Context<'_>| {
            connection.poll_more(cx, Wait::Head, proxy::MAX_HEADER)
        };
        match std::future::poll_fn(more).await {
            Fill::Bytes => {}
            _ => return Err("a PROXY protocol header did not come in time".to_owned()),
        }
    };
    match header.source {
        Some(source) if !connection.set_source(Peer::Inet(source)) => {
            Err(format!("too many connections from {source}"))
        }
        _ => Ok(()),
    }
}

/// The configuration refuses such addresses without the feature.
#[cfg(not(feature = "proxy-protocol"))]
async fn read_proxy_header(_: &Conn) -> Result<(), String> {
    Err("built without feature proxy-protocol".to_owned())
}

// Functions of their own: what is moved into a future before an await would still have its room in the one around it.

fn start<'a>(hook: &Hook, stream: &'a mut Stream, ctx: &'a mut Context) -> Guarded<'a> {
    let observed = stream.observed.clone();
    let future = match &hook.run {
        Run::Fn(run) => run(stream, ctx),
        Run::Shared(run) => run(stream, ctx),
    };
    Guarded::new(future, observed)
}

/// Waits for what the hooks need: the session from its store, the body if it is read whole.
fn make_ready<'a>(
    stream: &'a mut Stream,
    ctx: &'a mut Context,
    reads_body: bool,
) -> Within<Pin<Box<impl Future<Output = Result<bool, RequestError>> + 'a>>> {
    let observed = stream.observed.clone();
    let ready = async move {
        let loaded = ctx.load_session().await;
        // The body is read all the same: the connection may go on.
        if reads_body {
            stream.read_whole(ctx).await?;
        }
        loaded.map(|()| true)
    };
    Within::new(observed, Box::pin(ready))
}

fn send_streamed<'a>(
    stream: &'a mut Stream,
    ctx: &'a mut Context,
) -> Within<Pin<Box<impl Future<Output = Result<(), ResponseError>> + 'a>>> {
    let observed = stream.observed.clone();
    Within::new(observed, Box::pin(stream.send_streamed(ctx)))
}

/// Tells the store of the sessions what has changed; where it fails, the answer says so if it still can.
fn save_session<'a>(
    stream: &'a mut Stream,
    ctx: &'a mut Context,
) -> Within<Pin<Box<impl Future<Output = ()> + 'a>>> {
    let saving = async {
        if let Err(error) = ctx.save_session().await
            && stream.answered() == Answered::No
        {
            refuse(ctx, error);
        }
    };
    Within::new(stream.observed.clone(), Box::pin(saving))
}

/// Whether no hook has answered. Headers alone are no answer: middleware sets them for whatever comes.
fn is_untouched(ctx: &Context) -> bool {
    let response = ctx.get_response();
    response.get_status_code() == 200
        && response.get_body().is_empty()
        && !response.is_body_streamed()
}

/// Sets a plain answer that gives nothing internal away.
fn fail(ctx: &mut Context, status: usize) {
    ctx.get_mut_response().reset();
    describe(ctx.get_mut_response(), status);
}

fn not_found(ctx: &mut Context, app: &App) {
    let request = ctx.get_request();
    match request.get_method() {
        // The server as a whole is asked (RFC 9110 §9.3.7).
        Method::Options if request.get_path() == "*" => {
            let response = ctx.get_mut_response();
            response.reset();
            response.set_status_code(204);
            response.set_header("allow", &app.methods);
        }
        // This is no tunnel (RFC 9110 §9.3.6).
        Method::Connect => fail(ctx, 501),
        _ => fail(ctx, 404),
    }
}

fn declined(ctx: &mut Context, kind: GuardKind, allowed: std::collections::BTreeSet<&'static str>) {
    ctx.get_mut_response().reset();
    describe_declined(ctx, kind);
    if let GuardKind::Method(_) = kind {
        ctx.get_mut_response().set_header("allow", allow(allowed));
    }
}

/// Sets the answer of a guard that declines; what middleware has set stays.
pub(crate) fn describe_declined(ctx: &mut Context, kind: GuardKind) {
    let status = match kind {
        GuardKind::Host => 421,
        GuardKind::Referer => 403,
        GuardKind::Version => 505,
        GuardKind::Method(_) => 405,
        GuardKind::Upgrade(_) => 426,
        GuardKind::NoUpgrade => 400,
    };
    let response = ctx.get_mut_response();
    describe(response, status);
    match kind {
        GuardKind::Method(names) => {
            response.set_header("allow", allow(names.iter().copied().collect()));
        }
        GuardKind::Upgrade(protocol) => {
            response.set_header("upgrade", protocol);
            response.set_header("connection", "upgrade");
        }
        _ => {}
    }
}

/// Sets the answer to a request that cannot be handled.
fn refuse(ctx: &mut Context, error: RequestError) {
    ctx.get_mut_response().reset();
    error.clone().into_response(ctx.get_mut_response());
    ctx.set_request_error(error);
}

/// The task of a connection, ready to be spawned.
pub(crate) fn task(
    shared: &Arc<Shared>,
    app: &Arc<App>,
    accepted: super::listener::Accepted,
    permit: Option<tokio::sync::OwnedSemaphorePermit>,
) -> impl Future<Output = ()> + Send + 'static {
    task_of(shared, app, accepted, permit, |_| {})
}

/// The same, of a connection that is prepared first.
pub(crate) fn task_of(
    shared: &Arc<Shared>,
    app: &Arc<App>,
    accepted: super::listener::Accepted,
    permit: Option<tokio::sync::OwnedSemaphorePermit>,
    prepare: impl FnOnce(&Conn),
) -> impl Future<Output = ()> + Send + 'static {
    let connection = shared
        .registry
        .insert(|key| Conn::new(key, accepted.peer, accepted.halves, shared.clone()));
    prepare(&connection);
    connection.arm(connection.now().after(shared.config.header_timeout));
    let inner = serve(connection.clone(), app.clone(), accepted.proxied);
    crate::conn::task::ConnectionTask::new(connection, permit, inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size_of_output<F>(_: impl Fn(Arc<Conn>, Arc<App>, bool) -> F) -> usize {
        size_of::<F>()
    }

    #[test]
    fn the_future_of_a_connection_stays_small() {
        // What every idle connection holds besides its shared state. Whatever few requests need goes to the heap.
        let size = size_of_output(serve);
        assert!(size <= 480, "{size} bytes");
    }
}
