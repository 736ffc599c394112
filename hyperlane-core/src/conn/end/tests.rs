use std::{
    future::pending,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::mpsc,
};

use super::super::testing::{Client, events, sockets, until};
use crate::{
    CloseCode, Context, PushError, Server, ServerConfig, ServerHook, Status, Stream,
    conn::{
        barrier::{PastHeld, Undelivered},
        buffer::MADE,
    },
    wire::WireFormat,
};

struct Echo;

impl ServerHook for Echo {
    async fn new(_: &mut Stream, _: &mut Context) -> Self {
        Self
    }

    async fn handle(self, stream: &mut Stream, ctx: &mut Context) -> Status {
        if let Ok(socket) = ctx.upgrade(stream).await {
            while let Ok(message) = socket.recv().await {
                let _ = socket.send(message).await;
            }
        }
        Status::Continue
    }
}

const HANDSHAKE: &[u8] = b"GET /echo HTTP/1.1\r\nhost: localhost\r\nupgrade: websocket\r\n\
    connection: upgrade\r\nsec-websocket-version: 13\r\n\
    sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
const CLOSE: &[u8] = b"\x88\x82\0\0\0\0\x03\xe8";

#[tokio::test]
async fn each_connection_gives_the_read_buffer_back_when_it_closes() {
    let mut server = Server::new();
    server.bind("127.0.0.1:0").route::<Echo>("/echo");
    let control = server.run().await.unwrap();
    let made = MADE.get();
    for round in 0..30 {
        let mut client = TcpStream::connect(control.local_addr().unwrap())
            .await
            .unwrap();
        let ends: &[&[u8]] = match round % 3 {
            // The three ends: a closing handshake, a client that disconnects, and an answer after which the server
            // closes.
            0 => &[HANDSHAKE, CLOSE],
            1 => &[HANDSHAKE],
            _ => &[b"GET / HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n"],
        };
        for bytes in ends {
            client.write_all(bytes).await.unwrap();
        }
        let mut first = [0; 16];
        client.read_exact(&mut first).await.unwrap();
        if round % 3 != 1 {
            client.read_to_end(&mut Vec::new()).await.unwrap();
        }
        drop(client);
        while control.connections() > 0 {
            tokio::task::yield_now().await;
        }
    }
    let made = MADE.get() - made;
    assert!(
        made <= 2,
        "{made} buffers for connections one after the other"
    );
}

/// Answers `/held` by whether its connection holds memory for input, after the client has ended its side.
struct Held;

impl ServerHook for Held {
    async fn new(_: &mut Stream, _: &mut Context) -> Self {
        Self
    }

    async fn handle(self, stream: &mut Stream, ctx: &mut Context) -> Status {
        let connection = stream.connection().clone();
        while !connection.lane.life.has_input_ended() {
            tokio::task::yield_now().await;
        }
        // One more poll of the task, which frees the memory at its end.
        tokio::task::yield_now().await;
        let held = connection.lock_input().buffer.has_memory();
        ctx.get_mut_response().set_body(format!("held={held}"));
        Status::Continue
    }
}

#[tokio::test]
async fn a_client_that_has_ended_its_side_holds_no_buffer_while_its_last_request_is_served() {
    let mut server = Server::new();
    server.bind("127.0.0.1:0").route::<Held>("/held");
    let control = server.run().await.unwrap();
    let mut client = TcpStream::connect(control.local_addr().unwrap())
        .await
        .unwrap();
    // The head of the second request is unread while the first one is served.
    let padding = "x".repeat(20_000);
    let requests = format!(
        "GET /held HTTP/1.1\r\nhost: localhost\r\n\r\n\
         GET /held HTTP/1.1\r\nhost: localhost\r\nx-padding: {padding}\r\n\r\n"
    );
    client.write_all(requests.as_bytes()).await.unwrap();
    client.shutdown().await.unwrap();
    let mut answers = String::new();
    client.read_to_string(&mut answers).await.unwrap();
    assert!(answers.ends_with("held=false"), "{answers}");
}

