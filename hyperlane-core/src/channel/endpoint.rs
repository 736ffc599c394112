//! Endpoints: where clients connect to the channels of their session.

use std::{
    future::{Future, poll_fn},
    pin::Pin,
    sync::Arc,
    task::Poll,
    time::Duration,
};

use super::{
    Attached, Channel, Direction, End, Settings,
    line::{Line, at},
    log::ResumeId,
    state::{Claim, Kind, Start, Tab},
};
use crate::{
    __private::guard_upgrade,
    Context, RequestError, Server, ServerSentEvents, States, Status, Stream, Upgrade, WebSocket,
    conn::{Conn, acks::Acks, websocket::WsEnd},
    context::cors::RouteCors,
    env::runtime::within,
    error::Place,
    hook::{HookFuture, refuse},
    proto::{
        http::{fetch::Purpose, origin::AllowedOrigins},
        sse::POSITION,
        ws::{CloseCode, Message},
    },
    session::Entry,
};

type Task = Pin<Box<dyn Future<Output = ()> + Send>>;
/// What runs once per new channel.
type Greeting = Box<dyn Fn(Arc<Channel>, States) -> Task + Send + Sync>;

/// What all kinds of endpoints know.
#[derive(Default)]
struct Plan {
    settings: Settings,
    heartbeat: Option<Duration>,
    origins: AllowedOrigins,
    resume_ids: bool,
    retry: Option<Duration>,
    greeting: Option<Greeting>,
}

/// Where clients connect to their session's [`Context::ws`](crate::Context::ws), made by [`ws`] or [`ws_with`].
///
/// It serves WebSockets; GET with `Accept: text/event-stream`, which gets the same messages as events; and POST, which
/// takes the body as a message, for clients that have an event stream. See
/// `hyperlane::docs::channels` for what clients see.
pub struct WebSocketEndpoint(Plan);

/// Where clients connect to their session's [`Context::sse`](crate::Context::sse), made by [`sse`] or [`sse_with`].
pub struct ServerSentEventsEndpoint(Plan);

/// Makes an endpoint for the WebSocket channels of sessions.
///
/// ```
/// use std::time::Duration;
///
/// use hyperlane_core::{Server, ws};
///
/// let mut server = Server::new();
/// server.at("/ws").get(ws().timeout(Duration::from_secs(5)));
/// ```
pub fn ws() -> WebSocketEndpoint {
    WebSocketEndpoint::new()
}

/// Makes an endpoint that calls `f` once per new channel, in a task of its own.
///
/// ```
/// use hyperlane_core::{Server, WebSocket, ws_with};
///
/// let mut server = Server::new();
/// server.at("/ws").get(ws_with(async |ws: WebSocket, _state| {
///     while let Ok(message) = ws.recv().await {
///         println!("{message}");
///     }
/// }));
/// ```
pub fn ws_with<F, Fut>(f: F) -> WebSocketEndpoint
where
    F: Fn(WebSocket, States) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = ()> + Send + 'static,
{
    WebSocketEndpoint::with(f)
}

/// Makes an endpoint for the event-stream channels of sessions.
///
/// ```
/// use hyperlane_core::{Server, sse};
///
/// let mut server = Server::new();
/// server.at("/sse").get(sse());
/// ```
pub fn sse() -> ServerSentEventsEndpoint {
    ServerSentEventsEndpoint::new()
}

/// Makes an endpoint that calls `f` once per new channel, in a task of its own.
///
/// ```
/// use hyperlane_core::{Server, ServerSentEvents, sse_with};
///
/// let mut server = Server::new();
/// server.at("/sse").get(sse_with(async |sse: ServerSentEvents, _state| {
///     let _ = sse.send("welcome").await;
/// }));
/// ```
pub fn sse_with<F, Fut>(f: F) -> ServerSentEventsEndpoint
where
    F: Fn(ServerSentEvents, States) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = ()> + Send + 'static,
{
    ServerSentEventsEndpoint::with(f)
}

