//! Chains: the hooks that concern the requests of a scope, from the outermost scope to the innermost.

use std::{collections::BTreeSet, sync::Arc};

use super::app::Hook;
use crate::{
    context::{
        Stage,
        further::{Limits, Rules},
    },
    error::ServerError::{self, TooManyChains},
    hook::{
        HookKind, Registration, Scope,
        render::Renderer,
        wrap::{Function, Rest, Wrap},
    },
    http::{Cors, Csrf, cors::CorsRules},
    route::RouteTable,
    stream::Middleware,
};

/// The index of a scope among the planned scopes of a server. 0 is the server itself.
pub(crate) type ScopeId = usize;

/// A scope of a server that has not started yet. The first one is the server itself.
#[derive(Clone, Debug, Default)]
pub(crate) struct PlannedScope {
    /// The scope around this one, whose index is smaller. The server itself contains itself.
    pub(crate) outer: ScopeId,
    /// The beginning of all patterns, with the prefixes of outer scopes.
    pub(crate) prefix: String,
    /// Middleware that wraps, outermost first.
    pub(crate) wraps: Vec<Wrap>,
    /// The function that renders errors, or that of the outer scope.
    pub(crate) errors: Option<Renderer>,
    /// The CORS policy, or that of the outer scope.
    pub(crate) cors: Option<Cors>,
    /// The protection against cross-site requests, or that of the outer scope.
    pub(crate) csrf: Option<Csrf>,
    /// The patterns of routes without this protection. Only the server itself has them.
    pub(crate) csrf_exempt: Vec<String>,
    /// The limit of bodies, or that of the outer scope.
    pub(crate) max_body: Option<usize>,
    /// The declaration of a scope that macros registered.
    pub(crate) declared: Option<&'static Scope>,
    /// True for a declared scope that has too many scopes around it.
    pub(crate) is_endless: bool,
}

/// A registered hook and its kind, before sorting.
#[derive(Clone)]
pub(crate) struct Planned {
    pub(crate) kind: PlannedKind,
    pub(crate) hook: Hook,
    /// The scope, unless `registration` decides it.
    pub(crate) scope: ScopeId,
    /// The registration by an attribute macro.
    pub(crate) registration: Option<&'static Registration>,
}

/// The kind of a [`Planned`] hook: like [`HookKind`], but with owned patterns, because a program may compute a pattern
/// at run time.
#[derive(Clone)]
pub(crate) enum PlannedKind {
    Route(String),
    RequestMiddleware(Option<isize>),
    ResponseMiddleware(Option<isize>),
    TaskPanic(Option<isize>),
    RequestError(Option<isize>),
    /// Middleware that wraps.
    Middleware(Option<isize>),
    /// A mount: a service that answers all paths under a prefix. The mount has three routes: the prefix, the prefix
    /// with a slash, and the pattern `prefix/{*rest}` for all longer paths. (An empty prefix has no route of its own.)
    /// Only the pattern `prefix/{*rest}` appears in [`App::all`] and as the label of the mount.
    #[cfg(feature = "tower")]
    Mount(String),
    /// The hook for requests that match no route.
    #[cfg(feature = "tower")]
    Fallback,
}

impl From<HookKind> for PlannedKind {
    fn from(kind: HookKind) -> Self {
        match kind {
            HookKind::Route(pattern) => Self::Route(pattern.to_owned()),
            HookKind::RequestMiddleware(order) => Self::RequestMiddleware(order),
            HookKind::ResponseMiddleware(order) => Self::ResponseMiddleware(order),
            HookKind::TaskPanic(order) => Self::TaskPanic(order),
            HookKind::RequestError(order) => Self::RequestError(order),
            HookKind::Middleware(order) => Self::Middleware(order),
        }
    }
}

/// All hooks of a request, except the handler.
#[derive(Clone, Default)]
pub(crate) struct Chain {
    /// The prefix of the scope; empty for the server itself.
    pub(crate) scope: Arc<str>,
    pub(crate) request_middleware: Arc<[Hook]>,
    pub(crate) response_middleware: Arc<[Hook]>,
    pub(crate) task_panic: Arc<[Hook]>,
    pub(crate) request_error: Arc<[Hook]>,
    /// The middleware around the handler, outermost first.
    pub(crate) wraps: Arc<[Wrap]>,
    /// The same middleware for a request that no handler accepts.
    pub(crate) unrouted: Rest,
    /// The same middleware around the hook for requests that match no route.
    pub(crate) fallback: Rest,
    /// The function that renders errors.
    pub(crate) errors: Option<Renderer>,
    pub(crate) cors: Option<Arc<CorsRules>>,
    pub(crate) csrf: Csrf,
    /// The index of the rules for requests that a hook reads itself, of a request without a route.
    pub(super) rules: u16,
}

