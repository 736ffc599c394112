//! The loop of a connection that passes one request after the other through the pipeline. The pipeline runs hooks, the
//! program's functions that handle requests: middleware, the route and error hooks.

use std::{pin::Pin, sync::Arc};

use super::{
    app::{App, Hook, Routed},
    proxy_header::read_proxy_header,
    refusal::{
        declined, misdirected, not_found, redirected, refused_further, still_unrouted, unread,
    },
    render::render_error,
    report::{log_tls, names, report},
};
use crate::{
    Context, Status, Stream,
    config::HttpsRedirect,
    conn::{end::Ending, link::Link},
    context::{Caught, Stage},
    env::peer::Via,
    error::{PanicData, RequestError, ResponseError},
    exchange::{
        answer::{Progress, Refused},
        body::BodyHead,
    },
    hook::{Guarded, HookFuture, Outcome, wrap::Rest},
    http::{HttpStatus, describe},
    observe::{self, RouteLabel, Within},
    panic::drop_payload,
    proto::{http::head::HeadError, ws::CloseCode},
    stream::hints::hint_preloads,
};

/// The next step of the pipeline. A flat loop in [`serve`] runs all steps, with a single await for all hooks. So the
/// future of an idle connection stays small. Each step with several hooks contains the index of its next hook. The
/// exception is response middleware: its index is in the context, because a hook may run response middleware early.
#[derive(Clone, Copy)]
enum Step {
    RequestMiddleware(u16),
    Route,
    /// The hook of the route runs. Response middleware is next.
    InRoute,
    ResponseMiddleware,
    TaskPanic(u16),
    RequestError(u16),
    Done,
}

impl Step {
    /// Returns whether this step runs the hook of the route.
    fn is_route(self) -> bool {
        matches!(self, Self::InRoute)
    }

    /// Returns whether this step runs response middleware.
    fn is_response(self) -> bool {
        matches!(self, Self::ResponseMiddleware)
    }

    /// Returns whether this step runs the hooks for errors or panics.
    fn is_error(self) -> bool {
        matches!(self, Self::RequestError(_) | Self::TaskPanic(_))
    }
}

/// Facts about a request that the pipeline collects. They are bits of one byte, because every idle connection holds
/// them.
#[derive(Clone, Copy, Default)]
struct Facts(u8);

impl Facts {
    /// The request was parsed. Response middleware runs only in this case.
    const PARSED: u8 = 1;
    /// The error hooks have run. They run at most once per request.
    const REFUSED: u8 = 2;
    /// The panic hooks have run. They run at most once per request.
    const PANICKED: u8 = 4;
    /// A hook has rejected the request.
    const REJECTED: u8 = 8;
    /// A hook has failed after the answer had begun.
    const FAILED: u8 = 16;

    fn has(self, fact: u8) -> bool {
        self.0 & fact != 0
    }

    fn set(&mut self, fact: u8) {
        self.0 |= fact;
    }
}

