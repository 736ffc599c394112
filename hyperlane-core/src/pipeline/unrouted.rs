//! Requests that no handler accepts: the reason, the scope and the CORS fields.

use std::collections::BTreeSet;

use super::app::{App, Routed};
use crate::{Context, hook::GuardKind, route::Route};

impl App {
    /// Decides about a request that no handler has accepted.
    #[inline(never)]
    pub(super) fn unrouted(&self, ctx: &mut Context) -> Routed<'_> {
        match (self.decline(ctx), &self.fallback) {
            (Routed::NotFound, Some(hook)) => {
                self.enter_scope(ctx);
                match ctx.asks_permission() {
                    true => Routed::NotFound,
                    false => Routed::To(hook),
                }
            }
            (routed, _) => {
                self.enter_scope(ctx);
                routed
            }
        }
    }

    /// Sets the chain and the CORS fields of a request that no handler gets: the path has no handler, all handlers have
    /// declined, or the host is wrong. The scope is that of the first handler of the path, or else the deepest scope
    /// around the path.
    pub(super) fn enter_scope(&self, ctx: &mut Context) {
        let path = ctx.get_request().routing_path();
        let found = self.routes.find(path);
        let first = found
            .as_ref()
            .and_then(|found| found.routes().first())
            .map(|route| route.value().scope);
        let chain = first.unwrap_or_else(|| self.chains.of_path(path));
        let endpoint = found.as_ref().and_then(|found| {
            let mut routes = found.iter();
            routes.find_map(|(route, _)| route.value().cors.clone())
        });
        ctx.chain = chain;
        ctx.decide_cors(endpoint.as_deref());
    }

    /// Returns why no handler has accepted a request.
    fn decline(&self, ctx: &Context) -> Routed<'_> {
        let Some(found) = self.routes.find(ctx.get_request().routing_path()) else {
            return Routed::NotFound;
        };
        let mut furthest: Option<GuardKind> = None;
        let mut allowed = BTreeSet::new();
        for hook in found.routes().iter().map(Route::value) {
            let Some(kind) = hook.declined(ctx) else {
                continue;
            };
            if let GuardKind::Method(_) = kind {
                allowed.extend(hook.methods().unwrap_or_default());
            }
            if furthest.is_none_or(|known| known.rank() < kind.rank()) {
                furthest = Some(kind);
            }
        }
        match furthest {
            Some(kind) => Routed::Declined(kind, allowed),
            None => Routed::NotFound,
        }
    }
}
