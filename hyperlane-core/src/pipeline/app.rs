//! The hooks (functions) that the program has registered. The server sorts and checks them before it starts, and not
//! for each request.

use std::{any::Any, collections::BTreeSet, sync::Arc};

use super::chain::{
    Chain, Chains, Lists, Planned, PlannedKind, PlannedScope, ScopeId, in_scope, in_sequence,
};
use crate::{
    Context, Method, Status, Stream,
    context::{Program, cors::RouteCors, params::RouteParams, states::States},
    env::Env,
    error::{Place, ServerError},
    exchange::body::{BodyMode, BodyPlan},
    hook::{
        Guard, GuardKind, HookFn, HookFuture, Registration, Run, needs_nothing,
        setup::{Check, RouteSetup, SetupCheck},
        wrap::{Function, Rest, Wrap},
    },
    http::Csrf,
    observe::RouteLabel,
    route::{Route, RouteTable},
    session::Sessions,
};

/// A registered hook.
#[derive(Clone)]
pub(crate) struct Hook {
    pub(crate) name: &'static str,
    pub(crate) place: Place,
    /// The function. For a route, with the middleware around it, once the hooks of the server are sorted.
    pub(super) rest: Rest,
    pub(crate) body: BodyPlan,
    /// Checks, when the server starts, that the route and the server have every value that the hook needs.
    pub(crate) check: Check,
    /// The label of the hook's route in spans and metrics. The label is empty for a hook that is not a route.
    pub(crate) label: Arc<RouteLabel>,
    /// True for the additional routes of a mount ([`PlannedKind`] explains them). [`App::all`] skips these routes.
    is_part: bool,
    guards: Vec<Guard>,
    /// The known methods that all method guards accept, as bits of [`bit`]. (A guard is a check that a request must
    /// pass before the hook runs.)
    methods: u16,
    /// True if all guards are method guards.
    has_only_methods: bool,
    /// The CORS policy of the endpoint (a path at which clients connect to the channels of their session). `None` if
    /// the hook does not belong to an endpoint.
    pub(crate) cors: Option<Arc<RouteCors>>,
    /// True if the endpoint or the scope has a CORS policy.
    has_cors: bool,
    /// The protection of this route against cross-site requests; `None` for that of the scope.
    pub(crate) own_csrf: Option<Csrf>,
    /// The protection that applies.
    pub(crate) csrf: Csrf,
    /// The middleware of this route alone, outermost first; or the one function of a hook of the kind `Middleware`.
    pub(crate) wraps: Vec<Wrap>,
    /// The index of the chain of the route's requests.
    pub(crate) chain: u16,
    /// The index of the rules for further requests that the hook reads itself.
    pub(crate) rules: u16,
    /// The index of the chain of the scope, without the route's own middleware.
    pub(super) scope: u16,
    /// True for the hook for requests that match no route. The middleware around it depends on the path.
    is_fallback: bool,
}

