//! Every store for clients that are not connected is charged to `session_memory`.

use futures_util::SinkExt;

use super::*;

const MEMORY: usize = 256 * 1024;
const POSTED: usize = 32 * 1024;

async fn serve() -> (ServerControlHook, Channels) {
    let mut all = None;
    let control = start(|server| {
        server.get_mut_server_config().session_memory = MEMORY;
        routes(server, ws(), sse());
        server.at("/ws/{name}").get(ws().named("{name}"));
        all = Some(server.channels());
    })
    .await;
    (control, all.unwrap())
}

/// Connects to a channel and leaves without a Close, so that the channel waits for the client.
async fn visit(browser: &mut Browser, target: &str, channels: &Channels) {
    let socket = browser.socket(target).await;
    let session = channels.all().remove(0);
    let channel = match target.strip_prefix("/ws/") {
        Some(name) => session.channel(name).ws().unwrap(),
        None => session.ws(),
    };
    eventually("connected", || channel.peer_addr().is_some()).await;
    drop(socket);
    eventually("gone", || channel.peer_addr().is_none()).await;
}

#[tokio::test]
async fn posts_to_channels_of_absent_clients_have_a_limit() {
    let (control, channels) = serve().await;
    let mut browser = Browser::new(&control);
    let body = "x".repeat(POSTED);
    let mut targets = vec!["/ws".to_owned()];
    targets.extend((0..12).map(|number| format!("/ws/{number}")));
    for target in &targets {
        visit(&mut browser, target, &channels).await;
    }
    let mut stored = 0;
    let mut refused = 0;
    for target in &targets {
        let reply = browser.request("POST", target, "", &body).await;
        match reply.status {
            204 => stored += POSTED,
            503 => refused += 1,
            status => panic!("{target}: {status} {}", reply.text()),
        }
    }
    assert!((1..MEMORY).contains(&stored), "{stored}");
    assert!(refused >= 5, "{refused}");
    // The program receives the messages, which gives the memory back, as often as they come.
    let session = channels.all().remove(0);
    for round in 0..20 {
        let socket = session.ws();
        assert_eq!(socket.recv().await.unwrap().len(), POSTED, "{round}");
        let reply = browser.request("POST", "/ws", "", &body).await;
        assert_eq!(reply.status, 204, "{round}: {}", reply.text());
    }
    // A client that connects pays by its connection.
    let _socket = browser.socket("/ws/11").await;
    let reply = browser.request("POST", "/ws/11", "", &body).await;
    assert_eq!(reply.status, 204);
}

#[tokio::test]
async fn messages_by_the_sink_of_a_channel_have_a_limit() {
    let (control, channels) = serve().await;
    let mut browser = Browser::new(&control);
    browser.get("/open").await;
    let session = channels.all().remove(0);
    let mut stored = 0;
    let error = 'full: {
        for number in 0..12 {
            let mut socket = session.channel(number.to_string()).ws().unwrap();
            let message = Message::text("x".repeat(POSTED));
            match SinkExt::send(&mut socket, message).await {
                Ok(()) => stored += POSTED,
                Err(error) => break 'full error,
            }
        }
        panic!("{stored} bytes in {MEMORY}");
    };
    assert_eq!(error.kind(), io::ErrorKind::OutOfMemory, "{error}");
    assert!((1..MEMORY).contains(&stored), "{stored}");
    // A client takes the messages of the first channel, and their memory is free again.
    let mut client = browser.socket("/ws/0").await;
    assert_eq!(next_text(&mut client).await.len(), POSTED);
    let mut socket = session.channel("20").ws().unwrap();
    let message = Message::text("x".repeat(POSTED));
    SinkExt::send(&mut socket, message).await.unwrap();
}

#[tokio::test]
async fn records_of_absent_tabs_are_charged() {
    let (control, channels) = serve().await;
    let mut browser = Browser::new(&control);
    for number in 0..12 {
        let mut channel = None;
        // Each tab that comes and goes leaves a position.
        for tab in 0..60 {
            let mut socket = Client::connect(browser.address).await;
            let target = format!("/ws/{number}?tab={tab:x}");
            let reply = socket.upgrade(&target, &browser.fields()).await;
            browser.keep(&reply);
            let open = channels.all()[0].channel(number.to_string()).ws();
            match (reply.status, open) {
                (101, Ok(open)) => channel = Some(open),
                // The positions of the other channels have filled the memory.
                _ => return assert!(number > 1, "{number}"),
            }
        }
        let channel = channel.unwrap();
        eventually("gone", || channel.peer_addr().is_none()).await;
    }
    panic!("720 tabs in {MEMORY} bytes");
}

#[tokio::test]
async fn control_messages_by_the_sink_of_a_channel_are_neither_numbered_nor_kept() {
    let (control, channels) = reachable(|_| (), ws().resume_ids()).await;
    let mut browser = Browser::new(&control);
    let mut client = browser.socket("/ws").await;
    let first: serde_json::Value = serde_json::from_str(&next_text(&mut client).await).unwrap();
    let mut socket = only(&channels);
    let mut send = async |message: Message| SinkExt::send(&mut socket, message).await;
    send(Message::text("one")).await.unwrap();
    send(Message::Ping("control".into())).await.unwrap();
    send(Message::Pong("control".into())).await.unwrap();
    send(Message::text("two")).await.unwrap();
    let mut controls = Vec::new();
    let mut texts = Vec::new();
    while texts.len() < 2 {
        let frame = client.next_frame().await;
        match frame.opcode {
            TEXT => texts.push(frame.text().to_owned()),
            opcode if frame.payload == b"control" => controls.push(opcode),
            _ => {}
        }
    }
    assert_eq!(
        (texts, controls),
        (vec!["one".to_owned(), "two".to_owned()], vec![PING, PONG])
    );
    // No client is there, so a control message is gone.
    drop(client);
    eventually("gone", || only(&channels).peer_addr().is_none()).await;
    send(Message::Ping("nobody".into())).await.unwrap();
    // The client counts the texts alone: it has two of them, and misses nothing.
    let target = format!(
        "/ws?last_event_id={}-2&tab={}",
        field(&first, "epoch"),
        field(&first, "tab")
    );
    let mut client = browser.socket(&target).await;
    let again: serde_json::Value = serde_json::from_str(&next_text(&mut client).await).unwrap();
    assert_eq!(
        (&again["offset"], &again["reset"]),
        (&serde_json::json!(2), &serde_json::json!(false))
    );
    send(Message::text("three")).await.unwrap();
    loop {
        let frame = client.next_frame().await;
        assert_ne!(frame.payload, b"nobody");
        if frame.opcode == TEXT {
            assert_eq!(frame.text(), "three");
            break;
        }
    }
}