/// Hooks with their order numbers.
type Ordered = Vec<(Option<isize>, Hook)>;

/// The hooks of one scope, without those of the scopes around it.
#[derive(Clone, Default)]
pub(super) struct Lists {
    request: Ordered,
    response: Ordered,
    panic: Ordered,
    error: Ordered,
    wraps: Ordered,
}

impl Lists {
    /// Adds a hook that is no route.
    pub(super) fn add(&mut self, kind: &PlannedKind, hook: Hook) {
        let (list, order) = match kind {
            PlannedKind::RequestMiddleware(order) => (&mut self.request, order),
            PlannedKind::ResponseMiddleware(order) => (&mut self.response, order),
            PlannedKind::TaskPanic(order) => (&mut self.panic, order),
            PlannedKind::RequestError(order) => (&mut self.error, order),
            PlannedKind::Middleware(order) => (&mut self.wraps, order),
            _ => return,
        };
        list.push((*order, hook));
    }
}

/// The chains of a server: first one per scope, then those of routes with middleware of their own.
#[derive(Default)]
pub(crate) struct Chains {
    /// The chain of the server itself. Its index is 0.
    own: Chain,
    /// The other chains, whose indices begin at 1.
    scoped: Vec<Chain>,
    /// The chain of a request that no route accepts, by the prefixes of the scopes.
    by_path: RouteTable<u16>,
    /// The rules for requests that hooks read themselves.
    rules: Vec<Rules>,
}

impl Chains {
    /// Computes the chains of all scopes. `lists` has the hooks of each scope.
    pub(super) fn new(scopes: &[PlannedScope], lists: Vec<Lists>) -> Result<Self, ServerError> {
        let mut chains = Self::default();
        for (id, lists) in lists.into_iter().enumerate() {
            let scope = scopes.get(id).cloned().unwrap_or_default();
            if scope.is_endless {
                return Err(ServerError::EndlessScope {
                    prefix: scope.declared.map_or("", |scope| scope.prefix),
                });
            }
            let outer = match id {
                0 => Chain::default(),
                _ => chains.get(index_of(scope.outer)?).clone(),
            };
            let cors = match &scope.cors {
                Some(cors) => Some(Arc::new(cors.rules().map_err(|source| {
                    ServerError::Cors {
                        scope: scope.prefix.clone(),
                        source,
                    }
                })?)),
                None => outer.cors.clone(),
            };
            let own = in_order("middleware", lists.wraps);
            let own = own.into_iter().flat_map(|hook| hook.wraps);
            let around = outer.wraps.iter().cloned();
            let wraps: Arc<[Wrap]> = around.chain(scope.wraps).chain(own).collect();
            let chain = Chain {
                scope: scope.prefix.as_str().into(),
                request_middleware: joined(
                    &outer.request_middleware,
                    &in_order("request_middleware", lists.request),
                ),
                response_middleware: joined(
                    &in_order("response_middleware", lists.response),
                    &outer.response_middleware,
                ),
                task_panic: joined(&in_order("task_panic", lists.panic), &outer.task_panic),
                request_error: joined(
                    &in_order("request_error", lists.error),
                    &outer.request_error,
                ),
                unrouted: Rest::new(&wraps, None),
                fallback: Rest::NoHandler,
                wraps,
                errors: scope.errors.or(outer.errors),
                cors,
                csrf: scope.csrf.unwrap_or(outer.csrf),
                rules: 0,
            };
            if id == 0 {
                chains.own = chain;
                continue;
            }
            let index = chains.push(chain)?;
            if !scope.prefix.is_empty() {
                // Of two scopes with one prefix, the first one has the requests without a route. An invalid prefix is
                // reported with its routes.
                let below = format!("{}/{{*rest}}", scope.prefix);
                let _ = chains.by_path.insert(&scope.prefix, index);
                let _ = chains.by_path.insert(&format!("{}/", scope.prefix), index);
                let _ = chains.by_path.insert(&below, index);
            }
        }
        Ok(chains)
    }

    fn push(&mut self, chain: Chain) -> Result<u16, ServerError> {
        self.scoped.push(chain);
        index_of(self.scoped.len())
    }

    /// Returns the index of the chain for a route of a scope. `wraps` is the middleware of this route alone.
    pub(super) fn of_route(&mut self, scope: ScopeId, wraps: &[Wrap]) -> Result<u16, ServerError> {
        if wraps.is_empty() {
            return index_of(scope);
        }
        let mut chain = self.get(index_of(scope)?).clone();
        chain.wraps = chain.wraps.iter().chain(wraps).cloned().collect();
        self.push(chain)
    }

