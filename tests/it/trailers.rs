//! Trailers: fields after the body, of requests and of responses, over HTTP/1.1 and HTTP/2.

use bytes::Bytes;
use futures_util::{StreamExt, stream as pieces};
use hyperlane::{Trailers, prelude::*};
use test_support::{Client, PATIENCE, address, hook};
use tokio::{net::TcpStream, time::timeout};

fn text(body: &[u8], trailers: &Headers) -> String {
    let fields: Vec<_> = trailers
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    format!("{} {}", String::from_utf8_lossy(body), fields.join(","))
}

hook! {
    Whole |_, ctx| {
        let request = ctx.get_request();
        // The stream of a whole body knows them too, at its end.
        let mut body = ctx.body_stream();
        let before = body.trailers();
        let bytes = body.read_to_end(100).await.unwrap();
        assert!(before.is_empty() || bytes.is_empty());
        assert_eq!(&body.trailers(), request.trailers());
        assert!(!request.has_header("x-sum"), "a trailer is no header field");
        let text = text(request.get_body(), request.trailers());
        ctx.get_mut_response().set_body(text);
    }
    // Answers with a body and a trailer that is known at its end.
    Answers |stream, ctx| {
        let kind = ctx.get_request().get_query("kind").to_owned();
        let names = ctx.get_request().get_query("names") == "yes";
        let response = ctx.get_mut_response();
        let trailers: Trailers = response.trailers();
        if names {
            response.set_header("trailer", "x-sum");
        }
        match &*kind {
            "bytes" => _ = response.set_body("hello"),
            "empty" => {}
            "file" => _ = response.set_body(std::path::Path::new(file!())),
            "large" => _ = response.set_body(vec![b'x'; LARGE]),
            _ => {
                let trailers = trailers.clone();
                let body = pieces::iter(["hel", "lo"]).map(move |piece| {
                    if piece == "lo" {
                        trailers.set("x-more", "late");
                    }
                    Ok::<_, std::io::Error>(Bytes::from(piece))
                });
                response.set_body(Body::stream(body));
            }
        }
        trailers.set("x-sum", "7");
        // A hook that works on does not delay the end.
        hyperlane::__private::send(stream, ctx).await;
        ctx.state::<test_support::Gate>().pass().await;
    }
}

hook! {
    @Stream Pieces |_, ctx| {
        let mut body = ctx.body_stream();
        let mut whole = Vec::new();
        while let Some(piece) = body.next_chunk().await.unwrap() {
            whole.extend_from_slice(&piece);
        }
        let text = text(&whole, &body.trailers());
        ctx.get_mut_response().set_body(text);
    }
}

/// More than the window of the client.
const LARGE: usize = 200_000;

/// Starts a server without TLS in each run, since these clients use no bridge.
async fn server() -> ServerControlHook {
    let mut server = Server::new();
    server
        .bind("127.0.0.1:0")
        .state(test_support::Gate::default())
        .route::<Whole>("/whole")
        .route::<Pieces>("/pieces")
        .route::<Answers>("/answers");
    let config = server.get_mut_server_config();
    config.max_header_count = 10;
    config.allowed_hosts = test_support::hosts();
    server.run().await.unwrap()
}

/// Connects without the bridge to HTTP/2, which would drop trailers.
async fn client(control: &ServerControlHook) -> Client {
    Client::on(TcpStream::connect(address(control)).await.unwrap())
}

#[tokio::test]
async fn a_handler_reads_the_trailers_of_a_request() {
    let control = server().await;
    for target in ["/whole", "/pieces"] {
        let mut client = client(&control).await;
        let head = format!(
            "POST {target} HTTP/1.1\r\nhost: localhost\r\nte: trailers\r\ntransfer-encoding: chunked\r\n\r\n"
        );
        let plain = "2\r\nhi\r\n0\r\n\r\n";
        let sum = "2\r\nhi\r\n0\r\nX-Sum: 7\r\nx-sum:8 \r\ncontent-length: 9\r\n\r\n";
        client.send(format!("{head}{sum}{head}{plain}")).await;
        assert_eq!(
            client.reply().await.text(),
            "hi x-sum=7,x-sum=8,content-length=9"
        );
        assert_eq!(client.reply().await.text(), "hi ");
        for byte in format!("{head}{sum}").bytes() {
            client.send([byte]).await;
        }
        assert_eq!(
            client.reply().await.text(),
            "hi x-sum=7,x-sum=8,content-length=9"
        );
        assert_eq!(client.post(target, "hi").await.text(), "hi ");
    }
    let many = "a: b\r\n".repeat(11);
    let mut client = client(&control).await;
    client
        .send(format!(
            "POST /whole HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n{many}\r\n"
        ))
        .await;
    assert_eq!(client.reply().await.status, 431);
}

