//! Responses to requests that no handler (a route of the program) accepts or that the server cannot handle.

use std::collections::BTreeSet;

use super::{
    app::{App, Routed, allow},
    serve::observe,
};
use crate::{
    Context, Stream,
    config::HttpsRedirect,
    context::{Caught, Stage},
    error::RequestError,
    exchange::{
        answer::Refused,
        body::{BodyHead, BodyMode, BodyPlan},
    },
    hook::{GuardKind, Outcome},
    http::{Method, describe},
    proto::http::host::HostRefused,
};

/// Replaces the response by a status and its reason phrase.
fn fail(ctx: &mut Context, status: usize) {
    ctx.get_mut_response().reset();
    describe(ctx.get_mut_response(), status);
}

/// Returns the error for a request whose host the server does not answer to. The body of the request stays unread. If
/// the server cannot prepare the body (`start_body`), returns this error instead.
pub(super) fn misdirected(
    stream: &mut Stream,
    ctx: &mut Context,
    app: &App,
    head: BodyHead,
    refused: HostRefused,
) -> RequestError {
    observe(stream, &app.unrouted, Some(ctx));
    // The CORS fields let pages of allowed origins read this response, like all other responses of an endpoint (a route
    // for the clients of a channel).
    app.enter_scope(ctx);
    let rules = app.chains.get(ctx.chain).rules;
    stream.connection().driver.set_rules(rules);
    unread(stream, ctx, head, refused.into())
}

/// Refuses a request and leaves its body unread. Returns the error. If the server cannot prepare the body
/// (`start_body`), returns this error instead.
pub(super) fn unread(
    stream: &mut Stream,
    ctx: &mut Context,
    head: BodyHead,
    refused: RequestError,
) -> RequestError {
    let unread = BodyPlan {
        mode: BodyMode::Stream,
        max: None,
    };
    match stream
        .exchange
        .start_body(ctx.get_mut_request(), head, unread)
    {
        Ok(_) => refused,
        Err(error) => error,
    }
}

/// Sets the response to a request at an address that redirects to `https`. The caller has checked the host.
pub(super) fn redirected(ctx: &mut Context, redirect: &HttpsRedirect) {
    let request = ctx.get_request();
    let location = redirect.location(request.get_host(), request.get_target());
    match location {
        Some(location) => {
            fail(ctx, 308);
            ctx.get_mut_response().set_header("location", location);
        }
        None => {
            fail(ctx, 400);
            ctx.get_mut_response()
                .set_body("use https, and name the host");
        }
    }
}

/// Sets the response to a request that matches no route.
pub(super) fn not_found(ctx: &mut Context, app: &App) {
    let request = ctx.get_request();
    match request.get_method() {
        // The path `*` stands for the server as a whole (RFC 9110 §9.3.7).
        Method::Options if request.path() == "*" => {
            let response = ctx.get_mut_response();
            response.reset();
            response.set_status_code(204);
            response.set_header("allow", &app.methods);
        }
        // The server does not create tunnels (RFC 9110 §9.3.6).
        Method::Connect => fail(ctx, 501),
        _ => fail(ctx, 404),
    }
}

/// Sets the response to a request that all handlers of its path decline. `kind` is the kind of the guard (a condition
/// of a handler) that determines the status. `allowed` lists the methods for the field `allow` of a 405.
pub(super) fn declined(ctx: &mut Context, kind: GuardKind, allowed: BTreeSet<&'static str>) {
    ctx.get_mut_response().reset();
    describe_declined(ctx, kind);
    if let GuardKind::Method(_) = kind {
        ctx.get_mut_response().set_header("allow", allow(allowed));
    }
}

/// Makes a refused request that a hook has read itself, and has not answered, the request of the context. Returns the
/// outcome of the hook: its refusal, unless the hook has panicked or has refused the request itself.
#[cold]
pub(super) fn refused_further(
    ctx: &mut Context,
    refused: Refused,
    is_route: bool,
    outcome: Outcome,
    caught: Option<Caught>,
) -> Outcome {
    let failure = (
        ctx.try_get_request_error_data(),
        ctx.try_get_task_panic_data(),
    );
    if is_route {
        // The response middleware runs for this request, too.
        ctx.stage = Stage::Route;
    }
    ctx.begin_further(refused.request);
    ctx.stage = Stage::Middleware;
    match (caught, failure) {
        // Middleware of the chain has caught a failure of the handler. It is the failure of this request.
        (Some(Caught::Panic), (_, Some(data))) => {
            ctx.fail_by_panic(data);
            return outcome;
        }
        (Some(Caught::Refusal), (Some(error), _)) => {
            ctx.refuse(error);
            return outcome;
        }
        _ => {}
    }
    match outcome {
        Outcome::Done(_) => Outcome::Refused(Box::new(refused.error)),
        outcome => outcome,
    }
}

/// Sets the status of a request without a route again, after request middleware has replaced it by a mere 200. (Programs
/// for published versions set 200 for all requests.) Keeps the header fields of the middleware.
#[cold]
pub(super) fn still_unrouted(ctx: &mut Context, app: &App) {
    // Middleware may have changed the path since the request was routed. The hooks stay those of the first routing.
    let chain = ctx.chain;
    let routed = app.route(ctx);
    ctx.chain = chain;
    match routed {
        Routed::To(_) | Routed::NotFound => match ctx.get_request().get_method() {
            Method::Connect => describe(ctx.get_mut_response(), 501),
            Method::Options if ctx.get_request().path() == "*" => {}
            _ => describe(ctx.get_mut_response(), 404),
        },
        Routed::Declined(kind, allowed) => {
            describe_declined(ctx, kind);
            if let GuardKind::Method(_) = kind {
                ctx.get_mut_response().set_header("allow", allow(allowed));
            }
        }
    }
}

/// Sets the response for the kind of a guard that declined the request. Header fields that middleware has set remain,
/// except those that describe a body, and `location`.
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