/// Serves a connection until it ends.
// Long: the function awaits all hooks in one place. Each further await would add space to the future of
// every idle connection.
//
// The context and the stream are made outside of the async block: the block captures them, and need not keep a place for
// the connection as well.
pub(crate) fn serve(connection: Arc<Link>, app: Arc<App>) -> impl Future<Output = Ending> + Send {
    let mut ctx = Context::new(app.program.clone(), connection.clone());
    let mut stream = Stream::new(connection);
    async move {
        // With TLS, the handshake has read the header.
        if stream.connection().facts.via() == Via::Balancer
            && !stream.exchange.wire.is_http2()
            && !stream.connection().facts.is_tls()
            && !Box::pin(read_proxy_header(stream.connection())).await
        {
            return Ending::Abort;
        }
        loop {
            ctx.reset();
            let mut route = None;
            let mut facts = Facts::default();
            // The values of this scope take no space while the hooks run.
            let mut step = {
                let read = stream.exchange.next_head(ctx.get_mut_request()).await;
                let read = read.inspect_err(|error| {
                    let is_answered = !error.is_disconnect()
                        && **error != RequestError::Head(HeadError::TlsOnPlainPort)
                        && !app.is_http2(&stream, error);
                    if is_answered {
                        observe(&mut stream, &app.unrouted, None);
                    }
                });
                let started = read.and_then(|head| {
                    facts.set(Facts::PARSED);
                    begin(&mut stream, &mut ctx, &app, head, &mut route)
                });
                // This future and this error are on the heap, because most connections need neither of them.
                let started = match started {
                    Ok(true) if !ctx.may_have_session_to_load() => Ok(true),
                    Ok(is_ready) => make_ready(&mut stream, &mut ctx, !is_ready)
                        .await
                        .map_err(Box::new),
                    error => error,
                };
                match started {
                    Ok(_) if redirects(&stream, &ctx) => Step::ResponseMiddleware,
                    Ok(_) => Step::RequestMiddleware(0),
                    Err(error) => match *error {
                        RequestError::ConnectionClosed => return Ending::Idle,
                        error if error.is_disconnect() => return Ending::Abort,
                        RequestError::Head(HeadError::TlsOnPlainPort) => {
                            // A TLS client cannot read a response in plain text.
                            log_tls(&stream);
                            return Ending::Http;
                        }
                        error if app.is_http2(&stream, &error) => return app.hand_over(&stream),
                        error => {
                            facts.set(Facts::REFUSED);
                            ctx.refuse(error);
                            report(&stream, &mut ctx, route, None);
                            Step::RequestError(0)
                        }
                    },
                }
            };
            loop {
                let hook = match step {
                    Step::RequestMiddleware(at) => {
                        let chain = app.chains.get(ctx.chain);
                        match chain.request_middleware.get(usize::from(at)) {
                            Some(hook) => {
                                step = Step::RequestMiddleware(at.saturating_add(1));
                                hook
                            }
                            None => {
                                step = Step::Route;
                                continue;
                            }
                        }
                    }
                    Step::Route => {
                        if route.is_none() {
                            step = Step::ResponseMiddleware;
                            let answered = ctx.answer_preflight();
                            if matches!(answered, Ok(false))
                                && ctx.is_response_unset()
                                && stream.exchange.progress() == Progress::Unanswered
                            {
                                still_unrouted(&mut ctx, &app);
                            }
                            match answered {
                                Ok(false) if !app.chains.get(ctx.chain).wraps.is_empty() => {}
                                // The middleware of the chain does not run for a preflight: it may require fields
                                // that a browser sends later.
                                Ok(_) => continue,
                                Err(error) => {
                                    ctx.refuse(error);
                                    let _ = report(&stream, &mut ctx, route, None);
                                    facts.set(Facts::REFUSED);
                                    step = Step::RequestError(0);
                                    continue;
                                }
                            }
                        }
                        step = Step::InRoute;
                        if ctx.has_link() {
                            hint_preloads(&stream, &ctx);
                        }
                        ctx.save_response();
                        ctx.stage = Stage::Route;
                        route.unwrap_or(&app.no_route)
                    }
                    Step::ResponseMiddleware => {
                        let at = ctx.response_middleware_at;
                        if at == 0 {
                            render_error(&mut ctx, &app, true);
                        }
                        let chain = app.chains.get(ctx.chain);
                        match chain.response_middleware.get(usize::from(at)) {
                            // A request that became a WebSocket has no response any more.
                            Some(hook)
                                if facts.has(Facts::PARSED)
                                    && stream.exchange.progress() != Progress::Switched =>
                            {
                                ctx.response_middleware_at = at.saturating_add(1);
                                hook
                            }
                            _ => break,
                        }
                    }
                    Step::TaskPanic(at) => {
                        let chain = app.chains.get(ctx.chain);
                        match chain.task_panic.get(usize::from(at)) {
                            Some(hook) => {
                                step = Step::TaskPanic(at.saturating_add(1));
                                hook
                            }
                            None => {
                                step = Step::ResponseMiddleware;
                                continue;
                            }
                        }
                    }
                    Step::RequestError(at) => {
                        match app.chains.get(ctx.chain).request_error.get(usize::from(at)) {
                            Some(hook) => {
                                step = Step::RequestError(at.saturating_add(1));
                                hook
                            }
                            None => {
                                step = Step::ResponseMiddleware;
                                continue;
                            }
                        }
                    }
                    Step::InRoute | Step::Done => break,
                };
                // The router has already checked the guards of the route. Guards are the conditions on a request under
                // which a hook runs.
                if !step.is_route() && hook.declined(&ctx).is_some() {
                    continue;
                }
                // A shutdown ends a hook that could still answer a WebSocket handshake. When response middleware and
                // error hooks run, the answer is already decided, so a shutdown lets these hooks run to their end.
                let may_answer_handshake = !step.is_response() && !step.is_error();
                let run = match step.is_route() {
                    true => app.around(route, ctx.chain),
                    false => &hook.rest,
                };
                let outcome = start(run, &mut stream, &mut ctx, may_answer_handshake).await;
                // These values are set after the await, because each value before it would take space in the future.
                let (is_route, is_response) = (step.is_route(), step.is_response());
                let is_error = step.is_error();
                if is_route {
                    step = Step::ResponseMiddleware;
                    stream.exchange.answer().end_handler();
                }
                if let Step::RequestMiddleware(_) = step
                    && let Outcome::Done(Status::Reject) | Outcome::Refused(_) = outcome
                    && ctx.is_preflight()
                    && route.is_none()
                {
                    // The rejection of a preflight that the server itself answers does not count, because browsers send
                    // a preflight without the fields that middleware may require. A handler of the program that takes
                    // OPTIONS runs only if middleware lets it.
                    ctx.stage = Stage::Middleware;
                    ctx.discard_saved_response();
                    step = Step::Route;
                    continue;
                }
                match outcome {
                    Outcome::Done(Status::Continue) => {}
                    // A `Reject` outside of the route does not cancel `WebSocket::keep_open`, because it only skips
                    // later hooks.
                    Outcome::Done(Status::Reject) if ctx.stage != Stage::Route => {}
                    _ => stream.connection().lane.handles.set_kept_open(false),
                }
                ctx.stage = Stage::Middleware;
                if is_route && stream.exchange.answer().is_accepted() {
                    let is_answered = !matches!(outcome, Outcome::Done(Status::Continue));
                    let is_answered = is_answered || !ctx.is_response_unset();
                    stream.settle_handshake(&mut ctx, is_answered);
                }
                // If the answer has not begun, a failure is answered by a normal response. The check is a closure,
                // because only some cases need it.
                let has_begun =
                    |stream: &Stream| stream.exchange.progress() != Progress::Unanswered;
                let caught = ctx.take_caught().filter(|_| is_route);
                let outcome = match Refused::take(&mut stream.exchange) {
                    Some(refused) => refused_further(&mut ctx, *refused, is_route, outcome, caught),
                    None => outcome,
                };
                let refusal = match outcome {
                    // The middleware of the chain has not answered in place of the error hooks.
                    Outcome::Done(_) if caught == Some(Caught::Panic) => {
                        stream.connection().lane.handles.set_kept_open(false);
                        if has_begun(&stream) {
                            facts.set(Facts::FAILED);
                            ctx.set_end_reason(HttpStatus::phrase(500).into());
                        }
                        facts.set(Facts::PANICKED);
                        step = Step::TaskPanic(0);
                        continue;
                    }
                    Outcome::Done(_) if caught == Some(Caught::Refusal) => None,
                    Outcome::Done(status) => {
                        let error = report(&stream, &mut ctx, route, Some(hook.name));
                        if let Some((public, refusal)) = error {
                            stream.connection().lane.handles.set_kept_open(false);
                            let has_begun = has_begun(&stream);
                            if has_begun {
                                facts.set(Facts::FAILED);
                                ctx.set_end_reason(public);
                            }
                            match refusal {
                                // The error has already set the response, but error hooks may replace it.
                                Some(error)
                                    if is_route && !facts.has(Facts::REFUSED) && !has_begun =>
                                {
                                    facts.set(Facts::REFUSED);
                                    ctx.set_request_error(error);
                                    step = Step::RequestError(0);
                                }
                                _ => {}
                            }
                        }
                        ctx.discard_saved_response();
                        if status == Status::Continue {
                            continue;
                        }
                        facts.set(Facts::REJECTED);
                        step = match is_response {
                            true => Step::Done,
                            false => Step::ResponseMiddleware,
                        };
                        // If an upgrade failed, its error gives a more precise response than 403.
                        let is_open = !has_begun(&stream) && ctx.is_response_unset();
                        match ctx
                            .try_get_request_error_data()
                            .filter(|_| is_open && !is_error)
                        {
                            Some(error) => Some(error),
                            None => {
                                if is_open {
                                    describe(ctx.get_mut_response(), 403);
                                }
                                continue;
                            }
                        }
                    }
                    Outcome::Refused(error) => Some(*error),
                    Outcome::Panicked(payload) => {
                        let data = PanicData::from_payload(&*payload, hook.name);
                        drop_payload(payload);
                        stream.exchange.record.in_scope(|| {
                            let (method, route) = names(&ctx, route);
                            tracing::error!(%method, route, hook = hook.name, place = %hook.place, "panic: {data}");
                        });
                        if has_begun(&stream) {
                            facts.set(Facts::FAILED);
                            ctx.set_end_reason(HttpStatus::phrase(500).into());
                        }
                        ctx.fail_by_panic(data);
                        step = match facts.has(Facts::PANICKED) {
                            true => Step::ResponseMiddleware,
                            false => Step::TaskPanic(0),
                        };
                        facts.set(Facts::PANICKED);
                        continue;
                    }
                };
                if let Some(error) = refusal {
                    ctx.refuse(error);
                }
                let error = report(&stream, &mut ctx, route, Some(hook.name));
                if let Some((public, _)) = error.filter(|_| has_begun(&stream)) {
                    facts.set(Facts::FAILED);
                    ctx.set_end_reason(public);
                }
                step = match facts.has(Facts::REFUSED) {
                    true => Step::ResponseMiddleware,
                    false => Step::RequestError(0),
                };
                facts.set(Facts::REFUSED);
            }
            if ctx.has_session_to_save() {
                save_session(&mut stream, &mut ctx).await;
                let _ = report(&stream, &mut ctx, route, None);
            }
            match stream.exchange.progress() {
                Progress::Unanswered => {
                    ctx.refuse_interim();
                    render_error(&mut ctx, &app, false);
                    // An error means that the client has disconnected.
                    let _ = if ctx.get_response().is_sent_apart() {
                        send_streamed(&mut stream, &mut ctx).await
                    } else {
                        stream.exchange.send_response(ctx.head())
                    };
                    let _ = report(&stream, &mut ctx, route, None);
                    if stream.exchange.progress() == Progress::Partial {
                        return Ending::Abort;
                    }
                }
                Progress::Switched => {
                    stream.exchange.finish_switching();
                    stream.connection().released().await;
                    let code = match (facts.has(Facts::FAILED), facts.has(Facts::REJECTED)) {
                        (true, _) => CloseCode::INTERNAL_ERROR,
                        (false, true) => CloseCode::POLICY_VIOLATION,
                        (false, false) => CloseCode::NORMAL,
                    };
                    return Ending::WebSocket(code, ctx.take_end_reason());
                }
                Progress::Whole => {}
                Progress::Partial => return Ending::Abort,
                Progress::Open if facts.has(Facts::FAILED) => return Ending::Abort,
                Progress::Open | Progress::Last => {
                    stream.connection().released().await;
                    stream.exchange.end_events();
                }
            }
            stream.exchange.end_request();
            if stream.exchange.has_body_left() {
                Box::pin(stream.exchange.finish_body()).await;
            }
            if !stream.exchange.keeps_alive() {
                return Ending::Http;
            }
        }
    }
}

