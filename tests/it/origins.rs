//! Pages of other origins and sites: access, readable answers, and protected ones.

use std::time::Duration;

use hyperlane::{
    ServerError, SessionKey,
    prelude::*,
    session::{CookieSameSite, CookieSecure},
    sse, ws, ws_with,
};
use test_support::{BindLocal as _, Client, Reply, address, hook, start};

const PAGE: &str = "https://app.example";
const FROM_PAGE: &str = "origin: https://app.example\r\n";
const FROM_EVIL: &str = "origin: https://evil.example\r\n";
const EVENTS: &str = "accept: text/event-stream\r\n";
const ALLOW_ORIGIN: &str = "access-control-allow-origin";
const ALLOW_CREDENTIALS: &str = "access-control-allow-credentials";

// ---------------------------------------------------------------- servers and clients

hook! {
    Socket |stream, ctx| {
        let Ok(_) = ctx.upgrade(stream).await else {
            return Status::Reject;
        };
    }
    ListedNull |stream, ctx| {
        let upgrade = Upgrade::new().allowed_origins(["null"]);
        let Ok(_) = ctx.upgrade_with(stream, upgrade).await else {
            return Status::Reject;
        };
    }
    DangerousNull |stream, ctx| {
        let upgrade = Upgrade::new().dangerous_allow_null_origin();
        let Ok(_) = ctx.upgrade_with(stream, upgrade).await else {
            return Status::Reject;
        };
    }
    // Refuses requests without a key; browsers send none in a preflight.
    NeedsKey |_, ctx| {
        if ctx.get_request().header("x-key").is_none() {
            ctx.get_mut_response()
                .set_status_code(401)
                .set_header("www-authenticate", "Key")
                .set_header("content-type", "application/json")
                .set_body(r#"{"error":"no key"}"#);
            return Status::Reject;
        }
    }
    Login |_, ctx| {
        if ctx.get_request().header("x-key").is_none() {
            ctx.get_mut_response()
                .set_status_code(302)
                .set_header("location", "/login");
            return Status::Reject;
        }
    }
    Panics |_, ctx| {
        assert!(ctx.get_request().header("x-key").is_some(), "on purpose");
    }
    OwnFields |_, ctx| {
        ctx.get_mut_response()
            .set_header("access-control-allow-origin", "https://own.example")
            .set_header("Access-Control-Max-Age", "5")
            .add_header("vary", "accept-encoding")
            .add_header("vary", "x-key");
    }
    VaryAll |_, ctx| {
        ctx.get_mut_response().set_header("vary", "*");
    }
    VaryOrigin |_, ctx| {
        ctx.get_mut_response().set_header("vary", "accept, ORIGIN");
    }
    Interim |_, ctx| {
        ctx.get_mut_response().set_status_code(102).set_header("upgrade", "other");
    }
    LateFields |_, ctx| {
        ctx.get_mut_response().set_header("access-control-allow-credentials", "false");
    }
    SendSse |_, ctx| {
        let text = ctx.get_request().try_get_query("t").unwrap();
        ctx.sse().send(text).await.unwrap();
    }
    SendWs |_, ctx| {
        let text = ctx.get_request().try_get_query("t").unwrap();
        ctx.ws().send(text).await.unwrap();
    }
    Visit |_, ctx| {
        ctx.session();
    }
}

/// Refuses with an error, as extractors do.
struct NeedsQuery;

impl ServerHook for NeedsQuery {
    async fn new(_: &mut Stream, _: &mut Context) -> Self {
        Self
    }

    #[request_query("key" => key)]
    async fn handle(self, _: &mut Stream, _: &mut Context) -> Status {
        assert_ne!(key, "");
        Status::Continue
    }
}

async fn send(control: &ServerControlHook, method: &str, target: &str, fields: &str) -> Reply {
    let mut client = Client::connect(address(control)).await;
    client.request(method, target, fields).await;
    if fields.contains(EVENTS) {
        // The stream goes on; the test needs only its head.
        let head = String::from_utf8(client.until(b"\r\n\r\n").await).unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        let body = Vec::new();
        return Reply { status, head, body };
    }
    client.reply_to(method == "HEAD").await
}

async fn upgrade(control: &ServerControlHook, target: &str, fields: &str) -> u16 {
    let mut client = Client::connect(address(control)).await;
    client.upgrade(target, fields).await.status
}

/// Checks that the page of `PAGE` may read an answer, and that each field stands once.
fn check_readable(what: &str, reply: &Reply) {
    assert_eq!(
        reply.header(ALLOW_ORIGIN),
        Some(PAGE),
        "{what}: {}",
        reply.head
    );
    assert_eq!(reply.header(ALLOW_CREDENTIALS), Some("true"), "{what}");
    assert!(varies_by_origin(reply), "{what}: {}", reply.head);
}

/// Returns whether the answer varies by `Origin`. Errors vary by `Accept`, too.
fn varies_by_origin(reply: &Reply) -> bool {
    let fields = reply.all("vary").join(",");
    fields.split(',').any(|field| field.trim() == "Origin")
}

/// Checks that no page may read an answer.
fn check_unreadable(what: &str, reply: &Reply) {
    for name in [ALLOW_ORIGIN, ALLOW_CREDENTIALS] {
        assert_eq!(reply.header(name), None, "{what}: {}", reply.head);
    }
}

// ---------------------------------------------------------------- allowed origins

#[tokio::test]
async fn an_origin_is_compared_as_an_origin() {
    let named = [
        "file://",
        "HTTPS://App.Example:443",
        "http://[0:0:0:0:0:0:0:1]:3000",
        "http://127.0.0.1:8080",
        "capacitor://localhost",
        "tauri://localhost",
        "chrome-extension://aapbbdbdomjkkjkaonfhkkikfgjllcleb",
    ];
    let by_server = start(|server| {
        server.get_mut_server_config().allowed_origins = named.map(String::from).to_vec();
        server.route::<Socket>("/socket").at("/ws").get(ws());
    })
    .await;
    let by_endpoint = start(|server| {
        server
            .at("/ws")
            .get(named.into_iter().fold(ws(), |ws, origin| ws.origin(origin)));
    })
    .await;
    for (control, path) in [
        (&by_server, "/socket"),
        (&by_server, "/ws"),
        (&by_endpoint, "/ws"),
    ] {
        for (origin, status) in [
            ("file://", 101),
            ("https://app.example", 101),
            ("https://app.example:443", 101),
            ("https://APP.example", 101),
            ("http://[::1]:3000", 101),
            ("http://127.0.0.1:8080", 101),
            ("http://127.1:8080", 101),
            ("capacitor://localhost", 101),
            ("tauri://localhost", 101),
            ("chrome-extension://aapbbdbdomjkkjkaonfhkkikfgjllcleb", 101),
            ("http://app.example", 403),
            ("https://app.example:8443", 403),
            ("https://app.example.", 403),
            ("https://app.example/", 403),
            ("http://[::1]", 403),
            ("ionic://localhost", 403),
            ("chrome-extension://bapbbdbdomjkkjkaonfhkkikfgjllcleb", 403),
            ("null", 403),
        ] {
            let fields = format!("origin: {origin}\r\n");
            assert_eq!(
                upgrade(control, path, &fields).await,
                status,
                "{path} {origin}"
            );
        }
    }
}

#[tokio::test]
async fn null_is_allowed_by_the_dangerous_setting_alone() {
    let null = "origin: null\r\n";
    let by_server = start(|server| {
        server.get_mut_server_config().dangerous_allow_null_origin = true;
        server.route::<Socket>("/socket").at("/ws").get(ws());
        server.at("/sse").get(sse());
    })
    .await;
    for path in ["/socket", "/ws"] {
        assert_eq!(upgrade(&by_server, path, null).await, 101, "{path}");
        assert_eq!(upgrade(&by_server, path, FROM_EVIL).await, 403, "{path}");
    }
    let reply = send(&by_server, "GET", "/sse", &[EVENTS, null].concat()).await;
    assert_eq!(reply.header(ALLOW_ORIGIN), Some("null"));
    let by_place = start(|server| {
        server.at("/open").get(ws().dangerous_allow_null_origin());
        server.at("/shut").get(ws());
        server
            .route::<DangerousNull>("/by-upgrade")
            .route::<ListedNull>("/listed");
    })
    .await;
    for (path, status) in [
        ("/open", 101),
        ("/by-upgrade", 101),
        ("/shut", 403),
        // The program made a mistake, which its log tells.
        ("/listed", 500),
    ] {
        assert_eq!(upgrade(&by_place, path, null).await, status, "{path}");
    }
}

#[tokio::test]
async fn an_endpoint_that_allows_no_origin_or_null_keeps_the_server_from_starting() {
    for (origin, told) in [
        ("null", "dangerous_allow_null_origin"),
        ("https://app.example/path", "scheme://host[:port]"),
        ("https://a.*.example", "scheme://host[:port]"),
        ("*", "scheme://host[:port]"),
    ] {
        for is_ws in [true, false] {
            let mut server = Server::new();
            server.bind_local();
            match is_ws {
                true => server.at("/here").get(ws().origin(origin)),
                false => server.at("/here").get(sse().origin(origin)),
            };
            let error = server.run().await.err().unwrap();
            assert!(matches!(error, ServerError::Origin { .. }), "{error:?}");
            let text = error.to_string();
            for part in [told, "/here", "tests/it/origins.rs"] {
                assert!(text.contains(part), "{text}");
            }
        }
    }
}

// ---------------------------------------------------------------- readable answers

#[tokio::test]
async fn a_page_of_an_allowed_origin_reads_every_answer_of_an_endpoint() {
    let control = start(|server| {
        server.get_mut_server_config().max_body = 10;
        server.at("/ws").get(ws().origin(PAGE));
        server
            .at("/sse")
            .get(sse().origin("https://APP.example:443"));
        server.at("/impatient").get(
            ws_with(async |ws: WebSocket, _| drop(ws))
                .timeout(Duration::from_millis(1))
                .origin(PAGE),
        );
    })
    .await;
    for (method, target, fields, status) in [
        ("GET", "/sse", EVENTS, 200),
        ("GET", "/ws", EVENTS, 200),
        ("HEAD", "/sse", "", 200),
        ("GET", "/ws", "", 426),
        ("POST", "/ws", "content-length: 0\r\n", 409),
        ("POST", "/ws", "content-length: 11\r\n", 413),
        ("PUT", "/ws", "", 405),
        ("DELETE", "/sse", "", 405),
        ("OPTIONS", "/sse", "", 405),
        (
            "GET",
            "/ws",
            "upgrade: websocket\r\nconnection: upgrade\r\n",
            426,
        ),
    ] {
        let what = format!("{method} {target} {fields}");
        let reply = send(&control, method, target, &[FROM_PAGE, fields].concat()).await;
        assert_eq!(reply.status, status, "{what}: {}", reply.head);
        check_readable(&what, &reply);

        let reply = send(&control, method, target, &[FROM_EVIL, fields].concat()).await;
        assert!(varies_by_origin(&reply), "{what}: {}", reply.head);
        check_unreadable(&what, &reply);
        let reply = send(&control, method, target, fields).await;
        assert!(varies_by_origin(&reply), "{what}: {}", reply.head);
        check_unreadable(&what, &reply);
        let both = [FROM_PAGE, FROM_EVIL, fields].concat();
        check_unreadable(&what, &send(&control, method, target, &both).await);
    }
    let mut client = Client::connect(address(&control)).await;
    client
        .request("GET", "/impatient", &[FROM_PAGE, EVENTS].concat())
        .await;
    let head = String::from_utf8(client.until(b"\r\n\r\n").await).unwrap();
    let (_, cookie) = head.split_once("set-cookie: ").unwrap();
    let cookie = format!("cookie: {}\r\n", cookie.split(';').next().unwrap());
    let post = [FROM_PAGE, &cookie, "content-length: 0\r\n"].concat();
    let unheard = loop {
        let reply = send(&control, "POST", "/impatient", &post).await;
        check_readable("POST", &reply);
        if reply.status != 204 {
            break reply;
        }
    };
    assert_eq!(unheard.status, 503, "no hook receives");
    let mut client = Client::connect(address(&control)).await;
    client
        .send(format!(
            "GET /sse HTTP/1.1\r\nhost: other.test\r\n{FROM_PAGE}\r\n"
        ))
        .await;
    let misdirected = client.reply().await;
    assert_eq!(misdirected.status, 421);
    check_readable("another host", &misdirected);
    let elsewhere = send(&control, "GET", "/nowhere", FROM_PAGE).await;
    assert_eq!(
        (elsewhere.status, elsewhere.header("vary")),
        (404, Some("Accept"))
    );
    check_unreadable("no endpoint", &elsewhere);
}

#[tokio::test]
async fn a_refusal_of_middleware_is_read_like_any_other_answer() {
    let keyed = start(|server| {
        server.request_middleware::<NeedsKey>();
        server.at("/ws").get(ws().origin(PAGE));
        server.at("/sse").get(sse().origin(PAGE));
    })
    .await;
    for (method, target) in [("GET", "/sse"), ("GET", "/ws"), ("POST", "/ws")] {
        let reply = send(&keyed, method, target, FROM_PAGE).await;
        assert_eq!(reply.status, 401, "{method} {target}");
        assert_eq!(reply.text(), r#"{"error":"no key"}"#);
        check_readable(target, &reply);
        check_unreadable(target, &send(&keyed, method, target, FROM_EVIL).await);
    }
    let panics = start(|server| {
        server.request_middleware::<Panics>();
        server.at("/sse").get(sse().origin(PAGE));
    })
    .await;
    let reply = send(&panics, "GET", "/sse", FROM_PAGE).await;
    assert_eq!(reply.status, 500);
    check_readable("a panic", &reply);
    let interim = start(|server| {
        server.response_middleware::<Interim>();
        server.at("/ws").get(ws().origin(PAGE));
    })
    .await;
    let reply = send(&interim, "PUT", "/ws", FROM_PAGE).await;
    assert_eq!((reply.status, reply.header("upgrade")), (500, None));
    check_readable("what is no answer", &reply);
}

#[tokio::test]
async fn a_request_that_is_refused_begins_no_session() {
    let control = start(|server| {
        server.at("/ws").get(ws().origin(PAGE));
        server.at("/sse").get(sse().origin(PAGE));
    })
    .await;
    let handshake = |version: u8| {
        format!(
            "upgrade: websocket\r\nconnection: Upgrade\r\nsec-websocket-version: {version}\r\n\
             sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
        )
    };
    for (method, target, fields, status) in [
        ("GET", "/ws", [FROM_EVIL, &handshake(13)].concat(), 403),
        (
            "GET",
            "/ws",
            ["sec-fetch-site: cross-site\r\n", &handshake(13)].concat(),
            403,
        ),
        ("GET", "/ws", handshake(12), 426),
        ("GET", "/ws", String::new(), 426),
        ("HEAD", "/ws", String::new(), 405),
        ("POST", "/ws", "content-length: 0\r\n".to_owned(), 409),
        ("GET", "/sse", FROM_EVIL.to_owned(), 403),
        ("HEAD", "/sse", FROM_EVIL.to_owned(), 403),
    ] {
        let reply = send(&control, method, target, &fields).await;
        assert_eq!(reply.status, status, "{method} {target} {fields}");
        assert_eq!(
            reply.header("set-cookie"),
            None,
            "{method} {target} {fields}"
        );
    }
    let mut client = Client::connect(address(&control)).await;
    let reply = client.upgrade("/ws", FROM_PAGE).await;
    assert!(reply.status == 101 && reply.header("set-cookie").is_some());
}

#[tokio::test]
async fn a_preflight_is_answered_whatever_middleware_asks_for() {
    let allowed = async |configure: fn(&mut Server)| {
        start(|server| {
            server.get_mut_server_config().allowed_origins = vec![PAGE.to_owned()];
            configure(server);
            server.at("/ws").get(ws());
            server.at("/sse").get(sse());
        })
        .await
    };
    let asks = |method: &str| {
        format!(
            "access-control-request-method: {method}\r\naccess-control-request-headers: content-type, x-key\r\n"
        )
    };
    for control in [
        allowed(|_| {}).await,
        allowed(|server| {
            server.request_middleware::<NeedsKey>();
        })
        .await,
        allowed(|server| {
            server.request_middleware::<Login>();
        })
        .await,
        allowed(|server| {
            server.request_middleware::<NeedsQuery>();
        })
        .await,
    ] {
        for (method, target, methods) in [
            ("POST", "/ws", "GET, HEAD, POST"),
            ("GET", "/ws", "GET, HEAD, POST"),
            ("GET", "/sse", "GET, HEAD"),
        ] {
            let what = format!("{method} {target}");
            let fields = [FROM_PAGE, &asks(method)].concat();
            let reply = send(&control, "OPTIONS", target, &fields).await;
            assert_eq!(reply.status, 204, "{what}: {}", reply.head);
            check_readable(&what, &reply);
            for (name, value) in [
                ("access-control-allow-methods", Some(methods)),
                ("access-control-allow-headers", Some("content-type, x-key")),
                ("access-control-max-age", Some("600")),
                ("set-cookie", None),
                ("allow", None),
                ("location", None),
                ("www-authenticate", None),
            ] {
                assert_eq!(reply.header(name), value, "{what}: {}", reply.head);
            }
            let fields = [FROM_EVIL, &asks(method)].concat();
            let reply = send(&control, "OPTIONS", target, &fields).await;
            assert!(!(200..300).contains(&reply.status), "{what}");
            check_unreadable(&what, &reply);
        }
        // The endpoint takes no POST, so that it lets no page send one.
        let fields = [FROM_PAGE, &asks("POST")].concat();
        let reply = send(&control, "OPTIONS", "/sse", &fields).await;
        assert!(!(200..300).contains(&reply.status), "{}", reply.head);
    }
    let closed = start(|server| {
        server.at("/ws").get(ws());
    })
    .await;
    let reply = send(
        &closed,
        "OPTIONS",
        "/ws",
        &[FROM_PAGE, &asks("POST")].concat(),
    )
    .await;
    assert_eq!(
        (reply.status, reply.header("vary")),
        (405, Some("Accept")),
        "as without any"
    );
    check_unreadable("nothing is allowed", &reply);
}

#[tokio::test]
async fn fields_that_the_program_sets_win_and_vary_is_joined() {
    let control = start(|server| {
        server
            .request_middleware::<OwnFields>()
            .response_middleware::<LateFields>();
        server.at("/ws").get(ws().origin(PAGE));
        server.at("/sse").get(sse().origin(PAGE));
    })
    .await;
    let preflight = [FROM_PAGE, "access-control-request-method: POST\r\n"].concat();
    for (method, target, fields) in [
        ("GET", "/sse", [FROM_PAGE, EVENTS].concat()),
        ("OPTIONS", "/ws", preflight),
    ] {
        let reply = send(&control, method, target, &fields).await;
        assert_eq!(reply.header(ALLOW_ORIGIN), Some("https://own.example"));
        assert_eq!(reply.header("access-control-max-age"), Some("5"));
        assert_eq!(reply.header("vary"), Some("accept-encoding, x-key, Origin"));
        if method == "OPTIONS" {
            assert_eq!(reply.status, 204);
            assert_eq!(reply.header(ALLOW_CREDENTIALS), Some("false"));
        }
    }
    for (configure, vary) in [
        (
            (|server| {
                server.request_middleware::<VaryAll>();
            }) as fn(&mut Server),
            "*",
        ),
        (
            |server| {
                server.request_middleware::<VaryOrigin>();
            },
            "accept, ORIGIN",
        ),
    ] {
        let control = start(|server| {
            configure(server);
            server.at("/sse").get(sse().origin(PAGE));
        })
        .await;
        let reply = send(&control, "GET", "/sse", &[FROM_PAGE, EVENTS].concat()).await;
        assert_eq!(reply.header("vary"), Some(vary));
    }
}

// ---------------------------------------------------------------- protected messages

/// A server, and the cookie of a session for which a message waits on both channels.
async fn waiting() -> (ServerControlHook, String) {
    let control = start(|server| {
        server.at("/ws").get(ws().origin(PAGE));
        server.at("/sse").get(sse().origin(PAGE));
        server
            .route::<SendSse>("/send-sse")
            .route::<SendWs>("/send-ws");
    })
    .await;
    let reply = send(&control, "GET", "/send-sse?t=secret", "").await;
    let cookie = reply.header("set-cookie").unwrap();
    let cookie = format!("cookie: {}\r\n", cookie.split(';').next().unwrap());
    send(&control, "GET", "/send-ws?t=secret", &cookie).await;
    (control, cookie)
}

/// Reads an event stream up to the message.
async fn takes_the_secret(control: &ServerControlHook, target: &str, fields: &str) {
    let mut client = Client::connect(address(control)).await;
    client.request("GET", target, fields).await;
    client.until(b"data: secret").await;
}

#[tokio::test]
async fn a_load_by_another_site_takes_no_message_that_waits_for_a_page() {
    let (control, cookie) = waiting().await;
    let fetched = |site: &str, mode: &str, dest: &str| {
        format!(
            "{cookie}sec-fetch-site: {site}\r\nsec-fetch-mode: {mode}\r\nsec-fetch-dest: {dest}\r\n"
        )
    };
    for target in ["/sse", "/ws"] {
        // A client that takes `/ws` as a stream says so; browsers do in a navigation to an address that a page names.
        for (site, mode, dest) in [
            ("cross-site", "navigate", "document"),
            ("cross-site", "navigate", "iframe"),
            ("same-site", "navigate", "document"),
            ("cross-site", "no-cors", "image"),
            ("cross-site", "no-cors", "script"),
            ("same-site", "no-cors", "empty"),
            ("same-origin", "no-cors", "image"),
            ("cross-site", "cors", "empty"),
        ] {
            let fields = [&fetched(site, mode, dest), EVENTS].concat();
            let reply = send(&control, "GET", target, &fields).await;
            assert_eq!(reply.status, 403, "{target} {site} {mode} {dest}");
            assert_ne!(reply.header("content-length"), Some("0"), "it says why");
        }
    }
    for (target, fields) in [
        (
            "/sse",
            [&fetched("cross-site", "cors", "empty"), FROM_PAGE, EVENTS].concat(),
        ),
        (
            "/ws",
            [&fetched("same-origin", "cors", "empty"), EVENTS].concat(),
        ),
    ] {
        takes_the_secret(&control, target, &fields).await;
    }
    // Browsers that do not send it, and addresses that the user typed, are served as ever.
    for also in ["", "sec-fetch-site: none\r\nsec-fetch-mode: navigate\r\n"] {
        let (control, cookie) = waiting().await;
        takes_the_secret(&control, "/sse", &[&cookie, EVENTS, also].concat()).await;
    }
}

#[tokio::test]
async fn a_request_from_another_site_needs_an_origin() {
    let (control, cookie) = waiting().await;
    let elsewhere = [&cookie, "sec-fetch-site: cross-site\r\n"].concat();
    let reply = send(
        &control,
        "POST",
        "/ws",
        &[&elsewhere, "content-length: 0\r\n"].concat(),
    )
    .await;
    assert_eq!(reply.status, 403);
    assert_eq!(upgrade(&control, "/ws", &elsewhere).await, 403);
    let said = [&elsewhere, FROM_PAGE].concat();
    assert_eq!(upgrade(&control, "/ws", &said).await, 101);
}

// ---------------------------------------------------------------- the cookie across sites

async fn visited(
    same_site: CookieSameSite,
    configure: impl FnOnce(&mut ServerConfig),
) -> ServerControlHook {
    start(|server| {
        let config = server.get_mut_server_config();
        config.cookie_same_site = same_site;
        config.session_keys = vec![SessionKey::new([7; 32])];
        configure(config);
        server.route::<Visit>("/visit");
        server.at("/ws").get(ws().origin(PAGE));
        server.at("/sse").get(sse().origin(PAGE));
    })
    .await
}

#[tokio::test]
async fn the_cookie_is_same_site_as_the_configuration_says() {
    let always = |config: &mut ServerConfig| config.cookie_secure = CookieSecure::Always;
    let apart = |config: &mut ServerConfig| {
        config.cookie_secure = CookieSecure::Always;
        config.cookie_partitioned = true;
    };
    for (control, attributes) in [
        (
            visited(CookieSameSite::Lax, |_| {}).await,
            "HttpOnly; SameSite=Lax; Path=/; Max-Age=604800",
        ),
        (
            visited(CookieSameSite::Strict, |_| {}).await,
            "HttpOnly; SameSite=Strict; Path=/; Max-Age=604800",
        ),
        (
            visited(CookieSameSite::None, always).await,
            "HttpOnly; SameSite=None; Secure; Path=/; Max-Age=604800",
        ),
        (
            visited(CookieSameSite::None, apart).await,
            "HttpOnly; SameSite=None; Secure; Partitioned; Path=/; Max-Age=604800",
        ),
        // Browsers take None over TLS alone.
        (
            visited(CookieSameSite::None, |config| {
                config.cookie_partitioned = true
            })
            .await,
            "HttpOnly; SameSite=Lax; Path=/; Max-Age=604800",
        ),
    ] {
        let reply = send(&control, "GET", "/visit", "").await;
        let (_, after) = reply
            .header("set-cookie")
            .unwrap()
            .split_once("; ")
            .unwrap();
        assert_eq!(after, attributes);
    }
}

#[tokio::test]
async fn a_cookie_across_sites_that_is_never_secure_keeps_the_server_from_starting() {
    let mut server = Server::new();
    let config = server.get_mut_server_config();
    config.cookie_same_site = CookieSameSite::None;
    config.cookie_secure = CookieSecure::Never;
    let error = server.bind("127.0.0.1:0").run().await.err().unwrap();
    assert!(error.to_string().contains("cookie_secure"), "{error}");
}

#[tokio::test]
async fn a_cookie_across_sites_counts_only_if_the_browser_names_the_site() {
    let control = visited(CookieSameSite::None, |config| {
        config.cookie_secure = CookieSecure::Always;
    })
    .await;
    let reply = send(&control, "GET", "/visit", "").await;
    let cookie = reply.header("set-cookie").unwrap();
    let cookie = format!("cookie: {}\r\n", cookie.split(';').next().unwrap());
    for (fields, is_heard) in [
        ("", false),
        ("sec-fetch-site: cross-site\r\n", false),
        (FROM_EVIL, false),
        (FROM_PAGE, true),
        ("sec-fetch-site: same-origin\r\n", true),
        ("origin: https://localhost\r\n", true),
    ] {
        let fields = [&cookie, fields].concat();
        let opened = if is_heard { 101 } else { 403 };
        assert_eq!(upgrade(&control, "/ws", &fields).await, opened, "{fields}");
        let streams = send(&control, "GET", "/sse", &[&fields, EVENTS].concat()).await;
        assert_eq!(streams.status == 200, is_heard, "{fields}");
        let post = [&fields, "content-length: 0\r\n"].concat();
        let refused = send(&control, "POST", "/ws", &post).await.status == 403;
        assert_eq!(refused, !is_heard, "{fields}");
    }
    // A client without a cookie has nothing that a page could abuse.
    assert_eq!(upgrade(&control, "/ws", "").await, 101);
}
