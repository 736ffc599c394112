//! Hosts that a server answers to: an attacker can make any name resolve to its address.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use hyperlane::{prelude::*, sse, ws};
use test_support::{BindLocal as _, Client, Reply, address, collect_log, hook};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// Counts the hooks that ran.
#[derive(Clone, Default)]
struct Ran(Arc<AtomicUsize>);

hook! {
    Hello |_, ctx| {
        ctx.state::<Ran>().0.fetch_add(1, Ordering::Relaxed);
        ctx.get_mut_response().set_body("hello");
    }
    // Reads the second request of a connection itself.
    ByHand |stream, ctx| {
        stream.send("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nfirst").await;
        match stream.try_get_http_request().await {
            Ok(_) => stream.send("HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nsecond").await,
            Err(error) => error.into_response(ctx.get_mut_response()),
        }
    }
}

/// A server without the hosts that other tests add.
async fn server(configure: impl FnOnce(&mut Server)) -> (ServerControlHook, Ran) {
    let mut server = Server::new();
    server.bind_local();
    let ran = routes(&mut server);
    configure(&mut server);
    (server.run().await.unwrap(), ran)
}

fn routes(server: &mut Server) -> Ran {
    let ran = Ran::default();
    server
        .route::<Hello>("/")
        .route::<ByHand>("/by-hand")
        .state(ran.clone());
    server.at("/ws").get(ws());
    server.at("/sse").get(sse());
    ran
}

fn list(hosts: &[&str]) -> Vec<String> {
    hosts.iter().map(|host| (*host).to_owned()).collect()
}

/// The address for a client on this machine, wherever the server listens.
fn local(control: &ServerControlHook) -> SocketAddr {
    ([127, 0, 0, 1], address(control).port()).into()
}

/// Sends the head of a request as it stands and reads the answer.
async fn ask(control: &ServerControlHook, head: &str) -> Reply {
    let mut client = Client::connect(local(control)).await;
    client.send(format!("{head}\r\n\r\n")).await;
    client.reply_to(true).await
}

async fn status(control: &ServerControlHook, host: &str) -> u16 {
    ask(control, &format!("GET / HTTP/1.1\r\nhost: {host}"))
        .await
        .status
}

const HANDSHAKE: &str = "upgrade: websocket\r\nconnection: Upgrade\r\nsec-websocket-version: 13\r\n\
                         sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==";

#[tokio::test]
async fn a_server_of_this_machine_alone_answers_to_its_names_alone() {
    let (control, ran) = server(|_| {}).await;
    let own = [
        "localhost",
        "LOCALHOST.:8080",
        "app.localhost:1",
        "127.0.0.1",
        "127.9.9.9:80",
        "127.1",
        "2130706433",
        "[::1]",
        "[0:0:0:0:0:0:0:1]:8080",
        "[::ffff:127.0.0.1]",
    ];
    for host in own {
        assert_eq!(status(&control, host).await, 200, "{host}");
    }
    assert_eq!(ran.0.load(Ordering::Relaxed), own.len());
    for host in [
        "evil.example",
        "EVIL.example.:8080",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        "evil-localhost",
        "10.0.0.1",
        "0.0.0.0",
        "[::]",
        "[2001:db8::1]:80",
        "%6cocalhost",
    ] {
        assert_eq!(status(&control, host).await, 421, "{host}");
    }
    assert_eq!(ran.0.load(Ordering::Relaxed), own.len(), "no hook has run");
}

#[tokio::test]
async fn every_request_to_another_host_is_refused_before_anything_begins() {
    let (control, ran) = server(|_| {}).await;
    for (request, fields) in [
        ("GET /ws HTTP/1.1", HANDSHAKE),
        ("GET /sse HTTP/1.1", "accept: text/event-stream"),
        ("POST /sse HTTP/1.1", "content-length: 0"),
        ("GET /by-hand HTTP/1.1", "x: y"),
        ("GET /nosuch HTTP/1.1", "x: y"),
        ("HEAD / HTTP/1.1", "x: y"),
        ("DELETE / HTTP/1.1", "x: y"),
        ("OPTIONS * HTTP/1.1", "x: y"),
        ("GET / HTTP/1.0", "x: y"),
    ] {
        let head = format!("{request}\r\nhost: evil.example:80\r\n{fields}");
        let reply = ask(&control, &head).await;
        assert_eq!(reply.status, 421, "{request}");
        assert_eq!(reply.header("set-cookie"), None, "{request}");
    }
    // The target prevails over the field (RFC 9112 §3.2.2).
    let target = "GET http://evil.example/ HTTP/1.1\r\nhost: localhost";
    assert_eq!(ask(&control, target).await.status, 421);
    assert_eq!(ran.0.load(Ordering::Relaxed), 0);
    let target = "GET http://localhost:80/ HTTP/1.1\r\nhost: evil.example";
    assert_eq!(ask(&control, target).await.status, 200);
}