impl Hook {
    pub(crate) fn new(
        run: Run,
        name: &'static str,
        place: Place,
        guards: &[Guard],
        methods: &'static [&'static str],
        body: BodyPlan,
    ) -> Self {
        let mut guards = guards.to_vec();
        // Guards are checked in the order of their kinds. Guards of the same kind are checked in the order of their
        // declaration.
        guards.sort_by_key(|guard| guard.kind.rank());
        let mut hook = Self {
            name,
            place,
            rest: Rest::Handler(Function { run, name, place }),
            body,
            check: Check::Fn(needs_nothing),
            label: Arc::default(),
            is_part: false,
            guards,
            methods: u16::MAX,
            has_only_methods: true,
            cors: None,
            has_cors: false,
            own_csrf: None,
            csrf: Csrf::default(),
            wraps: Vec::new(),
            chain: 0,
            rules: 0,
            scope: 0,
            is_fallback: false,
        };
        if !methods.is_empty() {
            // The check of this guard accepts every request: a function pointer cannot hold the names of the methods.
            // The names are in `kind`, and `declined` compares them with the method of the request.
            hook.guards.push(Guard {
                kind: GuardKind::Method(methods),
                check: |_| true,
            });
            hook.guards.sort_by_key(|guard| guard.kind.rank());
        }
        for guard in &hook.guards {
            if let GuardKind::Method(names) = guard.kind {
                hook.methods &= methods_of(names);
            } else {
                hook.has_only_methods = false;
            }
        }
        hook
    }

    pub(crate) fn from_registration(registration: &Registration) -> Self {
        let mut hook = Self::new(
            Run::Fn(registration.run),
            registration.name,
            registration.place,
            registration.guards,
            registration.methods,
            registration.body,
        )
        .checked_by(registration.check);
        let wraps = registration.wrap.iter().chain(registration.with);
        hook.wraps = wraps.copied().map(Wrap::Static).collect();
        hook
    }

    /// Sets the check that runs when a server with this hook starts.
    pub(crate) fn checked_by(mut self, check: SetupCheck) -> Self {
        self.check = Check::Fn(check);
        self
    }

    /// Creates the future that runs the hook for a request.
    pub(crate) fn start<'a>(
        &'a self,
        stream: &'a mut Stream,
        ctx: &'a mut Context,
    ) -> HookFuture<'a> {
        self.rest.start(stream, ctx)
    }

    /// Puts the middleware of a chain around the function.
    fn wrap_in(&mut self, chain: &Chain) {
        if let Rest::Handler(function) = &self.rest {
            self.rest = Rest::new(&chain.wraps, Some(function.clone()));
        }
    }

    /// Creates the hook that stands, in log lines, for requests without a route.
    fn placeholder() -> Self {
        let place = Place {
            file: "",
            line: 0,
            column: 0,
        };
        let run: HookFn = |_, _| Box::pin(std::future::ready(Status::Continue));
        Self::new(Run::Fn(run), "(none)", place, &[], &[], BodyPlan::default())
    }

    /// Returns the first guard that declines this request. Returns `None` if all guards accept it.
    #[inline]
    pub(crate) fn declined(&self, ctx: &Context) -> Option<GuardKind> {
        let method = bit(ctx.get_request().get_method());
        match self.has_only_methods && self.methods & method != 0 {
            true => None,
            false => self.declining_guard(ctx),
        }
    }

    fn declining_guard(&self, ctx: &Context) -> Option<GuardKind> {
        self.guards
            .iter()
            .find(|guard| {
                let method_fits = match guard.kind {
                    GuardKind::Method(names) => match ctx.get_request().get_method() {
                        unknown @ Method::Unknown(_) => takes_method(names, unknown),
                        known => self.methods & bit(known) != 0,
                    },
                    _ => true,
                };
                !(method_fits && (guard.check)(ctx))
            })
            .map(|guard| guard.kind)
    }

    /// Returns the kinds of the hook's guards.
    pub(crate) fn guards(&self) -> impl Iterator<Item = GuardKind> {
        self.guards.iter().map(|guard| guard.kind)
    }

    /// Returns the methods that the hook's guards name. Returns `None` if the hook accepts all methods. A hook for GET
    /// also accepts HEAD, but the result does not contain HEAD for it.
    pub(crate) fn methods(&self) -> Option<BTreeSet<&'static str>> {
        self.guards
            .iter()
            .filter_map(|guard| match guard.kind {
                GuardKind::Method(names) => Some(names.iter().copied().collect::<BTreeSet<_>>()),
                _ => None,
            })
            .reduce(|one, other| one.intersection(&other).copied().collect())
    }

    /// Returns whether the guards of this hook may decline a request that `later` accepts.
    fn can_be_told_from(&self, later: &Self) -> bool {
        if self
            .guards
            .iter()
            .any(|guard| !matches!(guard.kind, GuardKind::Method(_)))
        {
            return true;
        }
        match (self.methods(), later.methods()) {
            (None, _) => false,
            (Some(_), None) => true,
            (Some(first), Some(later)) => !later.is_subset(&first),
        }
    }
}

/// Returns whether a handler accepts `method`. `names` are the methods of the handler. A handler of GET also answers
/// HEAD; the server omits the body. The empty name stands for every [`Method::Unknown`].
pub(crate) fn takes_method(names: &[&str], method: &Method) -> bool {
    names.contains(&method.as_str())
        || (method.is_head() && names.contains(&"GET"))
        || (matches!(method, Method::Unknown(_)) && names.contains(&""))
}