/// Builder methods that both kinds have.
macro_rules! builders {
    ($($name:ident)+) => {$(
        impl $name {
            /// How long a send waits while the buffer is full. Default: 5 s.
            #[must_use]
            pub fn timeout(mut self, timeout: Duration) -> Self {
                self.0.settings.timeout = timeout;
                self
            }

            /// Another name of [`timeout`](Self::timeout).
            #[must_use]
            pub fn set_timeout(self, timeout: Duration) -> Self {
                self.timeout(timeout)
            }

            /// How long a channel waits for its client to come back. Default: 120 s.
            #[must_use]
            pub fn grace(mut self, grace: Duration) -> Self {
                self.0.settings.grace = grace;
                self
            }

            /// How many messages may wait for clients, and as many more that were written are kept for those who come
            /// back. Default: 256.
            #[must_use]
            pub fn buffer(mut self, messages: usize) -> Self {
                self.0.settings.limits.messages = messages;
                self
            }

            /// What those messages may weigh, in bytes: theirs, and about 60 for each. Default: 100 kB.
            #[must_use]
            pub fn buffer_bytes(mut self, bytes: usize) -> Self {
                self.0.settings.limits.bytes = bytes;
                self
            }

            /// How often a quiet connection is pinged, or gets a comment. Default: as the server's configuration says.
            #[must_use]
            pub fn heartbeat(mut self, every: Duration) -> Self {
                self.0.heartbeat = Some(every);
                self
            }

            /// Lets pages of this origin (`https://app.example`) connect as well, beside
            /// [`ServerConfig::allowed_origins`](crate::ServerConfig) and the server's own. They read the answers, too: each
            /// carries the fields that browsers ask for (CORS), and preflights are answered.
            ///
            /// Origins are compared as such: case and a default port do not matter, and any scheme can be named
            /// (`capacitor://localhost`, `file://`). A text that is no origin, and `null`, keeps the server from starting, with
            /// [`ServerError::Origin`](crate::ServerError::Origin).
            #[must_use]
            pub fn origin(mut self, origin: impl Into<String>) -> Self {
                self.0.origins.add(&origin.into());
                self
            }

            /// Lets pages of any origin connect. Their cookies come along where the browser sends them.
            #[must_use]
            pub fn dangerous_allow_any_origin(mut self) -> Self {
                self.0.origins.any = true;
                self
            }

            /// Lets pages of the origin `null` connect: any site can make one, by a sandboxed frame. Their cookies come along
            /// where the browser sends them.
            #[must_use]
            pub fn dangerous_allow_null_origin(mut self) -> Self {
                self.0.origins.null = true;
                self
            }

            /// How long browsers wait before they come back to an event stream; each is told something between this and
            /// twice as much, so that they do not all come at once. Default: 1 s.
            #[must_use]
            pub fn retry(mut self, wait: Duration) -> Self {
                self.0.retry = Some(wait);
                self
            }
        }

        impl Default for $name {
            fn default() -> Self {
                Self::new()
            }
        }

        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.debug_struct(stringify!($name))
                    .field("settings", &self.0.settings)
                    .finish_non_exhaustive()
            }
        }
    )+};
}

builders!(WebSocketEndpoint ServerSentEventsEndpoint);

impl WebSocketEndpoint {
    /// As [`ws`].
    pub fn new() -> Self {
        Self(Plan::default())
    }

    /// As [`ws_with`].
    pub fn with<F, Fut>(f: F) -> Self
    where
        F: Fn(WebSocket, States) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        Self(Plan {
            greeting: Some(Box::new(move |channel, states| {
                Box::pin(f(WebSocket::of_channel(channel), states))
            })),
            ..Plan::default()
        })
    }

    /// Has clients count, so that they get each message exactly once.
    ///
    /// The first message of each connection is JSON: `{"id": "<epoch>-<offset>", "epoch", "offset", "tab", "reset"}`. The client adds
    /// one to the offset for each message after it, and comes back with `?last_event_id=<epoch>-<offset>&tab=<tab>`.
    #[must_use]
    pub fn resume_ids(mut self) -> Self {
        self.0.resume_ids = true;
        self
    }
}

impl ServerSentEventsEndpoint {
    /// As [`sse`].
    pub fn new() -> Self {
        Self(Plan::default())
    }

    /// As [`sse_with`].
    pub fn with<F, Fut>(f: F) -> Self
    where
        F: Fn(ServerSentEvents, States) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        Self(Plan {
            greeting: Some(Box::new(move |channel, states| {
                Box::pin(f(ServerSentEvents::of_channel(channel), states))
            })),
            ..Plan::default()
        })
    }
}

/// What can stand at a path: [`WebSocketEndpoint`] and [`ServerSentEventsEndpoint`].
///
/// Functions do not: they stand under an attribute such as `#[get("/path")]`. Hook types are registered by
/// [`Server::route`].
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not an endpoint: `ws()`, `ws_with(..)`, `sse()` and `sse_with(..)` make endpoints",
    label = "not an endpoint",
    note = "a function becomes a route by an attribute: `#[get(\"/path\")] async fn handler(..)`",
    note = "a closure cannot be a route; write it as a function",
    note = "a type that implements `ServerHook` is registered by `server.route::<Hook>(\"/path\")`"
)]
pub trait Endpoint: sealed::Endpoint {}

