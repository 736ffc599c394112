//! Streams with tasks of their own.

use std::sync::{Arc, Mutex, mpsc};

use super::*;

/// What a handler that holds its thread waits for.
#[derive(Clone)]
struct Blocked(Arc<Mutex<mpsc::Receiver<()>>>);

impl Blocked {
    fn hold(&self) {
        self.0
            .lock()
            .unwrap()
            .recv_timeout(PATIENCE)
            .expect("the test lets it go on");
    }
}

hook! {
    // Computes long, without an await.
    Computes |stream, ctx| {
        if ctx.get_request().get_query("asks") == "yes" {
            stream.spawned().await;
        }
        ctx.state::<Notes>().note("computes");
        ctx.state::<Blocked>().hold();
        ctx.get_mut_response().set_body("computed");
    }
    EchoesApart |stream, ctx| {
        stream.spawned().await;
        // A second call changes nothing.
        stream.spawned().await;
        let body = ctx.get_request().get_body().to_vec();
        ctx.get_mut_response().set_body(body);
    }
    PanicsApart |stream, _| {
        stream.spawned().await;
        die();
    }
    LeavesApart |stream, ctx| {
        stream.spawned().await;
        ctx.state::<Notes>().note("begun");
        stream.disconnected().await;
        ctx.state::<Notes>().note("gone");
    }
}

hook! {
    @Stream ReadsApart |stream, ctx| {
        let mut body = ctx.body_stream();
        let first = body.next_chunk().await.unwrap().unwrap();
        stream.spawned().await;
        ctx.state::<Notes>().note("moved");
        let rest = body.read_to_end(LARGE).await.unwrap();
        ctx.get_mut_response().set_body([first, rest].concat());
    }
}

handler!(TalksApart, |stream, ctx| {
    stream.spawned().await;
    let socket = ctx.upgrade(stream).await.unwrap();
    while let Ok(message) = socket.recv().await {
        if socket.send(message).await.is_err() {
            break;
        }
    }
});

async fn spawning(
    configure: impl FnOnce(&mut Server),
) -> (ServerControlHook, Shared, mpsc::Sender<()>) {
    let (go_on, blocked) = mpsc::channel();
    let blocked = Blocked(Arc::new(Mutex::new(blocked)));
    let (control, shared) = server(|server| {
        server
            .state(blocked)
            .route::<Computes>("/computes")
            .route::<EchoesApart>("/echo-apart")
            .route::<PanicsApart>("/panics-apart")
            .route::<LeavesApart>("/leaves-apart")
            .route::<ReadsApart>("/reads-apart")
            .route::<TalksApart>("/talks-apart");
        configure(server);
    })
    .await;
    (control, shared, go_on)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_handler_with_a_task_of_its_own_does_not_hold_up_its_siblings() {
    for (asks, by_config) in [("yes", false), ("no", true), ("yes", true)] {
        let (control, mut shared, go_on) = spawning(|server| {
            server.get_mut_server_config().http2_spawned = by_config;
        })
        .await;
        let mut client = Client::connect(&control).await;
        let target = format!("/computes?asks={asks}");
        let request = client.request_to(Method::GET, &target).body(()).unwrap();
        let (answer, _) = client.send(request, true).await;
        assert_eq!(within(shared.noted.next()).await, "computes");
        for _ in 0..3 {
            assert_eq!(within(client.get("/facts")).await.0, 200);
        }
        go_on.send(()).unwrap();
        let answer = within(answer).await.unwrap();
        assert_eq!(text(answer.into_body()).await, "computed");
        control.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bodies_and_answers_pass_in_a_task_of_its_own() {
    let (control, mut shared, _) = spawning(|_| {}).await;
    let mut settings = Builder::new();
    settings.initial_window_size(1000);
    let mut client = Client::with(&control, &settings).await;
    let body = Bytes::from(vec![b'y'; 100_000]);
    for _ in 0..20 {
        let (status, text) = client.post("/echo-apart", body.clone()).await;
        assert_eq!((status, text.len()), (StatusCode::OK, body.len()));
    }
    // The rest of the body comes after the move, so the protocol knows the waker of the connection's task.
    let request = client
        .request_to(Method::POST, "/reads-apart")
        .body(())
        .unwrap();
    let (answer, mut stream) = client.send(request, false).await;
    stream.send_data("one ".into(), false).unwrap();
    assert_eq!(within(shared.noted.next()).await, "moved");
    stream.send_data("two ".into(), false).unwrap();
    tokio::time::sleep(Duration::from_millis(20)).await;
    stream.send_data("three".into(), true).unwrap();
    let answer = within(answer).await.unwrap();
    assert_eq!(text(answer.into_body()).await, "one two three");
    // The same for a WebSocket.
    let mut socket = client.websocket("/talks-apart", HeaderMap::new()).await;
    for message in ["a", "b"] {
        tokio::time::sleep(Duration::from_millis(20)).await;
        socket.frame(TEXT, message);
        assert_eq!(socket.text().await, message);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn panics_and_ends_stay_in_a_stream_with_a_task_of_its_own() {
    let (control, mut shared, _) = spawning(|_| {}).await;
    let mut client = Client::connect(&control).await;
    assert_eq!(client.get("/panics-apart").await.0, 500);
    let request = client
        .request_to(Method::GET, "/leaves-apart")
        .body(())
        .unwrap();
    let (_answer, mut stream) = client.send(request, true).await;
    assert_eq!(within(shared.noted.next()).await, "begun");
    stream.send_reset(Reason::CANCEL);
    assert_eq!(within(shared.noted.next()).await, "gone");
    assert_eq!(client.get("/facts").await.0, 200);
    // The end of the connection ends the stream as well.
    let request = client
        .request_to(Method::GET, "/leaves-apart")
        .body(())
        .unwrap();
    let (_answer, _stream) = client.send(request, true).await;
    assert_eq!(within(shared.noted.next()).await, "begun");
    client.connection.abort();
    assert_eq!(within(shared.noted.next()).await, "gone");
    within(control.shutdown()).await;
}

#[tokio::test]
async fn a_connection_of_http_1_has_a_task_already() {
    let (control, _, _) = spawning(|server| {
        server.bind("127.0.0.1:0");
    })
    .await;
    // Beside the address of the run.
    let BoundAddress::Tcp(plain) = control.addresses()[1] else {
        panic!("no TCP address");
    };
    let socket = tokio::net::TcpStream::connect(plain).await.unwrap();
    let mut client = test_support::Client::on(socket);
    assert_eq!(client.post("/echo-apart", "hello").await.text(), "hello");
}