/// Finds the route of a request whose head was read, and begins to read the body. Returns false if the server has to
/// wait for the whole body before it runs the hooks.
fn begin<'a>(
    stream: &mut Stream,
    ctx: &mut Context,
    app: &'a App,
    head: BodyHead,
    route: &mut Option<&'a Hook>,
) -> Result<bool, Box<RequestError>> {
    if let Err(refused) = stream.exchange.check_host(ctx.get_request()) {
        return Err(Box::new(misdirected(stream, ctx, app, head, refused)));
    }
    let routed = match redirects(stream, ctx) {
        true => Routed::NotFound,
        false => app.route(ctx),
    };
    let plan = match routed {
        Routed::To(hook) => {
            *route = Some(hook);
            hook.body
        }
        Routed::NotFound => {
            match stream.connection().facts.redirect() {
                Some(redirect) if redirects(stream, ctx) => redirected(ctx, redirect),
                _ => not_found(ctx, app),
            }
            app.unrouted_body(ctx.chain)
        }
        Routed::Declined(kind, allowed) => {
            declined(ctx, kind, allowed);
            app.unrouted_body(ctx.chain)
        }
    };
    let label = route.map_or(&app.unrouted, |hook| &hook.label);
    observe(stream, label, Some(ctx));
    let rules = route.map_or_else(|| app.chains.get(ctx.chain).rules, |hook| hook.rules);
    stream.connection().driver.set_rules(rules);
    if !ctx.get_request().get_method().is_safe() {
        let csrf = route.map_or_else(|| app.chains.get(ctx.chain).csrf, |hook| hook.csrf);
        if let Err(refused) = ctx.check_csrf(csrf) {
            return Err(Box::new(unread(stream, ctx, head, refused)));
        }
    }
    if head.is_empty() {
        return Ok(true);
    }
    let started = stream
        .exchange
        .start_body(ctx.get_mut_request(), head, plan);
    if let Some(incoming) = stream.exchange.incoming() {
        ctx.set_incoming(incoming);
    }
    started.map_err(Box::new)
}

