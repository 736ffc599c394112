//! Sessions as clients see them: cookies, tokens, and who is not believed.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails by a panic"
)]

mod common;

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

use common::{Client, Reply, address, hook, start};
use hyperlane::{CookieSecure, SessionData, SessionId, SessionStore, prelude::*};

hook! {
    // What is visible of the client's session, without one being begun.
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
    // Begins one.
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
        let token = ctx.session().token("/look");
        ctx.get_mut_response().set_body(token);
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

async fn argument(session: Session) -> String {
    session.is_new().to_string()
}

struct Argument;

impl ServerHook for Argument {
    async fn new(_: &mut Stream, _: &mut Context) -> Self {
        Self
    }

    async fn handle(self, _: &mut Stream, ctx: &mut Context) -> Status {
        let session = Session::from_context(ctx).await.unwrap();
        ctx.get_mut_response().set_body(argument(session).await);
        Status::Continue
    }
}

/// By the macros, which start stream and WebSocket themselves.
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

/// Whether a session is refused: nothing of one is visible, and a new one is begun.
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

/// Random numbers from a seed that is told.
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
    assert!(spoofed.cookies.contains_key("session"), "nobody is trusted");
}

#[tokio::test]
async fn the_cookie_reaches_the_client_whoever_answers() {
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

// ---------------------------------------------------------------- who is not believed

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
    // In flight with the former id: the same session, and no cookie of the new id.
    let mut former = Browser::with(address(&control), "session", &before);
    let reply = former.get("/look").await;
    assert!(reply.text().starts_with("s Some(\"ann\") "));
    assert_eq!(reply.header("set-cookie"), None);
    // A second renewal by the former id does not take the first one's cookie away.
    former.get("/renew").await;
    assert!(
        former
            .text("/look")
            .await
            .ends_with(browser.text("/look").await.split(' ').next_back().unwrap())
    );
    pass(61).await;
    assert!(is_refused(address(&control), &before).await);
    assert!(browser.text("/look").await.starts_with("s Some(\"ann\") "));
}

#[tokio::test]
async fn an_id_from_before_the_login_is_worth_nothing_after_it() {
    let control = serve(|_| {}).await;
    for login in ["/login", "/login2"] {
        // Whoever planted it knows it.
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

/// 1000 tries of each kind; not one shows anything of another's session.
#[tokio::test]
async fn what_is_not_ours_is_refused_a_thousand_times_of_each_kind() {
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
    // Tampered: one to three characters of a good one are others, it is cut, or something is added.
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
    // Made up: of the right form, or not.
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
    // Foreign: signed well, by another key.
    let mut foreign = Browser::new(common::address(&elsewhere));
    for _ in 0..TRIES {
        foreign.cookies.clear();
        foreign.get("/use").await;
        prober
            .cookies
            .insert("session".to_owned(), foreign.cookie());
        assert_eq!(prober.text("/look").await, "none");
        refused += 1;
    }
    // Replayed after its end, and expired unused.
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

/// Whatever a crowd does, nobody sees anything that is not its own.
#[tokio::test]
async fn nothing_of_another_session_is_ever_visible() {
    let control = serve(|server| {
        // Sessions are driven out as well.
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
                // One of its own cookies, of whatever time.
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
    // One that was begun and destroyed by one request never reaches the client.
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
    // One process, so one memory: the store stands for it.
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
    // Any number of times within its minute.
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

// ---------------------------------------------------------------- another store

/// A store that notes what it is asked, and fails when it is told to.
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
        "nobody asks for what is not signed"
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
    // One that the store has not got is not handed out.
    let mut fresh = Browser::new(address(&control));
    let reply = fresh.get("/count").await;
    assert_eq!((reply.status, reply.all("set-cookie").len()), (503, 0));
    // Without a session nothing is asked.
    assert_eq!(
        Browser::new(address(&control)).get("/look").await.status,
        200
    );
    fails.store(false, Ordering::Release);
    assert_eq!(browser.text("/count").await, "2", "on the same connection");
}
