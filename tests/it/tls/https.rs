//! What requests over TLS change: cookies, origins, redirects, HSTS.

use super::*;
use hyperlane::{Hsts, HttpsRedirect, ws};
use std::time::Duration;

hook! {
    Login |_, ctx| {
        ctx.session().insert("user", &1).unwrap();
    }
    Refuse |_, ctx| {
        ctx.get_mut_response().set_status_code(401);
        Status::Reject
    }
}

#[tokio::test]
async fn the_cookie_of_a_session_is_secure_over_tls() {
    let authority = Authority::new();
    let control = start(authority.issue(&["localhost"]).tls(), |server| {
        server.route::<Login>("/login").bind("127.0.0.1:0");
    })
    .await;
    let mut secure = client(&control, authority.client(None)).await;
    let reply = secure.get("/login").await;
    let cookie = reply.header("set-cookie").expect("a cookie");
    assert!(cookie.starts_with("__Host-"), "{cookie}");
    assert!(cookie.contains("; Secure"), "{cookie}");
    let BoundAddress::Tcp(plain) = control.addresses()[1] else {
        panic!("no TCP address");
    };
    let reply = Client::connect(plain).await.get("/login").await;
    let cookie = reply.header("set-cookie").expect("a cookie");
    assert!(
        !cookie.contains("Secure") && !cookie.starts_with("__Host-"),
        "{cookie}"
    );
}

#[tokio::test]
async fn a_page_without_tls_is_another_origin() {
    let authority = Authority::new();
    let control = start(authority.issue(&["localhost"]).tls(), |server| {
        server.at("/channel").get(ws());
    })
    .await;
    for (origin, status) in [
        ("https://localhost", 101),
        ("https://localhost:443", 101),
        ("http://localhost", 403),
        ("https://evil.example", 403),
    ] {
        let mut client = client(&control, authority.client(None)).await;
        let reply = client
            .upgrade("/channel", &format!("origin: {origin}\r\n"))
            .await;
        assert_eq!(reply.status, status, "{origin}");
    }
}

#[tokio::test]
async fn a_trusted_proxy_knows_the_scheme_better_than_its_connection() {
    let authority = Authority::new();
    let control = start(authority.issue(&["localhost"]).tls(), |server| {
        server.get_mut_server_config().trusted_proxies = vec!["127.0.0.1".parse().unwrap()];
    })
    .await;
    let mut client = client(&control, authority.client(None)).await;
    for (fields, scheme) in [
        (
            "x-forwarded-for: 192.0.2.1\r\nx-forwarded-proto: http\r\n",
            "http ",
        ),
        (
            "x-forwarded-for: 192.0.2.1\r\nx-forwarded-proto: https\r\n",
            "https ",
        ),
        ("", "https "),
    ] {
        client.request("GET", "/", fields).await;
        let reply = client.reply().await;
        assert!(
            reply.text().starts_with(scheme),
            "{fields}: {}",
            reply.text()
        );
    }
}

#[tokio::test]
async fn a_plain_address_redirects_before_any_hook() {
    let authority = Authority::new();
    let control = start(authority.issue(&["localhost"]).tls(), |server| {
        let redirect = HttpsRedirect::at("127.0.0.1:0").except("/.well-known/acme-challenge/");
        server
            .redirect_to_https(redirect)
            .route::<Facts>("/.well-known/acme-challenge/{token}");
        server.request_middleware::<Refuse>();
    })
    .await;
    let BoundAddress::Tcp(plain) = control.addresses()[1] else {
        panic!("no TCP address");
    };
    let port = address(&control).port();
    let mut client = Client::connect(plain).await;
    for target in ["/", "/a/b?c=d%20e", "/private/x", "/unknown"] {
        let reply = client.get(target).await;
        assert_eq!(reply.status, 308, "{target}");
        let location = format!("https://localhost:{port}{target}");
        assert_eq!(reply.header("location"), Some(&*location));
    }
    let reply = client.post("/form", "body").await;
    assert_eq!(reply.status, 308);
    // A path with the excepted prefix is not redirected. The request middleware runs for it, and refuses the request.
    let reply = client.get("/.well-known/acme-challenge/token").await;
    assert_eq!(reply.status, 401);
    client
        .send("GET / HTTP/1.1\r\nhost: evil.test\r\n\r\n")
        .await;
    assert_eq!(client.reply().await.status, 421);
    let mut old = Client::connect(plain).await;
    old.send("GET / HTTP/1.0\r\n\r\n").await;
    assert_eq!(old.reply().await.status, 400);
}