/// Returns whether the address of the connection redirects the request to `https`. A request that a trusted proxy has
/// received over TLS would come back forever.
#[inline]
fn redirects(stream: &Stream, ctx: &Context) -> bool {
    let redirect = stream.connection().facts.redirect();
    redirect.is_some_and(|redirect| applies(redirect, ctx))
}

/// Returns whether a request is redirected where it arrived by an address that redirects.
#[cold]
fn applies(redirect: &HttpsRedirect, ctx: &Context) -> bool {
    redirect.redirects(ctx.get_request().get_raw_path()) && !ctx.is_secure()
}

// The following helpers are plain functions, not async blocks in `serve`. Otherwise `serve` would keep space for each
// value that it moves into another future before an await.

/// Starts a hook. `may_answer_handshake` is true if the hook runs before a WebSocket handshake is answered.
fn start<'a>(
    run: &'a Rest,
    stream: &'a mut Stream,
    ctx: &'a mut Context,
    may_answer_handshake: bool,
) -> Guarded<Within<HookFuture<'a>>> {
    let observed = stream.exchange.record.shared();
    let handshake = stream
        .exchange
        .open_handshake()
        .filter(|_| may_answer_handshake);
    Guarded::new(Within::new(observed, run.start(stream, ctx)), handshake)
}

