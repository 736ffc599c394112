//! Code of the program that a channel runs, and that uses the channel.

use super::*;

#[tokio::test]
async fn program_code_may_ask_the_channel_that_runs_it() {
    let mut reach = None;
    let control = start(|server| {
        routes(server, ws(), sse());
        reach = Some(server.channels());
    })
    .await;
    let channels = reach.unwrap();
    let mut browser = Browser::new(&control);
    let mut socket = browser.socket("/ws").await;
    assert_eq!(browser.send("/send-owned?t=1,2,3").await, "sent");
    // The pongs release them.
    while GONE.load(Ordering::Acquire) < 3 {
        let frame = socket.next_frame().await;
        if frame.opcode == PING {
            socket.frame(PONG, frame.payload).await;
            socket.frame(TEXT, "there?").await;
            browser.get("/recv-ws").await;
        } else {
            assert_eq!(frame.payload, b"owned");
        }
    }
    // Wakers of executors that are not tokio's.
    let channel = only(&channels);
    let asks = std::sync::Arc::new(AsksWhenWoken(channel.clone(), tokio::sync::Notify::new()));
    let waker = std::task::Waker::from(asks.clone());
    {
        let mut receiving = std::pin::pin!(channel.recv());
        let first = receiving
            .as_mut()
            .poll(&mut std::task::Context::from_waker(&waker));
        assert!(first.is_pending());
        socket.frame(TEXT, "awake").await;
        asks.1.notified().await;
        assert_eq!(receiving.await.unwrap().to_string(), "awake");
    }
    // These messages are dropped with the session.
    drop(socket);
    browser.send("/send-owned?t=4,5").await;
    browser.get("/logout").await;
    // Messages that were written to the connection are dropped when it notices the cut.
    eventually("they go", || GONE.load(Ordering::Acquire) == 5).await;
}

#[tokio::test]
async fn a_log_subscriber_may_ask_the_channel_of_a_line() {
    static ASKED: Mutex<Option<WebSocket>> = Mutex::new(None);
    let listener = || {
        tracing_subscriber::fmt()
            .with_max_level(tracing::Level::DEBUG)
            .with_writer(|| {
                let asked = ASKED.lock().unwrap().clone();
                assert!(asked.is_none_or(|channel| !channel.is_open()));
                io::sink()
            })
            .finish()
    };
    // With a single subscriber, `tracing` asks only on the thread that reaches a log statement first if the line is
    // wanted.
    let _another = tracing::Dispatch::new(listener());
    let _listening = tracing::subscriber::set_default(listener());
    let mut reach = None;
    let control = start(|server| {
        routes(server, ws(), sse());
        reach = Some(server.channels());
    })
    .await;
    let mut browser = Browser::new(&control);
    assert_eq!(browser.send("/send-ws?t=lost").await, "sent");
    *ASKED.lock().unwrap() = Some(only(&reach.unwrap()));
    assert_eq!(browser.get("/logout").await.status, 200);
}