    /// Returns the index of the rules for requests that a hook of this chain reads itself.
    pub(super) fn rules_of(
        &mut self,
        chain: u16,
        csrf: Csrf,
        max_body: Option<usize>,
    ) -> Result<u16, ServerError> {
        let is_same =
            |rules: &Rules| (rules.chain, rules.csrf, rules.max_body) == (chain, csrf, max_body);
        if let Some(known) = self.rules.iter().position(is_same) {
            return index_of(known);
        }
        let wraps = self.get(chain).wraps.clone();
        let limits = (!wraps.is_empty()).then(|| -> Limits {
            Arc::new(move |ctx| wraps.iter().try_for_each(|wrap| wrap.get().admit(ctx)))
        });
        self.rules.push(Rules {
            chain,
            csrf,
            max_body,
            limits,
        });
        index_of(self.rules.len() - 1)
    }

    /// Completes the rules by those of requests without a route, and returns all of them.
    pub(super) fn all_rules(&mut self) -> Result<Vec<Rules>, ServerError> {
        for place in 0..=self.scoped.len() {
            let index = index_of(place)?;
            let rules = self.rules_of(index, self.get(index).csrf, None)?;
            match place.checked_sub(1) {
                None => self.own.rules = rules,
                Some(place) => {
                    if let Some(chain) = self.scoped.get_mut(place) {
                        chain.rules = rules;
                    }
                }
            }
        }
        Ok(self.rules.clone())
    }

    /// Returns a chain. Returns that of the server itself for an index that does not exist.
    #[inline]
    pub(crate) fn get(&self, index: u16) -> &Chain {
        // Most requests are in no scope.
        match usize::from(index).checked_sub(1) {
            None => &self.own,
            Some(place) => self.scoped.get(place).unwrap_or(&self.own),
        }
    }

    /// Returns the index of the chain for a request that no route accepts: the chain of the deepest scope whose prefix
    /// matches the path.
    pub(crate) fn of_path(&self, path: &str) -> u16 {
        let found = self.by_path.find(path);
        let first = found.as_ref().and_then(|found| found.routes().first());
        first.map_or(0, |route| *route.value())
    }

    /// Sets the hook for requests that match no route.
    pub(super) fn set_fallback(&mut self, function: &Function) {
        for chain in std::iter::once(&mut self.own).chain(&mut self.scoped) {
            chain.fallback = Rest::new(&chain.wraps, Some(function.clone()));
        }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Chain> {
        std::iter::once(&self.own).chain(&self.scoped)
    }
}

fn index_of(place: usize) -> Result<u16, ServerError> {
    u16::try_from(place).map_err(|_| TooManyChains)
}

fn joined(first: &[Hook], second: &[Hook]) -> Arc<[Hook]> {
    first.iter().chain(second).cloned().collect()
}

/// Returns the pattern of a route in a scope. The pattern `/` stands for the prefix itself.
pub(crate) fn in_scope(prefix: &str, pattern: &str) -> String {
    match pattern {
        "/" if !prefix.is_empty() => prefix.to_owned(),
        pattern => format!("{prefix}{pattern}"),
    }
}

/// Sorts hooks. Hooks without a number come first, sorted by file and line. Hooks with a number follow, sorted by
/// number. Hooks with the same number are sorted by file and line, too.
fn in_order(kind: &str, mut hooks: Ordered) -> Vec<Hook> {
    hooks.sort_by_key(|(order, hook)| match order {
        None => (
            false,
            0,
            hook.place.file,
            hook.place.line,
            hook.place.column,
        ),
        Some(order) => (
            true,
            *order,
            hook.place.file,
            hook.place.line,
            hook.place.column,
        ),
    });
    let files: BTreeSet<_> = hooks
        .iter()
        .filter(|(order, _)| order.is_none())
        .map(|(_, hook)| hook.place.file)
        .collect();
    if files.len() > 1 {
        tracing::warn!(
            "{kind} without a number in several files ({}): number them, or their order depends on the file names",
            files.into_iter().collect::<Vec<_>>().join(", ")
        );
    }
    hooks.into_iter().map(|(_, hook)| hook).collect()
}

/// Combines all response middleware into one function. The function runs the middleware that has not run yet, in order,
/// until one of these hooks rejects.
pub(super) fn in_sequence(hooks: &Arc<[Hook]>) -> Option<Middleware> {
    if hooks.is_empty() {
        return None;
    }
    let hooks = hooks.clone();
    Some(Arc::new(move |stream, ctx| {
        let hooks = hooks.clone();
        Box::pin(async move {
            let stage = std::mem::replace(&mut ctx.stage, Stage::Middleware);
            while let Some(hook) = hooks.get(usize::from(ctx.response_middleware_at)) {
                ctx.response_middleware_at = ctx.response_middleware_at.saturating_add(1);
                if hook.declined(ctx).is_none() && hook.start(stream, ctx).await.is_reject() {
                    ctx.response_middleware_at = u16::MAX;
                }
            }
            ctx.stage = stage;
        })
    }))
}
