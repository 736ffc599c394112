//! HTTP/2 as a client of the crate `h2` sees it: streams that share a connection, flow control, resets and WebSockets.
//! The rest of the suite runs over HTTP/2 by `cargo xtask http2`.

mod ends;
mod spawned;

use std::{net::SocketAddr, time::Duration};

use bytes::Bytes;
use h2::{
    Reason, RecvStream, SendStream,
    client::{Builder, SendRequest},
};
use http::{HeaderMap, Method, Request, Response, StatusCode, Version};
use hyperlane::prelude::*;
use test_support::{
    BINARY, CLOSE, Gate, Notes, PATIENCE, PING, PONG, TEXT, address, eventually, frame, handler,
    hook, http2_socket, notes, start,
};
use tokio::{net::TcpStream, time::timeout};

// ---------------------------------------------------------------- the client

/// A client's connection.
struct Client {
    send: SendRequest<Bytes>,
    connection: tokio::task::JoinHandle<Result<(), h2::Error>>,
    address: SocketAddr,
}

impl Client {
    async fn connect(control: &ServerControlHook) -> Self {
        Self::with(control, &Builder::new()).await
    }

    async fn with(control: &ServerControlHook, settings: &Builder) -> Self {
        let address = address(control);
        let socket = http2_socket(address).await.unwrap();
        let (send, connection) = settings.handshake(socket).await.unwrap();
        Self {
            send,
            connection: tokio::spawn(connection),
            address,
        }
    }

    fn request_to(&self, method: Method, target: &str) -> http::request::Builder {
        Request::builder()
            .method(method)
            .version(Version::HTTP_2)
            .uri(format!("http://{}{target}", self.address))
    }

    /// Sends a request, and returns the answer and the sending side of the stream.
    async fn send(
        &mut self,
        request: Request<()>,
        ends: bool,
    ) -> (h2::client::ResponseFuture, SendStream<Bytes>) {
        std::future::poll_fn(|cx| self.send.poll_ready(cx))
            .await
            .unwrap();
        self.send.send_request(request, ends).unwrap()
    }

    async fn answer(&mut self, request: http::request::Builder) -> Response<RecvStream> {
        let (answer, _) = self.send(request.body(()).unwrap(), true).await;
        within(answer).await.unwrap()
    }

    async fn get(&mut self, target: &str) -> (StatusCode, String) {
        let answer = self.answer(self.request_to(Method::GET, target)).await;
        (answer.status(), text(answer.into_body()).await)
    }

    async fn post(&mut self, target: &str, body: impl Into<Bytes>) -> (StatusCode, String) {
        let request = self.request_to(Method::POST, target).body(()).unwrap();
        let (answer, mut stream) = self.send(request, false).await;
        stream.send_data(body.into(), true).unwrap();
        let answer = within(answer).await.unwrap();
        (answer.status(), text(answer.into_body()).await)
    }

    /// Opens a WebSocket.
    async fn websocket(&mut self, target: &str, fields: HeaderMap) -> Socket {
        let send = self.send.clone();
        eventually("an extended CONNECT is allowed", || {
            send.is_extended_connect_protocol_enabled()
        })
        .await;
        let mut request = self.request_to(Method::CONNECT, target).body(()).unwrap();
        *request.headers_mut() = fields;
        request
            .headers_mut()
            .insert("sec-websocket-version", "13".parse().unwrap());
        let websocket = h2::ext::Protocol::from_static("websocket");
        request.extensions_mut().insert(websocket);
        let (answer, send) = self.send(request, false).await;
        let answer = within(answer).await.unwrap();
        let (head, receive) = answer.into_parts();
        Socket {
            head,
            send,
            receive,
            buffer: Vec::new(),
        }
    }
}

async fn within<T>(future: impl Future<Output = T>) -> T {
    timeout(PATIENCE, future).await.expect("in time")
}

async fn read(mut body: RecvStream) -> Result<Vec<u8>, h2::Error> {
    let mut whole = Vec::new();
    while let Some(data) = within(body.data()).await {
        let data = data?;
        body.flow_control().release_capacity(data.len()).unwrap();
        whole.extend_from_slice(&data);
    }
    Ok(whole)
}

