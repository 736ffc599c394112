//! Handshakes that fail, that wait, and that are too many.

use std::time::Duration;

use super::*;
use test_support::{PATIENCE, eventually};
use tokio::{io::AsyncReadExt, time::timeout};

/// The first bytes of a ClientHello. The head of its record announces more.
const HALF: &[u8] = &[0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3];

/// Connects, sends bytes and reads until the server ends the connection.
async fn answer(control: &ServerControlHook, bytes: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(address(control)).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    let mut answer = Vec::new();
    timeout(PATIENCE, stream.read_to_end(&mut answer))
        .await
        .expect("the server ends the connection")
        .ok();
    answer
}

#[tokio::test]
async fn a_request_without_tls_gets_a_400_that_says_so() {
    let authority = Authority::new();
    let control = start(authority.issue(&["localhost"]).tls(), |_| {}).await;
    for request in [
        &b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n"[..],
        b"POST /a HTTP/1.1\r\ncontent-length: 3\r\n\r\nabc",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ] {
        let mut stream = Client::connect(address(&control)).await;
        stream.send(request).await;
        let reply: Reply = stream.reply().await;
        assert_eq!(reply.status, 400);
        assert_eq!(reply.text(), "this port speaks TLS: use https://\r\n");
        drop(stream);
    }
    eventually("no connection is left", || control.connections() == 0).await;
    assert_eq!(
        client(&control, authority.client(None))
            .await
            .get("/")
            .await
            .status,
        200
    );
}

#[tokio::test]
async fn garbage_ends_its_own_connection_alone() {
    let authority = Authority::new();
    let control = start(authority.issue(&["localhost"]).tls(), |_| {}).await;
    let mut garbage = vec![0; 600];
    for (at, byte) in garbage.iter_mut().enumerate() {
        *byte = u8::try_from(at * 7 % 251).unwrap() | 0x80;
    }
    let alert = |answer: &[u8]| answer.is_empty() || answer[0] == 21;
    for bytes in [
        &garbage[..],
        &[0x16, 3, 1, 0, 4, 1, 0, 0, 0],
        &[0x16, 9, 9, 0xff, 0xff, 1],
        &[0x16, 3, 3, 0, 0],
        &[21, 3, 3, 0, 2, 2, 40],
        &[23, 3, 3, 0, 1, 0],
    ] {
        let mut bytes = bytes.to_vec();
        // The zeros complete each record whose length the first bytes announce.
        bytes.resize(70_000, 0);
        let answer = answer(&control, &bytes).await;
        assert!(alert(&answer), "{answer:?}");
    }
    assert_eq!(
        client(&control, authority.client(None))
            .await
            .get("/")
            .await
            .status,
        200
    );
}

#[tokio::test]
async fn a_client_that_offers_only_other_protocols_is_refused() {
    let authority = Authority::new();
    let control = start(authority.issue(&["localhost"]).tls(), |_| {}).await;
    let mut config = authority.client(None);
    config.alpn_protocols = vec![b"spdy/3".to_vec()];
    let error = connect_tls(address(&control), config, "localhost").await;
    let error = error.err().unwrap().to_string();
    assert!(error.contains("NoApplicationProtocol"), "{error}");
}

#[tokio::test]
async fn a_handshake_has_a_time_limit() {
    let authority = Authority::new();
    let control = start(authority.issue(&["localhost"]).tls(), |server| {
        server.get_mut_server_config().tls_handshake_timeout = Duration::from_millis(200);
    })
    .await;
    for bytes in [&b""[..], HALF] {
        assert_eq!(answer(&control, bytes).await, b"");
    }
    // After the handshake, the limit no longer applies.
    let mut client = client(&control, authority.client(None)).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(client.get("/").await.status, 200);
}

#[tokio::test]
async fn a_further_handshake_ends_the_oldest_one() {
    let authority = Authority::new();
    let control = start(authority.issue(&["localhost"]).tls(), |server| {
        server.get_mut_server_config().max_tls_handshakes = 2;
    })
    .await;
    let mut held = Vec::new();
    for _ in 0..4 {
        let mut stream = TcpStream::connect(address(&control)).await.unwrap();
        stream.write_all(HALF).await.unwrap();
        held.push(stream);
    }
    // The first two are over; the two others still wait.
    for stream in &mut held[..2] {
        let read = timeout(PATIENCE, stream.read(&mut [0]))
            .await
            .expect("an end");
        assert!(matches!(read, Ok(0) | Err(_)));
    }
    // A complete handshake succeeds although others hold all places: it ends the oldest of them.
    let mut client = client(&control, authority.client(None)).await;
    assert_eq!(client.get("/").await.status, 200);
    drop(held);
}

#[tokio::test]
async fn failed_handshakes_give_back_their_places() {
    let authority = Authority::new();
    let control = start(authority.issue(&["localhost"]).tls(), |server| {
        let config = server.get_mut_server_config();
        config.max_connections = Some(2);
        config.tls_handshake_timeout = Duration::from_millis(100);
    })
    .await;
    for _ in 0..6 {
        assert_eq!(answer(&control, HALF).await, b"");
    }
    let mut one = client(&control, authority.client(None)).await;
    let mut two = client(&control, authority.client(None)).await;
    assert_eq!(one.get("/").await.status, 200);
    assert_eq!(two.get("/").await.status, 200);
    drop(one);
    let mut three = client(&control, authority.client(None)).await;
    assert_eq!(three.get("/").await.status, 200);
}

#[tokio::test]
async fn a_shutdown_ends_handshakes() {
    let authority = Authority::new();
    let control = start(authority.issue(&["localhost"]).tls(), |_| {}).await;
    let mut stream = TcpStream::connect(address(&control)).await.unwrap();
    stream.write_all(HALF).await.unwrap();
    timeout(PATIENCE, control.shutdown()).await.expect("an end");
    let read = timeout(PATIENCE, stream.read(&mut [0]))
        .await
        .expect("an end");
    assert!(matches!(read, Ok(0) | Err(_)));
}

#[tokio::test]
async fn the_header_of_a_load_balancer_precedes_the_handshake() {
    let authority = Authority::new();
    let issued = authority.issue(&["localhost"]);
    let mut server = Server::new();
    server
        .bind_tls("proxy:127.0.0.1:0", issued.tls())
        .route::<Client1>("/");
    let control = server.run().await.unwrap();
    let mut stream = TcpStream::connect(address(&control)).await.unwrap();
    let header = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xcb\0\x71\x09\x0a\0\0\x01\x30\x39\0\x50";
    for piece in header.chunks(5) {
        stream.write_all(piece).await.unwrap();
    }
    let connector = tokio_rustls::TlsConnector::from(Arc::new(authority.client(None)));
    let stream = connector
        .connect("localhost".try_into().unwrap(), stream)
        .await
        .unwrap();
    let reply = Client::on(stream).get("/").await;
    assert_eq!(reply.text(), "https 203.0.113.9:12345");
    // Without the header, the handshake fails.
    let stream = connect_tls(address(&control), authority.client(None), "localhost").await;
    assert!(stream.is_err());
}

hook! {
    Client1 |stream, ctx| {
        let text = format!("{} {}", ctx.scheme(), stream.peer_addr().unwrap());
        ctx.get_mut_response().set_body(text);
    }
}
