//! Sessions as clients see them: cookies, tokens, and forgeries.

use std::{
    collections::HashMap,
    io,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use hyperlane::{
    Upgrade,
    prelude::*,
    session::{CookieSecure, SessionData, SessionId, SessionStore},
    sse, ws,
};
use test_support::{Client, Reply, address, hook, start};

mod cookie;
mod expiry;
mod ids;
mod memory;
mod store;
mod tokens;
mod values;

hook! {
    // Answers with the visible part of the client's session, and begins none.
    Look |_, ctx| {
        let text = match ctx.try_session() {
            Some(session) => format!(
                "{} {:?} {}",
                session.get::<String>("secret").unwrap_or_default(),
                session.user(),
                session.id().encode()
            ),
            None => "none".to_owned(),
        };
        ctx.get_mut_response().set_body(text);
    }
    // Begins a session.
    Use |_, ctx| {
        let session = ctx.session();
        let text = format!("{} {}", session.is_new(), session.id().encode());
        ctx.get_mut_response().set_body(text);
    }
    Count |_, ctx| {
        let session = ctx.session();
        let count = session.get::<u32>("count").unwrap_or(0) + 1;
        session.insert("count", &count).unwrap();
        ctx.get_mut_response().set_body(count.to_string());
    }
    Keep |_, ctx| {
        let secret = ctx.get_request().get_query("secret");
        ctx.session().insert("secret", &secret).unwrap();
    }
    Forget |_, ctx| {
        let removed = ctx.session().remove("secret");
        ctx.get_mut_response().set_body(removed.to_string());
    }
    Renew |_, ctx| {
        ctx.session().renew().unwrap();
    }
    Login |_, ctx| {
        let session = ctx.session();
        session.set_user("ann").unwrap();
        session.renew().unwrap();
    }
    LoginRenewedFirst |_, ctx| {
        let session = ctx.session();
        session.renew().unwrap();
        session.set_user("ann").unwrap();
    }
    Logout |_, ctx| {
        ctx.session().destroy();
    }
    Restart |_, ctx| {
        ctx.session().destroy();
        let session = ctx.session();
        assert!(session.is_new());
        session.insert("secret", "fresh").unwrap();
    }
    Ticket |_, ctx| {
        let token = ctx.session().token("/look").unwrap();
        ctx.get_mut_response().set_body(token);
    }
    // Does all that a request can do about ids, and answers with the outcome.
    Learn |_, ctx| {
        let session = ctx.session();
        let mut told = String::new();
        for _ in 0..2 {
            told += &format!("{:?} {:?} ", session.renew(), session.token("/look"));
        }
        told += &format!("{} {session:?} {:?}", session.id().encode(), session.set_user("mallory"));
        ctx.get_mut_response().set_body(told);
    }
    // Logs in, with a wait between the user and the id.
    LoginSlowly |_, ctx| {
        let session = ctx.session();
        session.set_user("ann").unwrap();
        HALF_WAY.notify_one();
        GO_ALL_THE_WAY.notified().await;
        session.renew().unwrap();
    }
    // Logs in after a while.
    LoginLate |_, ctx| {
        let session = ctx.session();
        HERE.notify_one();
        GO_ON.notified().await;
        session.set_user("ann").unwrap();
        session.renew().unwrap();
    }
    // Logs in by a message on its socket.
    LoginByMessage |stream, ctx| {
        let session = ctx.session();
        let socket = ctx.upgrade(stream).await.unwrap();
        let user = socket.recv().await.unwrap().to_string();
        session.set_user(user).unwrap();
        socket.send("hello").await.unwrap();
        socket.closed().await;
    }
    // Uses its session from before a renewal.
    Held |_, ctx| {
        let session = ctx.session();
        HERE.notify_one();
        GO_ON.notified().await;
        let told = format!("{:?} {:?} {}", session.renew(), session.token("/look"), session.id().encode());
        ctx.get_mut_response().set_body(told);
    }
    Stay |stream, ctx| {
        ctx.session();
        let socket = ctx.upgrade(stream).await.unwrap();
        socket.closed().await;
    }
    StayEvents |stream, ctx| {
        ctx.session();
        let events = ctx.event_stream(stream).await.unwrap();
        events.closed().await;
    }
    RenewByToken |_, ctx| {
        let told = format!("{:?}", ctx.session().renew());
        ctx.get_mut_response().set_body(told);
    }
    TicketFor |_, ctx| {
        let path = ctx.get_request().get_query("path");
        let token = ctx.session().token(path).unwrap();
        ctx.get_mut_response().set_body(token);
    }
    // Answers with the state of a session that lasts for its request alone.
    Passing |_, ctx| {
        let before = ctx.try_session().is_some();
        let session = ctx.session();
        let kept = session.insert("key", "value").is_ok();
        let told = format!("{before} {} {kept} {:?}", session.is_new(), session.token("/look"));
        ctx.get_mut_response().set_body(told);
    }
    KeepBig |_, ctx| {
        ctx.session().insert("big", &vec!["x"; 1000]).unwrap();
    }
    // Reads a value whose type asks its own session meanwhile, by a key that does so too.
    ReadNosy |_, ctx| {
        let session = ctx.session();
        *ASKED.lock().unwrap() = Some(session.clone());
        session.insert(NosyKey, &Nosy).unwrap();
        let read = session.get::<Nosy>(NosyKey).is_some() && session.remove(NosyKey);
        ctx.get_mut_response().set_body(read.to_string());
    }
    // Reads a value whose type takes its time.
    ReadSlow |_, ctx| {
        let session = ctx.session();
        let read = tokio::task::spawn_blocking(move || session.get::<Slow>("big").is_some());
        ctx.get_mut_response().set_body(read.await.unwrap().to_string());
    }
    Public |_, ctx| {
        ctx.session();
        ctx.get_mut_response()
            .set_header("cache-control", "public, max-age=60")
            .add_header("set-cookie", "session=mine")
            .add_header("set-cookie", "other=1");
    }
    Raw |stream, ctx| {
        ctx.session();
        let bytes = ctx.get_mut_response().set_body("raw").build();
        stream.send(bytes).await;
    }
    Replaced |_, ctx| {
        ctx.session();
        let mut response = Response::default();
        response.set_status_code(202);
        ctx.set_response(response);
    }
    Reset |_, ctx| {
        ctx.session();
        *ctx.get_mut_response() = Response::default();
    }
    Panics |_, ctx| {
        assert!(!ctx.session().is_new(), "on purpose");
    }
    Events |stream, ctx| {
        ctx.session();
        ctx.event_stream(stream).await.unwrap();
    }
    Socket |stream, ctx| {
        ctx.session();
        ctx.upgrade(stream).await.unwrap();
    }
    AfterUpgrade |stream, ctx| {
        let socket = ctx.upgrade(stream).await.unwrap();
        let session = ctx.session();
        session.insert("passing", "1").unwrap();
        let text = format!("{} {}", session.is_new(), session.renew().is_err());
        socket.send(text).await.unwrap();
    }
    TooLate |stream, ctx| {
        let session = ctx.session();
        let bytes = ctx.get_mut_response().set_body("x").build();
        stream.send(bytes).await;
        assert!(session.renew().is_err());
    }
    Wrong |_, ctx| {
        let session = ctx.session();
        session.insert("key", &vec![1, 2]).unwrap();
        let text = format!(
            "{:?} {:?} {} {:?}",
            session.get::<Vec<u8>>("key"),
            session.get::<String>("key"),
            session.try_get::<String>("key").is_err(),
            session.get::<String>("none"),
        );
        ctx.get_mut_response().set_body(text);
    }
}

/// The session that is asked while a value of it is read or written.
static ASKED: Mutex<Option<Session>> = Mutex::new(None);

fn ask_the_session() {
    let session = ASKED.lock().unwrap().clone().unwrap();
    session.insert("asked", &true).unwrap();
    assert_eq!(session.get::<bool>("asked"), Some(true));
    assert!(session.user().is_none() && session.id() == session.id());
}

/// A type whose code asks the session that it is in.
struct Nosy;

impl serde::Serialize for Nosy {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        ask_the_session();
        serializer.serialize_unit()
    }
}

