//! Tokens for clients that send no cookie.

use super::*;

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
