//! The end of channels, and the memory that they may take.

use super::*;

#[tokio::test]
async fn connections_that_end_leave_nothing_behind() {
    let control = server(ws().grace(SHORT), sse().grace(SHORT)).await;
    let mut browser = Browser::new(&control);
    for _ in 0..20 {
        drop(browser.socket("/ws").await);
        drop(browser.follow("/sse", "").await);
    }
    eventually("all are gone", || control.connections() == 0).await;
    let ended = browser.send("/recv-ws").await;
    assert!(ended.contains("did not come back"), "{ended}");
}

#[tokio::test]
async fn waiting_messages_are_bounded_by_the_memory_of_sessions() {
    let control = start(|server| {
        server.get_mut_server_config().session_memory = 512 * 1024;
        routes(server, ws(), sse().timeout(SHORT));
    })
    .await;
    let mut live = Browser::new(&control);
    let mut socket = live.socket("/ws").await;
    for _ in 0..200 {
        let mut passing = Browser::new(&control);
        let sent = passing.send("/fill-sse?count=3&size=4000").await;
        assert_eq!(sent, "sent", "the ones before have to go");
    }
    // 12 kB each, so only so many are left, and the live one is among them.
    assert_eq!(live.send("/send-ws?t=still").await, "sent");
    assert_eq!(next_text(&mut socket).await, "still");
    // One client alone cannot have more than there is.
    let mut greedy = Browser::new(&control);
    let refused = greedy.send("/fill-sse?count=20&size=6000").await;
    assert!(refused.starts_with("TimedOut"), "{refused}");
    assert_eq!(live.send("/send-ws?t=and").await, "sent");
    assert_eq!(next_text(&mut socket).await, "and");
}

#[tokio::test]
async fn channels_of_clients_that_connect_and_go_are_bounded_by_the_memory_of_sessions() {
    static ALIVE: AtomicUsize = AtomicUsize::new(0);
    let control = start(|server| {
        server.get_mut_server_config().session_memory = 64 * 1024;
        let counted = async |sse: ServerSentEvents, _| {
            ALIVE.fetch_add(1, Ordering::SeqCst);
            sse.closed().await;
            ALIVE.fetch_sub(1, Ordering::SeqCst);
        };
        routes(server, ws(), sse_with(counted));
    })
    .await;
    let mut live = Browser::new(&control);
    let mut socket = live.socket("/ws").await;
    for _ in 0..200 {
        let mut passing = Browser::new(&control);
        drop(passing.follow("/sse", "").await);
    }
    eventually("all but one are gone", || control.connections() == 1).await;
    eventually("few are waited for", || ALIVE.load(Ordering::SeqCst) < 64).await;
    assert_eq!(live.send("/send-ws?t=still").await, "sent");
    assert_eq!(next_text(&mut socket).await, "still");
}

#[tokio::test]
async fn a_sender_that_waits_fails_when_the_grace_ends() {
    let control = server(
        ws().buffer(1).grace(SHORT).timeout(PATIENCE),
        sse().buffer(1).grace(SHORT).timeout(PATIENCE),
    )
    .await;
    let mut browser = Browser::new(&control);
    assert_eq!(browser.send("/send-sse?t=a").await, "sent");
    let ended = browser.send("/send-sse?t=b").await;
    assert_eq!(
        ended,
        "BrokenPipe the channel is over: the client did not come back within 200ms"
    );
    drop(browser.socket("/ws").await);
    assert_eq!(browser.send("/send-ws?t=a").await, "sent");
    let ended = browser.send("/send-ws?t=b").await;
    assert!(ended.starts_with("BrokenPipe"), "{ended}");
}

#[tokio::test]
async fn a_shutdown_tells_every_client_to_come_back_and_loses_nothing_of_its_channel() {
    const CLIENTS: usize = 250;
    let control = server(ws().resume_ids(), sse()).await;
    let mut browser = Browser::new(&control);
    let mut sockets = Vec::new();
    for _ in 0..CLIENTS {
        let mut socket = browser.socket("/ws").await;
        next_text(&mut socket).await;
        sockets.push(socket);
    }
    let ending = tokio::spawn({
        let control = control.clone();
        async move { control.shutdown().await }
    });
    for mut socket in sockets {
        let close = socket.next_message().await;
        assert_eq!((close.opcode, close.code()), (CLOSE, 1001));
        socket.frame(CLOSE, 1001_u16.to_be_bytes()).await;
    }
    ending.await.unwrap();
}

#[tokio::test]
async fn a_tab_that_comes_back_over_a_connection_kept_alive_wins() {
    let control = server(ws().resume_ids(), sse()).await;
    let mut browser = Browser::new(&control);
    browser.get("/open").await;
    // A proxy does this, which keeps connections to reuse them.
    let mut kept = Client::connect(browser.address).await;
    let fields = format!("{}content-length: 0\r\n", browser.fields());
    kept.request("GET", "/open", &fields).await;
    assert_eq!(kept.reply().await.status, 200);
    let mut before = browser.socket("/ws?tab=7").await;
    let _ = next_text(&mut before).await;
    let reply = kept.upgrade("/ws?tab=7", &browser.fields()).await;
    assert_eq!(reply.status, 101, "{}", reply.head);
    let first = next_text(&mut kept).await;
    assert!(first.contains(r#""reset":false"#), "{first}");
    assert_eq!(browser.send("/send-ws?t=here").await, "sent");
    assert_eq!(next_text(&mut kept).await, "here");
}