/// Loads the session from its store. If `reads_body` is true, also reads the whole body.
fn make_ready<'a>(
    stream: &'a mut Stream,
    ctx: &'a mut Context,
    reads_body: bool,
) -> Within<Pin<Box<impl Future<Output = Result<bool, RequestError>> + 'a>>> {
    let observed = stream.exchange.record.shared();
    let ready = async move {
        let loaded = ctx.load_session().await;
        // The body is read even if the store failed, because the connection may stay open, and the next request follows
        // the body.
        if reads_body {
            stream.exchange.read_rest(ctx.get_mut_request()).await?;
            ctx.clear_incoming();
        }
        loaded.map(|()| true)
    };
    Within::new(observed, Box::pin(ready))
}

fn send_streamed<'a>(
    stream: &'a mut Stream,
    ctx: &'a mut Context,
) -> Within<Pin<Box<impl Future<Output = Result<(), ResponseError>> + 'a>>> {
    let observed = stream.exchange.record.shared();
    Within::new(observed, Box::pin(stream.send_streamed(ctx)))
}

/// Saves the session to its store. If the store fails and no answer has begun, the error replaces the response.
fn save_session<'a>(
    stream: &'a mut Stream,
    ctx: &'a mut Context,
) -> Within<Pin<Box<impl Future<Output = ()> + 'a>>> {
    let saving = async {
        if let Err(error) = ctx.save_session().await
            && stream.exchange.progress() == Progress::Unanswered
        {
            ctx.refuse(error);
        }
    };
    Within::new(stream.exchange.record.shared(), Box::pin(saving))
}

