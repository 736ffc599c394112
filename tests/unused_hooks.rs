//! A program whose attribute macros register hooks, and whose servers take none of them. It runs itself once per case,
//! as what counts is what a process prints: `main` returns the error, as the README's does.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by a panic"
)]

use std::process::Command;

use hyperlane::prelude::*;

/// Name of the variable that tells a child process its case.
const CASE: &str = "HYPERLANE_TEST_CASE";

#[get("/hello")]
async fn hello() -> &'static str {
    "hello"
}

#[post("/hello")]
async fn say_hello() -> &'static str {
    "hello"
}

#[request_middleware]
struct Mark;

struct Plain;

macro_rules! hooks {
    ($($name:ident)+) => {$(
        impl ServerHook for $name {
            async fn new(_: &mut Stream, _: &mut Context) -> Self {
                Self
            }

            async fn handle(self, _: &mut Stream, _: &mut Context) -> Status {
                Status::Continue
            }
        }
    )+};
}

hooks!(Mark Plain);

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), ServerError> {
    match std::env::var(CASE) {
        Ok(case) => run(&case).await,
        Err(_) => {
            check();
            Ok(())
        }
    }
}

/// Runs the case of a child.
async fn run(case: &str) -> Result<(), ServerError> {
    tracing_subscriber::fmt()
        .with_ansi(false)
        .with_writer(std::io::stderr)
        .init();
    let mut server = Server::new();
    server.bind("127.0.0.1:0");
    match case {
        "empty" => {}
        "middleware" => {
            server
                .request_middleware::<Plain>()
                .response_middleware::<Plain>();
        }
        "service" => {
            server.into_service()?;
            return Ok(());
        }
        "listed" => {
            assert_eq!(server.routes()?, []);
            return Ok(());
        }
        "route" => {
            server.route::<Plain>("/plain");
        }
        "endpoint" => {
            server.at("/events").get(hyperlane::sse());
        }
        "fallback" => {
            server.fallback_service(axum::Router::<()>::new());
        }
        "mount" => {
            server.mount("/app", axum::Router::<()>::new());
        }
        "own service" => {
            server.route::<Plain>("/plain");
            server.into_service()?;
            return Ok(());
        }
        "ambiguous" => {
            server.route::<Plain>("/plain").route::<Plain>("/plain");
        }
        "pattern" => {
            server.route::<Plain>("/plain/{id:[0-9}");
        }
        "address" => {
            server.bind("nonsense");
        }
        "configuration" => server.get_server_config().clone().ttl(Some(0)).validate()?,
        other => panic!("no such case: {other}"),
    }
    server.run().await?.shutdown().await;
    Ok(())
}

/// Runs a case as a process of its own; returns its success, and its standard error.
fn child(case: &str) -> (bool, String) {
    let program = std::env::current_exe().expect("the path of this program");
    let output = Command::new(program)
        .env(CASE, case)
        .env_remove("RUST_BACKTRACE")
        .output()
        .expect("a child process");
    let text = String::from_utf8(output.stderr).expect("text");
    (output.status.success(), text)
}

fn check() {
    a_server_without_a_route_does_not_start_where_macros_registered_some();
    a_server_of_its_own_routes_warns_that_it_takes_none_of_the_registered();
    main_prints_the_sentence_of_an_error_on_one_line();
    println!("the children did as they should");
}

fn a_server_without_a_route_does_not_start_where_macros_registered_some() {
    for case in ["empty", "middleware", "service"] {
        let (success, text) = child(case);
        assert!(!success, "{case}: {text}");
        assert_eq!(text.lines().count(), 1, "{case}: {text}");
        for part in [
            "Error: the server has no route",
            "registered 2 routes",
            "`hello` at tests/unused_hooks.rs:19",
            "`#[hyperlane(server: Server)]` on `main`",
        ] {
            assert!(text.contains(part), "{case}: no {part:?} in {text}");
        }
    }
    // Only a start needs routes.
    assert_eq!(child("listed"), (true, String::new()));
}

fn a_server_of_its_own_routes_warns_that_it_takes_none_of_the_registered() {
    for case in ["route", "endpoint", "fallback", "mount", "own service"] {
        let (success, text) = child(case);
        assert!(success, "{case}: {text}");
        let warnings: Vec<_> = text.lines().filter(|line| line.contains("WARN")).collect();
        let [warning] = warnings.as_slice() else {
            panic!("{case}: not one warning in {text}");
        };
        for part in [
            "takes none of the 3 hooks",
            "2 of them routes",
            "tests/unused_hooks.rs:",
            "`#[hyperlane(server: Server)]` on `main`",
        ] {
            assert!(warning.contains(part), "{case}: no {part:?} in {warning}");
        }
    }
}

fn main_prints_the_sentence_of_an_error_on_one_line() {
    for (case, sentence) in [
        (
            "ambiguous",
            "Error: the route \"/plain\" has two handlers that no guard tells apart: tests/unused_hooks.rs:",
        ),
        (
            "pattern",
            "Error: \"/plain/{id:[0-9}\" at tests/unused_hooks.rs:",
        ),
        (
            "address",
            "Error: invalid configuration: address \"nonsense\" is neither",
        ),
        (
            "configuration",
            "Error: invalid configuration: ttl 0 is not in 1 to 255\n",
        ),
    ] {
        let (success, text) = child(case);
        assert!(!success, "{case}: {text}");
        assert!(text.starts_with(sentence), "{case}: {text}");
        assert_eq!(text.lines().count(), 1, "{case}: {text}");
        // Only the braces of a pattern may stand there.
        assert!(!text.contains(" { "), "{case}: {text}");
    }
}
