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

// ---------------------------------------------------------------- the cookie

#[tokio::test]
async fn the_cookie_is_set_only_when_a_session_is_used() {
    let control = serve(|_| {}).await;
    let mut browser = Browser::new(address(&control));
    let looked = browser.get("/look").await;
    assert_eq!((looked.text(), looked.all("set-cookie").len()), ("none", 0));
    assert_eq!(looked.header("cache-control"), None);
    let first = browser.get("/use").await;
    let cookie = first.header("set-cookie").unwrap();
    let (_, flags) = cookie.split_once(';').unwrap();
    assert!(cookie.starts_with("session="), "{cookie}");
    assert_eq!(flags, " HttpOnly; SameSite=Lax; Path=/; Max-Age=604800");
    assert_eq!(first.header("cache-control"), Some("private"));
    let second = browser.get("/use").await;
    assert_eq!(second.header("set-cookie"), None, "the client has it");
    assert_eq!(second.header("cache-control"), Some("private"));
    assert_eq!(first.text()[4..], second.text()[5..], "the same session");
}

#[tokio::test]
async fn over_tls_the_cookie_is_secure_and_bound_to_the_host() {
    let proxied = serve(|server| {
        server.get_mut_server_config().trusted_proxies = vec!["127.0.0.1/32".parse().unwrap()];
    })
    .await;
    let always = serve(|server| {
        server.get_mut_server_config().cookie_secure = CookieSecure::Always;
    })
    .await;
    for (control, also) in [
        (
            &proxied,
            "x-forwarded-for: 192.0.2.1\r\nx-forwarded-proto: https\r\n",
        ),
        (&proxied, "x-forwarded-proto: https\r\n"),
        (
            &proxied,
            "x-forwarded-for: unknown\r\nx-forwarded-proto: https\r\n",
        ),
        (&always, ""),
    ] {
        let mut browser = Browser::new(address(control));
        browser.also = also.to_owned();
        let reply = browser.get("/count").await;
        let cookie = reply.header("set-cookie").unwrap();
        assert!(cookie.starts_with("__Host-session="), "{cookie}");
        assert!(cookie.ends_with("; HttpOnly; SameSite=Lax; Secure; Path=/; Max-Age=604800"));
        assert_eq!(browser.text("/count").await, "2");
    }
}

#[tokio::test]
async fn over_tls_a_plain_cookie_is_not_believed() {
    let control = serve(|server| {
        server.get_mut_server_config().trusted_proxies = vec!["127.0.0.1/32".parse().unwrap()];
    })
    .await;
    let mut plain = Browser::new(address(&control));
    plain.get("/keep?secret=plain").await;
    for name in ["session", "__Host-session"] {
        let mut browser = Browser::with(address(&control), name, &plain.cookie());
        browser.also = "x-forwarded-for: 192.0.2.1\r\nx-forwarded-proto: https\r\n".to_owned();
        assert_eq!(browser.text("/look").await, "none", "{name}");
    }
    let mut spoofed = Browser::new(address(&serve(|_| {}).await));
    spoofed.also = "x-forwarded-proto: https\r\nx-forwarded-for: 192.0.2.1\r\n".to_owned();
    spoofed.get("/use").await;
    assert!(
        spoofed.cookies.contains_key("session"),
        "no proxy is trusted"
    );
}

#[tokio::test]
async fn the_cookie_reaches_the_client_with_every_kind_of_answer() {
    let control = serve(|_| {}).await;
    for (path, status) in [
        ("/raw", 200),
        ("/replaced", 202),
        ("/reset", 200),
        ("/panics", 500),
        ("/events", 200),
        ("/macro/events", 200),
        ("/late", 200),
    ] {
        let mut browser = Browser::new(address(&control));
        let reply = browser.get(path).await;
        assert_eq!(reply.status, status, "{path}");
        assert!(
            reply.header("set-cookie").unwrap().starts_with("session="),
            "{path}"
        );
        assert!(browser.text("/use").await.starts_with("false "), "{path}");
    }
    for path in ["/socket", "/macro/socket"] {
        let mut browser = Browser::new(address(&control));
        browser.also = HANDSHAKE.to_owned();
        let reply = browser.get(path).await;
        assert_eq!(reply.status, 101, "{path}");
        assert!(
            reply.header("set-cookie").unwrap().starts_with("session="),
            "{path}"
        );
    }
}

#[tokio::test]
async fn a_session_begun_after_the_head_lasts_for_its_request() {
    let control = serve(|_| {}).await;
    let mut client = Client::connect(address(&control)).await;
    client
        .send(
            "GET /after HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
             sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
        )
        .await;
    let reply = client.reply().await;
    assert_eq!((reply.status, reply.header("set-cookie")), (101, None));
    assert_eq!(client.next_frame().await.text(), "true true");
}

#[tokio::test]
async fn there_is_one_cookie_and_no_shared_cache_keeps_it() {
    let control = serve(|_| {}).await;
    let mut browser = Browser::new(address(&control));
    let reply = browser.get("/public").await;
    let cookies = reply.all("set-cookie");
    assert_eq!(cookies.len(), 2, "{cookies:?}");
    assert!(cookies.contains(&"other=1") && !cookies.contains(&"session=mine"));
    assert_eq!(reply.header("cache-control"), Some("private, max-age=60"));
    let events = Browser::new(address(&control)).get("/events").await;
    assert_eq!(events.header("cache-control"), Some("private, no-cache"));
}

// ---------------------------------------------------------------- values

