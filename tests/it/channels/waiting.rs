//! Messages and senders that wait.

use super::*;

#[tokio::test]
async fn messages_sent_before_the_client_connects_wait() {
    let control = plain().await;
    let mut browser = Browser::new(&control);
    assert_eq!(browser.send("/send-sse?t=a,b").await, "sent");
    assert_eq!(browser.send("/send-ws?t=c,d").await, "sent");
    assert_eq!(browser.send("/open").await, "false false");
    let mut events = browser.follow("/sse", "").await;
    assert_eq!(
        (events.text().await, events.text().await),
        ("a".into(), "b".into())
    );
    let mut socket = browser.socket("/ws").await;
    assert_eq!(next_text(&mut socket).await, "c");
    assert_eq!(next_text(&mut socket).await, "d");
    assert_eq!(browser.send("/open").await, "true true");
    assert_eq!(browser.send("/send-sse?t=e").await, "sent");
    assert_eq!(events.text().await, "e");
}

#[tokio::test]
async fn a_full_buffer_makes_the_sender_wait_and_then_fail() {
    let control = server(
        ws().buffer(2).timeout(SHORT),
        sse().buffer(2).timeout(SHORT),
    )
    .await;
    let mut browser = Browser::new(&control);
    assert_eq!(browser.send("/send-sse?t=a,b").await, "sent");
    let refused = browser.send("/send-sse?t=c").await;
    assert!(
        refused.starts_with("TimedOut the buffer of 2 messages"),
        "{refused}"
    );
    // A client comes while a sender waits.
    let mut other = Browser::new(&control);
    assert_eq!(other.send("/send-ws?t=a,b").await, "sent");
    let mut again = Browser {
        cookie: other.cookie.clone(),
        ..other
    };
    let waiting = tokio::spawn(async move { again.send("/send-ws?t=c").await });
    let mut socket = other.socket("/ws").await;
    for text in ["a", "b", "c"] {
        assert_eq!(next_text(&mut socket).await, text);
    }
    assert_eq!(waiting.await.unwrap(), "sent");
}

#[tokio::test]
async fn a_channel_waits_for_its_client_and_ends_after_the_grace() {
    let control = server(ws().grace(SHORT), sse().grace(SHORT)).await;
    let mut browser = Browser::new(&control);
    let mut socket = browser.socket("/ws").await;
    assert_eq!(browser.send("/send-ws?t=a").await, "sent");
    assert_eq!(next_text(&mut socket).await, "a");
    drop(socket);
    let cut = Instant::now();
    assert_eq!(browser.send("/open").await, "true false");
    // A receiver that waits for a message learns of the end.
    let ended = browser.send("/recv-ws").await;
    assert_eq!(
        ended,
        "BrokenPipe the channel is over: the client did not come back within 200ms"
    );
    assert!(cut.elapsed() >= SHORT / 2);
    assert_eq!(browser.send("/open").await, "false false");
    // The next channel is a new one, without the messages of the old one.
    assert_eq!(browser.send("/send-ws?t=b").await, "sent");
    let mut socket = browser.socket("/ws").await;
    assert_eq!(next_text(&mut socket).await, "b");
}

#[tokio::test]
async fn messages_of_clients_wait_for_a_receiver() {
    let control = plain().await;
    let mut browser = Browser::new(&control);
    let mut socket = browser.socket("/ws").await;
    socket.say("one").await;
    socket.say("two").await;
    assert_eq!(browser.send("/recv-ws").await, "one");
    drop(socket);
    assert_eq!(browser.send("/recv-ws").await, "two");
    let mut socket = browser.socket("/ws").await;
    socket.say("three").await;
    assert_eq!(browser.send("/recv-ws").await, "three");
}

#[tokio::test]
async fn a_function_meets_each_new_channel_once() {
    let (notes, mut noted) = notes();
    let greeting = notes.clone();
    let ws = ws_with(move |ws: WebSocket, state| {
        let notes = greeting.clone();
        async move {
            notes.note(format!("new {}", state.get::<u8>().is_some()));
            while let Ok(message) = ws.recv().await {
                ws.send(format!("echo {message}")).await.unwrap();
            }
            notes.note("over");
        }
    });
    let greeting = notes.clone();
    let sse = sse_with(move |sse: ServerSentEvents, _| {
        let notes = greeting.clone();
        async move {
            sse.send("welcome").await.unwrap();
            notes.note("welcomed");
        }
    });
    let control = start(|server| {
        server.state(7_u8);
        routes(server, ws.grace(SHORT), sse);
    })
    .await;
    let mut browser = Browser::new(&control);
    let mut socket = browser.socket("/ws").await;
    assert_eq!(noted.next().await, "new true");
    socket.say("a").await;
    assert_eq!(next_text(&mut socket).await, "echo a");
    drop(socket);
    let mut socket = browser.socket("/ws").await;
    socket.say("b").await;
    // No pong has confirmed the first one.
    assert_eq!(next_text(&mut socket).await, "echo a");
    assert_eq!(next_text(&mut socket).await, "echo b");
    let mut events = browser.follow("/sse", "").await;
    assert_eq!(events.text().await, "welcome");
    assert_eq!(noted.next().await, "welcomed");
    drop(browser.follow("/sse", "").await);
    assert!(noted.is_empty());
    drop(socket);
    assert_eq!(noted.next().await, "over");
    drop(browser.socket("/ws").await);
    assert_eq!(noted.next().await, "new true");
}