#[tokio::test]
async fn a_client_that_takes_trailers_gets_them_in_the_last_chunk() {
    let control = server().await;
    let (te, none) = ("te: gzip, trailers\r\n", "");
    for (kind, body, more) in [
        ("bytes", &b"hello"[..], ""),
        ("empty", b"", ""),
        ("file", include_bytes!("trailers.rs"), ""),
        ("stream", b"hello", "x-more: late\r\n"),
    ] {
        for (fields, names) in [(te, "no"), (none, "yes"), (none, "no")] {
            let mut client = client(&control).await;
            let target = format!("/answers?kind={kind}&names={names}");
            client.request("GET", &target, fields).await;
            let head = String::from_utf8(client.until(b"\r\n\r\n").await).unwrap();
            let is_sent = names == "yes" || fields == te;
            let is_chunked = is_sent || kind == "stream";
            assert_eq!(
                head.contains("transfer-encoding: chunked"),
                is_chunked,
                "{head}"
            );
            assert_eq!(head.contains("content-length"), !is_chunked, "{head}");
            let mut read = Vec::new();
            if is_chunked {
                loop {
                    let size = String::from_utf8(client.until(b"\r\n").await).unwrap();
                    let size = usize::from_str_radix(size.trim_end(), 16).unwrap();
                    if size == 0 {
                        break;
                    }
                    read.extend(client.exactly(size).await);
                    client.until(b"\r\n").await;
                }
            } else {
                read = client.exactly(body.len()).await;
            }
            assert!(read == body, "{target}");
            if is_chunked {
                let mut section = Vec::new();
                while !section.ends_with(b"\r\n\r\n") && section != b"\r\n" {
                    section.extend(client.until(b"\r\n").await);
                }
                let section = String::from_utf8(section).unwrap();
                let expected = match is_sent {
                    true if kind == "stream" => vec![more, "x-sum: 7\r\n"],
                    true => vec!["x-sum: 7\r\n"],
                    false => vec![],
                };
                for line in &expected {
                    assert!(section.contains(line), "{target}: {section}");
                }
                assert_eq!(
                    section.lines().count(),
                    expected.len() + 1,
                    "{target}: {section}"
                );
            }
        }
    }
}

#[tokio::test]
async fn clients_without_chunks_and_heads_get_no_trailers() {
    let control = server().await;
    for (version, method) in [("1.0", "GET"), ("1.1", "HEAD")] {
        let mut client = client(&control).await;
        client
            .send(format!(
                "{method} /answers?kind=bytes&names=yes HTTP/{version}\r\nhost: localhost\r\nte: trailers\r\n\r\n"
            ))
            .await;
        let reply = client.reply_to(method == "HEAD").await;
        assert_eq!(reply.status, 200);
        assert_eq!(reply.text(), if method == "HEAD" { "" } else { "hello" });
    }
}

type Http2 = h2::client::SendRequest<Bytes>;

async fn http2(control: &ServerControlHook) -> Http2 {
    let socket = TcpStream::connect(address(control)).await.unwrap();
    let mut settings = h2::client::Builder::new();
    settings.initial_window_size(1000);
    let (send, connection) = settings.handshake(socket).await.unwrap();
    tokio::spawn(connection);
    send.ready().await.unwrap()
}

async fn read(answer: h2::client::ResponseFuture) -> (Vec<u8>, http::HeaderMap) {
    let read = async {
        let mut body = answer.await.unwrap().into_body();
        let mut whole = Vec::new();
        while let Some(data) = body.data().await {
            let data = data.unwrap();
            body.flow_control().release_capacity(data.len()).unwrap();
            whole.extend_from_slice(&data);
        }
        (whole, body.trailers().await.unwrap().unwrap_or_default())
    };
    timeout(PATIENCE, read).await.expect("an answer that ends")
}

#[tokio::test]
async fn trailers_of_requests_over_http2() {
    let control = server().await;
    let mut client = http2(&control).await;
    for target in ["/whole", "/pieces"] {
        for (length, body) in [(true, "hi"), (false, "hi"), (false, "")] {
            let mut request = http::Request::post(format!("http://localhost{target}"));
            if length {
                request = request.header("content-length", body.len());
            }
            let (answer, mut stream) = client
                .send_request(request.body(()).unwrap(), false)
                .unwrap();
            if !body.is_empty() {
                stream.send_data(body.into(), false).unwrap();
            }
            let mut trailers = http::HeaderMap::new();
            trailers.insert("x-sum", "7".parse().unwrap());
            // The trailers come later than the data, in a poll of their own.
            tokio::task::yield_now().await;
            stream.send_trailers(trailers).unwrap();
            let (text, _) = read(answer).await;
            assert_eq!(
                text,
                format!("{body} x-sum=7").as_bytes(),
                "{target} {length}"
            );
        }
    }
}

#[tokio::test]
async fn trailers_of_responses_over_http2_end_the_stream_at_once() {
    let control = server().await;
    let mut client = http2(&control).await;
    for (kind, body) in [
        ("bytes", b"hello".to_vec()),
        ("empty", Vec::new()),
        ("large", vec![b'x'; LARGE]),
        ("file", include_bytes!("trailers.rs").to_vec()),
        ("stream", b"hello".to_vec()),
    ] {
        let request = http::Request::get(format!("http://localhost/answers?kind={kind}"));
        let (answer, _) = client
            .send_request(request.body(()).unwrap(), true)
            .unwrap();
        let (read, trailers) = read(answer).await;
        assert!(read == body, "{kind}");
        assert_eq!(trailers["x-sum"], "7", "{kind}");
        assert_eq!(trailers.contains_key("x-more"), kind == "stream", "{kind}");
    }
}