impl Endpoint for WebSocketEndpoint {}
impl Endpoint for ServerSentEventsEndpoint {}

mod sealed {
    use super::{Place, Server};

    pub trait Endpoint {
        fn register(self, server: &mut Server, pattern: &str, place: Place);
    }
}

impl sealed::Endpoint for WebSocketEndpoint {
    fn register(self, server: &mut Server, pattern: &str, place: Place) {
        let shared = Shared::new(self.0, Direction::Both, &["GET", "HEAD", "POST"], server);
        let cors = shared.cors.clone();
        let connecting = shared.clone();
        server.add_shared(
            pattern,
            "ws()",
            &["GET"],
            place,
            &cors,
            move |stream, ctx| connecting.clone().connect(stream, ctx),
        );
        server.add_shared(pattern, "ws()", &["POST"], place, &cors, move |_, ctx| {
            shared.clone().post(ctx)
        });
    }
}

impl sealed::Endpoint for ServerSentEventsEndpoint {
    fn register(self, server: &mut Server, pattern: &str, place: Place) {
        let shared = Shared::new(self.0, Direction::ToClient, &["GET", "HEAD"], server);
        let cors = shared.cors.clone();
        server.add_shared(
            pattern,
            "sse()",
            &["GET"],
            place,
            &cors,
            move |stream, ctx| shared.clone().follow(stream, ctx),
        );
    }
}

/// A path of a server; see [`Server::at`].
#[must_use]
#[derive(Debug)]
pub struct At<'a> {
    server: &'a mut Server,
    pattern: String,
}

impl<'a> At<'a> {
    pub(crate) fn new(server: &'a mut Server, pattern: String) -> Self {
        Self { server, pattern }
    }

    /// Serves the path by an endpoint.
    #[track_caller]
    pub fn get(self, endpoint: impl Endpoint) -> &'a mut Server {
        endpoint.register(self.server, &self.pattern, Place::caller());
        self.server
    }
}

/// An endpoint at work.
struct Shared {
    plan: Plan,
    settings: Arc<Settings>,
    direction: Direction,
    cors: Arc<RouteCors>,
}

/// Has the pipeline answer an error.
async fn refused<T>(outcome: Result<T, RequestError>) -> T {
    match outcome.map_err(refuse) {
        Ok(value) => value,
        Err(refusal) => match refusal.await {},
    }
}

/// Refuses a client whose only credential is a token that is not valid any more: no channel would get its messages.
fn refuse_token(ctx: &mut Context) -> Result<(), RequestError> {
    match ctx.is_session_token_refused() {
        true => Err(RequestError::SessionToken),
        false => Ok(()),
    }
}

/// A connection with its place in a channel: all that an idle one holds.
struct Open {
    connection: Arc<Conn>,
    attached: Attached,
}