async fn text(body: RecvStream) -> String {
    String::from_utf8(read(body).await.unwrap()).unwrap()
}

/// A WebSocket over a stream.
struct Socket {
    head: http::response::Parts,
    send: SendStream<Bytes>,
    receive: RecvStream,
    buffer: Vec<u8>,
}

impl Socket {
    fn frame(&mut self, opcode: u8, payload: impl AsRef<[u8]>) {
        let bytes = frame(true, opcode, payload);
        self.send.send_data(bytes.into(), false).unwrap();
    }

    /// Reads a frame of less than 126 bytes; `None` at the end of the stream.
    async fn next(&mut self) -> Option<(u8, Vec<u8>)> {
        loop {
            if let [head, length, ..] = self.buffer[..] {
                let length = usize::from(length);
                assert!(length < 126);
                if self.buffer.len() >= 2 + length {
                    let payload = self.buffer[2..2 + length].to_vec();
                    self.buffer.drain(..2 + length);
                    return Some((head & 0x7f, payload));
                }
            }
            let data = within(self.receive.data()).await?.ok()?;
            let flow = self.receive.flow_control();
            flow.release_capacity(data.len()).unwrap();
            self.buffer.extend_from_slice(&data);
        }
    }

    async fn text(&mut self) -> String {
        let (opcode, payload) = self.next().await.expect("a message");
        assert_eq!(opcode, TEXT);
        String::from_utf8(payload).unwrap()
    }
}

// ---------------------------------------------------------------- hooks

fn die() {
    panic!("in a stream");
}

hook! {
    Echo |_, ctx| {
        let body = ctx.get_request().get_body().to_vec();
        ctx.get_mut_response().set_body(body);
    }
    Facts |stream, ctx| {
        let request = ctx.get_request();
        assert!(stream.get_local_addr().is_ok());
        let text = format!(
            "{} {} {} {:?}",
            request.get_version().is_http2(),
            request.get_host(),
            request.get_headers().get("cookie").unwrap_or("-"),
            request.get_query("q"),
        );
        ctx.get_mut_response().set_body(text);
    }
    Empty |_, ctx| {
        let code = ctx.get_request().get_query("code").parse::<usize>().unwrap();
        ctx.get_mut_response().set_status_code(code).set_body("dropped");
    }
    Large |_, ctx| {
        ctx.get_mut_response().set_body(vec![b'x'; LARGE]);
    }
    Panics |_, _| {
        die();
    }
    Breaks |stream, _| {
        stream.try_send("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf").await.unwrap();
    }
    OnError |_, ctx| {
        let error = ctx.get_request_error_data().unwrap();
        ctx.get_mut_response().set_body(format!("error: {error:?}"));
    }
    // Notes that it runs, and answers when the test opens the gate.
    Waits |_, ctx| {
        ctx.state::<Notes>().note("waits");
        ctx.state::<Gate>().pass().await;
        ctx.get_mut_response().set_body("waited");
    }
    RawLength |stream, _| {
        stream.try_send("HTTP/1.1 201 Created\r\nx-raw: yes\r\ncontent-length: 5\r\n\r\nhello").await.unwrap();
    }
    RawChunks |stream, _| {
        stream.try_send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhe\r\n3;x=y\r\nllo\r\n0\r\n\r\n").await.unwrap();
    }
    RawUntilClose |stream, _| {
        stream.try_send("HTTP/1.1 200 OK\r\nconnection: close\r\n\r\nhel").await.unwrap();
        stream.try_send("lo").await.unwrap();
    }
    RawInPieces |stream, _| {
        for byte in b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello" {
            stream.try_send([*byte]).await.unwrap();
        }
    }
    RawInterim |stream, _| {
        stream.try_send("HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n").await.unwrap();
        stream.try_send("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello").await.unwrap();
    }
    RawGarbage |stream, _| {
        let _ = stream.try_send("no head at all").await;
    }
}