/// Begins the record of a request if there is an observer or an access log. `ctx` is `None` if the head was refused.
#[inline(always)]
pub(super) fn observe(stream: &mut Stream, label: &Arc<RouteLabel>, ctx: Option<&Context>) {
    let env = &stream.connection().env;
    if observe::is_enabled(&env.metrics) || env.config.access_log.is_some() {
        let connection = stream.connection().clone();
        let metrics = &connection.env.metrics;
        let access = connection.env.config.access_log.map(|form| {
            let peer = || connection.peer().address().map(|peer| peer.ip());
            (form, ctx.map_or_else(peer, Context::client_addr))
        });
        let record = &mut stream.exchange.record;
        record.begin(
            &connection,
            metrics,
            label,
            ctx.map(Context::get_request),
            access,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Request,
        conn::{input::Input, lane::Lane, websocket::WsInput},
    };

    fn size_of_output<F>(_: impl Fn(Arc<Link>, Arc<App>) -> F) -> usize {
        size_of::<F>()
    }

    /// Prints the parts of an idle WebSocket: `cargo test -p hyperlane-core parts_of -- --nocapture`.
    ///
    /// The allocations of such a connection are its task with the future of `serve`, its link, the state of its input,
    /// the future of its handler, the socket of tokio, and the header fields of its request.
    #[test]
    fn the_parts_of_a_connection_stay_small() {
        // Each idle connection has these parts. Rarely needed values are in further allocations. The limits are those of
        // all features: compression adds 8 bytes to the lane and 8 to the input of a WebSocket.
        //
        // The runtime allocates a task in multiples of 128 bytes, and adds 104 to the size of the future. With 16 for
        // the guard of the connection, a future of `serve` of more than 264 bytes costs 128 bytes more.
        let parts = [
            ("future of `serve`", size_of_output(serve), 264),
            ("its context", size_of::<Context>(), 152),
            ("the context's request", size_of::<Request>(), 104),
            ("its stream", size_of::<Stream>(), 48),
            ("link", size_of::<Link>(), 304),
            ("the link's lane", size_of::<Lane>(), 136),
            ("the link's input", size_of::<Input>(), 72),
            ("state of a WebSocket's input", size_of::<WsInput>(), 128),
        ];
        for (part, size, most) in parts {
            println!("{part:>30}: {size} bytes");
            assert!(size <= most, "{part}: {size} bytes");
        }
    }
}