#[tokio::test]
async fn values_keep_their_types_from_request_to_request() {
    let control = serve(|_| {}).await;
    let mut browser = Browser::new(address(&control));
    assert_eq!(browser.text("/wrong").await, "Some([1, 2]) None true None");
    for count in ["1", "2", "3"] {
        assert_eq!(browser.text("/count").await, count);
    }
    browser.get("/keep?secret=a").await;
    assert_eq!(browser.text("/forget").await, "true");
    assert_eq!(browser.text("/forget").await, "false");
    assert_eq!(browser.text("/argument").await, "false");
    assert_eq!(
        Browser::new(address(&control)).text("/argument").await,
        "true"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn code_of_the_program_may_ask_the_session_that_it_reads() {
    let control = serve(|_| {}).await;
    let mut browser = Browser::new(address(&control));
    let read = tokio::time::timeout(test_support::PATIENCE, browser.text("/read-nosy"));
    assert_eq!(read.await.unwrap(), "true");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_value_that_takes_long_to_read_holds_up_nothing() {
    const READERS: u32 = 3;
    let mut channels = None;
    let control = serve(|server| channels = Some(server.channels())).await;
    let channels = channels.unwrap();
    let address = address(&control);
    let mut browser = Browser::new(address);
    browser.get("/keep-big").await;
    let cookie = browser.cookie();
    let mut readers = tokio::task::JoinSet::new();
    for _ in 0..READERS {
        let mut reader = Browser::with(address, "session", &cookie);
        readers.spawn(async move { reader.text("/read-slow").await });
    }
    let reading = READS.acquire_many(READERS);
    _ = tokio::time::timeout(test_support::PATIENCE, reading)
        .await
        .unwrap()
        .unwrap();
    // Others use the session itself, a new one, and everything that looks at all sessions.
    let meanwhile = async {
        let mut other = Browser::with(address, "session", &cookie);
        for path in ["/keep?secret=s", "/look", "/renew", "/login", "/count"] {
            assert_eq!(other.get(path).await.status, 200, "{path}");
        }
        let mut stranger = Browser::new(address);
        for count in ["1", "2"] {
            assert_eq!(stranger.text("/count").await, count);
        }
        assert_eq!(channels.all().len(), 2);
        assert_eq!(channels.user("ann").len(), 1);
        stranger.get("/logout").await;
    };
    let done = tokio::time::timeout(test_support::PATIENCE, meanwhile).await;
    *MAY_READ.0.lock().unwrap() = true;
    MAY_READ.1.notify_all();
    done.unwrap();
    assert!(readers.join_all().await.iter().all(|read| read == "true"));
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_of_one_session_at_once_share_it() {
    let control = serve(|_| {}).await;
    let mut browser = Browser::new(address(&control));
    browser.get("/use").await;
    let address = address(&control);
    let cookie = browser.cookie();
    let tasks: Vec<_> = (0..16)
        .map(|number| {
            let mut other = Browser::with(address, "session", &cookie);
            tokio::spawn(async move {
                let reply = other.get(&format!("/keep?secret={number}")).await;
                assert_eq!(reply.header("set-cookie"), None);
                other.text("/look").await
            })
        })
        .collect();
    for task in tasks {
        assert!(task.await.unwrap().contains(" None "));
    }
    assert_ne!(browser.text("/look").await, "none");
}

// ---------------------------------------------------------------- forged and former ids

#[tokio::test]
async fn a_renewed_session_keeps_all_and_its_former_id_lasts_a_minute() {
    let control = serve(|_| {}).await;
    let mut browser = Browser::new(address(&control));
    browser.get("/login").await;
    browser.get("/keep?secret=s").await;
    let before = browser.cookie();
    let renewed = browser.get("/renew").await;
    assert_eq!(renewed.all("set-cookie").len(), 1);
    assert_ne!(before, browser.cookie());
    assert!(browser.text("/look").await.starts_with("s Some(\"ann\") "));
    // A request in flight has the former id: the same session, and no cookie of the new id.
    let mut former = Browser::with(address(&control), "session", &before);
    let reply = former.get("/look").await;
    assert!(reply.text().starts_with("s Some(\"ann\") "));
    assert_eq!(reply.header("set-cookie"), None);
    // A second renewal by the former id does not take the first one's cookie away, and is given none.
    let again = former.get("/renew").await;
    assert_eq!((again.status, again.header("set-cookie")), (200, None));
    assert!(browser.text("/look").await.starts_with("s Some(\"ann\") "));
    pass(61).await;
    (browser.client, former.client) = (None, None);
    assert!(is_refused(address(&control), &before).await);
    assert!(browser.text("/look").await.starts_with("s Some(\"ann\") "));
}

#[tokio::test]
async fn a_former_id_never_learns_the_present_one() {
    let store = Mock::default();
    let alone = serve(|_| {}).await;
    let shared = serve(|server| _ = server.session_store(store.clone())).await;
    let sharing = serve(|server| _ = server.session_store(store.clone())).await;
    // In the last case the renewal was at another server of the same store.
    for (renewing, control) in [(&alone, &alone), (&shared, &shared), (&sharing, &shared)] {
        let mut victim = Browser::new(address(renewing));
        victim.get("/login").await;
        victim.get("/keep?secret=s").await;
        let stolen = victim.cookie();
        victim.get("/renew").await;
        let present = victim.cookie();
        let present_id = present.split('.').next().unwrap();
        let stolen_id = stolen.split('.').next().unwrap();
        let mut attacker = Browser::with(address(control), "session", &stolen);
        for path in ["/learn", "/renew", "/learn", "/look", "/use"] {
            let reply = attacker.get(path).await;
            assert_eq!(reply.header("set-cookie"), None, "{path}");
            assert!(
                !reply.text().contains(present_id),
                "{path}: {}",
                reply.text()
            );
            if path == "/learn" {
                let told = format!("Ok(()) Err(Former) Ok(()) Err(Former) {stolen_id} ");
                assert!(reply.text().starts_with(&told), "{}", reply.text());
                assert!(reply.text().ends_with(" Err(Former)"), "{}", reply.text());
                assert!(!reply.text().contains(&present_id[..6]));
            }
        }
        assert!(victim.text("/look").await.starts_with("s Some(\"ann\") "));
        pass(61).await;
        (victim.client, attacker.client) = (None, None);
        assert!(is_refused(address(control), &stolen).await);
        assert!(victim.text("/look").await.starts_with("s Some(\"ann\") "));
    }
}

#[tokio::test]
async fn of_renewals_at_the_same_time_one_answer_has_the_cookie() {
    let control = serve(|_| {}).await;
    let mut browser = Browser::new(address(&control));
    browser.get("/keep?secret=s").await;
    let mut renewals = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let mut other = Browser::with(address(&control), "session", &browser.cookie());
        renewals.spawn(async move { other.get("/renew").await });
    }
    let mut cookies = Vec::new();
    for reply in renewals.join_all().await {
        assert_eq!(reply.status, 200);
        cookies.extend(reply.header("set-cookie").map(str::to_owned));
    }
    assert_eq!(cookies.len(), 1, "{cookies:?}");
    let (_, value) = cookies[0].split_once('=').unwrap();
    let mut winner = Browser::with(
        address(&control),
        "session",
        value.split(';').next().unwrap(),
    );
    assert!(winner.text("/look").await.starts_with("s "));
}

#[tokio::test]
async fn a_request_from_before_the_renewal_learns_nothing_of_it() {
    let _turn = HELD.lock().await;
    let control = serve(|_| {}).await;
    let mut victim = Browser::new(address(&control));
    victim.get("/keep?secret=s").await;
    let stolen = victim.cookie();
    let mut attacker = Browser::with(address(&control), "session", &stolen);
    let held = tokio::spawn(async move { attacker.get("/held").await });
    HERE.notified().await;
    victim.get("/login").await;
    GO_ON.notify_one();
    let reply = held.await.unwrap();
    let stolen_id = stolen.split('.').next().unwrap();
    assert_eq!(reply.text(), format!("Ok(()) Err(Former) {stolen_id}"));
    assert_eq!(reply.header("set-cookie"), None);
}

#[tokio::test]
async fn an_old_cookie_is_not_made_anew_for_a_request_that_is_overtaken_by_a_renewal() {
    let _turn = HELD.lock().await;
    let control = serve(|_| {}).await;
    let mut browser = Browser::new(address(&control));
    browser.get("/keep?secret=s").await;
    let mut slow = Browser::with(address(&control), "session", &browser.cookie());
    // Half of its time is over, so that any answer sets the cookie anew.
    browser.client = None;
    pass(4 * 24 * 60 * 60).await;
    let held = tokio::spawn(async move { slow.get("/held").await });
    HERE.notified().await;
    browser.get("/renew").await;
    GO_ON.notify_one();
    // The browser gets this answer last: it must not take the winner's cookie away.
    assert_eq!(held.await.unwrap().header("set-cookie"), None);
    assert!(browser.text("/look").await.starts_with("s "));
}

#[tokio::test]
async fn another_client_with_the_id_decides_nothing_while_its_owner_logs_in() {
    let control = serve(|_| {}).await;
    let mut attacker = Browser::new(address(&control));
    attacker.get("/keep?secret=planted").await;
    let planted = attacker.cookie();
    let mut victim = Browser::with(address(&control), "session", &planted);
    let login = tokio::spawn(async move {
        let reply = victim.get("/login-slowly").await;
        (victim, reply)
    });
    HALF_WAY.notified().await;
    for path in ["/renew", "/learn", "/renew"] {
        let reply = attacker.get(path).await;
        assert_eq!(reply.header("set-cookie"), None, "{path}");
        if path == "/learn" {
            assert!(reply.text().ends_with(" Err(Former)"), "{}", reply.text());
        }
    }
    GO_ALL_THE_WAY.notify_one();
    let (mut victim, reply) = login.await.unwrap();
    assert_eq!(reply.all("set-cookie").len(), 1);
    assert_ne!(victim.cookie(), planted);
    let seen = victim.text("/look").await;
    assert!(seen.starts_with("planted Some(\"ann\") "), "{seen}");
    assert_eq!(attacker.text("/look").await, "none");
    // After its answer everything is as always.
    let before = victim.cookie();
    victim.get("/renew").await;
    assert_ne!(victim.cookie(), before);
}

#[tokio::test]
async fn an_id_from_before_a_login_by_message_is_worth_nothing_after_the_renewal() {
    let control = serve(|_| {}).await;
    // The handshake sets the cookie, so that its client knows the id when it logs in.
    let mut socket = Client::connect(address(&control)).await;
    let reply = socket.upgrade("/login-by-message", "").await;
    let (_, value) = reply.all("set-cookie")[0].split_once('=').unwrap();
    let before = value.split(';').next().unwrap().to_owned();
    socket.frame(test_support::TEXT, "ann").await;
    assert_eq!(socket.next_message().await.text(), "hello");
    let mut browser = Browser::with(address(&control), "session", &before);
    browser.get("/renew").await;
    assert_ne!(browser.cookie(), before);
    assert!(browser.text("/look").await.contains("Some(\"ann\")"));
    let mut former = Browser::with(address(&control), "session", &before);
    assert_eq!(former.text("/look").await, "none");
}

#[tokio::test]
async fn connections_that_a_former_id_opens_end_with_it() {
    let control = serve(|server| {
        let config = server.get_mut_server_config();
        (config.ping_interval, config.pong_timeout) = (None, None);
        config.sse_heartbeat = None;
    })
    .await;
    for ends_at_once in [false, true] {
        let mut browser = Browser::new(address(&control));
        browser.get("/use").await;
        let fields = |browser: &Browser| format!("cookie: session={}\r\n", browser.cookie());
        let before = fields(&browser);
        let mut early = Client::connect(address(&control)).await;
        assert_eq!(early.upgrade("/stay", &before).await.status, 101);
        browser.get("/renew").await;
        let mut socket = Client::connect(address(&control)).await;
        assert_eq!(socket.upgrade("/stay", &before).await.status, 101);
        let mut events = Client::connect(address(&control)).await;
        events.request("GET", "/stay-events", &before).await;
        events.until(b"\r\n\r\n").await;
        let mut present = Client::connect(address(&control)).await;
        let reply = present.upgrade("/stay", &fields(&browser)).await;
        assert_eq!(reply.status, 101);
        if ends_at_once {
            // The user changes: all ids from before are over.
            browser.get("/login").await;
        } else {
            pass(61).await;
            browser.client = None;
        }
        let close = socket.next_frame().await;
        assert_eq!((close.opcode, close.code()), (test_support::CLOSE, 1012));
        assert!(events.chunk().await.is_empty(), "the last chunk");
        // Connections of the owner, and those opened by the present id, stay.
        for client in [&mut early, &mut present] {
            client.frame(test_support::PING, "there?").await;
            assert_eq!(client.next_frame().await.opcode, test_support::PONG);
        }
    }
}

#[tokio::test]
async fn an_id_from_before_the_login_is_worth_nothing_after_it() {
    let control = serve(|_| {}).await;
    for login in ["/login", "/login2"] {
        // An attacker that planted the id knows it.
        let mut attacker = Browser::new(address(&control));
        attacker.get("/keep?secret=planted").await;
        let planted = attacker.cookie();
        let mut victim = Browser::with(address(&control), "session", &planted);
        victim.get(login).await;
        assert_ne!(victim.cookie(), planted);
        assert!(
            victim
                .text("/look")
                .await
                .starts_with("planted Some(\"ann\")"),
            "{login}"
        );
        assert_eq!(attacker.text("/look").await, "none", "{login}");
        // A request of the victim in flight must not lose the login's cookie: it gets none.
        let in_flight = attacker.get("/use").await;
        assert!(in_flight.text().starts_with("true "));
        assert_eq!(in_flight.header("set-cookie"), None);
        let renews = attacker.get("/renew").await;
        assert_eq!((renews.status, renews.header("set-cookie")), (200, None));
        // Unless it logs in itself.
        attacker.get("/login").await;
        assert_ne!(attacker.cookie(), planted);
        assert!(attacker.text("/look").await.starts_with(" Some(\"ann\")"));
        pass(61).await;
        assert!(is_refused(address(&control), &planted).await);
    }
}

#[tokio::test]
async fn a_client_cannot_choose_its_id() {
    let control = serve(|_| {}).await;
    let elsewhere = serve(|server| {
        server.get_mut_server_config().session_keys = vec![[8; 32].into()];
    })
    .await;
    let unknown = serve(|_| {}).await;
    let mut foreign = Browser::new(address(&elsewhere));
    foreign.get("/use").await;
    assert!(
        is_refused(address(&control), &foreign.cookie()).await,
        "another key"
    );
    let mut restarted = Browser::new(address(&unknown));
    restarted.get("/use").await;
    assert!(
        is_refused(address(&control), &restarted.cookie()).await,
        "no such session"
    );
    let mut browser = Browser::new(address(&control));
    browser.get("/use").await;
    let id = browser
        .text("/look")
        .await
        .split(' ')
        .next_back()
        .unwrap()
        .to_owned();
    for made_up in [
        id.clone(),
        format!("{id}."),
        format!("{id}.1"),
        format!("{id}.1.{id}"),
        String::new(),
    ] {
        assert!(is_refused(address(&control), &made_up).await, "{made_up}");
    }
}

/// Tries each kind 1000 times; no try shows anything of another session.
#[tokio::test]
async fn a_thousand_false_ids_of_each_kind_are_refused() {
    const TRIES: usize = 1000;
    let control = serve(|server| {
        server.get_mut_server_config().session_ttl = Duration::from_secs(3600);
    })
    .await;
    let elsewhere = serve(|server| {
        server.get_mut_server_config().session_keys = vec![[9; 32].into()];
    })
    .await;
    let address = address(&control);
    let mut random = Random::new();
    let mut victim = Browser::new(address);
    victim.get("/keep?secret=victim").await;
    let cookie = victim.cookie();
    let mut prober = Browser::new(address);
    let mut refused = 0;
    // Tampered: a good one with one to three other characters, cut, or extended.
    let mut tries: Vec<String> = Vec::new();
    while tries.len() < TRIES {
        let mut tried = cookie.clone();
        for _ in 0..=random.below(3) {
            let at = random.below(tried.len());
            tried.replace_range(at..=at, &random.text(1));
        }
        match random.below(8) {
            0 => tried.truncate(random.below(tried.len())),
            1 => tried.push_str(&random.text(1)),
            _ => {}
        }
        if tried != cookie {
            tries.push(tried);
        }
    }
    // Made up, with or without the right form.
    tries.extend((0..TRIES).map(|_| {
        format!(
            "{}.1{}.{}",
            random.text(22),
            700_000_000 + random.below(99),
            random.text(43)
        )
    }));
    for tried in &tries {
        prober.cookies.insert("session".to_owned(), tried.clone());
        assert_eq!(prober.text("/look").await, "none", "{tried}");
        refused += 1;
    }
    // Foreign: signed by another key.
    let mut foreign = Browser::new(test_support::address(&elsewhere));
    for _ in 0..TRIES {
        foreign.cookies.clear();
        foreign.get("/use").await;
        prober
            .cookies
            .insert("session".to_owned(), foreign.cookie());
        assert_eq!(prober.text("/look").await, "none");
        refused += 1;
    }
    // Replayed after its end, and expired without use.
    let mut expired = Vec::new();
    for _ in 0..TRIES {
        let mut browser = Browser::new(address);
        browser.client = prober.client.take();
        browser.get("/keep?secret=gone").await;
        let gone = browser.cookie();
        browser.get("/logout").await;
        assert!(
            browser.cookies.is_empty(),
            "the client is told to forget it"
        );
        browser.get("/keep?secret=old").await;
        expired.push(browser.cookie());
        prober.client = browser.client.take();
        prober.cookies.insert("session".to_owned(), gone);
        assert_eq!(prober.text("/look").await, "none");
        refused += 1;
    }
    pass(3601).await;
    prober.client = None;
    for old in expired {
        prober.cookies.insert("session".to_owned(), old);
        assert_eq!(prober.text("/look").await, "none");
        refused += 1;
    }
    assert_eq!(refused, 5 * TRIES);
}

/// A client never sees another client's session, whatever a crowd of clients does.
#[tokio::test]
async fn nothing_of_another_session_is_ever_visible() {
    let control = serve(|server| {
        // Sessions are evicted as well.
        server.get_mut_server_config().session_memory = 16 * 1024;
    })
    .await;
    let mut random = Random::new();
    let mut crowd: Vec<Browser> = (0..12).map(|_| Browser::new(address(&control))).collect();
    let mut past: Vec<Vec<String>> = vec![Vec::new(); crowd.len()];
    let mut seen = 0;
    for step in 0..6000 {
        let who = random.below(crowd.len());
        let browser = &mut crowd[who];
        match random.below(12) {
            0..3 => _ = browser.get(&format!("/keep?secret=of-{who}-{step}")).await,
            3 => _ = browser.get("/renew").await,
            4 => _ = browser.get("/login").await,
            5 => _ = browser.get("/logout").await,
            6 => _ = browser.get("/use").await,
            7 if !past[who].is_empty() => {
                // The request shows one of the client's cookies, of any time.
                let at = random.below(past[who].len());
                browser
                    .cookies
                    .insert("session".to_owned(), past[who][at].clone());
            }
            8 => browser.cookies.clear(),
            _ => {}
        }
        past[who].extend(browser.cookies.get("session").cloned());
        let looked = browser.text("/look").await;
        let secret = looked.split(' ').next().unwrap();
        let is_own = secret.starts_with(&format!("of-{who}-"));
        assert!(
            is_own || ["", "none"].contains(&secret),
            "{who} sees {secret}"
        );
        seen += usize::from(is_own);
    }
    assert!(seen > 500, "{seen}");
}

#[tokio::test]
async fn another_cookie_before_the_right_one_does_not_hide_it() {
    let control = serve(|_| {}).await;
    let mut browser = Browser::new(address(&control));
    browser.get("/keep?secret=mine").await;
    let cookie = browser.cookie();
    let mut tossed = Browser::new(address(&control));
    tossed.also = format!("cookie: session=x.1.y; session={cookie}\r\n");
    assert!(tossed.text("/look").await.starts_with("mine "));
}

#[tokio::test]
async fn a_destroyed_session_is_gone_and_a_new_one_has_nothing_of_it() {
    let control = serve(|_| {}).await;
    let mut browser = Browser::new(address(&control));
    browser.get("/keep?secret=old").await;
    let old = browser.cookie();
    let reply = browser.get("/restart").await;
    assert_eq!(reply.all("set-cookie").len(), 1);
    assert_ne!(browser.cookie(), old);
    assert!(browser.text("/look").await.starts_with("fresh "));
    assert!(is_refused(address(&control), &old).await);
    let reply = browser.get("/logout").await;
    assert!(reply.header("set-cookie").unwrap().contains("Max-Age=0"));
    assert_eq!(browser.text("/look").await, "none");
    // A session that one request began and destroyed never reaches the client.
    let mut fresh = Browser::new(address(&control));
    assert_eq!(fresh.get("/logout").await.header("set-cookie"), None);
}

// ---------------------------------------------------------------- time

#[tokio::test]
async fn a_session_expires_unused_and_by_its_age() {
    let control = serve(|server| {
        let config = server.get_mut_server_config();
        config.session_ttl = Duration::from_secs(100);
        config.session_max_age = Duration::from_secs(250);
    })
    .await;
    let mut unused = Browser::new(address(&control));
    unused.get("/keep?secret=u").await;
    let mut used = Browser::new(address(&control));
    used.get("/keep?secret=v").await;
    let mut told = 0;
    for _ in 0..4 {
        pass(60).await;
        (used.client, unused.client) = (None, None);
        let reply = used.get("/look").await;
        assert!(reply.text().starts_with("v "), "used within its time");
        told += reply.all("set-cookie").len();
    }
    assert_eq!(told, 4, "more than half of the time had passed each time");
    assert_eq!(unused.text("/look").await, "none");
    pass(20).await;
    used.client = None;
    assert_eq!(used.text("/look").await, "none", "too old, though used");
}

#[tokio::test]
async fn keys_are_rotated_without_losing_sessions() {
    // The sessions of one process are in one memory: the store stands for it.
    let store = Mock::default();
    let with = |keys: Vec<[u8; 32]>| {
        let store = store.clone();
        async move {
            serve(|server| {
                server.session_store(store);
                server.get_mut_server_config().session_keys =
                    keys.into_iter().map(SessionKey::from).collect();
            })
            .await
        }
    };
    let before = with(vec![[1; 32]]).await;
    let both = with(vec![[2; 32], [1; 32]]).await;
    let after = with(vec![[2; 32]]).await;
    let mut browser = Browser::new(address(&before));
    browser.get("/keep?secret=k").await;
    let old = browser.cookie();
    browser.address = address(&both);
    browser.client = None;
    let reply = browser.get("/look").await;
    assert!(reply.text().starts_with("k "));
    assert_eq!(reply.all("set-cookie").len(), 1, "signed anew");
    browser.address = address(&after);
    browser.client = None;
    assert!(browser.text("/look").await.starts_with("k "));
    assert!(is_refused(address(&after), &old).await);
}

// ---------------------------------------------------------------- tokens

#[tokio::test]
async fn a_token_is_good_for_one_path_and_a_short_time() {
    let control = serve(|_| {}).await;
    let mut browser = Browser::new(address(&control));
    browser.get("/keep?secret=t").await;
    let token = browser.text("/ticket").await;
    let mut app = Browser::new(address(&control));
    // A token is good any number of times within its minute.
    for _ in 0..3 {
        let reply = app.get(&format!("/look?token={token}")).await;
        assert!(reply.text().starts_with("t "));
        assert_eq!(reply.header("set-cookie"), None, "worth no cookie");
    }
    app.also = format!("authorization: Bearer {token}\r\n");
    assert!(app.text("/look").await.starts_with("t "));
    assert_eq!(app.text("/look/else").await, "none", "another path");
    app.also.clear();
    let mut random = Random::new();
    for _ in 0..1000 {
        let mut tried = token.clone();
        let at = random.below(tried.len());
        tried.replace_range(at..=at, &random.text(1));
        if tried != token {
            assert_eq!(
                app.text(&format!("/look?token={tried}")).await,
                "none",
                "{tried}"
            );
        }
    }
    assert!(is_refused(address(&control), &token).await, "no cookie");
    let cookie = browser.cookie();
    assert_eq!(
        app.text(&format!("/look?token={cookie}")).await,
        "none",
        "no token"
    );
    pass(61).await;
    app.client = None;
    assert_eq!(
        app.text(&format!("/look?token={token}")).await,
        "none",
        "too late"
    );
}

#[tokio::test]
async fn a_token_ends_with_its_session() {
    let control = serve(|_| {}).await;
    let mut browser = Browser::new(address(&control));
    let token = browser.text("/ticket").await;
    browser.get("/logout").await;
    let path = format!("/look?token={token}");
    assert_eq!(Browser::new(address(&control)).text(&path).await, "none");
}

#[tokio::test]
async fn a_token_renews_nothing() {
    let control = serve(|_| {}).await;
    let mut browser = Browser::new(address(&control));
    browser.get("/keep?secret=s").await;
    let token = browser.text("/ticket-for?path=/renew-by-token").await;
    let mut app = Browser::new(address(&control));
    let reply = app.get(&format!("/renew-by-token?token={token}")).await;
    assert_eq!(
        (reply.text(), reply.header("set-cookie")),
        ("Err(ByToken)", None)
    );
    pass(61).await;
    browser.client = None;
    assert!(browser.text("/look").await.starts_with("s "), "the owner's");
    // A token takes no cookie away either: it never had one.
    let token = browser.text("/ticket-for?path=/logout").await;
    let reply = app.get(&format!("/logout?token={token}")).await;
    assert_eq!(reply.header("set-cookie"), None);
    assert_eq!(browser.text("/look").await, "none", "and yet it is over");
}

/// Returns the places where a token may stand, as targets and fields.
fn carriers(path: &str, token: &str) -> [(String, String); 4] {
    [
        (format!("{path}?token={token}"), String::new()),
        (
            path.to_owned(),
            format!("authorization: Bearer {token}\r\n"),
        ),
        (
            path.to_owned(),
            format!("authorization: bearer  {token}\r\n"),
        ),
        (
            path.to_owned(),
            format!("sec-websocket-protocol: chat, {token}\r\n"),
        ),
    ]
}

#[tokio::test]
async fn a_token_that_is_not_valid_is_refused_wherever_a_session_is_needed() {
    let control = serve(|server| {
        server.at("/ws").get(ws());
        server.at("/sse").get(sse());
        server.get_mut_server_config().subprotocols = vec!["chat".to_owned()];
    })
    .await;
    let address = address(&control);
    let elsewhere = serve(|server| {
        server.get_mut_server_config().session_keys = vec![[8; 32].into()];
    })
    .await;
    for path in ["/ws", "/sse", "/argument", "/passing"] {
        let ticket = format!("/ticket-for?path={path}");
        let mut owner = Browser::new(address);
        let over = owner.text(&ticket).await;
        owner.get("/logout").await;
        owner.get("/use").await;
        let expired = owner.text(&ticket).await;
        let foreign = Browser::new(test_support::address(&elsewhere))
            .text(&ticket)
            .await;
        pass(61).await;
        owner.client = None;
        let other_path = owner.text("/ticket-for?path=/elsewhere").await;
        for token in [&over, &expired, &foreign, &other_path] {
            for (target, fields) in carriers(path, token) {
                let mut client = Client::connect(address).await;
                if path == "/ws" {
                    let reply = client.upgrade(&target, &fields).await;
                    assert_eq!(reply.status, 101, "{}", reply.head);
                    assert_eq!(reply.header("set-cookie"), None);
                    let protocol = fields.contains("chat").then_some("chat");
                    assert_eq!(reply.header("sec-websocket-protocol"), protocol);
                    let close = client.next_frame().await;
                    assert_eq!((close.opcode, close.code()), (test_support::CLOSE, 1008));
                    assert_eq!(&close.payload[2..], b"token expired");
                    // The same holds for events and POST.
                    for (method, accept) in [
                        ("GET", "accept: text/event-stream\r\n"),
                        ("POST", "content-length: 0\r\n"),
                    ] {
                        let mut client = Client::connect(address).await;
                        let fields = format!("{fields}{accept}");
                        client.request(method, &target, &fields).await;
                        is_unauthorized(&client.reply().await);
                    }
                    continue;
                }
                client.request("GET", &target, &fields).await;
                let reply = client.reply().await;
                if path == "/passing" {
                    assert_eq!(reply.text(), "false true true Err(Passing)");
                    assert_eq!(reply.header("set-cookie"), None);
                } else {
                    is_unauthorized(&reply);
                }
            }
        }
    }
}

fn is_unauthorized(reply: &Reply) {
    assert_eq!(reply.status, 401, "{}", reply.head);
    assert_eq!(
        reply.header("www-authenticate"),
        Some("Bearer error=\"invalid_token\"")
    );
    assert_eq!(reply.header("set-cookie"), None);
}

#[tokio::test]
async fn a_foreign_token_is_left_to_the_program() {
    let control = serve(|server| _ = server.at("/sse").get(sse())).await;
    let mut browser = Browser::new(address(&control));
    browser.get("/keep?secret=t").await;
    let token = browser.text("/ticket").await;
    let jwt = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.dBjftJeZ4CVP-mBOEr1AaQmZkqKqZC2WcYAxkfyOKkI";
    for theirs in [
        jwt,
        "x",
        "",
        "a.b.c",
        "123e4567-e89b-12d3-a456-426614174000",
    ] {
        for (target, fields) in carriers("/argument", theirs) {
            let mut client = Client::connect(address(&control)).await;
            client.request("GET", &target, &fields).await;
            let reply = client.reply().await;
            assert_eq!((reply.status, reply.text()), (200, "true"), "{theirs}");
            assert!(reply.header("set-cookie").is_some(), "a session as any");
        }
        // A foreign token hides none that is ours.
        for (target, fields) in [
            (
                format!("/look?token={token}"),
                format!("authorization: Bearer {theirs}\r\n"),
            ),
            (format!("/look?token={theirs}&token={token}"), String::new()),
            (
                format!("/look?token={theirs}"),
                format!("sec-websocket-protocol: {token}\r\n"),
            ),
        ] {
            let mut client = Client::connect(address(&control)).await;
            client.request("GET", &target, &fields).await;
            assert!(client.reply().await.text().starts_with("t "), "{target}");
        }
    }
}

#[tokio::test]
async fn a_valid_cookie_goes_first_and_then_the_first_valid_token() {
    let store = Mock::default();
    for control in [
        serve(|_| {}).await,
        serve(|server| _ = server.session_store(store)).await,
    ] {
        let address = address(&control);
        let mut owner = Browser::new(address);
        owner.get("/keep?secret=cookie").await;
        let mut other = Browser::new(address);
        other.get("/keep?secret=token").await;
        let old = other.text("/ticket").await;
        pass(61).await;
        (owner.client, other.client) = (None, None);
        let token = other.text("/ticket").await;
        let elsewhere = other.text("/ticket-for?path=/other").await;
        let mut gone = Browser::new(address);
        gone.get("/use").await;
        let dead = gone.cookie();
        gone.get("/logout").await;
        let cookie = format!("cookie: session={}\r\n", owner.cookie());
        let dead = format!("cookie: session={dead}\r\n");
        let bearer = |token: &str| format!("authorization: Bearer {token}\r\n");
        for (target, fields, seen) in [
            (format!("/look?token={token}"), cookie.clone(), "cookie"),
            // An invalid token beside a valid cookie is not looked at.
            (
                format!("/look?token={old}"),
                cookie + &bearer(&elsewhere),
                "cookie",
            ),
            (format!("/look?token={token}"), dead.clone(), "token"),
            (
                format!("/look?token={token}"),
                dead + &bearer(&old),
                "token",
            ),
            (
                format!("/look?token={old}&token={token}"),
                String::new(),
                "token",
            ),
            (
                format!("/look?token={old}"),
                bearer(&elsewhere) + &bearer(&token),
                "token",
            ),
        ] {
            let mut client = Client::connect(address).await;
            client.request("GET", &target, &fields).await;
            let reply = client.reply().await;
            assert!(
                reply.text().starts_with(seen),
                "{target} {fields} {}",
                reply.text()
            );
        }
    }
}

#[tokio::test]
async fn a_token_among_the_subprotocols_is_never_selected() {
    let control = serve(|server| {
        server.at("/ws").get(ws());
        server.route::<Picks>("/picks");
        server.get_mut_server_config().subprotocols = vec!["v2".to_owned(), "v1".to_owned()];
    })
    .await;
    let mut owner = Browser::new(address(&control));
    owner.get("/use").await;
    for path in ["/ws", "/picks"] {
        let token = owner.text(&format!("/ticket-for?path={path}")).await;
        for (offered, selected) in [
            (format!("v1, {token}"), Some("v1")),
            (
                format!("{token}, v1, v2"),
                Some(if path == "/ws" { "v2" } else { "v1" }),
            ),
            (token.clone(), None),
        ] {
            let mut client = Client::connect(address(&control)).await;
            let fields = format!("sec-websocket-protocol: {offered}\r\n");
            let reply = client.upgrade(path, &fields).await;
            assert_eq!(reply.status, 101, "{}", reply.head);
            assert_eq!(
                reply.header("sec-websocket-protocol"),
                selected,
                "{offered}"
            );
            // The request used the owner's session, and began no other.
            assert_eq!(reply.header("set-cookie"), None, "{offered}");
        }
    }
}

// ---------------------------------------------------------------- memory

#[tokio::test]
async fn a_flood_of_sessions_drives_out_those_used_least_recently() {
    let control = serve(|server| {
        server.get_mut_server_config().session_memory = 64 * 1024;
    })
    .await;
    let mut idle = Browser::new(address(&control));
    idle.get("/keep?secret=idle").await;
    let mut busy = Browser::new(address(&control));
    busy.get("/keep?secret=busy").await;
    let mut flood = Browser::new(address(&control));
    for _ in 0..1000 {
        flood.cookies.clear();
        flood.get("/use").await;
        assert!(busy.text("/look").await.starts_with("busy "));
    }
    assert_eq!(idle.text("/look").await, "none");
}

#[tokio::test]
async fn a_flood_of_requests_during_a_login_does_not_undo_it() {
    let _turn = HELD.lock().await;
    let control = serve(|server| {
        server.get_mut_server_config().session_memory = 64 * 1024;
    })
    .await;
    let mut user = Browser::new(address(&control));
    let login = tokio::spawn(async move {
        user.get("/login-late").await;
        user
    });
    HERE.notified().await;
    let mut flood = Browser::new(address(&control));
    for _ in 0..500 {
        flood.cookies.clear();
        flood.get("/use").await;
    }
    GO_ON.notify_one();
    let mut user = login.await.unwrap();
    assert!(user.text("/look").await.contains("Some(\"ann\")"));
}

#[tokio::test]
async fn a_flood_of_requests_without_a_cookie_logs_no_user_out() {
    let control = serve(|server| {
        server.get_mut_server_config().session_memory = 64 * 1024;
    })
    .await;
    let mut users: Vec<Browser> = Vec::new();
    for _ in 0..10 {
        let mut user = Browser::new(address(&control));
        user.get("/login").await;
        users.push(user);
    }
    let mut flood = Browser::new(address(&control));
    for _ in 0..2000 {
        flood.cookies.clear();
        let reply = flood.get("/count").await;
        assert_eq!(reply.all("set-cookie").len(), 1);
        // Each client has a session that lasts.
        assert_eq!(flood.text("/count").await, "2");
    }
    for user in &mut users {
        assert!(user.text("/look").await.contains("Some(\"ann\")"));
    }
}

#[tokio::test]
async fn first_requests_at_once_share_the_session_that_the_document_began() {
    let control = serve(|_| {}).await;
    let address = address(&control);
    let at_once = async |cookie: Option<String>| {
        let mut requests = tokio::task::JoinSet::new();
        for _ in 0..6 {
            let mut browser = match &cookie {
                Some(cookie) => Browser::with(address, "session", cookie),
                None => Browser::new(address),
            };
            requests.spawn(async move { browser.get("/use").await });
        }
        let replies = requests.join_all().await;
        let ids = replies
            .iter()
            .map(|reply| reply.text().rsplit(' ').next().unwrap().to_owned());
        let ids: std::collections::HashSet<_> = ids.collect();
        let cookies = replies
            .iter()
            .filter(|reply| reply.header("set-cookie").is_some());
        (ids.len(), cookies.count())
    };
    // The server cannot know that they are one client's: see Limits in docs/sessions.md.
    assert_eq!(at_once(None).await, (6, 6));
    // The page's own request goes before all that the page asks for.
    let mut page = Browser::new(address);
    page.get("/use").await;
    assert_eq!(at_once(Some(page.cookie())).await, (1, 0));
}

// ---------------------------------------------------------------- another store

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

#[tokio::test]
async fn a_store_is_asked_only_for_cookies_and_told_only_of_changes() {
    let store = Mock::default();
    let control = serve(|server| _ = server.session_store(store.clone())).await;
    let mut browser = Browser::new(address(&control));
    browser.get("/look").await;
    assert!(store.calls().is_empty(), "no cookie, no call");
    browser.get("/keep?secret=s").await;
    assert_eq!(store.calls(), ["save"]);
    assert!(browser.text("/look").await.starts_with("s "));
    assert_eq!(store.calls(), ["load"], "nothing changed");
    browser.get("/look?token=x").await;
    assert_eq!(store.calls(), ["load"]);
    Browser::with(address(&control), "session", "x.1.y")
        .get("/use")
        .await;
    assert_eq!(
        store.calls(),
        ["save"],
        "an id without a valid signature is not asked for"
    );
    browser.get("/renew").await;
    assert_eq!(
        store.calls(),
        ["load", "save", "save"],
        "the new id, and where the former leads"
    );
    browser.get("/logout").await;
    assert_eq!(store.calls(), ["load", "delete", "delete"]);
    for path in ["/events", "/macro/events", "/socket", "/macro/socket"] {
        let mut browser = Browser::new(address(&control));
        browser.also = HANDSHAKE.to_owned();
        browser.get(path).await;
        assert_eq!(store.calls(), ["save"], "{path}: before its head");
    }
}

/// A store that takes its time for one session.
#[derive(Clone)]
struct Hesitant {
    store: Mock,
    slow: Arc<Mutex<Option<String>>>,
    may_save: Arc<tokio::sync::Semaphore>,
}

impl SessionStore for Hesitant {
    async fn load(&self, id: &SessionId) -> io::Result<Option<SessionData>> {
        SessionStore::load(&self.store, id).await
    }

    async fn save(&self, id: &SessionId, data: &SessionData, ttl: Duration) -> io::Result<()> {
        let is_slow = *self.slow.lock().unwrap() == Some(id.encode());
        if is_slow {
            self.may_save.acquire().await.unwrap().forget();
        }
        SessionStore::save(&self.store, id, data, ttl).await
    }

    async fn delete(&self, id: &SessionId) -> io::Result<()> {
        SessionStore::delete(&self.store, id).await
    }
}

#[tokio::test]
async fn a_store_that_is_slow_for_one_session_holds_up_no_other() {
    let store = Hesitant {
        store: Mock::default(),
        slow: Arc::default(),
        may_save: Arc::new(tokio::sync::Semaphore::new(0)),
    };
    let control = serve(|server| _ = server.session_store(store.clone())).await;
    let mut slow = Browser::new(address(&control));
    slow.get("/count").await;
    let id = slow.cookie().split('.').next().unwrap().to_owned();
    *store.slow.lock().unwrap() = Some(id);
    let waiting = tokio::spawn(async move { slow.text("/count").await });
    let others = async {
        for _ in 0..100 {
            let mut other = Browser::new(address(&control));
            for count in ["1", "2"] {
                assert_eq!(other.text("/count").await, count);
            }
        }
    };
    tokio::time::timeout(test_support::PATIENCE, others)
        .await
        .unwrap();
    store.may_save.add_permits(1);
    assert_eq!(waiting.await.unwrap(), "2");
}

#[tokio::test]
async fn servers_with_one_store_share_sessions_and_their_ends() {
    let store = Mock::default();
    let one = serve(|server| _ = server.session_store(store.clone())).await;
    let two = serve(|server| _ = server.session_store(store.clone())).await;
    let mut browser = Browser::new(address(&one));
    let mut other = Browser::new(address(&two));
    browser.get("/count").await;
    other.cookies = browser.cookies.clone();
    assert_eq!(other.text("/count").await, "2");
    assert_eq!(browser.text("/count").await, "3");
    // The former id is good elsewhere, too; the one from before the login is not.
    other.get("/renew").await;
    assert_eq!(browser.text("/count").await, "4");
    browser.cookies = other.cookies.clone();
    browser.get("/login").await;
    assert_eq!(other.text("/look").await, "none");
    other.cookies = browser.cookies.clone();
    assert!(other.text("/look").await.contains("Some(\"ann\")"));
    let cookie = other.cookie();
    other.get("/logout").await;
    assert!(is_refused(address(&one), &cookie).await);
    assert!(is_refused(address(&two), &cookie).await);
}

#[tokio::test]
async fn an_error_of_the_store_is_answered_with_503_and_loses_nothing() {
    let store = Mock::default();
    answers_503_meanwhile(&store, &store.fails).await;
}

#[tokio::test]
async fn a_panic_of_the_store_is_an_error_of_the_store() {
    let store = Mock::default();
    answers_503_meanwhile(&store, &store.panics).await;
}

async fn answers_503_meanwhile(store: &Mock, fails: &AtomicBool) {
    let control = serve(|server| _ = server.session_store(store.clone())).await;
    let mut browser = Browser::new(address(&control));
    browser.get("/count").await;
    fails.store(true, Ordering::Release);
    let reply = browser.get("/count").await;
    assert_eq!((reply.status, reply.all("set-cookie").len()), (503, 0));
    // An id that the store does not have is not handed out.
    let mut fresh = Browser::new(address(&control));
    let reply = fresh.get("/count").await;
    assert_eq!((reply.status, reply.all("set-cookie").len()), (503, 0));
    // Without a session the store is not asked.
    assert_eq!(
        Browser::new(address(&control)).get("/look").await.status,
        200
    );
    fails.store(false, Ordering::Release);
    assert_eq!(browser.text("/count").await, "2", "on the same connection");
}