hook! {
    @Stream StreamEcho |_, ctx| {
        let body = ctx.body_stream();
        ctx.get_mut_response().set_body(Body::stream(body));
    }
    // Reads nothing until the test opens the gate.
    @Stream ReadsLate |_, ctx| {
        ctx.state::<Notes>().note("waits");
        ctx.state::<Gate>().pass().await;
        let mut body = ctx.body_stream();
        let mut length = 0;
        while let Ok(Some(piece)) = body.next_chunk().await {
            length += piece.len();
        }
        ctx.get_mut_response().set_body(length.to_string());
    }
}

handler!(Events, |stream, ctx| {
    let room = ctx.room("lobby").unwrap();
    let events = ctx.event_stream(stream).await.unwrap();
    room.join(&events).await.unwrap();
    ctx.state::<Notes>().note("joined");
    events.closed().await;
    ctx.state::<Notes>().note("left");
});

handler!(Member, |stream, ctx| {
    let room = ctx.room("lobby").unwrap();
    let socket = ctx.upgrade(stream).await.unwrap();
    room.join(&socket).await.unwrap();
    ctx.state::<Notes>().note("joined");
    while let Ok(message) = socket.recv().await {
        room.broadcast(message.to_str().unwrap_or_default().to_owned())
            .await
            .unwrap();
    }
    ctx.state::<Notes>().note("left");
});

handler!(SocketEcho, |stream, ctx| {
    let Ok(socket) = ctx.upgrade(stream).await else {
        return Status::Reject;
    };
    while let Ok(message) = socket.recv().await {
        if socket.send(message).await.is_err() {
            break;
        }
    }
});

const LARGE: usize = 4 * 1024 * 1024;

async fn server(configure: impl FnOnce(&mut Server)) -> (ServerControlHook, Shared) {
    let (says, noted) = notes();
    let gate = Gate::default();
    let rooms = Rooms::new();
    let room = rooms.room("lobby").unwrap();
    let control = start(|server| {
        server
            .state(says)
            .state(gate.clone())
            .state(rooms)
            .route::<Echo>("/echo")
            .route::<StreamEcho>("/stream")
            .route::<ReadsLate>("/late")
            .route::<Facts>("/facts")
            .route::<Empty>("/empty")
            .route::<Large>("/large")
            .route::<Panics>("/panics")
            .route::<Breaks>("/breaks")
            .route::<Waits>("/waits")
            .route::<RawLength>("/raw/length")
            .route::<RawChunks>("/raw/chunks")
            .route::<RawUntilClose>("/raw/close")
            .route::<RawInPieces>("/raw/pieces")
            .route::<RawInterim>("/raw/interim")
            .route::<RawGarbage>("/raw/garbage")
            .route::<Events>("/events")
            .route::<Member>("/member")
            .route::<SocketEcho>("/socket");
        configure(server);
    })
    .await;
    (control, Shared { noted, gate, room })
}

struct Shared {
    noted: test_support::Noted,
    gate: Gate,
    room: Room,
}

// ---------------------------------------------------------------- requests

#[tokio::test]
async fn requests_of_one_connection_are_answered_side_by_side() {
    let (control, mut shared) = server(|_| {}).await;
    let mut client = Client::connect(&control).await;
    let request = client.request_to(Method::GET, "/waits").body(()).unwrap();
    let (waiting, _) = client.send(request, true).await;
    assert_eq!(shared.noted.next().await, "waits");
    // Other requests of the connection do not wait for this one.
    for number in 0..50 {
        let sent = format!("{number} ").repeat(100);
        let (status, echoed) = client.post("/echo", sent.clone()).await;
        assert_eq!((status, echoed), (StatusCode::OK, sent));
    }
    assert_eq!(control.connections(), 1, "a stream is no connection");
    shared.gate.open();
    assert_eq!(
        text(within(waiting).await.unwrap().into_body()).await,
        "waited"
    );
}

