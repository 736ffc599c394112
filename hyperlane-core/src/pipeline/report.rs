//! Log lines about hooks that failed.

use std::borrow::Cow;

use super::app::Hook;
use crate::{
    Context, Stream,
    error::RequestError,
    exchange::answer::Progress,
    http::{Failure, Method},
};

/// Returns the method and the route for log lines. The span of a request has both as well, but spans are often
/// disabled.
pub(super) fn names<'a>(ctx: &'a Context, route: Option<&'a Hook>) -> (&'a Method, &'a str) {
    let route = route.map_or("(none)", |hook| &*hook.label.pattern);
    (ctx.get_request().get_method(), route)
}

/// If an error has stored a failure in the response, removes this failure and logs its details. Returns the public text
/// of the failure, and its [`RequestError`] if there is one. `hook` is the name of the hook that failed. If `hook` is
/// `None`, the log line names the handler of the route.
#[inline]
pub(super) fn report(
    stream: &Stream,
    ctx: &mut Context,
    route: Option<&Hook>,
    hook: Option<&str>,
) -> Option<(Cow<'static, str>, Option<RequestError>)> {
    if !ctx.has_failure() {
        return None;
    }
    ctx.take_failure()
        .map(|failure| report_failure(stream, ctx, route, hook, *failure))
}

#[cold]
fn report_failure(
    stream: &Stream,
    ctx: &Context,
    route: Option<&Hook>,
    hook: Option<&str>,
    failure: Failure,
) -> (Cow<'static, str>, Option<RequestError>) {
    let progress = stream.exchange.progress();
    let hook = hook.or(route.map(|hook| hook.name)).unwrap_or("(none)");
    let is_over = stream.connection().has_ended();
    let error = failure.cause.as_deref().unwrap_or(&failure.public);
    stream.exchange.record.in_scope(|| {
        let (method, route) = names(ctx, route);
        if is_over && (failure.is_end || failure.cause.is_none()) {
            tracing::debug!(%method, route, hook, error, "hook ended after its connection");
        } else if failure.cause.is_some() {
            tracing::error!(%method, route, hook, error, "hook failed");
        } else if !matches!(progress, Progress::Unanswered | Progress::Whole) {
            // The answer has already begun, so it cannot report the error to the client.
            tracing::warn!(%method, route, hook, error, "hook failed after its answer had begun");
        }
    });
    let refusal = failure.refusal.as_ref();
    let refusal = refusal.and_then(|refusal| refusal.downcast_ref::<RequestError>().cloned());
    (failure.public, refusal)
}

/// Logs that the client speaks TLS to a port without TLS.
pub(super) fn log_tls(stream: &Stream) {
    let server = &stream.connection().env;
    server.log_mix_up(
        stream.peer_addr(),
        "plain",
        &"a TLS ClientHello on a plain port",
    );
}
