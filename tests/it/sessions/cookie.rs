//! The cookie of a session.

use super::*;

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
