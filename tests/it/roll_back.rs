//! What remains of a chain of middleware whose inside fails.

use std::time::Duration;

use hyperlane::{__private, Timeout, prelude::*};
use test_support::{Client, Reply, address, start};

fn set(ctx: &mut Context, name: &str) {
    ctx.get_mut_response().set_header(name, "set");
}

async fn outer(ctx: &mut Context, next: Next<'_>) -> Status {
    set(ctx, "x-outer-before");
    let status = next.run(ctx).await;
    set(ctx, "x-outer-after");
    status
}

/// Returns after the handler.
async fn inner(ctx: &mut Context, next: Next<'_>) -> Status {
    set(ctx, "x-inner-before");
    let status = next.run(ctx).await;
    set(ctx, "x-inner-after");
    status
}

/// Panics after the handler has returned.
async fn panics_after(ctx: &mut Context, next: Next<'_>) -> Status {
    set(ctx, "x-inner-before");
    let _ = next.run(ctx).await;
    panic!("on purpose");
}

/// Gives the rest of the chain up, and answers in its place.
async fn gives_up(ctx: &mut Context, next: Next<'_>) -> &'static str {
    set(ctx, "x-gives-up");
    tokio::select! {
        _ = next.run(ctx) => {}
        () = tokio::time::sleep(Duration::from_millis(20)) => {}
    }
    "given up"
}

async fn handler(ctx: &mut Context, Path(what): Path<String>) -> Result<String, Error> {
    set(ctx, "x-handler");
    match what.as_str() {
        "panic" => panic!("on purpose"),
        "refuse" => __private::need(Err(RequestError::refused(422, "no"))).await,
        "wait" => std::future::pending().await,
        _ => {}
    }
    Ok(what)
}

/// The fields that the chain has set, without `x-` and in their order.
fn fields(reply: &Reply) -> Vec<String> {
    let names = reply.head.lines().filter_map(|line| line.split_once(':'));
    let ours = names.filter(|(_, value)| value.trim() == "set");
    ours.map(|(name, _)| name.trim_start_matches("x-").to_owned())
        .collect()
}

async fn serve() -> ServerControlHook {
    start(|server| {
        server.scope("/both", |scope| {
            scope.with(outer).with(inner);
            scope.at("/{what}").get(handler);
        });
        server.scope("/broken", |scope| {
            scope.with(outer).with(panics_after);
            scope.at("/{what}").get(handler);
        });
        server.scope("/limited", |scope| {
            scope
                .with(outer)
                .with(Timeout::new(Duration::from_millis(20)));
            scope.with(inner).at("/{what}").get(handler);
        });
        server.scope("/given-up", |scope| {
            scope.with(outer).with(gives_up).with(inner);
            scope.at("/{what}").get(handler);
        });
    })
    .await
}

#[tokio::test]
async fn what_failed_leaves_no_field_and_what_returned_keeps_its_fields() {
    let around = ["outer-before", "inner-before", "inner-after", "outer-after"];
    let whole = [
        "outer-before",
        "inner-before",
        "handler",
        "inner-after",
        "outer-after",
    ];
    let outer = ["outer-before", "outer-after"];
    let given_up = ["outer-before", "gives-up", "outer-after"];
    let table: [(&str, u16, &[&str]); 8] = [
        ("/both/fine", 200, &whole),
        ("/both/panic", 500, &around),
        ("/both/refuse", 422, &around),
        // The middleware fails after its handler: what it and the handler have set is gone as one.
        ("/broken/fine", 500, &outer),
        ("/broken/refuse", 500, &outer),
        ("/limited/wait", 503, &outer),
        ("/limited/refuse", 422, &around),
        ("/given-up/wait", 200, &given_up),
    ];
    let control = serve().await;
    for (path, status, expected) in table {
        let mut client = Client::connect(address(&control)).await;
        let reply = client.get(path).await;
        assert_eq!(
            (reply.status, fields(&reply)),
            (
                status,
                expected.iter().map(|name| (*name).to_owned()).collect()
            ),
            "{path}"
        );
    }
}

/// Catches a panic of the handler.
async fn catches(ctx: &mut Context, next: Next<'_>) -> Status {
    let _ = next.run(ctx).await;
    assert!(ctx.recover(), "a failure");
    Status::Continue
}

async fn watches(ctx: &mut Context, next: Next<'_>) -> Status {
    next.run(ctx).await
}

/// Handles that no task drops before the end of the test.
type Kept = std::sync::Arc<std::sync::Mutex<Vec<WebSocket>>>;

/// Keeps the WebSocket open, hands it to others, and fails.
async fn keeps_and_fails(
    stream: &mut Stream,
    ctx: &mut Context,
    Path(what): Path<String>,
) -> Result<(), Error> {
    let socket = ctx.upgrade(stream).await?;
    socket.keep_open();
    ctx.state::<Kept>().lock().unwrap().push(socket);
    match what.as_str() {
        "panic" => panic!("on purpose"),
        _ => __private::need(Err(RequestError::refused(422, "no"))).await,
    }
}

#[tokio::test]
async fn a_websocket_that_is_kept_open_is_released_when_its_handler_fails_inside_of_middleware() {
    let kept = Kept::default();
    let state = kept.clone();
    let control = start(|server| {
        server.state(state);
        server
            .at("/caught/{what}")
            .with(catches)
            .get(keeps_and_fails);
        server.at("/seen/{what}").with(watches).get(keeps_and_fails);
        server.at("/bare/{what}").get(keeps_and_fails);
    })
    .await;
    for (path, code) in [
        // The middleware has answered for the failure.
        ("/caught/panic", 1000),
        ("/caught/refuse", 1000),
        ("/seen/panic", 1011),
        ("/seen/refuse", 1011),
        ("/bare/panic", 1011),
        ("/bare/refuse", 1011),
    ] {
        let mut client = Client::websocket(address(&control), path).await;
        assert_eq!(client.next_message().await.code(), code, "{path}");
    }
    assert_eq!(kept.lock().unwrap().len(), 6);
}
