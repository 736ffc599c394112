//! Listening, shutting down, running out: the server as a whole.

use std::{sync::Arc, time::Duration};

use hyperlane::{Body, BoundAddress, prelude::*};
use test_support::{CLOSE, Client, PATIENCE, address, eventually, hook, start};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::TcpStream,
    sync::Semaphore,
    time::timeout,
};

/// Signals that a handler is at work, and lets it end.
#[derive(Clone)]
struct Gate {
    entered: Arc<Semaphore>,
    open: Arc<Semaphore>,
}

impl Gate {
    fn new() -> Self {
        Self {
            entered: Arc::new(Semaphore::new(0)),
            open: Arc::new(Semaphore::new(0)),
        }
    }

    async fn entered(&self) {
        let entered = timeout(PATIENCE, self.entered.acquire()).await;
        entered.expect("the handler runs").unwrap().forget();
    }
}

hook! {
    Hello |stream, ctx| {
        let peer = stream.peer_addr().map_or("local".to_owned(), |peer| peer.ip().to_string());
        ctx.get_mut_response().set_body(format!("hello {peer}"));
    }
    // Works until the gate opens.
    Slow |_, ctx| {
        let gate = ctx.state::<Gate>();
        gate.entered.add_permits(1);
        gate.open.acquire().await.unwrap().forget();
        ctx.get_mut_response().set_body("slow");
    }
    Echo |stream, ctx| {
        let socket = ctx.upgrade(stream).await.unwrap();
        while let Ok(message) = socket.recv().await {
            if socket.send(message).await.is_err() {
                break;
            }
        }
    }
    Events |stream, ctx| {
        let events = ctx.event_stream(stream).await.unwrap();
        events.send("one").await.unwrap();
        events.closed().await;
    }
    // Ignores the end of its stream.
    DeafEvents |stream, ctx| {
        let _events = ctx.event_stream(stream).await.unwrap();
        std::future::pending::<()>().await;
    }
}

async fn server(configure: impl FnOnce(&mut ServerConfig)) -> (ServerControlHook, Gate) {
    let gate = Gate::new();
    let control = start(|server| {
        routes(server).state(gate.clone());
        configure(server.get_mut_server_config());
    })
    .await;
    (control, gate)
}

fn routes(server: &mut Server) -> &mut Server {
    server
        .route::<Hello>("/hello")
        .route::<Slow>("/slow")
        .route::<Echo>("/echo")
        .route::<Events>("/events")
        .route::<DeafEvents>("/deaf")
}

