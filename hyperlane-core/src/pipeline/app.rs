//! The hooks (functions) that the program has registered. The server sorts and checks them before it starts, and not
//! for each request.

use std::{any::Any, collections::BTreeSet, sync::Arc};

use crate::{
    Context, Method, Stream,
    context::{Program, Stage, cors::RouteCors, params::RouteParams, states::States},
    error::{Place, ServerError},
    exchange::body::{BodyMode, BodyPlan},
    hook::{
        Guard, GuardKind, HookFuture, HookKind, Registration, Run, needs_nothing,
        setup::{RouteSetup, SetupCheck},
    },
    observe::RouteLabel,
    route::{Route, RouteTable},
    session::Sessions,
    stream::Middleware,
};

/// A registered hook.
#[derive(Clone)]
pub(crate) struct Hook {
    pub(crate) run: Run,
    pub(crate) name: &'static str,
    pub(crate) place: Place,
    pub(crate) body: BodyPlan,
    /// Checks, when the server starts, that the route and the server have every value that the hook needs.
    check: SetupCheck,
    /// The label of the hook's route in spans and metrics. The label is empty for a hook that is not a route.
    pub(crate) label: Arc<RouteLabel>,
    /// True for the additional routes of a mount ([`PlannedKind`] explains them). [`App::all`] skips these routes.
    is_part: bool,
    guards: Vec<Guard>,
    /// The known methods that all method guards accept, as bits of [`bit`]. (A guard is a check that a request must
    /// pass before the hook runs.)
    methods: u16,
    /// The CORS policy of the endpoint (a path at which clients connect to the channels of their session). `None` if
    /// the hook does not belong to an endpoint.
    pub(crate) cors: Option<Arc<RouteCors>>,
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
            run,
            name,
            place,
            body,
            check: needs_nothing,
            label: Arc::default(),
            is_part: false,
            guards,
            methods: u16::MAX,
            cors: None,
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
            }
        }
        hook
    }

    pub(crate) fn from_registration(registration: &Registration) -> Self {
        Self::new(
            Run::Fn(registration.run),
            registration.name,
            registration.place,
            registration.guards,
            registration.methods,
            registration.body,
        )
        .checked_by(registration.check)
    }

    /// Sets the check that runs when a server with this hook starts.
    pub(crate) fn checked_by(mut self, check: SetupCheck) -> Self {
        self.check = check;
        self
    }

    /// Creates the future that runs the hook for a request.
    pub(crate) fn start<'a>(&self, stream: &'a mut Stream, ctx: &'a mut Context) -> HookFuture<'a> {
        match &self.run {
            Run::Fn(run) => run(stream, ctx),
            Run::Shared(run) => run(stream, ctx),
        }
    }

    /// Returns the first guard that declines this request. Returns `None` if all guards accept it.
    pub(crate) fn declined(&self, ctx: &Context) -> Option<GuardKind> {
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
#[derive(Default)]
pub(crate) struct App {
    routes: RouteTable<Hook>,
    pub(crate) request_middleware: Vec<Hook>,
    pub(crate) response_middleware: Arc<[Hook]>,
    pub(crate) task_panic: Vec<Hook>,
    pub(crate) request_error: Vec<Hook>,
    pub(crate) program: Arc<Program>,
    /// The methods of all routes, as the value of an `Allow` field.
    pub(crate) methods: String,
    /// The hook for requests that match no route.
    fallback: Option<Hook>,
    /// The label, in spans and metrics, of requests that match no route.
    pub(crate) unrouted: Arc<RouteLabel>,
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

/// A registered hook and its kind, before sorting.
pub(crate) struct Planned {
    pub(crate) kind: PlannedKind,
    pub(crate) hook: Hook,
}

/// Hooks with their order numbers.
type Ordered = Vec<(Option<isize>, Hook)>;

/// The kind of a [`Planned`] hook: like [`HookKind`], but with owned patterns, because a program may compute a pattern
/// at run time.
#[derive(Clone)]
pub(crate) enum PlannedKind {
    Route(String),
    RequestMiddleware(Option<isize>),
    ResponseMiddleware(Option<isize>),
    TaskPanic(Option<isize>),
    RequestError(Option<isize>),
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
        }
    }
}