impl Shared {
    fn new(
        mut plan: Plan,
        direction: Direction,
        methods: &'static [&'static str],
        server: &mut Server,
    ) -> Arc<Self> {
        let settings = Arc::new(plan.settings.clone());
        server.suggest_channel_settings(direction, &settings);
        let origins = std::mem::take(&mut plan.origins);
        Arc::new(Self {
            plan,
            settings,
            direction,
            cors: Arc::new(RouteCors { origins, methods }),
        })
    }

    /// The client's place, as it says.
    fn claim(&self, stream: &Stream, ctx: &Context, kind: Kind) -> Claim {
        let request = ctx.get_request();
        let headers = request.get_headers().get_all("last-event-id");
        // What is there and says nothing gives way to what says something.
        let from = headers
            .chain(request.get_querys().get_all("last_event_id"))
            .find_map(ResumeId::of_client);
        let tab = request
            .get_querys()
            .get_all("tab")
            .find_map(|tab| Tab::from_str_radix(tab.trim(), 16).ok());
        Claim {
            kind,
            from: from.filter(|_| kind != Kind::Plain),
            tab,
            number: stream.request_number(),
        }
    }

    fn channel(&self, entry: &Arc<Entry>) -> Arc<Channel> {
        entry.channel(self.direction, &self.settings)
    }

    /// Gives the session's channel to a connection; a channel that is over in this moment gives way to a new one.
    fn attach(
        &self,
        entry: &Arc<Entry>,
        claim: Claim,
        connection: &Arc<Conn>,
        states: impl Fn() -> States,
        begin: impl Fn(&Start, ResumeId) -> Line,
    ) -> Option<Attached> {
        loop {
            let channel = self.channel(entry);
            match channel.attach(claim, connection, &begin) {
                Ok(attached) => {
                    channel.keep(|| entry.keep_alive());
                    if let Some(greeting) = &self.plan.greeting
                        && channel.greet()
                    {
                        connection.env.spawn(greeting(channel.clone(), states()));
                    }
                    return attached;
                }
                Err(End::Session) if entry.is_ended() => return None,
                Err(_) => {}
            }
        }
    }

    fn connect<'a>(
        self: Arc<Self>,
        stream: &'a mut Stream,
        ctx: &'a mut Context,
    ) -> HookFuture<'a> {
        let accepts_events = ctx
            .get_request()
            .get_headers()
            .get_all("accept")
            .any(|accept| accept.contains("text/event-stream"));
        if !guard_upgrade(ctx, "websocket") && accepts_events {
            return self.follow(stream, ctx);
        }
        Box::pin(async move {
            // In a box of its own, which is gone when the long wait begins.
            let opened = refused(Box::pin(self.open_socket(stream, ctx)).await).await;
            if let Some((open, acks)) = opened {
                receive(open.attached.channel(), &open.connection, &acks).await;
                if open.connection.is_closed_by_peer() && !open.connection.env.is_shutting_down() {
                    open.attached.closed();
                }
            }
            Status::Continue
        })
    }

    async fn open_socket(
        self: Arc<Self>,
        stream: &mut Stream,
        ctx: &mut Context,
    ) -> Result<Option<(Open, Arc<Acks>)>, RequestError> {
        let kind = match self.plan.resume_ids {
            true => Kind::Counted,
            false => Kind::Plain,
        };
        let mut claim = self.claim(stream, ctx, kind);
        if kind == Kind::Counted && claim.tab.is_none() {
            claim.tab = Some(super::random());
        }
        let upgrade = Upgrade::new().with_origins(self.cors.origins.clone());
        // What is refused begins no session, and sets no cookie in place of one that was not sent across sites.
        stream.check_upgrade(ctx, &upgrade)?;
        // A page cannot read the status of a handshake, but the code of a Close.
        let is_refused = ctx.is_session_token_refused();
        let is_replaced = ctx.is_session_replaced();
        // Before the 101, which then sets its cookie.
        let entry = ctx.session().entry().clone();
        ctx.upgrade_with(stream, upgrade).await?;
        let connection = stream.connection().clone();
        if is_refused {
            // One that is gone already has nothing to be told.
            let _ = connection.close_websocket(CloseCode::POLICY_VIOLATION, "token expired", false);
            return Ok(None);
        }
        if is_replaced {
            Line::new(connection, None, claim.number).close_for_new_id();
            return Ok(None);
        }
        if let Some(every) = self.plan.heartbeat {
            connection.set_heartbeat(every);
        }
        let acks = Acks::new();
        let begin = |start: &Start, id: ResumeId| {
            acks.begin(id.offset);
            connection.set_acks(acks.clone());
            if let Some(tab) = claim.tab.filter(|_| kind == Kind::Counted) {
                let text = first_message(id, tab, start.is_reset);
                // One that is gone already is cut in a moment.
                let _ = connection.send_message(&Message::from(text));
            }
            Line::new(connection.clone(), Some(acks.clone()), claim.number)
        };
        let attached = self.attach(&entry, claim, &connection, || ctx.states(), begin);
        let open = attached.map(|attached| Open {
            connection: connection.clone(),
            attached,
        });
        Ok(open.map(|open| (open, acks)))
    }

    /// Serves the channel as an event stream.
    fn follow<'a>(self: Arc<Self>, stream: &'a mut Stream, ctx: &'a mut Context) -> HookFuture<'a> {
        Box::pin(async move {
            let opened = refused(Box::pin(self.open_events(stream, ctx)).await).await;
            if let Some(open) = opened {
                poll_fn(|cx| open.connection.poll_closed(cx)).await;
            }
            Status::Continue
        })
    }

    async fn open_events(
        self: Arc<Self>,
        stream: &mut Stream,
        ctx: &mut Context,
    ) -> Result<Option<Open>, RequestError> {
        ctx.check_page(&self.cors.origins, Purpose::Stream)?;
        refuse_token(ctx)?;
        if ctx.get_request().get_method().is_head() {
            // Nothing can be sent to it, so it gets no place.
            ctx.get_mut_response()
                .set_header("content-type", "text/event-stream")
                .set_header("cache-control", "no-cache");
            return Ok(None);
        }
        let claim = self.claim(stream, ctx, Kind::Events);
        let is_replaced = ctx.is_session_replaced();
        let entry = ctx.session().entry().clone();
        if let Some(Ok(id)) = claim.from
            && entry.is_stopped(self.direction, id.epoch)
        {
            // Which has a browser stop coming back.
            ctx.get_mut_response().set_status_code(204);
            return Ok(None);
        }
        if ctx.event_stream(stream).await.is_err() {
            return Ok(None);
        }
        let connection = stream.connection().clone();
        if is_replaced {
            // A channel of its own would be deaf to the session's. Browsers come back, with the cookie that they have by then.
            Line::new(connection, None, claim.number).close_for_new_id();
            return Ok(None);
        }
        if let Some(every) = self.plan.heartbeat {
            connection.set_heartbeat(every);
        }
        let retry = self.plan.retry.unwrap_or(Duration::from_secs(1));
        let begin = |start: &Start, id: ResumeId| {
            let hello = hello(id, retry, start.is_reset);
            let _ = connection.send_bytes(&connection.format().frame(&hello));
            Line::new(connection.clone(), None, claim.number)
        };
        let attached = self.attach(&entry, claim, &connection, || ctx.states(), begin);
        Ok(attached.map(|attached| Open {
            connection: connection.clone(),
            attached,
        }))
    }

    /// Takes a body as a message to the channel.
    fn post(self: Arc<Self>, ctx: &mut Context) -> HookFuture<'_> {
        Box::pin(async move {
            refused(self.take_post(ctx).await).await;
            Status::Continue
        })
    }

    async fn take_post(&self, ctx: &mut Context) -> Result<(), RequestError> {
        ctx.check_origin(&self.cors.origins)?;
        refuse_token(ctx)?;
        let body = ctx.get_request().get_body().clone();
        let is_binary = ctx
            .get_request()
            .header("content-type")
            .is_some_and(|kind| kind.starts_with("application/octet-stream"));
        let message = match is_binary {
            true => Message::Binary(body.into()),
            false => Message::from(
                String::from_utf8(body.to_vec())
                    .map_err(|_| RequestError::refused(400, "the message is not UTF-8 text"))?,
            ),
        };
        let channel = ctx
            .try_session()
            .map(|session| self.channel(session.entry()));
        let Some(channel) = channel.filter(|channel| channel.is_open()) else {
            return Err(RequestError::refused(
                409,
                "there is no open channel: connect first",
            ));
        };
        let mut message = Some(message);
        let mut waiter = channel.waiter();
        let delivery = poll_fn(|cx| channel.poll_deliver(cx, &mut message, Some(&mut waiter)));
        match within(channel.runtime(), self.settings.timeout, delivery).await {
            Some(Ok(())) => {
                ctx.get_mut_response().set_status_code(204);
                Ok(())
            }
            Some(Err(_)) => Err(RequestError::refused(
                409,
                "the channel is over: connect anew",
            )),
            None => Err(RequestError::refused(503, "nobody receives")),
        }
    }
}