async fn is_refused(address: std::net::SocketAddr) {
    let refused = async {
        // The listener's task ends in its own time.
        while TcpStream::connect(address).await.is_ok() {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, refused)
        .await
        .expect("no new connections");
}

/// Sends a request over any transport and reads to the end.
async fn exchange(mut stream: impl tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin) -> String {
    stream
        .write_all(b"GET /hello HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
        .await
        .unwrap();
    let mut text = String::new();
    timeout(PATIENCE, stream.read_to_string(&mut text))
        .await
        .unwrap()
        .unwrap();
    text
}

// ---------------------------------------------------------------- listening

#[tokio::test]
async fn a_server_listens_on_all_its_addresses() {
    let mut server = Server::new();
    let mut hosts = vec!["127.0.0.1", "localhost"];
    // Not every machine speaks IPv6.
    if std::net::TcpListener::bind("[::1]:0").is_ok() {
        hosts.push("[::1]");
    }
    routes(&mut server);
    for host in &hosts {
        server.bind(format!("{host}:0"));
    }
    let control = server.run().await.unwrap();
    assert_eq!(control.addresses().len(), hosts.len());
    for bound in control.addresses() {
        let BoundAddress::Tcp(address) = bound else {
            panic!("{bound:?}");
        };
        assert_ne!(address.port(), 0);
        assert!(
            Client::connect(*address)
                .await
                .get("/hello")
                .await
                .text()
                .starts_with("hello ")
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_place_is_enough_for_many_listeners_and_serve() {
    let mut server = Server::new();
    routes(&mut server).bind("127.0.0.1:0").bind("127.0.0.1:0");
    server.get_mut_server_config().max_connections = Some(1);
    let control = server.run().await.unwrap();
    for _ in 0..2 {
        for bound in control.addresses() {
            let BoundAddress::Tcp(address) = bound else {
                panic!("{bound:?}");
            };
            assert!(
                exchange(TcpStream::connect(address).await.unwrap())
                    .await
                    .contains("hello")
            );
        }
        let (client, end) = tokio::io::duplex(64);
        timeout(PATIENCE, control.serve(end, None))
            .await
            .expect("a place");
        assert!(exchange(client).await.contains("hello"));
    }
}

#[tokio::test]
async fn a_server_runs_on_without_its_control_hook() {
    let (control, _) = server(|_| {}).await;
    let address = address(&control);
    assert!(
        exchange(TcpStream::connect(address).await.unwrap())
            .await
            .contains("hello")
    );
    drop(control);
    for _ in 0..3 {
        // Every task has had its turn to notice.
        tokio::task::yield_now().await;
        assert!(
            exchange(TcpStream::connect(address).await.unwrap())
                .await
                .contains("hello")
        );
    }
}

#[tokio::test]
async fn an_address_that_cannot_be_bound_is_named() {
    let free = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let free = free.to_string();
    let (control, _) = server(|_| {}).await;
    let own = address(&control).to_string();
    let mut server = Server::new();
    let error = server
        .bind(&free)
        .bind(&own)
        .run()
        .await
        .err()
        .expect("it is taken");
    assert!(matches!(&error, ServerError::Bind { address, .. } if *address == own));
    let text = error.to_string();
    assert!(text.contains(&own) && text.contains("in use"), "{text}");
    // The address before it is free again.
    assert!(Server::new().bind(&free).run().await.is_ok());
    let error = Server::new()
        .bind("nonsense")
        .run()
        .await
        .err()
        .expect("it is no address");
    assert!(error.to_string().contains("nonsense"), "{error}");
}

#[cfg(unix)]
mod unix {
    use tokio::net::UnixStream;

    use super::*;

    fn path(name: &str) -> std::path::PathBuf {
        let path = std::env::temp_dir().join(format!("hyperlane-{}-{name}", std::process::id()));
        drop(std::fs::remove_file(&path));
        path
    }

    async fn listen(path: &std::path::Path) -> Result<ServerControlHook, ServerError> {
        let mut server = Server::new();
        routes(&mut server)
            .bind("127.0.0.1:0")
            .bind(format!("unix:{}", path.display()));
        server.run().await
    }

    #[tokio::test]
    async fn a_server_listens_on_tcp_and_unix_and_removes_its_file() {
        let path = path("both");
        let control = listen(&path).await.unwrap();
        assert_eq!(
            control.addresses().last(),
            Some(&BoundAddress::Unix(path.clone()))
        );
        assert!(
            exchange(UnixStream::connect(&path).await.unwrap())
                .await
                .ends_with("hello local")
        );
        let tcp = TcpStream::connect(address(&control)).await.unwrap();
        assert!(exchange(tcp).await.ends_with("hello 127.0.0.1"));
        control.shutdown().await;
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn the_file_of_a_dead_server_is_replaced() {
        let path = path("stale");
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        assert!(path.exists());
        let control = listen(&path).await.unwrap();
        assert!(
            exchange(UnixStream::connect(&path).await.unwrap())
                .await
                .contains("hello")
        );
        control.shutdown().await;
    }

    #[tokio::test]
    async fn a_live_server_keeps_its_file() {
        let path = path("live");
        let control = listen(&path).await.unwrap();
        let error = listen(&path).await.err().expect("it is taken").to_string();
        assert!(error.contains(&path.display().to_string()), "{error}");
        assert!(
            exchange(UnixStream::connect(&path).await.unwrap())
                .await
                .contains("hello")
        );
        control.shutdown().await;
    }

    #[tokio::test]
    async fn a_file_that_is_no_socket_is_left_alone() {
        let path = path("file");
        std::fs::write(&path, "precious").unwrap();
        assert!(listen(&path).await.is_err());
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "precious");
        std::fs::remove_file(&path).unwrap();
    }

    #[tokio::test]
    async fn a_file_in_the_way_of_a_socket_is_named() {
        let path = path("in-the-way");
        std::fs::write(&path, "precious").unwrap();
        let error = listen(&path).await.err().unwrap().to_string();
        assert!(error.contains("no socket is in the way"), "{error}");
        std::fs::remove_file(&path).unwrap();
        std::fs::create_dir(&path).unwrap();
        let error = listen(&path).await.err().unwrap().to_string();
        assert!(error.contains("no socket is in the way"), "{error}");
        std::fs::remove_dir(&path).unwrap();
        // The target of a link may be precious, too.
        std::os::unix::fs::symlink("/nowhere", &path).unwrap();
        let error = listen(&path).await.err().unwrap().to_string();
        assert!(error.contains("no socket is in the way"), "{error}");
        std::fs::remove_file(&path).unwrap();
        let control = listen(&path).await.unwrap();
        let error = listen(&path).await.err().unwrap().to_string();
        assert!(error.contains("another process listens there"), "{error}");
        control.shutdown().await;
    }

    #[tokio::test]
    async fn an_ending_server_leaves_the_socket_of_its_successor_alone() {
        let path = path("successor");
        let first = listen(&path).await.unwrap();
        // A deployment does this if it cannot wait for the end of the first server.
        std::fs::remove_file(&path).unwrap();
        let second = listen(&path).await.unwrap();
        first.shutdown().await;
        assert!(
            exchange(UnixStream::connect(&path).await.unwrap())
                .await
                .contains("hello")
        );
        // Another puts a file in place by a rename.
        let beside = super::unix::path("beside");
        let third = listen(&beside).await.unwrap();
        std::fs::rename(&beside, &path).unwrap();
        second.shutdown().await;
        assert!(
            exchange(UnixStream::connect(&path).await.unwrap())
                .await
                .contains("hello")
        );
        third.shutdown().await;
        std::fs::remove_file(&path).unwrap();
    }

    #[test]
    fn a_start_beside_a_server_that_hangs_fails_at_once() {
        let path = path("hung");
        let (says, hears) = std::sync::mpsc::channel();
        let theirs = path.clone();
        // The start has a thread of its own: it must not block for ever.
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Runtime::new().unwrap();
            let started = runtime.block_on(async {
                let socket = tokio::net::UnixSocket::new_stream().unwrap();
                socket.bind(&theirs).unwrap();
                let _hung = socket.listen(1).unwrap();
                let mut waiting = Vec::new();
                while let Ok(stream) = UnixStream::connect(&theirs).await {
                    waiting.push(stream);
                }
                listen(&theirs).await.map(drop)
            });
            says.send(started.err().map(|error| error.to_string()))
        });
        let error = hears.recv_timeout(PATIENCE).expect("it does not block");
        let error = error.expect("it is taken");
        assert!(error.contains("another process listens there"), "{error}");
        assert!(path.exists(), "it is not ours to remove");
        std::fs::remove_file(&path).unwrap();
    }

    #[tokio::test]
    async fn a_large_response_arrives_whole_over_unix() {
        let path = path("large");
        let control = listen(&path).await.unwrap();
        let mut stream = UnixStream::connect(&path).await.unwrap();
        let body = vec![b'x'; 1_000_000];
        stream
            .write_all(
                b"GET /echo HTTP/1.1\r\nhost: localhost\r\nupgrade: websocket\r\nconnection: Upgrade\r\n\
                  sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
            )
            .await
            .unwrap();
        stream
            .write_all(&test_support::frame(true, test_support::BINARY, &body))
            .await
            .unwrap();
        let mut seen = Vec::new();
        while !seen.ends_with(&body) {
            assert!(
                timeout(PATIENCE, stream.read_buf(&mut seen))
                    .await
                    .unwrap()
                    .unwrap()
                    > 0
            );
        }
        drop(stream);
        control.shutdown().await;
    }
}

// ---------------------------------------------------------------- shutting down

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shutdown_finishes_what_is_under_way_and_closes_the_rest() {
    let (control, gate) = server(|config| {
        // No limit but the shutdown ends anything here.
        config.header_timeout = 2 * PATIENCE;
        config.close_timeout = 2 * PATIENCE;
        config.shutdown_timeout = 4 * PATIENCE;
    })
    .await;
    let address = address(&control);
    let mut fresh = Client::connect(address).await;
    let mut idle = Client::connect(address).await;
    assert_eq!(idle.get("/hello").await.status, 200);
    let mut socket = Client::websocket(address, "/echo").await;
    let mut events = Client::connect(address).await;
    events.request("GET", "/events", "").await;
    events.until(b"data: one\n\n").await;
    let mut slow = Client::connect(address).await;
    // Another request stands behind a request under way: it is not begun any more.
    slow.send("GET /slow HTTP/1.1\r\nhost: a\r\n\r\nGET /hello HTTP/1.1\r\nhost: a\r\n\r\n")
        .await;
    gate.entered().await;
    eventually("all are there", || control.connections() == 5).await;

    let ending = tokio::spawn({
        let control = control.clone();
        async move { control.shutdown().await }
    });
    assert!(idle.ends().await);
    assert!(fresh.ends().await);
    let frame = socket.next_message().await;
    assert_eq!((frame.opcode, frame.code()), (CLOSE, 1001));
    socket.frame(CLOSE, 1001u16.to_be_bytes()).await;
    assert!(socket.ends().await);
    let rest = events.rest().await;
    assert!(
        rest.ends_with(b"0\r\n\r\n"),
        "{:?}",
        String::from_utf8_lossy(&rest)
    );
    is_refused(address).await;
    assert!(!ending.is_finished(), "a request is under way");
    assert!(futures_util::FutureExt::now_or_never(control.wait()).is_none());

    gate.open.add_permits(1);
    let reply = slow.reply().await;
    assert_eq!(
        (reply.text(), reply.header("connection")),
        ("slow", Some("close"))
    );
    assert!(slow.ends().await);
    drop(slow);
    timeout(PATIENCE, ending)
        .await
        .expect("the shutdown ends")
        .unwrap();
    timeout(PATIENCE, control.wait())
        .await
        .expect("so does the wait");
    assert_eq!(control.connections(), 0);
    // A second shutdown changes nothing.
    control.shutdown().await;
}

#[tokio::test]
async fn a_request_that_has_begun_to_arrive_is_answered_during_shutdown() {
    let (control, gate) = server(|_| {}).await;
    let mut slow = Client::connect(address(&control)).await;
    slow.request("GET", "/slow", "").await;
    gate.entered().await;
    let mut half = Client::connect(address(&control)).await;
    half.send("GET /hello HTTP/1.1\r\nhost:").await;
    eventually("both are there", || control.connections() == 2).await;
    // The server reads both in one turn: after an answer to one, the other's half is read.
    let mut other = Client::connect(address(&control)).await;
    assert_eq!(other.get("/hello").await.status, 200);
    let ending = tokio::spawn({
        let control = control.clone();
        async move { control.shutdown().await }
    });
    assert!(other.ends().await);
    half.send(" a\r\n\r\n").await;
    let reply = half.reply().await;
    assert_eq!(
        (reply.status, reply.header("connection")),
        (200, Some("close"))
    );
    assert!(half.ends().await);
    gate.open.add_permits(1);
    assert_eq!(slow.reply().await.status, 200);
    drop(slow);
    timeout(PATIENCE, ending)
        .await
        .expect("the shutdown ends")
        .unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_that_outlast_the_drain_time_are_cut() {
    let (control, gate) = server(|config| {
        config.shutdown_timeout = Duration::from_millis(200);
    })
    .await;
    let mut slow = Client::connect(address(&control)).await;
    slow.request("GET", "/slow", "").await;
    gate.entered().await;
    let mut deaf = Client::connect(address(&control)).await;
    deaf.request("GET", "/deaf", "").await;
    deaf.until(b"\r\n\r\n").await;
    // The client does not answer the Close.
    let mut socket = Client::websocket(address(&control), "/echo").await;
    timeout(PATIENCE, control.shutdown())
        .await
        .expect("the shutdown ends");
    assert!(slow.ends().await);
    // For its client the stream had ended in order before.
    assert_eq!(deaf.rest().await, b"0\r\n\r\n");
    assert_eq!(socket.next_message().await.code(), 1001);
    assert!(socket.ends().await);
}

#[tokio::test]
async fn an_empty_server_shuts_down_at_once_and_frees_its_port() {
    let (control, _) = server(|_| {}).await;
    let address = address(&control);
    timeout(PATIENCE, control.shutdown())
        .await
        .expect("the shutdown ends");
    assert!(Server::new().bind(address.to_string()).run().await.is_ok());
}

#[tokio::test]
async fn a_control_hook_without_a_server_waits_for_nothing() {
    let control = ServerControlHook::default();
    control.wait().await;
    control.shutdown().await;
    assert_eq!((control.connections(), control.local_addr()), (0, None));
}

/// The server's own control hook, set when it runs.
struct ControlCell(Arc<std::sync::OnceLock<ServerControlHook>>);

/// `true`, for loops with an outcome: a `loop` would have none.
const FOR_EVER: bool = true;

/// Opens its gate when the hook that holds it is dropped.
struct Told(Gate);

impl Drop for Told {
    fn drop(&mut self) {
        self.0.open.add_permits(1);
    }
}

hook! {
    // Waits for a lookup before it upgrades.
    LooksUp |stream, ctx| {
        let gate = ctx.state::<Gate>();
        let _told = Told(Gate::clone(&gate));
        gate.entered.add_permits(1);
        std::future::pending::<()>().await;
        let _socket = ctx.upgrade(stream).await;
    }
    // Learns of the shutdown by itself.
    Listens |stream, ctx| {
        ctx.state::<Gate>().entered.add_permits(1);
        stream.closed().await;
        ctx.get_mut_response().set_status_code(418);
    }
    Tags |_, ctx| {
        ctx.get_mut_response().set_header("x-tag", "here");
    }
    // Works for a while on each request.
    NotesSlowly |_, ctx| {
        tokio::task::yield_now().await;
        ctx.get_mut_response().set_header("x-error", "noted");
    }
    TagsSlowly |_, ctx| {
        tokio::task::yield_now().await;
        ctx.get_mut_response().set_header("x-tag", "slowly");
    }
    // Ignores the outcome of its sends.
    Loops |stream, ctx| {
        let events = ctx.event_stream(stream).await.unwrap();
        while FOR_EVER {
            let _ = events.send("tick").await;
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
    Pours |stream, ctx| {
        let events = ctx.event_stream(stream).await.unwrap();
        while FOR_EVER {
            let _ = events.send("tick").await;
        }
    }
    PoursRaw |stream, _| {
        stream.send("HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n").await;
        while FOR_EVER {
            stream.send("data: tick\n\n").await;
        }
    }
    PoursSocket |stream, ctx| {
        let socket = ctx.upgrade(stream).await.unwrap();
        while FOR_EVER {
            let _ = socket.send("tick").await;
        }
    }
    StreamsEvents |_, ctx| {
        let ticks = futures_util::stream::repeat_with(|| Ok::<_, std::io::Error>("data: tick\n\n"));
        ctx.get_mut_response().set_header("content-type", "text/event-stream").set_body(Body::stream(ticks));
    }
    // Becomes an event stream when the shutdown has begun.
    Late |stream, ctx| {
        let gate = ctx.state::<Gate>();
        gate.entered.add_permits(1);
        gate.open.acquire().await.unwrap().forget();
        let events = ctx.event_stream(stream).await.unwrap();
        while events.send("tick").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
    // Sends a last event before the end.
    Bids |stream, ctx| {
        let events = ctx.event_stream(stream).await.unwrap();
        events.closed().await;
        events.send("farewell").await.unwrap();
    }
    ShutsItselfDown |_, ctx| {
        let cell = ctx.state::<ControlCell>();
        let control = cell.0.get().unwrap();
        control.shutdown().await;
        control.wait().await;
        let text = format!("ready: {}", control.is_ready());
        ctx.get_mut_response().set_body(text);
    }
}

/// Only the shutdown ends anything here, and never by its limit.
fn patient(config: &mut ServerConfig) {
    config.header_timeout = 4 * PATIENCE;
    config.close_timeout = 4 * PATIENCE;
    config.handler_linger = 4 * PATIENCE;
    config.shutdown_timeout = 8 * PATIENCE;
}

async fn patient_server() -> (ServerControlHook, Gate) {
    let gate = Gate::new();
    let control = start(|server| {
        routes(server)
            .state(gate.clone())
            .route::<LooksUp>("/looks-up")
            .route::<Listens>("/listens")
            .route::<Loops>("/loops")
            .route::<Pours>("/pours")
            .route::<PoursRaw>("/pours-raw")
            .route::<PoursSocket>("/pours-socket")
            .route::<StreamsEvents>("/streams-events")
            .route::<Late>("/late")
            .route::<Bids>("/bids")
            .request_middleware::<Tags>();
        patient(server.get_mut_server_config());
    })
    .await;
    (control, gate)
}

async fn shuts_down(control: &ServerControlHook) {
    timeout(PATIENCE, control.shutdown())
        .await
        .expect("the shutdown ends in time");
    assert_eq!(control.connections(), 0);
}

const HANDSHAKE: &str = "upgrade: websocket\r\nconnection: Upgrade\r\nsec-websocket-version: 13\r\n\
    sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

#[tokio::test]
async fn half_a_head_holds_no_shutdown_up_and_is_answered() {
    let (control, _) = patient_server().await;
    let address = address(&control);
    let halves = [
        "G",
        "GET /hello HTTP/1.1\r\nhost: loc",
        "GET /echo HTTP/1.1\r\nhost: localhost\r\nupgrade: websocket\r\nconnection: Upg",
    ];
    let mut clients = Vec::new();
    for half in halves {
        let mut client = Client::connect(address).await;
        client.send(half).await;
        clients.push(client);
        // The same holds behind an answer.
        let mut client = Client::connect(address).await;
        assert_eq!(client.get("/hello").await.status, 200);
        client.send(half).await;
        clients.push(client);
    }
    eventually("all are there", || control.connections() == 6).await;
    // Bytes that were sent before the answer to another client have been read by then.
    assert_eq!(
        Client::connect(address).await.get("/hello").await.status,
        200
    );
    let ending = tokio::spawn({
        let control = control.clone();
        async move { shuts_down(&control).await }
    });
    for mut client in clients {
        let reply = client.reply().await;
        assert_eq!(
            (reply.status, reply.header("connection")),
            (503, Some("close"))
        );
        assert!(client.ends().await);
    }
    ending.await.unwrap();
}

#[tokio::test]
async fn half_a_proxy_header_holds_no_shutdown_up() {
    let mut server = Server::new();
    routes(&mut server).bind("proxy:127.0.0.1:0");
    patient(server.get_mut_server_config());
    let control = server.run().await.unwrap();
    let mut client = Client::connect(address(&control)).await;
    client.send(b"\r\n\r\n\0\r\nQUIT").await;
    eventually("it is there", || control.connections() == 1).await;
    shuts_down(&control).await;
    assert!(client.ends().await);
}

#[tokio::test]
async fn a_handshake_that_no_hook_has_answered_holds_no_shutdown_up_and_is_answered() {
    let (control, gate) = patient_server().await;
    let mut client = Client::connect(address(&control)).await;
    client.request("GET", "/looks-up", HANDSHAKE).await;
    gate.entered().await;
    // A hook that listens answers itself.
    let mut listens = Client::connect(address(&control)).await;
    listens.request("GET", "/listens", HANDSHAKE).await;
    gate.entered().await;
    shuts_down(&control).await;
    let reply = client.reply().await;
    assert_eq!(
        (reply.status, reply.header("connection")),
        (503, Some("close"))
    );
    assert!(client.ends().await);
    assert_eq!(listens.reply().await.status, 418);
    gate.open.acquire().await.unwrap().forget();
}

#[tokio::test]
async fn hooks_after_a_handshake_refused_at_a_shutdown_still_run() {
    let gate = Gate::new();
    let control = start(|server| {
        routes(server)
            .state(gate.clone())
            .route::<LooksUp>("/looks-up")
            .request_error::<NotesSlowly>()
            .response_middleware::<TagsSlowly>();
        patient(server.get_mut_server_config());
    })
    .await;
    let mut client = Client::connect(address(&control)).await;
    client.request("GET", "/looks-up", HANDSHAKE).await;
    gate.entered().await;
    shuts_down(&control).await;
    let reply = client.reply().await;
    assert_eq!(reply.status, 503);
    assert_eq!(reply.header("x-error"), Some("noted"));
    assert_eq!(reply.header("x-tag"), Some("slowly"));
    assert!(client.ends().await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_that_a_hook_writes_to_in_a_loop_end_in_order() {
    for target in ["/loops", "/pours", "/pours-raw", "/streams-events"] {
        let (control, _) = patient_server().await;
        let mut client = Client::connect(address(&control)).await;
        client.request("GET", target, "").await;
        client.until(b"data: tick\n\n").await;
        let (_, rest) = tokio::join!(shuts_down(&control), async move { client.rest().await });
        let shown = String::from_utf8_lossy(&rest[rest.len().saturating_sub(60)..]);
        match target {
            "/pours-raw" => assert!(
                rest.is_empty() || rest.ends_with(b"data: tick\n\n"),
                "{shown}"
            ),
            _ => assert!(
                rest.ends_with(b"\n\n\r\n0\r\n\r\n") || rest == b"\r\n0\r\n\r\n",
                "{target}: {shown}"
            ),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_socket_that_a_hook_writes_to_in_a_loop_ends_in_order() {
    let (control, _) = patient_server().await;
    let mut client = Client::websocket(address(&control), "/pours-socket").await;
    let reads = async {
        let code = loop {
            let frame = client.next_message().await;
            if frame.opcode == CLOSE {
                break frame.code();
            }
        };
        client.frame(CLOSE, code.to_be_bytes()).await;
        assert!(client.ends().await);
        code
    };
    let (_, code) = tokio::join!(shuts_down(&control), reads);
    assert_eq!(code, 1001);
}

#[tokio::test]
async fn an_event_stream_that_begins_during_a_shutdown_ends_at_once() {
    let (control, gate) = patient_server().await;
    let mut client = Client::connect(address(&control)).await;
    client.request("GET", "/late", "").await;
    gate.entered().await;
    let ending = tokio::spawn({
        let control = control.clone();
        async move { shuts_down(&control).await }
    });
    is_refused(address(&control)).await;
    gate.open.add_permits(1);
    assert!(client.rest().await.ends_with(b"0\r\n\r\n"));
    ending.await.unwrap();
}

#[tokio::test]
async fn an_event_stream_may_say_a_last_word_at_a_shutdown() {
    let (control, _) = patient_server().await;
    let mut client = Client::connect(address(&control)).await;
    client.request("GET", "/bids", "").await;
    client.until(b"\r\n\r\n").await;
    shuts_down(&control).await;
    let rest = String::from_utf8(client.rest().await).unwrap();
    assert!(rest.contains("data: farewell"), "{rest}");
    assert!(rest.ends_with("0\r\n\r\n"), "{rest}");
}

#[tokio::test]
async fn a_hook_that_shuts_its_own_server_down_does_not_wait_for_itself() {
    let cell = Arc::new(std::sync::OnceLock::new());
    let control = start(|server| {
        routes(server)
            .state(ControlCell(cell.clone()))
            .route::<ShutsItselfDown>("/");
        patient(server.get_mut_server_config());
    })
    .await;
    assert!(cell.set(control.clone()).is_ok());
    let mut client = Client::connect(address(&control)).await;
    let reply = client.get("/").await;
    assert_eq!(
        (reply.text(), reply.header("connection")),
        ("ready: false", Some("close"))
    );
    drop(client);
    timeout(PATIENCE, control.wait()).await.expect("it ends");
    assert_eq!(control.connections(), 0);
}

#[tokio::test]
async fn a_server_that_drains_is_not_ready() {
    assert!(!ServerControlHook::default().is_ready());
    let (control, gate) = server(|_| {}).await;
    assert!(control.is_ready());
    let mut slow = Client::connect(address(&control)).await;
    slow.request("GET", "/slow", "").await;
    gate.entered().await;
    let mut shutdown = Box::pin(control.shutdown());
    assert!(futures_util::FutureExt::now_or_never(&mut shutdown).is_none());
    assert!(!control.is_ready(), "from the first moment on");
    is_refused(address(&control)).await;
    assert!(!control.is_ready());
    gate.open.add_permits(1);
    shutdown.await;
    assert!(!control.is_ready());
}

#[test]
fn a_server_whose_runtime_has_ended_is_not_ready() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (control, _) = runtime.block_on(server(|_| {}));
    assert!(control.is_ready());
    drop(runtime);
    assert!(!control.is_ready());
}

// ---------------------------------------------------------------- transports of the program

#[tokio::test]
async fn a_connection_of_the_program_is_served_like_any_other() {
    let (control, _) = server(|_| {}).await;
    // The transport holds less than a head: everything goes in pieces.
    let (client, end) = tokio::io::duplex(16);
    control
        .serve(end, Some("192.0.2.7:1".parse().unwrap()))
        .await;
    assert_eq!(control.connections(), 1);
    let text = exchange(client).await;
    assert!(text.ends_with("hello 192.0.2.7"), "{text}");
    eventually("it is over", || control.connections() == 0).await;

    let (mut client, end) = tokio::io::duplex(16);
    control.serve(end, None).await;
    client
        .write_all(
            b"GET /echo HTTP/1.1\r\nhost: localhost\r\nupgrade: websocket\r\nconnection: Upgrade\r\n\
              sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
        )
        .await
        .unwrap();
    let (mut reader, mut writer) = tokio::io::split(client);
    let body = vec![b'x'; 100_000];
    let sent = test_support::frame(true, test_support::BINARY, &body);
    let sending = tokio::spawn(async move {
        writer.write_all(&sent).await.unwrap();
        writer
    });
    let mut seen = Vec::new();
    while !seen.ends_with(&body) {
        assert!(
            timeout(PATIENCE, reader.read_buf(&mut seen))
                .await
                .unwrap()
                .unwrap()
                > 0
        );
    }
    let writer = sending.await.unwrap();
    // The connection shuts down with the server.
    let ending = tokio::spawn({
        let control = control.clone();
        async move { control.shutdown().await }
    });
    seen.clear();
    timeout(PATIENCE, reader.read_buf(&mut seen))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(seen[..1], [0x88], "a Close");
    drop((reader, writer));
    timeout(PATIENCE, ending)
        .await
        .expect("the shutdown ends")
        .unwrap();
    // Afterwards nothing is served.
    let (mut client, end) = tokio::io::duplex(16);
    control.serve(end, None).await;
    assert_eq!(client.read(&mut [0]).await.unwrap(), 0);
}

// ---------------------------------------------------------------- running out of descriptors

/// Set in the process that is short of descriptors.
const CHILD: &str = "HYPERLANE_TEST_SHORT_OF_DESCRIPTORS";

/// The server of the test below; nothing when run by itself.
#[tokio::test]
async fn serves_until_its_input_ends() {
    if std::env::var_os(CHILD).is_none() {
        return;
    }
    let (control, _) = server(|config| {
        // More than there are descriptors: the limit is found by running into it.
        config.max_connections = Some(1000);
    })
    .await;
    eprintln!("listening on {}", address(&control));
    let mut line = String::new();
    BufReader::new(tokio::io::stdin())
        .read_line(&mut line)
        .await
        .unwrap();
}

#[cfg(unix)]
#[tokio::test]
async fn a_server_that_ran_out_of_descriptors_goes_on_when_some_are_free() {
    let mut child = tokio::process::Command::new("sh")
        .args(["-c", r#"ulimit -n 40; exec "$0" "$@""#])
        .arg(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "server::serves_until_its_input_ends",
            "--nocapture",
        ])
        .env(CHILD, "1")
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let address = loop {
        let line = timeout(PATIENCE, lines.next_line())
            .await
            .unwrap()
            .unwrap()
            .expect("an address");
        if let Some(address) = line.strip_prefix("listening on ") {
            break address.parse().unwrap();
        }
    };
    let mut crowd = Vec::new();
    for _ in 0..200 {
        crowd.push(Client::connect(address).await);
    }
    // The first is served, and sees the server at its limit for a while.
    assert_eq!(crowd[0].get("/hello").await.status, 200);
    let mut late = Client::connect(address).await;
    late.request("GET", "/hello", "").await;
    assert_eq!(crowd[0].get("/hello").await.status, 200);
    let nothing = late.stream.try_read(&mut [0]).expect_err("nothing to read");
    assert_eq!(nothing.kind(), std::io::ErrorKind::WouldBlock);
    assert!(child.try_wait().unwrap().is_none(), "it lives");
    drop(crowd);
    assert_eq!(late.reply().await.status, 200);
    for _ in 0..50 {
        assert_eq!(
            Client::connect(address).await.get("/hello").await.status,
            200
        );
    }
    drop(child.stdin.take());
    assert!(
        timeout(PATIENCE, child.wait())
            .await
            .unwrap()
            .unwrap()
            .success()
    );
}