impl<'de> serde::Deserialize<'de> for Nosy {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        ask_the_session();
        <()>::deserialize(deserializer).map(|()| Self)
    }
}

impl Drop for Nosy {
    fn drop(&mut self) {
        ask_the_session();
    }
}

struct NosyKey;

impl AsRef<str> for NosyKey {
    fn as_ref(&self) -> &str {
        ask_the_session();
        "nosy"
    }
}

/// A type that is read only when the test lets it.
struct Slow;

static READS: tokio::sync::Semaphore = tokio::sync::Semaphore::const_new(0);
static MAY_READ: (Mutex<bool>, std::sync::Condvar) = (Mutex::new(false), std::sync::Condvar::new());

impl<'de> serde::Deserialize<'de> for Slow {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        READS.add_permits(1);
        let (may_read, changed) = &MAY_READ;
        let lock = may_read.lock().unwrap();
        drop(changed.wait_while(lock, |may_read| !*may_read).unwrap());
        Vec::<String>::deserialize(deserializer).map(|_| Self)
    }
}

static HERE: tokio::sync::Notify = tokio::sync::Notify::const_new();
static GO_ON: tokio::sync::Notify = tokio::sync::Notify::const_new();
static HALF_WAY: tokio::sync::Notify = tokio::sync::Notify::const_new();
static GO_ALL_THE_WAY: tokio::sync::Notify = tokio::sync::Notify::const_new();
/// Tests that use `HERE` and `GO_ON` take turns.
static HELD: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