/// Hands what the client sends to the channel until one of them is over.
async fn receive(channel: &Arc<Channel>, connection: &Arc<Conn>, acks: &Acks) {
    let mut taken = None;
    poll_fn(|cx| {
        loop {
            if acks.take_news() {
                channel.acknowledged();
            }
            if taken.is_some() {
                match channel.poll_deliver(cx, &mut taken, None) {
                    Poll::Ready(Ok(())) => {}
                    Poll::Ready(Err(_)) => return Poll::Ready(()),
                    Poll::Pending => return Poll::Pending,
                }
            }
            match connection.poll_message(cx) {
                Poll::Ready(Ok(message)) => taken = Some(message),
                Poll::Ready(Err(WsEnd::Closed(_) | WsEnd::Violation(_) | WsEnd::Lost)) => {
                    return Poll::Ready(());
                }
                Poll::Pending if acks.has_news() => {}
                Poll::Pending => return Poll::Pending,
            }
        }
    })
    .await;
}

/// What a counting client reads first.
fn first_message(id: ResumeId, tab: Tab, is_reset: bool) -> String {
    let ResumeId { epoch, offset } = id;
    format!(
        r#"{{"id":"{id}","epoch":"{epoch:016x}","offset":{offset},"tab":"{tab:016x}","reset":{is_reset}}}"#
    )
}

/// The first block of an event stream: where it stands, so that a cut before the first message is no loss.
fn hello(id: ResumeId, retry: Duration, is_reset: bool) -> Vec<u8> {
    // Between once and twice as much.
    let jitter = super::random() % (retry.as_millis().max(1) as u64);
    let name = if is_reset { "reset" } else { POSITION };
    let event = at(name, id).retry(retry + Duration::from_millis(jitter));
    let mut bytes = Vec::new();
    // Nothing of it comes from outside.
    let _ = event.encode(&mut bytes);
    bytes
}