/// Returns the bit of a known method; 0 for an unknown method.
fn bit(method: &Method) -> u16 {
    match method {
        Method::Get => 1,
        Method::Post => 1 << 1,
        Method::Put => 1 << 2,
        Method::Delete => 1 << 3,
        Method::Patch => 1 << 4,
        Method::Head => 1 << 5,
        Method::Options => 1 << 6,
        Method::Connect => 1 << 7,
        Method::Trace => 1 << 8,
        Method::Query => 1 << 9,
        Method::Unknown(_) => 0,
    }
}

/// Returns the bits of the known methods that a handler of `names` accepts.
fn methods_of(names: &[&str]) -> u16 {
    let known = [
        Method::Get,
        Method::Post,
        Method::Put,
        Method::Delete,
        Method::Patch,
        Method::Head,
        Method::Options,
        Method::Connect,
        Method::Trace,
        Method::Query,
    ];
    let accepted = known.iter().filter(|method| takes_method(names, method));
    accepted.map(bit).fold(0, |all, bit| all | bit)
}

/// Returns the value of `Allow` (RFC 9110 §10.2.1) for handlers of these methods.
pub(crate) fn allow(methods: BTreeSet<&'static str>) -> String {
    let mut names: Vec<_> = methods
        .into_iter()
        .filter(|name| !name.is_empty())
        .collect();
    if names.contains(&"GET") && !names.contains(&"HEAD") {
        names.push("HEAD");
    }
    names.join(", ")
}

/// All hooks of a server.
pub(crate) struct App {
    pub(super) routes: RouteTable<Hook>,
    pub(crate) chains: Chains,
    pub(crate) program: Arc<Program>,
    /// The methods of all routes, as the value of an `Allow` field.
    pub(crate) methods: String,
    /// The hook for requests that match no route.
    pub(super) fallback: Option<Hook>,
    /// The label, in spans and metrics, of requests that match no route.
    pub(crate) unrouted: Arc<RouteLabel>,
    /// The hook at the end of the chain of a request that no handler accepts.
    pub(crate) no_route: Hook,
    /// Hands a connection over to a task that speaks HTTP/2; see [`hand_over`](Self::hand_over).
    #[cfg(feature = "http2")]
    pub(crate) http2: std::sync::OnceLock<super::hand_over::HandOver>,
}