#[tokio::test]
async fn the_order_of_the_addresses_is_free() {
    let authority = Authority::new();
    let (one, two) = (
        authority.issue(&["localhost"]),
        authority.issue(&["localhost"]),
    );
    let mut server = Server::new();
    server
        .redirect_to_https(HttpsRedirect::at("127.0.0.1:0").except("/plain/"))
        .bind_tls("127.0.0.1:0", one.tls())
        .redirect_to_https(HttpsRedirect::at("127.0.0.1:0").port(443))
        .bind_tls("127.0.0.1:0", two.tls())
        .route::<Facts>("/plain/{name}");
    server.get_mut_server_config().allowed_hosts = test_support::hosts();
    let control = server.run().await.unwrap();
    let [redirects, first, others, second] = [0, 1, 2, 3].map(|at| match control.addresses()[at] {
        BoundAddress::Tcp(address) => address,
        _ => panic!("no TCP address"),
    });
    assert_eq!(control.tls_addr(), Some(first));
    // Each address has the settings of its own call, although all calls name the same address.
    for (address, issued) in [(first, &one), (second, &two)] {
        let stream = connect_tls(address, authority.client(None), "localhost").await;
        let stream = stream.expect("a handshake");
        let chain = stream.get_ref().1.peer_certificates().unwrap();
        assert_eq!(chain[0].to_vec(), issued.der, "{address}");
    }
    let to_first = format!("https://localhost:{}/a", first.port());
    for (address, location, status) in [
        (redirects, &*to_first, 200),
        (others, "https://localhost/a", 308),
    ] {
        let mut client = Client::connect(address).await;
        assert_eq!(client.get("/a").await.header("location"), Some(location));
        assert_eq!(client.get("/plain/a").await.status, status);
    }
}

#[tokio::test]
async fn new_certificates_for_one_address_leave_the_others_alone() {
    let authority = Authority::new();
    let (old, new) = (
        authority.issue(&["localhost"]),
        authority.issue(&["localhost"]),
    );
    let control = start(old.tls(), |server| {
        server.bind_tls("127.0.0.1:0", old.tls());
        server.bind("127.0.0.1:0");
    })
    .await;
    let [first, second, plain] = [0, 1, 2].map(|at| match control.addresses()[at] {
        BoundAddress::Tcp(address) => address,
        _ => panic!("no TCP address"),
    });
    control.replace_tls_at(second, new.tls()).await.unwrap();
    for (address, issued) in [(first, &old), (second, &new)] {
        let stream = connect_tls(address, authority.client(None), "localhost").await;
        let stream = stream.expect("a handshake");
        let chain = stream.get_ref().1.peer_certificates().unwrap();
        assert_eq!(chain[0].to_vec(), issued.der, "{address}");
    }
    let error = control.replace_tls_at(plain, new.tls()).await.unwrap_err();
    assert_eq!(error, TlsError::NoAddress { address: plain });
}

#[tokio::test]
async fn a_redirect_names_the_configured_port() {
    let control = test_support::start(|server| {
        server
            .redirect_to_https(HttpsRedirect::at("127.0.0.1:0").port(443))
            .route::<Facts>("/");
    })
    .await;
    let BoundAddress::Tcp(plain) = control.addresses()[1] else {
        panic!("no TCP address");
    };
    let reply = Client::connect(plain).await.get("/x").await;
    assert_eq!(reply.header("location"), Some("https://localhost/x"));
}

#[tokio::test]
async fn hsts_is_sent_over_tls_alone() {
    let authority = Authority::new();
    let control = start(authority.issue(&["localhost"]).tls(), |server| {
        server.bind("127.0.0.1:0");
        let hsts = Hsts::new(Duration::from_secs(3600)).include_subdomains();
        server.get_mut_server_config().hsts = Some(hsts);
    })
    .await;
    let BoundAddress::Tcp(plain) = control.addresses()[1] else {
        panic!("no TCP address");
    };
    let mut secure = client(&control, authority.client(None)).await;
    for target in ["/", "/unknown"] {
        let reply = secure.get(target).await;
        assert_eq!(
            reply.header("strict-transport-security"),
            Some("max-age=3600; includeSubDomains"),
            "{target}"
        );
    }
    let reply = Client::connect(plain).await.get("/").await;
    assert_eq!(reply.header("strict-transport-security"), None);
}
