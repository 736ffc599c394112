//! Checks before a server starts: its handlers can get the values that they take.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by a panic"
)]

use std::{
    io::Write,
    sync::{Arc, Mutex},
};

use hyperlane::{
    parts::{RouteSetup, SetupError},
    prelude::*,
};
use serde::Deserialize;

struct Database;
struct Shared;
struct Late;

/// Starts the server that takes everything, and returns the log of its start.
#[hyperlane(server: Server)]
async fn start_everything() -> (ServerError, String) {
    server.bind("127.0.0.1:0").state(Arc::new(Shared));
    // These are wrong by code alone, without a macro.
    server.route::<Asks>("/asks/{name}").route::<Asks>("/asks");
    server.state(Late);
    let log = Log::default();
    let error = {
        let _listening = log.listen();
        server.run().await.err().expect("the server does not start")
    };
    (error, log.text())
}

#[get("/state/never")]
async fn state_never(_: State<Database>) {}

#[get("/state/arc")]
async fn state_arc(_: State<Shared>) {}

#[get("/state/late")]
async fn state_late(_: State<Late>) {}

#[get("/state/maybe")]
async fn state_maybe(_: Result<State<Database>, RequestError>) {}

#[get("/none")]
async fn scalar_of_none(_: Path<u32>) {}

#[get("/two/{a}/{b}")]
async fn scalar_of_two(_: Path<u32>) {}

#[get("/pair/{a}")]
async fn pair_of_one(_: Path<(u8, u8)>) {}

#[derive(Deserialize)]
#[expect(dead_code, reason = "only its form counts")]
struct Post {
    room: String,
    id: u64,
    side: Option<String>,
}

#[get("/posts/{room}/{id}")]
async fn post_fits(_: Path<Post>) {}

#[get("/posts/{room}/{post}/wrong")]
async fn post_misnamed(_: Path<Post>) {}

/// Argument type that takes a value of the server along.
struct Connection;

impl FromContext for Connection {
    fn check(setup: &RouteSetup<'_>) -> Result<(), SetupError> {
        State::<Database>::check(setup)
    }

    async fn from_context(ctx: &mut Context) -> Result<Self, Error> {
        State::<Database>::from_context(ctx).await?;
        Ok(Self)
    }
}

#[get("/wrapped")]
async fn wrapped(_: Connection) {}

struct Asks;

impl ServerHook for Asks {
    async fn new(_: &mut Stream, _: &mut Context) -> Self {
        Self
    }

    #[route_param("name" => name)]
    #[response_body(name)]
    async fn handle(self, _: &mut Stream, ctx: &mut Context) -> Status {
        Status::Continue
    }
}

/// The log.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    fn listen(&self) -> tracing::subscriber::DefaultGuard {
        let log = self.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_ansi(false)
            .with_writer(move || log.clone());
        tracing::subscriber::set_default(subscriber.finish())
    }

    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn every_handler_that_could_never_answer_is_named_before_the_server_listens() {
    let (error, log) = start_everything().await;
    let lines: Vec<_> = log.lines().filter(|line| line.contains("ERROR")).collect();
    let wrong = [
        ("`state_never`", "/state/never", "`State<start::Database>`"),
        ("`state_arc`", "/state/arc", "`Arc<start::Shared>`"),
        ("`scalar_of_none`", "/none", "has no parameter"),
        ("`scalar_of_two`", "/two/{a}/{b}", "has 2 parameters"),
        ("`pair_of_one`", "/pair/{a}", "takes 2 parameters"),
        ("`post_misnamed`", "/posts/{room}/{post}/wrong", "`id`"),
        ("`wrapped`", "/wrapped", "`State<start::Database>`"),
        ("`start::Asks`", "/asks\"", "no parameter `name`"),
    ];
    for (handler, pattern, lack) in wrong {
        let line = lines.iter().find(|line| line.contains(handler));
        let line = line.unwrap_or_else(|| panic!("{handler} is not in {log}"));
        for part in [pattern, lack, "tests/start.rs:"] {
            assert!(line.contains(part), "no {part} in {line}");
        }
    }
    assert_eq!(lines.len(), wrong.len(), "{log}");
    let text = error.to_string();
    assert!(matches!(error, ServerError::Handler { .. }), "{text}");
    assert!(text.contains("`state_never` of \"/state/never\""), "{text}");
    assert!(text.contains("tests/start.rs:"), "{text}");
    assert!(text.contains("7 more"), "{text}");
    assert_eq!(format!("{error:?}"), text);
}

#[tokio::test]
async fn a_server_is_asked_about_its_own_routes_alone() {
    let log = Log::default();
    let _listening = log.listen();
    let mut server = Server::new();
    server.bind("127.0.0.1:0").route::<Asks>("/asks/:name");
    let control = server.run().await.expect("the server starts");
    control.shutdown().await;
    // Another server of the program takes what macros registered, so there is nothing to warn of.
    assert!(!log.text().contains("WARN"), "{}", log.text());
}

#[tokio::test]
async fn a_server_without_any_route_says_so() {
    let log = Log::default();
    let _listening = log.listen();
    let mut server = Server::new();
    server.bind("127.0.0.1:0").request_middleware::<Asks>();
    let control = server.run().await.expect("the server starts");
    control.shutdown().await;
    let text = log.text();
    assert!(text.contains("WARN"), "{text}");
    assert!(text.contains("has no route"), "{text}");
    assert!(
        text.contains("`start_everything`") || text.contains("tests/start.rs:"),
        "{text}"
    );
}