/// The result of routing a request.
pub(crate) enum Routed<'a> {
    To(&'a Hook),
    /// No pattern matches the path.
    NotFound,
    /// Every handler of this path has a guard that declined the request. The first value is the kind of one of these
    /// guards: the guard that is last in the order of [`GuardKind`]. The second value contains the methods of all
    /// handlers that declined because of the method.
    Declined(GuardKind, BTreeSet<&'static str>),
}

impl App {
    /// Sorts and checks the hooks.
    pub(crate) fn build(
        planned: Vec<Planned>,
        scopes: &[PlannedScope],
        states: States,
    ) -> Result<Self, ServerError> {
        let mut app = Self {
            routes: RouteTable::new(),
            chains: Chains::default(),
            program: Arc::default(),
            methods: String::new(),
            fallback: None,
            unrouted: Arc::default(),
            no_route: Hook::placeholder(),
            #[cfg(feature = "http2")]
            http2: std::sync::OnceLock::new(),
        };
        let mut routes: Vec<(String, ScopeId, Hook)> = Vec::new();
        let mut lists = vec![Lists::default(); scopes.len()];
        for Planned {
            kind,
            mut hook,
            scope,
            ..
        } in planned
        {
            let within = scopes.get(scope);
            let prefix = within.map_or("", |scope| &scope.prefix);
            match kind {
                PlannedKind::Route(pattern) => {
                    let pattern = in_scope(prefix, &pattern);
                    hook.label = Arc::new(RouteLabel::new(&pattern));
                    hook.body.max = hook.body.max.or(within.and_then(|scope| scope.max_body));
                    routes.push((pattern, scope, hook));
                }
                #[cfg(feature = "tower")]
                PlannedKind::Mount(mounted) => {
                    let mounted = format!("{prefix}{mounted}");
                    let below = format!("{mounted}/{{*rest}}");
                    hook.label = Arc::new(RouteLabel::new(&below));
                    let part = Hook {
                        is_part: true,
                        ..hook.clone()
                    };
                    if !mounted.is_empty() {
                        routes.push((mounted.clone(), scope, part.clone()));
                    }
                    routes.push((mounted + "/", scope, part));
                    routes.push((below, scope, hook));
                }
                #[cfg(feature = "tower")]
                PlannedKind::Fallback => app.fallback = Some(hook),
                kind => {
                    if let Some(list) = lists.get_mut(scope) {
                        list.add(&kind, hook);
                    }
                }
            }
        }
        app.chains = Chains::new(scopes, lists)?;
        app.add_routes(routes, scopes)?;
        app.check_places()?;
        app.methods = app.all_methods();
        let rules = app.chains.all_rules()?;
        let early = app.chains.iter().map(|chain| {
            in_sequence(&chain.response_middleware)
                .map(|middleware| Arc::new(middleware) as Arc<dyn Any + Send + Sync>)
        });
        app.program = Arc::new(Program {
            states,
            sessions: None,
            early_middleware: early.collect(),
            cors: app.chains.iter().map(|chain| chain.cors.clone()).collect(),
            rules,
        });
        Ok(app)
    }

    /// Adds all routes. Their patterns have the prefixes of their scopes.
    fn add_routes(
        &mut self,
        routes: Vec<(String, ScopeId, Hook)>,
        scopes: &[PlannedScope],
    ) -> Result<(), ServerError> {
        if let Some(fallback) = &mut self.fallback {
            fallback.csrf = self.chains.get(0).csrf;
            fallback.rules = self.chains.rules_of(0, fallback.csrf, fallback.body.max)?;
            fallback.is_fallback = true;
            if let Rest::Handler(function) = &fallback.rest {
                self.chains.set_fallback(function);
            }
        }
        for (pattern, scope, mut hook) in routes {
            let mut scopes = scopes.iter();
            if scopes.any(|scope| scope.csrf_exempt.contains(&pattern)) {
                hook.own_csrf = Some(Csrf::Off);
            }
            self.add_route(pattern, scope, hook)?;
        }
        Ok(())
    }

    /// Adds a route. `pattern` has the prefix of the scope.
    fn add_route(
        &mut self,
        pattern: String,
        scope: ScopeId,
        mut hook: Hook,
    ) -> Result<(), ServerError> {
        hook.scope = self.chains.of_route(scope, &[])?;
        hook.chain = self.chains.of_route(scope, &hook.wraps)?;
        hook.wrap_in(self.chains.get(hook.chain));
        let chain = self.chains.get(hook.scope);
        hook.has_cors = hook.cors.is_some() || chain.cors.is_some();
        hook.csrf = match hook.cors {
            // An endpoint checks all its requests itself.
            Some(_) => Csrf::Off,
            None => hook.own_csrf.unwrap_or(chain.csrf),
        };
        hook.rules = self.chains.rules_of(hook.chain, hook.csrf, hook.body.max)?;
        let place = hook.place;
        if let Some(source) = hook.cors.as_ref().and_then(|cors| cors.origins.refused()) {
            return Err(ServerError::Origin {
                pattern,
                place,
                source: source.clone(),
            });
        }
        if let Err(source) = self.routes.insert(&pattern, hook) {
            return Err(ServerError::Route {
                pattern,
                place,
                source,
            });
        }
        Ok(())
    }

    /// Stores the sessions of the server. The server calls this function each time it starts.
    pub(crate) fn set_sessions(&mut self, sessions: Arc<Sessions>) {
        Arc::make_mut(&mut self.program).sessions = Some(sessions);
    }

    /// Gives the environment of the connections what contexts need, for requests that hooks read themselves.
    pub(crate) fn share_program(&self, env: &Env) {
        let program = Arc::downgrade(&self.program);
        let _ = env.program.set(program);
    }

    /// Returns all handlers with their patterns, and the fallback last. A mount appears only once, with its pattern
    /// `prefix/{*rest}`.
    pub(crate) fn all(&self) -> impl Iterator<Item = (String, &Hook)> {
        let routes = self.routes.iter().filter(|route| !route.value().is_part);
        let routes = routes.map(|route| (route.pattern().to_string(), route.value()));
        routes.chain(
            self.fallback
                .iter()
                .map(|hook| ("(fallback)".to_owned(), hook)),
        )
    }

    /// Returns whether the server has neither a route nor a fallback. Such a server answers every request with 404 if
    /// no middleware answers it.
    pub(crate) fn has_no_route(&self) -> bool {
        self.routes.is_empty() && self.fallback.is_none()
    }

    /// Returns an error if a handler needs a value that its route or the server does not have: the handler could not
    /// answer any request. The check runs when the server starts, because the program may add values until then.
    pub(crate) fn check_setup(&self) -> Result<(), ServerError> {
        let lacking = self.routes.iter().filter_map(|route| {
            let (pattern, hook) = (route.pattern(), route.value());
            let setup = RouteSetup::new(pattern.params(), &self.program.states);
            let lack = hook.check.run(&setup).err()?;
            Some((pattern.to_string(), hook, lack))
        });
        let mut first = None;
        for (pattern, hook, lack) in lacking {
            let (handler, place) = (hook.name, hook.place);
            tracing::error!(
                "the handler `{handler}` of {pattern:?} at {place} cannot answer any request: {lack}"
            );
            match &mut first {
                Some(ServerError::Handler { more, .. }) => *more += 1,
                _ => {
                    first = Some(ServerError::Handler {
                        handler,
                        pattern,
                        place,
                        lack,
                        more: 0,
                    });
                }
            }
        }
        first.map_or(Ok(()), Err)
    }

    /// Returns the methods of all routes, as the value of an `Allow` field.
    fn all_methods(&self) -> String {
        let routes = || self.routes.iter().map(Route::value);
        if routes().any(|hook| hook.methods().is_none()) {
            return crate::http::constants::ALL_METHODS.to_owned();
        }
        allow(routes().filter_map(Hook::methods).flatten().collect())
    }

    /// Returns how the server reads the body of a request that no handler accepts. Only middleware may need this body,
    /// so the server reads the whole body first only if there is middleware.
    pub(crate) fn unrouted_body(&self, chain: u16) -> BodyPlan {
        let chain = self.chains.get(chain);
        let is_wanted = !chain.request_middleware.is_empty()
            || !chain.response_middleware.is_empty()
            || !chain.wraps.is_empty();
        BodyPlan {
            mode: if is_wanted {
                BodyMode::Whole
            } else {
                BodyMode::Stream
            },
            max: None,
        }
    }

    /// Returns the handler of a request with the middleware around it. `chain` is the chain of the request.
    #[inline]
    pub(crate) fn around<'a>(&'a self, route: Option<&'a Hook>, chain: u16) -> &'a Rest {
        match route {
            Some(hook) if !hook.is_fallback => &hook.rest,
            Some(_) => &self.chains.get(chain).fallback,
            None => &self.chains.get(chain).unrouted,
        }
    }

    /// Returns an error if an earlier handler of the same path accepts every request that a later handler accepts.
    fn check_places(&self) -> Result<(), ServerError> {
        for place in self.routes.places() {
            let mut rest = place;
            while let Some((first, later)) = rest.split_first() {
                rest = later;
                let hidden = later
                    .iter()
                    .find(|later| !first.value().can_be_told_from(later.value()));
                if let Some(hidden) = hidden {
                    return Err(ServerError::Ambiguous {
                        pattern: hidden.pattern().to_string(),
                        first: first.value().place,
                        second: hidden.value().place,
                    });
                }
            }
        }
        Ok(())
    }

    /// Finds the handler of a request. Sets the parameters and the CORS fields in the context.
    pub(crate) fn route(&self, ctx: &mut Context) -> Routed<'_> {
        let found = self.routes.find(ctx.get_request().routing_path());
        let accepted = found.as_ref().and_then(|found| {
            let mut routes = found.routes().iter();
            let route = routes.find(|route| route.value().declined(ctx).is_none())?;
            let params = found.params(route);
            Some((
                route.value(),
                (!params.is_empty()).then(|| RouteParams::decoded(params.iter())),
            ))
        });
        let Some((hook, params)) = accepted else {
            return self.unrouted(ctx);
        };
        drop(found);
        ctx.chain = hook.chain;
        if let Some(params) = params {
            ctx.set_route_params(params);
        }
        if hook.has_cors {
            ctx.decide_cors(hook.cors.as_deref());
            // A handler of all methods has not been written for preflights.
            if ctx.asks_permission() && hook.methods().is_none() {
                return Routed::NotFound;
            }
        }
        Routed::To(hook)
    }
}