async fn argument(session: Session) -> String {
    session.is_new().to_string()
}

struct Argument;

impl ServerHook for Argument {
    async fn new(_: &mut Stream, _: &mut Context) -> Self {
        Self
    }

    async fn handle(self, _: &mut Stream, ctx: &mut Context) -> Status {
        // The macros do it like this.
        match Session::from_context(ctx).await {
            Ok(session) => _ = ctx.get_mut_response().set_body(argument(session).await),
            Err(error) => hyperlane::IntoResponse::into_response(error, ctx.get_mut_response()),
        }
        Status::Continue
    }
}

/// Selects the first subprotocol that it is offered.
struct Picks;

impl ServerHook for Picks {
    async fn new(_: &mut Stream, _: &mut Context) -> Self {
        Self
    }

    async fn handle(self, stream: &mut Stream, ctx: &mut Context) -> Status {
        ctx.session();
        let upgrade = Upgrade::new().choose_protocol(|offered| {
            assert!(offered.iter().all(|name| name.len() < 10), "{offered:?}");
            offered.first().copied()
        });
        ctx.upgrade_with(stream, upgrade).await.unwrap();
        Status::Continue
    }
}

/// Starts stream and WebSocket by the macros.
struct MacroEvents;

impl ServerHook for MacroEvents {
    async fn new(_: &mut Stream, _: &mut Context) -> Self {
        Self
    }

    #[sse(events)]
    #[filter(ctx.session().is_new())]
    async fn handle(self, stream: &mut Stream, ctx: &mut Context) -> Status {
        events.close();
        Status::Continue
    }
}

struct MacroSocket;

impl ServerHook for MacroSocket {
    async fn new(_: &mut Stream, _: &mut Context) -> Self {
        Self
    }

    #[websocket(socket)]
    #[filter(ctx.session().is_new())]
    async fn handle(self, stream: &mut Stream, ctx: &mut Context) -> Status {
        socket.closed().await;
        Status::Continue
    }
}

const HANDSHAKE: &str = "connection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n\
                         sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

const KEY: [u8; 32] = [7; 32];

fn routes(server: &mut Server) {
    server
        .route::<Look>("/look")
        .route::<Look>("/look/else")
        .route::<Use>("/use")
        .route::<Count>("/count")
        .route::<Keep>("/keep")
        .route::<Forget>("/forget")
        .route::<Renew>("/renew")
        .route::<Login>("/login")
        .route::<LoginRenewedFirst>("/login2")
        .route::<Logout>("/logout")
        .route::<Restart>("/restart")
        .route::<Ticket>("/ticket")
        .route::<KeepBig>("/keep-big")
        .route::<ReadNosy>("/read-nosy")
        .route::<ReadSlow>("/read-slow")
        .route::<Learn>("/learn")
        .route::<Held>("/held")
        .route::<LoginSlowly>("/login-slowly")
        .route::<LoginLate>("/login-late")
        .route::<LoginByMessage>("/login-by-message")
        .route::<Stay>("/stay")
        .route::<StayEvents>("/stay-events")
        .route::<RenewByToken>("/renew-by-token")
        .route::<TicketFor>("/ticket-for")
        .route::<Passing>("/passing")
        .route::<Public>("/public")
        .route::<Raw>("/raw")
        .route::<Replaced>("/replaced")
        .route::<Reset>("/reset")
        .route::<Panics>("/panics")
        .route::<Events>("/events")
        .route::<Socket>("/socket")
        .route::<MacroEvents>("/macro/events")
        .route::<MacroSocket>("/macro/socket")
        .route::<AfterUpgrade>("/after")
        .route::<TooLate>("/late")
        .route::<Argument>("/argument")
        .route::<Wrong>("/wrong");
}

async fn serve(configure: impl FnOnce(&mut Server)) -> ServerControlHook {
    start(|server| {
        routes(server);
        server.get_mut_server_config().session_keys = vec![KEY.into()];
        configure(server);
    })
    .await
}

