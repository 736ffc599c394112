//! A server that a proxy publishes under a path.

use hyperlane::{__private, prelude::*, server::ForwardedField};
use test_support::{Client, Reply, address, start};

async fn cookies(ctx: &mut Context) -> String {
    ctx.session();
    ctx.get_mut_response()
        .add_header("set-cookie", "theme=dark; Path=/; HttpOnly")
        .add_header("set-cookie", "deep=1; path=/deep")
        .add_header("set-cookie", "__Host-own=1; Path=/; Secure");
    ctx.base_path().into_owned()
}

async fn published(configure: impl FnOnce(&mut ServerConfig)) -> ServerControlHook {
    start(|server| {
        configure(server.get_mut_server_config());
        server
            .at("/to")
            .get(async || Redirect::see_other("/orders?a=/b"));
        server
            .at("/away")
            .get(async || Redirect::to("https://other.example/x"));
        server
            .at("/other-host")
            .get(async || Redirect::to("//other.example/x"));
        server.at("/relative").get(async || Redirect::to("orders"));
        server.at("/cookies").get(cookies);
    })
    .await
}

async fn get(control: &ServerControlHook, path: &str, fields: &str) -> Reply {
    let mut client = Client::connect(address(control)).await;
    client.request("GET", path, fields).await;
    client.reply().await
}

async fn location(control: &ServerControlHook, path: &str, fields: &str) -> String {
    let reply = get(control, path, fields).await;
    reply.header("location").unwrap().to_owned()
}

#[tokio::test]
async fn redirects_and_cookies_get_the_configured_path() {
    let control = published(|config| config.base_path = "/app".to_owned()).await;
    for (path, expected) in [
        ("/to", "/app/orders?a=/b"),
        ("/away", "https://other.example/x"),
        ("/other-host", "//other.example/x"),
        ("/relative", "orders"),
    ] {
        assert_eq!(location(&control, path, "").await, expected);
    }
    let reply = get(&control, "/cookies", "x-forwarded-prefix: /evil\r\n").await;
    assert_eq!(reply.text(), "/app");
    let cookies = reply.all("set-cookie");
    for expected in [
        "theme=dark; Path=/app; HttpOnly",
        "deep=1; path=/app/deep",
        "__Host-own=1; Path=/; Secure",
    ] {
        assert!(cookies.contains(&expected), "{cookies:?}");
    }
    let session = cookies.iter().find(|cookie| cookie.starts_with("session="));
    assert!(session.unwrap().contains("; Path=/app; "), "{cookies:?}");
    assert_eq!(cookies.len(), 4);
}

/// Accepts a handshake, which fixes the fields of its 101, and then answers by HTTP.
async fn refuses_handshake(stream: &mut Stream, ctx: &mut Context) -> Redirect {
    let response = ctx.get_mut_response();
    response.add_header("set-cookie", "early=1; Path=/");
    __private::upgrade(stream, ctx).await;
    let response = ctx.get_mut_response();
    response.add_header("set-cookie", "late=1; Path=/");
    Redirect::see_other("/login")
}

#[tokio::test]
async fn the_answer_to_a_refused_handshake_has_the_path_once() {
    let control = start(|server| {
        server.get_mut_server_config().base_path = "/app".to_owned();
        server.at("/socket").get(refuses_handshake);
    })
    .await;
    let mut client = Client::connect(address(&control)).await;
    let reply = client.upgrade("/socket", "").await;
    assert_eq!(reply.status, 303, "{}", reply.head);
    assert_eq!(reply.header("location"), Some("/app/login"));
    assert_eq!(
        reply.all("set-cookie"),
        ["early=1; Path=/app", "late=1; Path=/app"]
    );
}

#[tokio::test]
async fn a_trusted_proxy_reports_the_path() {
    let control = published(|config| {
        config.base_path = "/app".to_owned();
        config.trusted_proxies = vec!["127.0.0.1".parse().unwrap(), "10.0.0.0/8".parse().unwrap()];
    })
    .await;
    for (fields, expected) in [
        ("", "/app/orders?a=/b"),
        ("x-forwarded-prefix: /shop\r\n", "/shop/orders?a=/b"),
        ("x-forwarded-prefix: /shop/\r\n", "/shop/orders?a=/b"),
        ("x-forwarded-prefix: /\r\n", "/orders?a=/b"),
        // The client has sent the first item.
        ("x-forwarded-prefix: /evil, /shop\r\n", "/shop/orders?a=/b"),
        // Two proxies, each of which removes a part.
        (
            "x-forwarded-for: 192.0.2.1, 10.0.0.1\r\nx-forwarded-prefix: /outer, /inner\r\n",
            "/outer/inner/orders?a=/b",
        ),
        // No path: another host, attributes of a cookie.
        ("x-forwarded-prefix: //evil.example\r\n", "/app/orders?a=/b"),
        (
            "x-forwarded-prefix: https://evil.example\r\n",
            "/app/orders?a=/b",
        ),
        (
            "x-forwarded-prefix: /a; Domain=example\r\n",
            "/app/orders?a=/b",
        ),
        ("x-forwarded-prefix: /a/../b\r\n", "/app/orders?a=/b"),
    ] {
        assert_eq!(
            location(&control, "/to", fields).await,
            expected,
            "{fields}"
        );
    }
    let tls = "x-forwarded-prefix: /shop\r\nx-forwarded-proto: https\r\n";
    let reply = get(&control, "/cookies", tls).await;
    let cookies = reply.all("set-cookie");
    let session = cookies
        .iter()
        .find(|cookie| cookie.starts_with("__Host-session="));
    assert!(session.unwrap().contains("; Path=/; "), "{cookies:?}");
    assert!(cookies.contains(&"theme=dark; Path=/shop; HttpOnly"));
}

#[tokio::test]
async fn without_a_path_nothing_changes() {
    let stranger = published(|_| {}).await;
    let forwarded = published(|config| {
        config.trusted_proxies = vec!["127.0.0.1".parse().unwrap()];
        config.forwarded_field = ForwardedField::Forwarded;
    })
    .await;
    for control in [stranger, forwarded] {
        let fields = "x-forwarded-prefix: /evil\r\n";
        assert_eq!(location(&control, "/to", fields).await, "/orders?a=/b");
        let reply = get(&control, "/cookies", fields).await;
        assert_eq!(reply.text(), "");
        assert!(
            reply
                .all("set-cookie")
                .contains(&"theme=dark; Path=/; HttpOnly")
        );
    }
}

#[tokio::test]
async fn each_request_of_a_connection_has_its_own_path() {
    let control = published(|config| {
        config.trusted_proxies = vec!["127.0.0.1".parse().unwrap()];
    })
    .await;
    let mut client = Client::connect(address(&control)).await;
    for prefix in ["/a", "/b", ""] {
        client
            .request("GET", "/to", &format!("x-forwarded-prefix: {prefix}\r\n"))
            .await;
        let expected = format!("{prefix}/orders?a=/b");
        assert_eq!(client.reply().await.header("location"), Some(&*expected));
    }
}
