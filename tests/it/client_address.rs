//! The address of a client behind proxies.

use hyperlane::{prelude::*, server::ForwardedField};
use test_support::{Client, address, collect_log, handler, start};
use tokio::io::AsyncWriteExt;

handler!(Who, |_stream, ctx| {
    let who = format!(
        "{} {}",
        ctx.client_addr().unwrap(),
        ctx.peer_addr().unwrap().ip()
    );
    ctx.get_mut_response().set_body(who);
});

handler!(Opens, |stream, ctx| {
    let Ok(socket) = ctx.upgrade(stream).await else {
        return Status::Reject;
    };
    let client = ctx.client_addr().unwrap();
    socket.send(client.to_string()).await.unwrap();
});

async fn server(trusted: &[&str], field: ForwardedField) -> ServerControlHook {
    start(|server| {
        server.route::<Who>("/").route::<Opens>("/socket");
        let config = server.get_mut_server_config();
        config.trusted_proxies = trusted.iter().map(|range| range.parse().unwrap()).collect();
        config.forwarded_field = field;
    })
    .await
}

async fn who(control: &ServerControlHook, fields: &str) -> String {
    let mut client = Client::connect(address(control)).await;
    client.request("GET", "/", fields).await;
    client.reply().await.text().to_owned()
}

#[tokio::test]
async fn no_proxy_is_trusted_by_default() {
    let control = server(&[], ForwardedField::default()).await;
    for fields in [
        "",
        "x-forwarded-for: 203.0.113.9\r\n",
        "forwarded: for=203.0.113.9\r\n",
    ] {
        assert_eq!(who(&control, fields).await, "127.0.0.1 127.0.0.1");
    }
}

#[tokio::test]
async fn trusted_proxies_are_believed_in_the_configured_field_alone() {
    let list = server(
        &["127.0.0.0/8", "10.0.0.0/8"],
        ForwardedField::XForwardedFor,
    )
    .await;
    let standard = server(&["127.0.0.1"], ForwardedField::Forwarded).await;
    for (control, fields, client) in [
        (&list, "x-forwarded-for: 203.0.113.9\r\n", "203.0.113.9"),
        (
            &list,
            "x-forwarded-for: 1.1.1.1, 203.0.113.9, 10.0.0.7\r\n",
            "203.0.113.9",
        ),
        (
            &list,
            "x-forwarded-for: 1.1.1.1\r\nx-forwarded-for: 203.0.113.9\r\n",
            "203.0.113.9",
        ),
        (&list, "forwarded: for=203.0.113.9\r\n", "127.0.0.1"),
        (&list, "x-forwarded-for: 203.0.113.9, x\r\n", "127.0.0.1"),
        (
            &list,
            "x-forwarded-for: 1.1.1.1, ::ffff:203.0.113.9\r\n",
            "203.0.113.9",
        ),
        (
            &standard,
            "forwarded: for=\"[2001:db8::1]:80\";proto=https\r\n",
            "2001:db8::1",
        ),
        (
            &standard,
            "forwarded: for=203.0.113.9;for=1.1.1.1\r\n",
            "127.0.0.1",
        ),
        (&standard, "x-forwarded-for: 203.0.113.9\r\n", "127.0.0.1"),
    ] {
        assert_eq!(
            who(control, fields).await,
            format!("{client} 127.0.0.1"),
            "{fields}"
        );
    }
}

#[tokio::test]
async fn a_page_behind_a_proxy_is_of_the_forwarded_host_and_protocol() {
    let control = server(&["127.0.0.1"], ForwardedField::XForwardedFor).await;
    let proxy = "x-forwarded-for: 203.0.113.9\r\nx-forwarded-proto: https\r\nx-forwarded-host: app.example\r\n";
    for (origin, status) in [
        ("https://app.example", 101),
        ("http://app.example", 403),
        ("https://app.example:8443", 403),
        ("http://localhost", 403),
    ] {
        let mut client = Client::connect(address(&control)).await;
        let fields = format!("{proxy}origin: {origin}\r\n");
        assert_eq!(
            client.upgrade("/socket", &fields).await.status,
            status,
            "{origin}"
        );
        if status == 101 {
            assert_eq!(
                client.next_frame().await.text(),
                "203.0.113.9",
                "after the upgrade, too"
            );
        }
    }
}

#[tokio::test]
async fn protocol_and_host_of_a_proxy_count_without_an_address() {
    let list = server(&["127.0.0.1"], ForwardedField::XForwardedFor).await;
    let standard = server(&["127.0.0.1"], ForwardedField::Forwarded).await;
    for (control, fields) in [
        (
            &list,
            "x-forwarded-proto: https\r\nx-forwarded-host: app.example\r\n",
        ),
        (
            &list,
            "x-forwarded-for: unknown\r\nx-forwarded-proto: https\r\nx-forwarded-host: app.example\r\n",
        ),
        (&standard, "forwarded: proto=https;host=app.example\r\n"),
        (
            &standard,
            "forwarded: for=unknown;for=x;host=app.example;by;proto=https\r\n",
        ),
    ] {
        for (origin, status) in [("https://app.example", 101), ("http://app.example", 403)] {
            let mut client = Client::connect(address(control)).await;
            let fields = format!("{fields}origin: {origin}\r\n");
            let reply = client.upgrade("/socket", &fields).await;
            assert_eq!(reply.status, status, "{fields}");
        }
        assert_eq!(who(control, fields).await, "127.0.0.1 127.0.0.1");
    }
}

