//! Clients that come back: ids, positions, resets.

use super::*;

#[tokio::test]
async fn an_event_stream_goes_on_after_its_last_id() {
    let control = plain().await;
    let mut browser = Browser::new(&control);
    let mut events = browser.follow("/sse", "").await;
    browser.send("/send-sse?t=a,b,c").await;
    let first = events.next().await;
    assert_eq!((first.data.as_str(), first.id.ends_with("-1")), ("a", true));
    drop(events);
    browser.send("/send-sse?t=d").await;
    let mut events = browser
        .follow("/sse", &format!("last-event-id: {}\r\n", first.id))
        .await;
    for text in ["b", "c", "d"] {
        assert_eq!(events.text().await, text);
    }
    let id = events.id().await;
    drop(events);
    browser.send("/send-sse?t=e").await;
    let mut events = browser
        .follow(&format!("/sse?last_event_id={id}"), "")
        .await;
    assert_eq!(events.text().await, "e");
    let retry = events.reader.retry().unwrap();
    assert!((1000..2000).contains(&retry.as_millis()), "{retry:?}");
}

#[tokio::test]
async fn a_stream_that_is_cut_before_its_first_message_misses_nothing() {
    let control = plain().await;
    let mut browser = Browser::new(&control);
    let mut one = browser.follow("/sse", "").await;
    let id = one.id().await;
    let mut other = browser.follow("/sse", "").await;
    drop(one);
    browser.send("/send-sse?t=a").await;
    assert_eq!(other.text().await, "a");
    let mut one = browser
        .follow("/sse", &format!("last-event-id: {id}\r\n"))
        .await;
    assert_eq!(one.text().await, "a");
}

#[tokio::test]
async fn no_block_has_an_id_without_data() {
    const BEAT: Duration = Duration::from_millis(50);
    let socket = ws().resume_ids().heartbeat(BEAT).retry(SHORT);
    let control = server(socket, sse().buffer(16).heartbeat(BEAT).retry(SHORT)).await;
    let mut browser = Browser::new(&control);
    /// Returns the first block, with the position that it gives the client.
    async fn first(events: &mut Events, name: &str) -> String {
        let block = events.block().await;
        let lines: Vec<_> = block.lines().collect();
        let id = lines[1].strip_prefix("id: ").unwrap().to_owned();
        let wait = lines[3].strip_prefix("retry: ").unwrap();
        assert!((200..400).contains(&wait.parse().unwrap()), "{block}");
        assert_eq!(lines[0], format!("event: {name}"));
        assert_eq!(lines[2], format!("data: {id}"));
        assert_eq!(lines.len(), 4, "{block}");
        id
    }

    // The stream sends on its first connection, as a heartbeat, and events of any kind.
    let mut events = browser.follow("/sse", "").await;
    let begin = first(&mut events, "position").await;
    let epoch = begin.strip_suffix("-0").unwrap();
    assert_eq!(events.client.chunk().await, b":\n", "a heartbeat");
    assert_eq!(browser.send("/send-sse?t=text,").await, "sent");
    assert_eq!(events.block().await, format!("id: {epoch}-1\ndata: text"));
    assert_eq!(events.block().await, format!("id: {epoch}-2\ndata: "));
    assert_eq!(browser.send("/send-events").await, "sent");
    let position =
        |offset| format!("event: position\nid: {epoch}-{offset}\ndata: {epoch}-{offset}");
    for expected in [
        format!("retry: 7000\n{}", position(3)),
        format!(": a note\n{}", position(4)),
        position(5),
        position(6),
        format!(": id: x\n{}", position(7)),
        position(8),
        format!("data: x\nid: {epoch}-9"),
        format!("event: named\ndata: \nid: {epoch}-10"),
    ] {
        assert_eq!(events.block().await, expected);
    }
    drop(events);

    // Resumption by field and by query, and ids that cannot be resumed.
    let at = format!("last-event-id: {epoch}-9\r\n");
    let mut events = browser.follow("/sse", &at).await;
    assert_eq!(first(&mut events, "position").await, format!("{epoch}-9"));
    assert_eq!(
        events.block().await,
        format!("event: named\ndata: \nid: {epoch}-10")
    );
    let mut events = browser
        .follow(&format!("/sse?last_event_id={epoch}-10"), "")
        .await;
    assert_eq!(first(&mut events, "position").await, format!("{epoch}-10"));
    let mut events = browser.follow("/sse", "last-event-id: x\r\n").await;
    assert_eq!(first(&mut events, "reset").await, format!("{epoch}-10"));

    // From a WebSocket to an event stream.
    let mut socket = browser.socket("/ws").await;
    let counts: serde_json::Value = serde_json::from_str(&next_text(&mut socket).await).unwrap();
    let (id, tab) = (field(&counts, "id"), field(&counts, "tab"));
    assert_eq!(browser.send("/send-ws?t=a").await, "sent");
    drop(socket);
    let target = format!("/ws?last_event_id={id}&tab={tab}");
    let mut switched = browser.follow(&target, "").await;
    assert_eq!(first(&mut switched, "position").await, id);
    let a = switched.block().await;
    assert!(a.ends_with("-1\ndata: a"), "{a}");

    // Over HTTP/1.0 there are no chunks, but the same blocks.
    let mut old = Client::connect(browser.address).await;
    let head = format!("GET /sse HTTP/1.0\r\nhost: x\r\n{}\r\n", browser.fields());
    old.send(head).await;
    old.until(b"\r\n\r\n").await;
    let block = String::from_utf8(old.until(b"\n\n").await).unwrap();
    assert!(block.starts_with(&position(10)), "{block}");

    // The end of a channel, and of the server.
    browser.get("/close-sse").await;
    events.rest().await;
    let ending = tokio::spawn(async move { control.shutdown().await });
    switched.rest().await;
    ending.await.unwrap();
}