impl App {
    /// Sorts and checks the hooks.
    pub(crate) fn build(planned: Vec<Planned>, states: States) -> Result<Self, ServerError> {
        let mut app = Self::default();
        let mut routes: Vec<(String, Hook)> = Vec::new();
        let mut lists: [(&str, Ordered); 4] = [
            ("request_middleware", Vec::new()),
            ("response_middleware", Vec::new()),
            ("task_panic", Vec::new()),
            ("request_error", Vec::new()),
        ];
        let [request, response, panic, error] = &mut lists;
        for Planned { kind, mut hook } in planned {
            match kind {
                PlannedKind::Route(pattern) => {
                    hook.label = Arc::new(RouteLabel::new(&pattern));
                    routes.push((pattern, hook));
                }
                #[cfg(feature = "tower")]
                PlannedKind::Mount(prefix) => {
                    let below = format!("{prefix}/{{*rest}}");
                    hook.label = Arc::new(RouteLabel::new(&below));
                    let part = Hook {
                        is_part: true,
                        ..hook.clone()
                    };
                    if !prefix.is_empty() {
                        routes.push((prefix.clone(), part.clone()));
                    }
                    routes.push((prefix + "/", part));
                    routes.push((below, hook));
                }
                PlannedKind::RequestMiddleware(order) => request.1.push((order, hook)),
                PlannedKind::ResponseMiddleware(order) => response.1.push((order, hook)),
                PlannedKind::TaskPanic(order) => panic.1.push((order, hook)),
                PlannedKind::RequestError(order) => error.1.push((order, hook)),
                #[cfg(feature = "tower")]
                PlannedKind::Fallback => app.fallback = Some(hook),
            }
        }
        let [request, response, panic, error] = lists.map(|(kind, hooks)| in_order(kind, hooks));
        app.request_middleware = request;
        app.response_middleware = response.into();
        app.program = Arc::new(Program {
            states,
            sessions: None,
            early_middleware: in_sequence(&app.response_middleware)
                .map(|middleware| Arc::new(middleware) as Arc<dyn Any + Send + Sync>),
        });
        app.task_panic = panic;
        app.request_error = error;

        for (pattern, hook) in routes {
            let place = hook.place;
            if let Some(source) = hook.cors.as_ref().and_then(|cors| cors.origins.refused()) {
                return Err(ServerError::Origin {
                    pattern,
                    place,
                    source: source.clone(),
                });
            }
            if let Err(source) = app.routes.insert(&pattern, hook) {
                return Err(ServerError::Route {
                    pattern,
                    place,
                    source,
                });
            }
        }
        app.check_places()?;
        app.methods = app.all_methods();
        Ok(app)
    }

    /// Stores the sessions of the server. The server calls this function each time it starts.
    pub(crate) fn set_sessions(&mut self, sessions: Arc<Sessions>) {
        Arc::make_mut(&mut self.program).sessions = Some(sessions);
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
            let lack =
                (hook.check)(&RouteSetup::new(pattern.params(), &self.program.states)).err()?;
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
    pub(crate) fn unrouted_body(&self) -> BodyPlan {
        let is_wanted = !self.request_middleware.is_empty() || !self.response_middleware.is_empty();
        BodyPlan {
            mode: if is_wanted {
                BodyMode::Whole
            } else {
                BodyMode::Stream
            },
            max: None,
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
        match self.find(ctx) {
            Ok((hook, params)) => {
                ctx.set_route_params(params);
                if let Some(cors) = &hook.cors {
                    ctx.decide_cors(cors);
                }
                Routed::To(hook)
            }
            Err(Routed::NotFound) => match &self.fallback {
                Some(hook) => Routed::To(hook),
                None => Routed::NotFound,
            },
            Err(routed) => {
                if let Some(cors) = self.cors(ctx) {
                    ctx.decide_cors(cors);
                }
                routed
            }
        }
    }

    /// Returns the CORS policy of the endpoint at the path of a request. The caller needs it for a request that no
    /// handler of the endpoint gets: the host is wrong, or all handlers have declined.
    pub(crate) fn cors(&self, ctx: &Context) -> Option<&RouteCors> {
        let found = self.routes.find(ctx.get_request().routing_path())?;
        found
            .iter()
            .find_map(|(route, _)| route.value().cors.as_deref())
    }

    fn find(&self, ctx: &Context) -> Result<(&Hook, RouteParams), Routed<'_>> {
        let Some(found) = self.routes.find(ctx.get_request().routing_path()) else {
            return Err(Routed::NotFound);
        };
        let mut furthest: Option<GuardKind> = None;
        // `None` until a handler declines the method: nearly no request needs the set, and dropping even an empty set
        // takes some steps.
        let mut allowed: Option<BTreeSet<&'static str>> = None;
        for (route, params) in found.iter() {
            let hook = route.value();
            let Some(kind) = hook.declined(ctx) else {
                let mut values = RouteParams::default();
                for (name, value) in params.iter() {
                    values.push(name, crate::http::decode_param(value));
                }
                return Ok((hook, values));
            };
            if let GuardKind::Method(_) = kind {
                let methods = hook.methods().unwrap_or_default();
                allowed.get_or_insert_default().extend(methods);
            }
            if furthest.is_none_or(|known| known.rank() < kind.rank()) {
                furthest = Some(kind);
            }
        }
        Err(match furthest {
            Some(kind) => Routed::Declined(kind, allowed.unwrap_or_default()),
            None => Routed::NotFound,
        })
    }
}

/// Combines all response middleware into one function. The function runs the middleware that has not run yet, in order,
/// until one of these hooks rejects.
fn in_sequence(hooks: &Arc<[Hook]>) -> Option<Middleware> {
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
