//! Tabs and users of a session, and channels that the program closes.

use super::*;

#[tokio::test]
async fn all_tabs_of_a_session_get_a_message_and_no_other_session_does() {
    let control = plain().await;
    let mut browser = Browser::new(&control);
    let mut socket = browser.socket("/ws").await;
    let mut second = browser.socket("/ws").await;
    let mut other = Browser::new(&control);
    let mut foreign = other.socket("/ws").await;
    browser.send("/send-ws?t=mine").await;
    assert_eq!(next_text(&mut socket).await, "mine");
    assert_eq!(next_text(&mut second).await, "mine");
    other.send("/send-ws?t=theirs").await;
    assert_eq!(next_text(&mut foreign).await, "theirs");
}

#[tokio::test]
async fn channels_are_reached_from_outside_by_user_and_session() {
    static REACH: Mutex<Option<Channels>> = Mutex::new(None);
    let control = start(|server| {
        routes(server, ws(), sse());
        *REACH.lock().unwrap() = Some(server.channels());
    })
    .await;
    let channels = REACH.lock().unwrap().clone().unwrap();
    let mut ann = [Browser::new(&control), Browser::new(&control)];
    let mut streams = Vec::new();
    for browser in &mut ann {
        let before = browser.follow("/sse", "").await;
        browser.get("/login?name=ann").await;
        // The channel is the session's, whose id is another now.
        streams.push(before);
    }
    let mut bob = Browser::new(&control);
    bob.get("/login?name=bob").await;
    assert_eq!(channels.user("ann").len(), 2);
    assert_eq!(channels.all().len(), 3);
    for session in channels.user("ann") {
        assert_eq!(session.user().as_deref(), Some("ann"));
        session.sse().send("hello ann").await.unwrap();
        assert!(channels.session(&session.id()).is_some());
    }
    for stream in &mut streams {
        assert_eq!(stream.text().await, "hello ann");
    }
    ann[0].get("/logout").await;
    assert_eq!(channels.user("ann").len(), 1);
    // The session's channel is over, and its stream with it.
    assert!(streams[0].client.chunk().await.is_empty());
}

/// Passes time on the clock that servers see.
async fn pass(seconds: u64) {
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(seconds)).await;
    tokio::time::resume();
}

#[tokio::test]
async fn connections_by_a_former_id_end_with_it_and_the_present_one_goes_on() {
    let control = start(|server| {
        let config = server.get_mut_server_config();
        (config.ping_interval, config.pong_timeout) = (None, None);
        config.sse_heartbeat = None;
        routes(server, ws(), sse());
    })
    .await;
    let mut browser = Browser::new(&control);
    browser.get("/login?name=ann").await;
    let mut former = Browser::new(&control);
    former.cookie = browser.cookie.clone();
    // The user is the same, so that the id before is good for another minute.
    browser.get("/login?name=ann").await;
    let mut socket = former.socket("/ws").await;
    let mut events = former.follow("/sse", "").await;
    let mut kept = browser.follow("/ws", "").await;
    browser.send("/send-sse?t=a").await;
    browser.send("/send-ws?t=a").await;
    assert_eq!(next_text(&mut socket).await, "a");
    assert_eq!(kept.text().await, "a");
    let id = events.id().await;
    let before = former.cookie.clone();
    assert_eq!(former.send("/send-sse?t=c").await, "sent");
    assert_eq!(former.cookie, before, "no answer has the present one");
    pass(61).await;
    let close = socket.next_message().await;
    assert_eq!((close.opcode, close.code()), (CLOSE, 1012));
    while !events.client.chunk().await.is_empty() {}
    // Messages that the client misses wait for it; it comes back by the cookie of the renewal.
    browser.send("/send-sse?t=b").await;
    browser.send("/send-ws?t=b").await;
    assert_eq!(kept.text().await, "b");
    let fields = format!("last-event-id: {id}\r\n");
    let mut events = browser.follow("/sse", &fields).await;
    for text in ["a", "c", "b"] {
        assert_eq!(events.text().await, text);
    }
}

#[tokio::test]
async fn a_client_with_an_id_from_before_the_login_is_told_to_reconnect() {
    let control = plain().await;
    let mut browser = Browser::new(&control);
    browser.get("/open").await;
    let mut in_flight = Browser::new(&control);
    in_flight.cookie = browser.cookie.clone();
    browser.get("/login?name=ann").await;
    // A channel of its own would miss the messages to the user.
    let mut socket = in_flight.socket("/ws").await;
    let close = socket.next_message().await;
    assert_eq!((close.opcode, close.code()), (CLOSE, 1012));
    for path in ["/ws", "/sse"] {
        let mut events = in_flight.follow(path, "").await;
        assert!(events.client.chunk().await.is_empty(), "{path}");
    }
    assert_ne!(in_flight.cookie, browser.cookie);
    in_flight.cookie = browser.cookie.clone();
    let mut events = in_flight.follow("/sse", "").await;
    browser.send("/send-sse?t=hello").await;
    assert_eq!(events.text().await, "hello");
}

#[tokio::test]
async fn a_channel_that_the_program_closes_stays_closed() {
    let control = plain().await;
    let mut browser = Browser::new(&control);
    let mut events = browser.follow("/sse", "").await;
    let id = events.id().await;
    browser.get("/close-sse").await;
    assert!(events.client.chunk().await.is_empty());
    let reply = browser
        .request(
            "GET",
            "/sse",
            &format!("accept: text/event-stream\r\nlast-event-id: {id}\r\n"),
            "",
        )
        .await;
    assert_eq!(reply.status, 204);
    // A page that begins anew is let in.
    browser.follow("/sse", "").await.id().await;

    let mut socket = browser.socket("/ws").await;
    assert_eq!(browser.send("/close-ws").await, "sent");
    let close = socket.next_message().await;
    assert_eq!((close.opcode, close.code()), (CLOSE, 4444));
    assert_eq!(browser.send("/send-ws?t=a").await, "sent");
    let mut socket = browser.socket("/ws").await;
    assert_eq!(next_text(&mut socket).await, "a");
}
