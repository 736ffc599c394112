//! Pings that ask plain sockets for their position.

use super::*;

/// Reads up to a text and answers pings; returns the number of pings.
async fn count_pings(client: &mut Client, text: &str) -> usize {
    let mut pings = 0;
    loop {
        let frame = client.next_frame().await;
        match frame.opcode {
            PING => {
                pings += 1;
                client.frame(PONG, frame.payload).await;
            }
            _ => {
                assert_eq!(frame.text(), text);
                return pings;
            }
        }
    }
}

hook! {
    PingsAndEchoes |stream, ctx| {
        let socket = ctx.upgrade(stream).await.unwrap();
        while let Ok(message) = socket.recv().await {
            socket.ping("of the program").await.unwrap();
            socket.send(message).await.unwrap();
        }
    }
}

#[tokio::test]
async fn answers_to_the_servers_pings_are_free_and_pongs_unasked_for_are_not() {
    const LIMIT: u32 = 5;
    let echo = |pings: bool| {
        ws_with(move |ws: WebSocket, _| async move {
            while let Ok(message) = ws.recv().await {
                if pings {
                    ws.ping("of the program").await.unwrap();
                }
                ws.send(message).await.unwrap();
            }
        })
    };
    let control = start(|server| {
        server.get_mut_server_config().max_control_frames_per_second = LIMIT;
        // Half of the buffer is soon full, so that the channel asks often.
        server.at("/asks").get(echo(false).buffer(2));
        server.at("/pings").get(echo(true));
        server.route::<PingsAndEchoes>("/upgraded");
    })
    .await;
    for path in ["/asks", "/pings", "/upgraded"] {
        let mut socket = Browser::new(&control).socket(path).await;
        let mut pings = 0;
        for number in 0..100 {
            let text = number.to_string();
            socket.say(&text).await;
            pings += count_pings(&mut socket, &text).await;
        }
        assert!(pings > 20, "{path}: {pings}");
        for _ in 0..LIMIT + 100 {
            socket.frame(PONG, "unasked").await;
        }
        let close = socket.next_message().await;
        assert_eq!((close.opcode, close.code()), (CLOSE, 1008), "{path}");
    }
}

#[tokio::test]
async fn a_busy_channel_asks_seldom_and_once_more_when_it_is_quiet() {
    let (control, channels) = reachable(|_| (), ws()).await;
    let mut socket = Browser::new(&control).socket("/ws").await;
    let channel = only(&channels);
    let mut pings = 0;
    for number in 1..=500 {
        let text = number.to_string();
        channel.send(text.as_str()).await.unwrap();
        pings += count_pings(&mut socket, &text).await;
    }
    assert!(pings < 100, "{pings} pings for 500 messages");
    // The last of them asks for all, long before the heartbeat.
    answer_up_to(&mut socket, 500).await;
}

#[tokio::test]
async fn a_client_may_answer_the_latest_ping_alone() {
    let (control, channels) = reachable(|_| (), ws().buffer(4)).await;
    let mut socket = Browser::new(&control).socket("/ws").await;
    let channel = only(&channels);
    channel.send("first").await.unwrap();
    assert_eq!(next_unanswered(&mut socket).await, "first");
    while socket.next_frame().await.opcode != PING {}
    channel.ping("latest").await.unwrap();
    let latest = socket.next_frame().await;
    assert_eq!((latest.opcode, &latest.payload[..]), (PING, &b"latest"[..]));
    socket.frame(PONG, latest.payload).await;
    let sending = send_numbers(channel, 20);
    for number in 1..=20 {
        assert_eq!(next_text(&mut socket).await, number.to_string());
    }
    sending.await.unwrap();
}