#[tokio::test]
async fn a_connection_goes_on_behind_a_refused_request() {
    let (control, _) = server(|_| {}).await;
    let mut client = Client::connect(address(&control)).await;
    let own = "GET / HTTP/1.1\r\nhost: localhost\r\n\r\n";
    // A request in the body is not taken for one.
    for body in [
        format!("content-length: {}\r\n\r\n{own}", own.len()),
        format!(
            "transfer-encoding: chunked\r\n\r\n{:x}\r\n{own}\r\n0\r\n\r\n",
            own.len()
        ),
    ] {
        let head = "POST /sse HTTP/1.1\r\nhost: evil.example";
        client.send(format!("{head}\r\n{body}")).await;
        let reply = client.reply().await;
        assert_eq!((reply.status, reply.header("connection")), (421, None));
        for part in ["`evil.example`", "`allowed_hosts`", "`trusted_proxies`"] {
            assert!(reply.text().contains(part), "{}", reply.text());
        }
        assert_eq!(client.get("/").await.text(), "hello");
    }
    // One body is too long to be read for nothing, and one waits for `100 Continue`.
    for fields in [
        "content-length: 99999999",
        "content-length: 5\r\nexpect: 100-continue",
    ] {
        let head = format!("POST / HTTP/1.1\r\nhost: evil.example\r\n{fields}");
        let reply = ask(&control, &head).await;
        assert_eq!(
            (reply.status, reply.header("connection")),
            (421, Some("close"))
        );
    }
}

#[tokio::test]
async fn requests_that_a_hook_reads_itself_are_checked_too() {
    let (control, _) = server(|_| {}).await;
    for (host, body) in [("localhost", "second"), ("evil.example", "421 ")] {
        let mut client = Client::connect(address(&control)).await;
        assert_eq!(client.get("/by-hand").await.text(), "first");
        client
            .send(format!("GET / HTTP/1.1\r\nhost: {host}\r\n\r\n"))
            .await;
        assert!(client.reply().await.text().starts_with(body), "{host}");
    }
}

#[tokio::test]
async fn listed_hosts_are_answered_besides_or_alone() {
    let hosts = [
        "app.example",
        "*.app.example",
        "port.example:8443",
        "192.0.2.1",
        "[2001:db8::1]",
    ];
    let (loopback, _) = server(|server| {
        server.get_mut_server_config().allowed_hosts = list(&hosts);
    })
    .await;
    let (public, _) = server(|server| {
        let config = server.get_mut_server_config();
        config.set_address("0.0.0.0:0");
        config.allowed_hosts = list(&hosts);
    })
    .await;
    let (open, _) = server(|server| {
        server.get_mut_server_config().set_address("0.0.0.0:0");
    })
    .await;
    let (also_open, _) = server(|server| {
        server.bind("0.0.0.0:0");
    })
    .await;
    for (host, expected) in [
        ("app.example", 200),
        ("APP.example.:8080", 200),
        ("a.b.app.example", 200),
        ("port.example:8443", 200),
        ("192.0.2.1:80", 200),
        ("[2001:db8:0::1]", 200),
        ("port.example", 421),
        ("xapp.example", 421),
        ("app.example.evil.example", 421),
    ] {
        assert_eq!(status(&loopback, host).await, expected, "{host}");
        assert_eq!(status(&public, host).await, expected, "{host}");
        assert_eq!(status(&open, host).await, 200, "{host}");
        assert_eq!(status(&also_open, host).await, 200, "{host}");
    }
    assert_eq!(status(&loopback, "localhost").await, 200);
    assert_eq!(status(&public, "localhost").await, 421, "it is not listed");
}

#[tokio::test]
async fn an_invalid_host_is_refused_at_the_start() {
    for wrong in ["*", "https://app.example", "app.example/path", ""] {
        let mut server = Server::new();
        server.bind_local();
        server.get_mut_server_config().allowed_hosts = list(&[wrong]);
        let error = server.run().await.err().unwrap().to_string();
        assert!(
            error.contains(&format!("allowed host `{wrong}`")),
            "{error}"
        );
    }
}