#[tokio::test]
async fn a_hook_sees_the_version_the_host_and_one_cookie_field() {
    let (control, _) = server(|_| {}).await;
    let mut client = Client::connect(&control).await;
    let request = client
        .request_to(Method::GET, "/facts?q=a%20b")
        .header("cookie", "a=1")
        .header("cookie", "b=2; c=3");
    let answer = client.answer(request).await;
    assert_eq!(answer.version(), Version::HTTP_2);
    for name in ["connection", "transfer-encoding", "keep-alive"] {
        assert!(!answer.headers().contains_key(name), "{name}");
    }
    let expected = format!("true {} a=1; b=2; c=3 \"a b\"", client.address);
    assert_eq!(text(answer.into_body()).await, expected);
    // A field `host` beside `:authority` must name the same host. Otherwise the request is refused.
    let host = client.address.to_string();
    let same = client
        .request_to(Method::GET, "/facts")
        .header("host", host);
    assert_eq!(client.answer(same).await.status(), 200);
    let other = client
        .request_to(Method::GET, "/facts")
        .header("host", "other");
    assert_eq!(client.answer(other).await.status(), 400);
    let foreign = Request::get("http://foreign.test/facts").version(Version::HTTP_2);
    assert_eq!(client.answer(foreign).await.status(), 421);
}

#[tokio::test]
async fn answers_without_a_body_end_with_their_head() {
    let (control, _) = server(|_| {}).await;
    let mut client = Client::connect(&control).await;
    for code in [204, 304] {
        let request = client.request_to(Method::GET, &format!("/empty?code={code}"));
        let answer = client.answer(request).await;
        assert_eq!(answer.status(), code);
        assert!(answer.body().is_end_stream(), "{code}");
    }
    let answer = client
        .answer(client.request_to(Method::HEAD, "/large"))
        .await;
    assert_eq!(
        answer.headers()["content-length"],
        LARGE.to_string().as_str()
    );
    assert!(answer.body().is_end_stream());
    for target in ["/raw/length", "/raw/chunks", "/raw/close", "/raw/pieces"] {
        let answer = client.answer(client.request_to(Method::HEAD, target)).await;
        assert!(answer.status().is_success());
        assert_eq!(text(answer.into_body()).await, "", "{target}");
    }
}

