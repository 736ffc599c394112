//! Clients that take nothing of the last bytes, which TLS holds and no queue of the server shows.

use std::time::Duration;

use test_support::{TEXT, eventually, frame, http2_get, http2_settings};
use tokio::{io::AsyncReadExt, net::TcpSocket};
use tokio_rustls::TlsConnector;

use super::*;

const HUGE: usize = 30_000_000;

hook! {
    // More than the buffers of the system take, and less than TLS keeps.
    Body |_, ctx| {
        ctx.get_mut_response().set_body(vec![b'x'; 50_000]);
    }
    Huge |_, ctx| {
        ctx.get_mut_response().set_body(vec![b'x'; HUGE]);
    }
}

async fn impatient() -> (ServerControlHook, Authority) {
    let authority = Authority::new();
    let tls = authority.issue(&["localhost"]).tls();
    let control = start(tls, |server| {
        server.route::<Body>("/body");
        let config = server.get_mut_server_config();
        config.send_buffer = Some(4 * 1024);
        config.write_timeout = Duration::from_millis(300);
        config.outbox_stall = Duration::from_millis(300);
    })
    .await;
    (control, authority)
}

/// Connects with a small buffer for what the server sends.
async fn connect(
    control: &ServerControlHook,
    authority: &Authority,
    protocol: &[u8],
) -> TlsStream<TcpStream> {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4 * 1024).unwrap();
    let stream = socket.connect(address(control)).await.unwrap();
    let mut config = authority.client(None);
    config.alpn_protocols = vec![protocol.to_vec()];
    let name = "localhost".to_owned().try_into().unwrap();
    let connector = TlsConnector::from(Arc::new(config));
    connector.connect(name, stream).await.unwrap()
}

#[tokio::test]
async fn a_client_that_reads_nothing_of_an_answer_is_closed() {
    let (control, authority) = impatient().await;
    for field in ["", "connection: close\r\n"] {
        let mut client = connect(&control, &authority, b"http/1.1").await;
        let request = format!("GET /body HTTP/1.1\r\nhost: localhost\r\n{field}\r\n");
        client.write_all(request.as_bytes()).await.unwrap();
        eventually("it is served", || control.connections() == 1).await;
        eventually("it is closed", || control.connections() == 0).await;
    }
}

#[tokio::test]
async fn a_client_that_reads_nothing_of_a_websocket_is_closed() {
    let (control, authority) = impatient().await;
    let mut client = connect(&control, &authority, b"http/1.1").await;
    let handshake = "GET /echo HTTP/1.1\r\nhost: localhost\r\nupgrade: websocket\r\n\
        connection: upgrade\r\nsec-websocket-version: 13\r\n\
        sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    client.write_all(handshake.as_bytes()).await.unwrap();
    let message = frame(true, TEXT, vec![b'x'; 50_000]);
    client.write_all(&message).await.unwrap();
    client.flush().await.unwrap();
    eventually("it is served", || control.connections() == 1).await;
    eventually("it is closed", || control.connections() == 0).await;
}

#[tokio::test]
async fn a_client_of_http_2_that_ends_and_reads_nothing_is_closed() {
    let (control, authority) = impatient().await;
    let mut client = connect(&control, &authority, b"h2").await;
    let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    bytes.extend(http2_settings(&[]));
    bytes.extend(http2_get(1, "/body"));
    client.write_all(&bytes).await.unwrap();
    client.flush().await.unwrap();
    eventually("it is served", || control.connections() == 1).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    client.shutdown().await.unwrap();
    eventually("it is closed", || control.connections() == 0).await;
}

#[tokio::test]
async fn a_client_that_reads_slowly_gets_all() {
    let authority = Authority::new();
    let control = start(authority.issue(&["localhost"]).tls(), |server| {
        server.route::<Huge>("/huge");
        server.get_mut_server_config().write_timeout = Duration::from_millis(400);
    })
    .await;
    let mut config = authority.client(None);
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    let stream = connect_tls(address(&control), config, "localhost").await;
    let mut client = stream.expect("a handshake");
    let request = b"GET /huge HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
    client.write_all(request).await.unwrap();
    // Longer than the limit, and each time less than what makes a socket writable.
    let mut piece = vec![0; 150_000];
    let mut length = 0;
    for _ in 0..10 {
        length += client.read_exact(&mut piece).await.unwrap();
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let mut rest = Vec::new();
    client.read_to_end(&mut rest).await.unwrap();
    assert!(length + rest.len() > HUGE);
}