/// Limits under which a client that does not read is noticed soon and cut late.
fn patient(stall: Duration) -> ServerConfig {
    ServerConfig::default()
        .send_buffer(16 * 1024)
        .outbox_stall(stall)
        .close_timeout(Duration::from_secs(60))
}

/// How a client that does not read is let go.
const ENDS: [(&str, Duration); 2] = [
    ("the stall timer", Duration::from_millis(200)),
    ("a close that drops", Duration::from_secs(60)),
];

#[tokio::test]
async fn a_websocket_that_reads_again_late_finds_the_reason() {
    for (end, stall) in ENDS {
        let (tell, mut told) = mpsc::unbounded_channel();
        let control = sockets(patient(stall), move |socket| {
            let tell = tell.clone();
            async move {
                let outbox = socket.outbox();
                while outbox.queued() < 400_000 {
                    outbox.send(&vec![b'x'; 50_000].into()).unwrap();
                }
                tell.send(outbox).unwrap();
                while socket.recv().await.is_ok() {}
            }
        })
        .await;
        let mut client = Client::websocket(&control).await;
        let outbox = told.recv().await.unwrap();
        let told_of_end = Arc::new(AtomicBool::new(false));
        let tells = told_of_end.clone();
        outbox.__on_closed(move || tells.store(true, Ordering::SeqCst));
        if stall > Duration::from_secs(1) {
            outbox.close(CloseCode::TRY_AGAIN_LATER, "reads too slowly", true);
        }
        until(|| told_of_end.load(Ordering::SeqCst)).await;
        assert!(outbox.queued() < 100_000, "the rest is dropped: {end}");
        let frame = WireFormat::WebSocket.encode(&"late".into()).unwrap();
        assert_eq!(outbox.push(&frame), Err(PushError::Closed), "{end}");
        // The client reads whole messages, and then why there are no more.
        let (first, payload) = loop {
            let (first, payload) = client.frame().await;
            if first != 0x82 {
                break (first, payload);
            }
            assert!(payload.len() == 50_000 && payload.iter().all(|byte| *byte == b'x'));
        };
        assert_eq!(first, 0x88, "{end}");
        assert_eq!(payload, b"\x03\xf5reads too slowly", "{end}");
    }
}

#[tokio::test]
async fn an_event_stream_that_is_let_go_ends_between_two_events() {
    for (end, stall) in ENDS {
        let (tell, mut told) = mpsc::unbounded_channel();
        let control = events(patient(stall), move |events| {
            let tell = tell.clone();
            async move {
                let outbox = events.outbox();
                let mut number = 0;
                while outbox.queued() < 400_000 {
                    let text = format!("{number} {}", "x".repeat(50_000));
                    outbox.send(&text.into()).unwrap();
                    number += 1;
                }
                tell.send((outbox, number)).unwrap();
                pending().await
            }
        })
        .await;
        let mut client = Client::request_as(&control, "1.1", "").await;
        let (outbox, sent) = told.recv().await.unwrap();
        let told_of_end = Arc::new(AtomicBool::new(false));
        let tells = told_of_end.clone();
        outbox.__on_closed(move || tells.store(true, Ordering::SeqCst));
        if stall > Duration::from_secs(1) {
            outbox.close(CloseCode::TRY_AGAIN_LATER, "", true);
        }
        until(|| told_of_end.load(Ordering::SeqCst)).await;
        let event = outbox.format().encode(&"late".into()).unwrap();
        assert_eq!(outbox.push(&event), Err(PushError::Closed), "{end}");
        assert_eq!(
            outbox.__deliver(&event, usize::MAX, PastHeld::Yes),
            Err(Undelivered::Closed),
            "{end}"
        );
        let rest = client.rest().await;
        assert!(
            rest.ends_with("x\n\n\r\n"),
            "{end}: a whole chunk, and no last chunk"
        );
        let got = rest.matches("data: ").count();
        assert!(got < sent, "{end}: {got} of {sent}");
        for number in 0..got {
            assert!(
                rest.contains(&format!("data: {number} x")),
                "{end}: {number}"
            );
        }
    }
}