#[tokio::test]
async fn address_protocol_and_host_are_counted_by_the_proxies_that_were_passed() {
    let control = server(&["127.0.0.1", "10.0.0.0/8"], ForwardedField::XForwardedFor).await;
    let addresses = "x-forwarded-for: 1.1.1.1, 203.0.113.9, 10.0.0.7\r\n";
    for more in [
        // Both proxies add to the fields, or the second replaces them.
        "x-forwarded-proto: http, https, http\r\nx-forwarded-host: evil.example, app.example, inner\r\n",
        "x-forwarded-proto: https\r\nx-forwarded-host: app.example\r\n",
    ] {
        for (origin, status) in [
            ("https://app.example", 101),
            ("http://app.example", 403),
            ("https://evil.example", 403),
            ("http://inner", 403),
        ] {
            let mut client = Client::connect(address(&control)).await;
            let fields = format!("{addresses}{more}origin: {origin}\r\n");
            let reply = client.upgrade("/socket", &fields).await;
            assert_eq!(reply.status, status, "{fields}");
        }
    }
}

/// A header of the PROXY protocol, version 2, for a client of 203.0.113.N.
fn proxy_header(command: u8, last: u8) -> Vec<u8> {
    let addresses = [203, 0, 113, last, 10, 0, 0, 1, 0x30, 0x39, 0, 80];
    [
        &b"\r\n\r\n\0\r\nQUIT\n"[..],
        &[command, 0x11, 0, 12],
        &addresses,
    ]
    .concat()
}

#[tokio::test]
async fn a_load_balancer_names_its_client() {
    let control = start(|server| {
        server.route::<Who>("/").route::<Opens>("/socket");
        let config = server.get_mut_server_config();
        config.set_address("proxy:127.0.0.1:0");
        config.max_connections_per_address = 2;
        config.header_timeout = std::time::Duration::from_millis(300);
    })
    .await;
    // Whole, and byte by byte, with the request right behind it.
    for cut in [1000, 1] {
        let mut client = Client::connect(address(&control)).await;
        let mut bytes = proxy_header(0x21, 9);
        bytes.extend_from_slice(b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n");
        for piece in bytes.chunks(cut) {
            client.send(piece).await;
        }
        assert_eq!(client.reply().await.text(), "203.0.113.9 203.0.113.9");
        assert_eq!(
            client.get("/").await.text(),
            "203.0.113.9 203.0.113.9",
            "again"
        );
    }
    let mut client = Client::connect(address(&control)).await;
    client.send(proxy_header(0x21, 7)).await;
    assert_eq!(client.upgrade("/socket", "").await.status, 101);
    assert_eq!(client.next_frame().await.text(), "203.0.113.7");

    // No other client gets in: without a header, with a broken one, or with half of one.
    for bytes in [
        b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n".to_vec(),
        b"PROXY TCP4 203.0.113.9 10.0.0.1 12345 80\r\n".to_vec(),
        [
            &proxy_header(0x2f, 9)[..],
            b"GET / HTTP/1.1\r\nhost: a\r\n\r\n",
        ]
        .concat(),
        proxy_header(0x21, 9)[..20].to_vec(),
    ] {
        let mut client = Client::connect(address(&control)).await;
        client.send(bytes).await;
        assert!(client.ends().await);
    }

    // The limit counts the client that the balancer names.
    let mut held = Vec::new();
    for count in 0..3 {
        let mut client = Client::connect(address(&control)).await;
        client.send(proxy_header(0x21, 50)).await;
        client.request("GET", "/", "").await;
        if count < 2 {
            assert_eq!(client.reply().await.status, 200);
            held.push(client);
        } else {
            assert!(client.ends().await, "the third of two");
        }
    }
}

#[tokio::test]
async fn an_invalid_proxy_header_is_logged_once_for_an_address() {
    for (bytes, seen, mend) in [
        (
            &b"PROXY TCP4 203.0.113.9 10.0.0.1 12345 80\r\nGET / HTTP/1.1\r\n"[..],
            "a PROXY protocol header of version 1",
            "`send-proxy-v2`",
        ),
        (
            b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n",
            "a request without a PROXY protocol header",
            "listen without `proxy:`",
        ),
        (
            b"\x16\x03\x01\x00\x2f\x01\x00\x00\x2b\x03\x03",
            "a TLS ClientHello without a PROXY protocol header",
            "end TLS",
        ),
        (
            b"\0",
            "`\\x00` instead of a PROXY protocol header",
            "have the load balancer send one",
        ),
        (
            &proxy_header(0x2f, 9),
            "a malformed PROXY protocol header",
            "",
        ),
    ] {
        let (log, _guard) = collect_log();
        let control = start(|server| {
            server.route::<Who>("/");
            server
                .get_mut_server_config()
                .set_address("proxy:127.0.0.1:0");
        })
        .await;
        for cut in [1, 1000] {
            let mut client = Client::connect(address(&control)).await;
            for piece in bytes.chunks(cut) {
                // The server may have seen enough.
                if client.stream.write_all(piece).await.is_err() {
                    break;
                }
            }
            assert!(client.ends().await, "{seen}");
        }
        let warnings = log.with("WARN");
        assert_eq!(warnings.len(), 1, "{warnings:?}");
        for part in [seen, mend, "peer=127.0.0.1:"] {
            assert!(warnings[0].contains(part), "{part} in {warnings:?}");
        }
    }
}

#[tokio::test]
async fn a_probe_of_a_load_balancer_is_no_warning() {
    let (log, _guard) = collect_log();
    let control = start(|server| {
        server.route::<Who>("/");
        let config = server.get_mut_server_config();
        config.set_address("proxy:127.0.0.1:0");
        config.header_timeout = std::time::Duration::from_millis(100);
    })
    .await;
    let mut silent = Client::connect(address(&control)).await;
    assert!(silent.ends().await);
    let mut leaves = Client::connect(address(&control)).await;
    leaves.finish().await;
    assert!(leaves.ends().await);
    assert_eq!(log.with("WARN"), Vec::<String>::new());
}
