//! HTTP/2 over TLS: ALPN, facts, and what a stream shares with its connection.

use super::*;
use bytes::Bytes;
use h2::client::SendRequest;

/// Connects with ALPN, and begins HTTP/2.
async fn connect(control: &ServerControlHook, authority: &Authority) -> SendRequest<Bytes> {
    let mut config = authority.client(None);
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let stream = connect_tls(address(control), config, "localhost").await;
    let stream = stream.expect("a handshake");
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    let (client, connection) = h2::client::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    client.ready().await.unwrap()
}

async fn body(client: &mut SendRequest<Bytes>, path: &str, body: Option<Bytes>) -> (u16, Vec<u8>) {
    let request = http::Request::get(format!("https://localhost{path}"));
    let (answer, mut send) = client
        .send_request(request.body(()).unwrap(), body.is_none())
        .unwrap();
    if let Some(mut body) = body {
        while !body.is_empty() {
            send.reserve_capacity(body.len());
            let room = std::future::poll_fn(|cx| send.poll_capacity(cx)).await;
            let piece = body.split_to(room.unwrap().unwrap().min(body.len()));
            send.send_data(piece, body.is_empty()).unwrap();
        }
    }
    let mut answer = answer.await.unwrap();
    let mut whole = Vec::new();
    while let Some(data) = answer.body_mut().data().await {
        let data = data.unwrap();
        answer
            .body_mut()
            .flow_control()
            .release_capacity(data.len())
            .unwrap();
        whole.extend_from_slice(&data);
    }
    (answer.status().as_u16(), whole)
}

#[tokio::test]
async fn a_stream_has_the_facts_of_its_connection() {
    let authority = Authority::new();
    let control = start(authority.issue(&["localhost"]).tls(), |_| {}).await;
    let mut client = connect(&control, &authority).await;
    for _ in 0..2 {
        let (status, text) = body(&mut client, "/", None).await;
        let text = String::from_utf8(text).unwrap();
        let expected =
            "https TLSv1.3 TLS13_AES_256_GCM_SHA384 Some(\"localhost\") Some(\"h2\") false 0";
        assert_eq!((status, &*text), (200, expected));
    }
    let local = body(&mut client, "/local", None).await.1;
    assert_eq!(local, address(&control).to_string().into_bytes());
}

#[tokio::test]
async fn bodies_of_any_size_pass_in_both_directions_of_a_stream() {
    let authority = Authority::new();
    let control = start(authority.issue(&["localhost"]).tls(), |server| {
        server.get_mut_server_config().max_body = 4_000_000;
    })
    .await;
    let mut client = connect(&control, &authority).await;
    let sent = Bytes::from(vec![b'y'; 3_000_000]);
    assert_eq!(body(&mut client, "/length", Some(sent)).await.1, b"3000000");
    assert_eq!(body(&mut client, "/large", None).await.1.len(), 3_000_000);
}

#[tokio::test]
async fn a_server_of_http_1_offers_nothing_else() {
    let authority = Authority::new();
    let control = start(authority.issue(&["localhost"]).tls(), |server| {
        server
            .get_mut_server_config()
            .set_protocol(ServerProtocol::Http1);
    })
    .await;
    let mut config = authority.client(None);
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let stream = connect_tls(address(&control), config, "localhost").await;
    let alpn = stream
        .unwrap()
        .get_ref()
        .1
        .alpn_protocol()
        .map(<[u8]>::to_vec);
    assert_eq!(alpn.as_deref(), Some(&b"http/1.1"[..]));
}