#[tokio::test]
async fn refusals_stay_in_their_stream() {
    let (control, _) = server(|server| {
        server.request_error::<OnError>().route::<Echo>("/small");
        let config = server.get_mut_server_config();
        config.max_body = 1000;
        config.max_header_count = 20;
    })
    .await;
    let mut client = Client::connect(&control).await;
    assert_eq!(client.get("/nothing").await.0, 404);
    let (status, body) = client.post("/echo", vec![b'x'; 1001]).await;
    assert_eq!(status, 413);
    assert!(body.contains("error: "), "{body}");
    assert_eq!(client.post("/echo", vec![b'x'; 1000]).await.0, 200);
    let mut many = client.request_to(Method::GET, "/facts");
    for number in 0..30 {
        many = many.header(format!("x-{number}"), "y");
    }
    assert_eq!(client.answer(many).await.status(), 431);
    let (status, _) = client.get("/panics").await;
    assert_eq!(status, 500);
    assert_eq!(client.get("/facts").await.0, 200);
    assert!(!client.connection.is_finished());
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_a_reset_of_its_stream_alone() {
    let (control, _) = server(|_| {}).await;
    let mut client = Client::connect(&control).await;
    for target in ["/breaks", "/raw/garbage"] {
        let request = client.request_to(Method::GET, target).body(()).unwrap();
        let (answer, _) = client.send(request, true).await;
        let error = match within(answer).await {
            Ok(answer) => read(answer.into_body()).await.expect_err("no regular end"),
            Err(error) => error,
        };
        assert_eq!(error.reason(), Some(Reason::INTERNAL_ERROR), "{target}");
        assert!(error.is_reset(), "{target}: {error}");
        assert_eq!(client.get("/facts").await.0, 200);
    }
}

// ---------------------------------------------------------------- raw answers

#[tokio::test]
async fn what_a_program_writes_as_text_is_head_and_data() {
    let (control, _) = server(|_| {}).await;
    let mut client = Client::connect(&control).await;
    for target in ["/raw/length", "/raw/chunks", "/raw/close", "/raw/pieces"] {
        let answer = client.answer(client.request_to(Method::GET, target)).await;
        let is_first = target == "/raw/length";
        assert_eq!(answer.status(), if is_first { 201 } else { 200 });
        assert_eq!(answer.headers().contains_key("x-raw"), is_first);
        for name in ["connection", "transfer-encoding"] {
            assert!(!answer.headers().contains_key(name), "{target}: {name}");
        }
        assert_eq!(text(answer.into_body()).await, "hello", "{target}");
    }
    let request = client.request_to(Method::GET, "/raw/interim");
    let (mut answer, _) = client.send(request.body(()).unwrap(), true).await;
    let interim = within(std::future::poll_fn(|cx| answer.poll_informational(cx)))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(
        (interim.status(), &interim.headers()["link"]),
        (StatusCode::EARLY_HINTS, &"</a>".parse().unwrap())
    );
    assert_eq!(
        text(within(answer).await.unwrap().into_body()).await,
        "hello"
    );
}

// ---------------------------------------------------------------- flow control

#[tokio::test]
async fn a_body_streams_both_ways_at_once() {
    let (control, _) = server(|_| {}).await;
    let mut client = Client::connect(&control).await;
    let request = client.request_to(Method::POST, "/stream").body(()).unwrap();
    let (answer, mut stream) = client.send(request, false).await;
    stream.send_data("first".into(), false).unwrap();
    let mut body = within(answer).await.unwrap().into_body();
    for number in 0..100 {
        let expected = if number == 0 {
            "first".to_owned()
        } else {
            format!("piece {number}")
        };
        let got = within(body.data()).await.unwrap().unwrap();
        assert_eq!(got, expected);
        body.flow_control().release_capacity(got.len()).unwrap();
        stream
            .send_data(format!("piece {}", number + 1).into(), false)
            .unwrap();
    }
    stream.send_data(Bytes::new(), true).unwrap();
    assert_eq!(text(body).await, "piece 100");
}

#[tokio::test]
async fn a_hook_that_does_not_read_stops_its_client_alone() {
    let (control, mut shared) = server(|_| {}).await;
    let mut client = Client::connect(&control).await;
    let request = client.request_to(Method::POST, "/late").body(()).unwrap();
    let (answer, mut stream) = client.send(request, false).await;
    assert_eq!(shared.noted.next().await, "waits");
    stream.reserve_capacity(LARGE);
    let mut sent = 0;
    // The window of the stream is 256 KiB. Only a read of the hook would open it further.
    while let Ok(Some(Ok(_))) = timeout(
        Duration::from_millis(300),
        std::future::poll_fn(|cx| stream.poll_capacity(cx)),
    )
    .await
    {
        let count = stream.capacity();
        stream.send_data(vec![b'x'; count].into(), false).unwrap();
        sent += count;
        stream.reserve_capacity(LARGE - sent);
    }
    assert!(sent < LARGE / 2, "{sent} bytes were taken");
    // The other streams of the connection go on, because the window of the connection is larger than that of a stream.
    for _ in 0..4 {
        assert_eq!(
            client.post("/echo", vec![b'y'; 60_000]).await.1.len(),
            60_000
        );
    }
    shared.gate.open();
    while sent < LARGE {
        stream.reserve_capacity(LARGE - sent);
        within(std::future::poll_fn(|cx| stream.poll_capacity(cx))).await;
        let count = stream.capacity();
        stream.send_data(vec![b'x'; count].into(), false).unwrap();
        sent += count;
    }
    stream.send_data(Bytes::new(), true).unwrap();
    assert_eq!(
        text(within(answer).await.unwrap().into_body()).await,
        LARGE.to_string()
    );
}

#[tokio::test]
async fn a_client_that_does_not_read_a_stream_still_gets_the_others() {
    let (control, _) = server(|_| {}).await;
    // The window of the connection is ten times that of a stream, so one stream that is not read does not fill it.
    let mut settings = Builder::new();
    settings
        .initial_window_size(100_000)
        .initial_connection_window_size(1_000_000);
    let mut client = Client::with(&control, &settings).await;
    let slow = client
        .answer(client.request_to(Method::GET, "/large"))
        .await;
    for _ in 0..3 {
        let (_, body) = client.get("/large").await;
        assert_eq!(body.len(), LARGE);
    }
    assert_eq!(read(slow.into_body()).await.unwrap().len(), LARGE);
}

// ---------------------------------------------------------------- event streams and rooms

#[tokio::test]
async fn members_of_a_room_on_streams_of_one_connection() {
    let (control, mut shared) = server(|_| {}).await;
    let mut client = Client::connect(&control).await;
    let mut bodies = Vec::new();
    for _ in 0..5 {
        let answer = client
            .answer(client.request_to(Method::GET, "/events"))
            .await;
        assert_eq!(answer.headers()["content-type"], "text/event-stream");
        bodies.push(answer.into_body());
        assert_eq!(shared.noted.next().await, "joined");
    }
    let mut socket = client.websocket("/member", HeaderMap::new()).await;
    assert_eq!(shared.noted.next().await, "joined");
    assert_eq!((shared.room.len(), control.connections()), (6, 1));
    socket.frame(TEXT, "to all");
    assert_eq!(socket.text().await, "to all");
    for body in &mut bodies {
        let mut event = Vec::new();
        while !event.ends_with(b"data: to all\n\n") {
            event.extend(within(body.data()).await.unwrap().unwrap());
        }
    }
    // A stream that its client resets leaves at once, and the others stay.
    drop(bodies.pop());
    assert_eq!(shared.noted.next().await, "left");
    eventually("it has left", || shared.room.len() == 5).await;
    assert_eq!(shared.room.broadcast("again").await.unwrap().members, 5);
    assert_eq!(socket.text().await, "again");
    // The end of the connection ends all its streams, and so all memberships.
    drop((bodies, socket, client));
    eventually("all have left", || shared.room.is_empty()).await;
    eventually("the connection ends", || control.connections() == 0).await;
}

#[tokio::test]
async fn a_client_that_resets_a_stream_ends_the_wait_of_its_hook() {
    struct Ends;
    impl ServerHook for Ends {
        async fn new(_: &mut Stream, _: &mut Context) -> Self {
            Self
        }

        async fn handle(self, stream: &mut Stream, ctx: &mut Context) -> Status {
            ctx.state::<Notes>().note("waits");
            stream.disconnected().await;
            ctx.state::<Notes>().note("gone");
            Status::Continue
        }
    }
    let (control, mut shared) = server(|server| {
        server.route::<Ends>("/ends");
    })
    .await;
    let mut client = Client::connect(&control).await;
    let request = client.request_to(Method::GET, "/ends").body(()).unwrap();
    let (answer, mut stream) = client.send(request, true).await;
    assert_eq!(shared.noted.next().await, "waits");
    stream.send_reset(Reason::CANCEL);
    assert_eq!(shared.noted.next().await, "gone");
    drop(answer);
    assert_eq!(client.get("/facts").await.0, 200);
}

// ---------------------------------------------------------------- WebSockets

#[tokio::test]
async fn a_websocket_echoes_pings_and_closes_on_its_stream() {
    let (control, _) = server(|_| {}).await;
    let mut client = Client::connect(&control).await;
    let mut sockets = Vec::new();
    for _ in 0..3 {
        let socket = client.websocket("/socket", HeaderMap::new()).await;
        assert_eq!(socket.head.status, 200);
        for name in ["sec-websocket-accept", "upgrade", "connection"] {
            assert!(!socket.head.headers.contains_key(name), "{name}");
        }
        sockets.push(socket);
    }
    for (number, socket) in sockets.iter_mut().enumerate() {
        socket.frame(TEXT, format!("socket {number}"));
        socket.frame(PING, "are you there");
        socket.frame(BINARY, [1, 2, 3]);
    }
    for (number, socket) in sockets.iter_mut().enumerate() {
        let mut seen = Vec::new();
        for _ in 0..3 {
            seen.push(socket.next().await.unwrap());
        }
        seen.sort_unstable();
        let expected = [
            (TEXT, format!("socket {number}").into_bytes()),
            (BINARY, vec![1, 2, 3]),
            (PONG, b"are you there".to_vec()),
        ];
        assert_eq!(seen, expected);
    }
    let codes: [(&[u8], u16); 2] = [(&1000u16.to_be_bytes(), 1000), (&[0x03], 1002)];
    for ((sent, code), mut socket) in codes.into_iter().zip(sockets) {
        socket.frame(CLOSE, sent);
        let (opcode, payload) = socket.next().await.unwrap();
        assert_eq!((opcode, &payload[..2]), (CLOSE, &code.to_be_bytes()[..]));
        assert_eq!(socket.next().await, None, "the stream ends");
    }
    assert_eq!(client.get("/facts").await.0, 200);
}

#[tokio::test]
async fn an_extended_connect_that_is_no_websocket_of_the_server_is_refused() {
    let (control, _) = server(|_| {}).await;
    let mut client = Client::connect(&control).await;
    let socket = client.websocket("/nowhere", HeaderMap::new()).await;
    assert_eq!(socket.head.status, 404);
    // A 200 would accept the handshake. So the server refuses it where a route answers with an ordinary 200, even if
    // the program writes that answer as text.
    for target in ["/echo", "/raw/close"] {
        let socket = client.websocket(target, HeaderMap::new()).await;
        assert_eq!(socket.head.status, 400, "{target}");
    }
    let fields = HeaderMap::from_iter([(
        "origin".parse().unwrap(),
        "http://evil.test".parse().unwrap(),
    )]);
    let socket = client.websocket("/socket", fields).await;
    assert_eq!(socket.head.status, 403);
    let mut request = client
        .request_to(Method::CONNECT, "/socket")
        .body(())
        .unwrap();
    let other = h2::ext::Protocol::from_static("connect-udp");
    request.extensions_mut().insert(other);
    let (answer, _stream) = client.send(request, false).await;
    assert_eq!(within(answer).await.unwrap().status(), 501);
    assert_eq!(client.get("/facts").await.0, 200);
}

#[tokio::test]
async fn a_websocket_agrees_on_its_protocol_and_compression() {
    struct Speaks;
    impl ServerHook for Speaks {
        async fn new(_: &mut Stream, _: &mut Context) -> Self {
            Self
        }

        async fn handle(self, stream: &mut Stream, ctx: &mut Context) -> Status {
            let Ok(socket) = ctx.upgrade(stream).await else {
                return Status::Reject;
            };
            while let Ok(message) = socket.recv().await {
                let _ = socket.send(message).await;
            }
            Status::Continue
        }
    }
    let (control, _) = server(|server| {
        let config = server.get_mut_server_config();
        config.deflate = Some(Default::default());
        config.subprotocols = vec!["chat".to_owned()];
        server.route::<Speaks>("/speaks");
    })
    .await;
    let mut client = Client::connect(&control).await;
    let fields = HeaderMap::from_iter([
        (
            "sec-websocket-protocol".parse().unwrap(),
            "other, chat".parse().unwrap(),
        ),
        (
            "sec-websocket-extensions".parse().unwrap(),
            "permessage-deflate".parse().unwrap(),
        ),
    ]);
    let mut socket = client.websocket("/speaks", fields).await;
    assert_eq!(socket.head.headers["sec-websocket-protocol"], "chat");
    let extensions = socket.head.headers["sec-websocket-extensions"]
        .to_str()
        .unwrap();
    assert!(extensions.starts_with("permessage-deflate"), "{extensions}");
    // "Hello", compressed (RFC 7692 §7.2.3.1). RSV1, the bit after FIN, marks a compressed message.
    let mut hello = frame(true, TEXT, [0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00]);
    hello[0] |= 0x40;
    socket.send.send_data(hello.into(), false).unwrap();
    let (head, payload) = socket.next().await.unwrap();
    assert_eq!(head & 0x0f, TEXT);
    assert!(!payload.is_empty());
}

// ---------------------------------------------------------------- the end of a connection

#[tokio::test]
async fn a_shutdown_lets_streams_end_and_takes_no_further_one() {
    let (control, mut shared) = server(|_| {}).await;
    let mut client = Client::connect(&control).await;
    let mut socket = client.websocket("/socket", HeaderMap::new()).await;
    let request = client.request_to(Method::GET, "/waits").body(()).unwrap();
    let (waiting, _) = client.send(request, true).await;
    assert_eq!(shared.noted.next().await, "waits");
    let ending = tokio::spawn({
        let control = control.clone();
        async move { control.shutdown().await }
    });
    let (opcode, payload) = socket.next().await.unwrap();
    assert_eq!((opcode, &payload[..2]), (CLOSE, &1001u16.to_be_bytes()[..]));
    socket.frame(CLOSE, 1001u16.to_be_bytes());
    let mut next = client.send.clone();
    within(async {
        // The client has seen GOAWAY when it refuses to open a stream.
        while std::future::poll_fn(|cx| next.poll_ready(cx)).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    shared.gate.open();
    assert_eq!(
        text(within(waiting).await.unwrap().into_body()).await,
        "waited"
    );
    drop((socket, next));
    within(client.connection).await.unwrap().unwrap();
    within(ending).await.unwrap();
}

#[tokio::test]
async fn an_idle_connection_ends_and_one_with_a_stream_does_not() {
    const SHORT: Duration = Duration::from_millis(200);
    let (control, mut shared) = server(|server| {
        server.get_mut_server_config().keep_alive_timeout = SHORT;
    })
    .await;
    let mut client = Client::connect(&control).await;
    let body = client
        .answer(client.request_to(Method::GET, "/events"))
        .await
        .into_body();
    assert_eq!(shared.noted.next().await, "joined");
    // The pause makes the stream older than the time limit. No event marks that moment.
    tokio::time::sleep(4 * SHORT).await;
    assert_eq!(client.get("/facts").await.0, 200);
    drop(body);
    assert_eq!(shared.noted.next().await, "left");
    within(client.connection).await.unwrap().unwrap();
    eventually("it is counted out", || control.connections() == 0).await;
}

#[tokio::test]
async fn a_server_without_http_2_refuses_the_preface() {
    let control = start(|server| {
        server.get_mut_server_config().protocol = hyperlane::ServerProtocol::Http1;
        server.route::<Facts>("/facts");
    })
    .await;
    let mut client = test_support::Client {
        stream: TcpStream::connect(address(&control)).await.unwrap(),
        buffer: Vec::new(),
    };
    client.send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await;
    assert_eq!(client.reply().await.status, 505);
}

/// Requests that are answered within one poll leave no stream behind for the timer to see. They must still count as
/// use.
#[tokio::test]
async fn a_connection_that_is_used_is_not_idle() {
    let (control, _shared) = server(|server| {
        server.get_mut_server_config().keep_alive_timeout = Duration::from_millis(300);
    })
    .await;
    let mut client = Client::connect(&control).await;
    for _ in 0..20 {
        assert_eq!(client.get("/facts").await.0, 200);
        tokio::time::sleep(Duration::from_millis(60)).await;
    }
    assert!(!client.connection.is_finished());
}

handler!(WorksOn, |stream, ctx| {
    let answer = ctx.get_mut_response().build();
    stream.try_send(answer).await.unwrap();
    ctx.state::<Notes>().note("answered");
    stream.closed().await;
    ctx.state::<Notes>().note("left");
});

#[tokio::test]
async fn a_handler_that_has_answered_learns_of_the_end_of_the_connection() {
    let (control, mut shared) = server(|server| {
        server.route::<WorksOn>("/works-on");
    })
    .await;
    let mut client = Client::connect(&control).await;
    let answer = client.answer(client.request_to(Method::GET, "/works-on"));
    let answer = answer.await;
    assert_eq!(shared.noted.next().await, "answered");
    drop(answer);
    client.connection.abort();
    drop(client);
    assert_eq!(shared.noted.next().await, "left");
    eventually("it is counted out", || control.connections() == 0).await;
}