#[tokio::test]
async fn proxies_judge_hosts_themselves_and_old_clients_name_none() {
    for listed in [&[][..], &["other.example"]] {
        let (control, _) = server(|server| {
            let config = server.get_mut_server_config();
            config.trusted_proxies = vec!["127.0.0.0/8".parse().unwrap()];
            config.allowed_hosts = list(listed);
        })
        .await;
        assert_eq!(status(&control, "app.example").await, 200);
    }
    let (control, _) = server(|server| {
        server.get_mut_server_config().trusted_proxies = vec!["192.0.2.1".parse().unwrap()];
    })
    .await;
    assert_eq!(
        status(&control, "app.example").await,
        421,
        "of another proxy"
    );
    assert_eq!(ask(&control, "GET / HTTP/1.0\r\nx: y").await.status, 200);
}

const FOREIGN: &[u8] = b"GET / HTTP/1.1\r\nhost: app.example\r\nconnection: close\r\n\r\n";

#[tokio::test]
async fn a_transport_that_the_program_made_is_exempt() {
    let (control, _) = server(|server| {
        server.get_mut_server_config().allowed_hosts = list(&["other.example"]);
    })
    .await;
    for peer in [None, Some(([192, 0, 2, 1], 1).into())] {
        let (mut client, end) = tokio::io::duplex(4096);
        control.serve(end, peer).await;
        client.write_all(FOREIGN).await.unwrap();
        let mut text = String::new();
        client.read_to_string(&mut text).await.unwrap();
        assert!(text.starts_with("HTTP/1.1 200 "), "{text}");
    }
}

#[cfg(unix)]
#[tokio::test]
async fn a_unix_socket_is_exempt() {
    let path = std::env::temp_dir().join(format!("hyperlane-hosts-{}", std::process::id()));
    let (control, _) = server(|server| {
        server.bind(format!("unix:{}", path.display()));
        server.get_mut_server_config().allowed_hosts = list(&["other.example"]);
    })
    .await;
    let mut client = tokio::net::UnixStream::connect(&path).await.unwrap();
    client.write_all(FOREIGN).await.unwrap();
    let mut text = String::new();
    client.read_to_string(&mut text).await.unwrap();
    assert!(text.starts_with("HTTP/1.1 200 "), "{text}");
    control.shutdown().await;
}

#[tokio::test]
async fn a_server_inside_another_stack_is_exempt() {
    let mut inside = Server::new();
    routes(&mut inside);
    inside.get_mut_server_config().allowed_hosts = list(&["other.example"]);
    let mut service = inside.into_service().unwrap();
    let mut request = http::Request::get("http://app.example/")
        .body(String::new())
        .unwrap();
    let peer: SocketAddr = ([127, 0, 0, 1], 1).into();
    request
        .extensions_mut()
        .insert(hyperlane::service::PeerAddr(peer));
    let response = tower::Service::call(&mut service, request).await.unwrap();
    assert_eq!(response.status(), 200);
}

#[tokio::test]
async fn behind_a_load_balancer_only_the_list_counts() {
    let header = [
        &b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c"[..],
        &[203, 0, 113, 9, 10, 0, 0, 1, 0x30, 0x39, 0, 80],
    ]
    .concat();
    for (listed, host, expected) in [
        (&[][..], "app.example", 200),
        (&["app.example"], "app.example", 200),
        (&["app.example"], "evil.example", 421),
    ] {
        let (control, _) = server(|server| {
            let config = server.get_mut_server_config();
            config.set_address("proxy:127.0.0.1:0");
            config.allowed_hosts = list(listed);
        })
        .await;
        let mut client = Client::connect(address(&control)).await;
        client.send(&header).await;
        client
            .send(format!("GET / HTTP/1.1\r\nhost: {host}\r\n\r\n"))
            .await;
        assert_eq!(client.reply().await.status, expected, "{host}");
    }
}

#[tokio::test]
async fn a_refused_host_is_logged_once_with_both_remedies() {
    let (log, _guard) = collect_log();
    let (control, _) = server(|_| {}).await;
    for host in ["one.example", "two.example", "one.example", "one.example"] {
        assert_eq!(status(&control, host).await, 421);
    }
    let lines = log.with("421");
    assert_eq!(lines.len(), 2, "{lines:?}");
    for part in [
        "WARN",
        "`one.example`",
        "`allowed_hosts`",
        "`trusted_proxies`",
        "peer=127.0.0.1:",
    ] {
        assert!(lines[0].contains(part), "{part} in {lines:?}");
    }
    for number in 0..100 {
        assert_eq!(status(&control, &format!("{number}.example")).await, 421);
    }
    assert_eq!(log.with("421").len(), 64);
}