#[tokio::test]
async fn a_page_that_is_loaded_anew_gets_what_its_own_request_sent() {
    let control = plain().await;
    for (fields, is_page) in [
        ("sec-fetch-mode: navigate\r\n", true),
        ("accept: text/html,*/*;q=0.8\r\n", true),
        ("sec-fetch-mode: cors\r\naccept: text/html\r\n", false),
        ("accept: */*\r\n", false),
    ] {
        let mut browser = Browser::new(&control);
        browser.send("/send-sse?t=first").await;
        let mut before = browser.follow("/sse", "").await;
        assert_eq!(before.text().await, "first");
        // The page before stays until the answer has come.
        browser
            .request("GET", "/send-sse?t=welcome", fields, "")
            .await;
        assert_eq!(before.text().await, "welcome", "as any message");
        drop(before);
        let mut page = browser.follow("/sse", "").await;
        browser.send("/send-sse?t=next").await;
        if is_page {
            assert_eq!(page.text().await, "welcome", "{fields}");
        }
        assert_eq!(page.text().await, "next", "{fields}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn missed_messages_come_before_new_ones() {
    const LAST: usize = 8_000;
    let mut all = None;
    let control = start(|server| {
        routes(server, ws(), sse().buffer(2 * LAST).buffer_bytes(64 << 20));
        all = Some(server.channels());
    })
    .await;
    let mut browser = Browser::new(&control);
    let mut id = browser.follow("/sse", "").await.id().await;
    let channel = all.unwrap().all()[0].sse();
    let sending = tokio::spawn(async move {
        for number in 1..=LAST {
            channel.send(number.to_string()).await.unwrap();
            if number % 16 == 0 {
                tokio::task::yield_now().await;
            }
        }
    });
    let mut got = 0;
    while got < LAST {
        let mut events = browser
            .follow("/sse", &format!("last-event-id: {id}\r\n"))
            .await;
        for _ in 0..40.min(LAST - got) {
            let event = events.next().await;
            got += 1;
            assert_eq!(event.data, got.to_string());
            id = event.id;
        }
    }
    sending.await.unwrap();
}

#[tokio::test]
async fn a_client_that_cannot_resume_gets_a_reset_and_goes_on() {
    let control = server(ws(), sse().buffer(2)).await;
    let mut browser = Browser::new(&control);
    let mut events = browser.follow("/sse", "").await;
    let begin = events.id().await;
    browser.send("/send-sse?t=a,b,c,d,e,f").await;
    for text in ["a", "b", "c", "d", "e", "f"] {
        assert_eq!(events.text().await, text);
    }
    let now = events.id().await;
    let epoch = now.split('-').next().unwrap();
    let mut foreign = Browser::new(&control);
    let foreign = foreign.follow("/sse", "").await.id().await;
    // Too old, ahead, of another session, and no id at all.
    for id in [
        begin,
        format!("{epoch}-7"),
        format!("{epoch}-18446744073709551615"),
        foreign,
        "x".to_owned(),
        format!("{epoch}-06"),
    ] {
        let mut again = browser
            .follow("/sse", &format!("last-event-id: {id}\r\n"))
            .await;
        let reset = again.next().await;
        assert_eq!((reset.event.as_str(), &reset.id), ("reset", &now), "{id}");
    }
    let mut again = browser
        .follow("/sse", &format!("last-event-id: {now}\r\n"))
        .await;
    browser.send("/send-sse?t=g").await;
    assert_eq!(again.text().await, "g");
}

#[tokio::test]
async fn a_plain_socket_resumes_at_its_last_pong() {
    let control = server(ws().heartbeat(SHORT), sse()).await;
    let mut browser = Browser::new(&control);
    let mut socket = browser.socket("/ws").await;
    browser.send("/send-ws?t=a,b").await;
    assert_eq!(next_text(&mut socket).await, "a");
    assert_eq!(next_text(&mut socket).await, "b");
    // The next ping shows that both have arrived.
    let ping = socket.next_frame().await;
    assert_eq!((ping.opcode, ping.payload.len()), (PING, 16));
    socket.frame(PONG, ping.payload).await;
    socket.say("after the pong").await;
    assert_eq!(browser.send("/recv-ws").await, "after the pong");
    // These are written; no pong confirms them.
    browser.send("/send-ws?t=c,d").await;
    assert_eq!(next_unanswered(&mut socket).await, "c");
    drop(socket);
    browser.send("/send-ws?t=e").await;
    let mut socket = browser.socket("/ws").await;
    for text in ["c", "d", "e"] {
        assert_eq!(next_text(&mut socket).await, text);
    }
}

#[tokio::test]
async fn a_plain_socket_whose_missed_messages_are_gone_is_closed_once() {
    let control = server(ws().buffer(2), sse()).await;
    let mut browser = Browser::new(&control);
    // One client is cut, and one reads on.
    let cut = browser.socket("/ws").await;
    let mut other = browser.follow("/ws", "").await;
    drop(cut);
    for text in ["a", "b", "c", "d", "e"] {
        browser.send(&format!("/send-ws?t={text}")).await;
        assert_eq!(other.text().await, text);
    }
    let mut socket = browser.socket("/ws").await;
    let close = socket.next_message().await;
    assert_eq!((close.opcode, close.code()), (CLOSE, 4010));
    let mut socket = browser.socket("/ws").await;
    browser.send("/send-ws?t=f").await;
    assert_eq!(next_text(&mut socket).await, "f");
}

#[tokio::test]
async fn a_client_that_closes_does_not_come_back_to_its_place() {
    let control = plain().await;
    let mut browser = Browser::new(&control);
    let mut socket = browser.socket("/ws").await;
    browser.send("/send-ws?t=a").await;
    assert_eq!(next_unanswered(&mut socket).await, "a");
    socket.close().await;
    // A page that is loaded anew does the same: new messages wait, and those that were written do not come again.
    browser.send("/send-ws?t=b").await;
    let mut socket = browser.socket("/ws").await;
    assert_eq!(next_text(&mut socket).await, "b");
}

#[tokio::test]
async fn a_counting_socket_gets_each_message_once() {
    let control = server(ws().resume_ids(), sse()).await;
    let mut browser = Browser::new(&control);
    let mut socket = browser.socket("/ws").await;
    let first: serde_json::Value = serde_json::from_str(&next_text(&mut socket).await).unwrap();
    assert_eq!(
        (first["offset"].as_u64(), first["reset"].as_bool()),
        (Some(0), Some(false))
    );
    let (epoch, tab) = (field(&first, "epoch"), field(&first, "tab"));
    assert_eq!(field(&first, "id"), format!("{epoch}-0"));
    browser.send("/send-ws?t=a,b,c").await;
    assert_eq!(next_unanswered(&mut socket).await, "a");
    drop(socket);
    browser.send("/send-ws?t=d").await;
    let target = format!("/ws?last_event_id={epoch}-1&tab={tab}");
    let mut socket = browser.socket(&target).await;
    let again: serde_json::Value = serde_json::from_str(&next_text(&mut socket).await).unwrap();
    assert_eq!(
        (again["offset"].as_u64(), field(&again, "tab")),
        (Some(1), tab)
    );
    for text in ["b", "c", "d"] {
        assert_eq!(next_text(&mut socket).await, text);
    }
    // The same tab once more: the earlier connection has to go.
    let target = format!("/ws?last_event_id={epoch}-4&tab={tab}");
    let mut anew = browser.socket(&target).await;
    next_text(&mut anew).await;
    let close = socket.next_message().await;
    assert_eq!((close.opcode, close.code()), (CLOSE, 4009));
    // The first message tells that messages were lost.
    let mut foreign = browser.socket("/ws?last_event_id=00000000000000aa-1").await;
    let reset: serde_json::Value = serde_json::from_str(&next_text(&mut foreign).await).unwrap();
    assert_eq!(
        (reset["reset"].as_bool(), reset["offset"].as_u64()),
        (Some(true), Some(4))
    );
    browser.send("/send-ws?t=e").await;
    assert_eq!(next_text(&mut anew).await, "e");
    assert_eq!(next_text(&mut foreign).await, "e");
}

#[tokio::test]
async fn ids_move_between_transports() {
    let control = server(ws().resume_ids(), sse()).await;
    let mut browser = Browser::new(&control);
    let mut socket = browser.socket("/ws").await;
    let first: serde_json::Value = serde_json::from_str(&next_text(&mut socket).await).unwrap();
    let (epoch, tab) = (field(&first, "epoch"), field(&first, "tab"));
    browser.send("/send-ws?t=a,b").await;
    assert_eq!(next_text(&mut socket).await, "a");
    drop(socket);
    let mut events = browser
        .follow(
            &format!("/ws?tab={tab}"),
            &format!("last-event-id: {epoch}-1\r\n"),
        )
        .await;
    assert_eq!(events.text().await, "b");
    let posted = browser
        .request("POST", "/ws", "content-type: text/plain\r\n", "from a post")
        .await;
    assert_eq!(posted.status, 204);
    assert_eq!(browser.send("/recv-ws").await, "from a post");
    browser.send("/send-ws?t=c").await;
    let c = events.next().await;
    drop(events);
    browser.send("/send-ws?t=d").await;
    let mut socket = browser
        .socket(&format!("/ws?last_event_id={}&tab={tab}", c.id))
        .await;
    next_text(&mut socket).await;
    assert_eq!(next_text(&mut socket).await, "d");
}

#[tokio::test]
async fn bytes_that_are_no_text_are_binary_events() {
    let control = start(|server| {
        server.at("/ws").get(ws_with(async |ws: WebSocket, _| {
            let _ = ws.send(vec![0xff, 0, 1]).await;
        }));
    })
    .await;
    let mut browser = Browser::new(&control);
    let mut events = browser.follow("/ws", "").await;
    let event = events.next().await;
    assert_eq!(
        (event.event.as_str(), event.data.as_str()),
        ("binary", "/wAB")
    );
}

#[tokio::test]
async fn an_id_of_no_epoch_is_a_reset_and_no_end() {
    let control = plain().await;
    let mut browser = Browser::new(&control);
    let mut events = browser
        .follow("/sse?last_event_id=0000000000000000-0", "")
        .await;
    assert_eq!(events.next().await.event, "reset");
}

#[tokio::test]
async fn an_id_of_another_channel_gives_nothing() {
    let control = server(ws(), sse().buffer(4).timeout(SHORT)).await;
    let mut browser = Browser::new(&control);
    browser.send("/send-sse?t=secret").await;
    let mut events = browser.follow("/sse", "").await;
    let own = events.next().await.id;
    let mut stranger = Browser::new(&control);
    let mut theirs = stranger.follow("/sse", "").await;
    let at = theirs.id().await;
    let mut dice = 0x5eed_u64;
    for _ in 0..1000 {
        // The tries are ids of another channel, some with changed characters.
        let mut id = own.clone().into_bytes();
        dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        if dice >> 63 == 1 {
            let place = (dice >> 8) as usize % id.len();
            id[place] = b"0123456789abcdef-"[(dice >> 32) as usize % 17];
        }
        let id = String::from_utf8(id).unwrap();
        let mut again = stranger
            .follow("/sse", &format!("last-event-id: {id}\r\n"))
            .await;
        let reset = again.next().await;
        assert_eq!((reset.event.as_str(), &reset.id), ("reset", &at), "{id}");
    }
}

#[tokio::test]
async fn an_empty_id_is_none_and_no_reset() {
    let control = server(ws().resume_ids(), sse()).await;
    let mut browser = Browser::new(&control);
    browser.get("/open").await;
    for nothing in [
        "",
        "null",
        "undefined",
        "NaN",
        "%6Eull",
        "%22%22",
        "undefined-undefined",
        "null-0",
    ] {
        for (target, fields) in [
            ("/sse".to_owned(), format!("last-event-id: {nothing}\r\n")),
            (format!("/sse?last_event_id={nothing}"), String::new()),
        ] {
            if !fields.is_empty() && nothing.contains('%') {
                continue;
            }
            let mut events = browser.follow(&target, &fields).await;
            browser.send("/send-sse?t=next").await;
            let event = loop {
                let event = events.next().await;
                if event.event != "position" {
                    break event;
                }
            };
            assert_eq!(
                (event.event.as_str(), event.data.as_str()),
                ("message", "next"),
                "{target} {fields}"
            );
        }
        let target = format!("/ws?last_event_id={nothing}&tab={nothing}");
        let mut tabs = Vec::new();
        for _ in 0..2 {
            let mut socket = browser.socket(&target).await;
            let first: serde_json::Value =
                serde_json::from_str(&next_text(&mut socket).await).unwrap();
            assert_eq!(first["reset"].as_bool(), Some(false), "{target}");
            tabs.push((socket, field(&first, "tab").to_owned()));
        }
        assert_ne!(tabs[0].1, tabs[1].1, "no tab has this name");
        browser.send("/send-ws?t=both").await;
        for (mut socket, _) in tabs {
            assert_eq!(next_text(&mut socket).await, "both", "{target}");
            socket.close().await;
        }
    }
    // An empty field does not hide what the query says.
    let mut events = browser.follow("/sse", "").await;
    let id = events.id().await;
    drop(events);
    browser.send("/send-sse?t=missed").await;
    let target = format!("/sse?last_event_id=&last_event_id={id}");
    let mut events = browser.follow(&target, "last-event-id:\r\n").await;
    assert_eq!(events.text().await, "missed");
}