/// A client that keeps cookies as browsers do.
struct Browser {
    address: SocketAddr,
    client: Option<Client>,
    cookies: HashMap<String, String>,
    /// Further header lines.
    also: String,
}

impl Browser {
    fn new(address: SocketAddr) -> Self {
        Self {
            address,
            client: None,
            cookies: HashMap::new(),
            also: String::new(),
        }
    }

    fn with(address: SocketAddr, name: &str, value: &str) -> Self {
        let mut browser = Self::new(address);
        browser.cookies.insert(name.to_owned(), value.to_owned());
        browser
    }

    async fn get(&mut self, path: &str) -> Reply {
        let cookies: Vec<String> = self
            .cookies
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        let cookies = match cookies.is_empty() {
            true => String::new(),
            false => format!("cookie: {}\r\n", cookies.join("; ")),
        };
        let mut client = match self.client.take() {
            Some(client) => client,
            None => Client::connect(self.address).await,
        };
        client
            .send(format!(
                "GET {path} HTTP/1.1\r\nhost: a\r\n{cookies}{}\r\n",
                self.also
            ))
            .await;
        let reply = client.reply().await;
        if reply.status != 101 && reply.header("connection") != Some("close") {
            self.client = Some(client);
        }
        for cookie in reply.all("set-cookie") {
            let (name, rest) = cookie.split_once('=').unwrap();
            let value = rest.split(';').next().unwrap();
            if rest.contains("Max-Age=0") {
                self.cookies.remove(name);
            } else {
                self.cookies.insert(name.to_owned(), value.to_owned());
            }
        }
        reply
    }

    async fn text(&mut self, path: &str) -> String {
        self.get(path).await.text().to_owned()
    }

    fn cookie(&self) -> String {
        self.cookies["session"].clone()
    }
}

/// Returns true if a session is refused: nothing of one is visible, and a new one is begun.
async fn is_refused(address: SocketAddr, cookie: &str) -> bool {
    let mut browser = Browser::with(address, "session", cookie);
    let seen = browser.text("/look").await;
    let used = browser.get("/use").await;
    seen == "none" && used.text().starts_with("true ") && used.all("set-cookie").len() == 1
}

/// Passes time on the clock that servers see.
async fn pass(seconds: u64) {
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(seconds)).await;
    tokio::time::resume();
}

/// Pseudo-random numbers from a printed seed.
struct Random(u64);

impl Random {
    fn new() -> Self {
        use std::hash::{BuildHasher, Hasher, RandomState};
        let seed = RandomState::new().build_hasher().finish() | 1;
        println!("seed {seed}");
        Self(seed)
    }

    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % u64::try_from(bound).unwrap()).unwrap()
    }

    fn text(&mut self, length: usize) -> String {
        const ALPHABET: &[u8] =
            b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.";
        (0..length)
            .map(|_| char::from(ALPHABET[self.below(ALPHABET.len())]))
            .collect()
    }
}

/// A store that notes its calls, and fails on demand.
#[derive(Clone, Default)]
struct Mock {
    kept: Arc<Mutex<HashMap<SessionId, String>>>,
    calls: Arc<Mutex<Vec<&'static str>>>,
    fails: Arc<AtomicBool>,
    panics: Arc<AtomicBool>,
}

impl Mock {
    fn note(&self, call: &'static str) -> io::Result<()> {
        self.calls.lock().unwrap().push(call);
        assert!(!self.panics.load(Ordering::Acquire), "out of order");
        match self.fails.load(Ordering::Acquire) {
            true => Err(io::Error::other("out of order")),
            false => Ok(()),
        }
    }

    fn calls(&self) -> Vec<&'static str> {
        std::mem::take(&mut self.calls.lock().unwrap())
    }
}

impl SessionStore for Mock {
    async fn load(&self, id: &SessionId) -> io::Result<Option<SessionData>> {
        self.note("load")?;
        let text = self.kept.lock().unwrap().get(id).cloned();
        Ok(text.map(|text| serde_json::from_str(&text)).transpose()?)
    }

    async fn save(&self, id: &SessionId, data: &SessionData, ttl: Duration) -> io::Result<()> {
        self.note("save")?;
        assert!(ttl >= Duration::from_secs(60));
        let text = serde_json::to_string(data)?;
        self.kept.lock().unwrap().insert(*id, text);
        Ok(())
    }

    async fn delete(&self, id: &SessionId) -> io::Result<()> {
        self.note("delete")?;
        self.kept.lock().unwrap().remove(id);
        Ok(())
    }
}
