//! Memory that rooms hold for members that never read: in a process of its own, whose resident memory it measures.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails by a panic"
)]

use hyperlane::{broadcast::RoomsConfig, prelude::*};
use test_support::{CLOSE, Client, PATIENCE, address, eventually, handler, start};
use tokio::time::timeout;

// Joins the room of its path and reads until its client leaves.
handler!(Joins, |stream, ctx| {
    let room = ctx.room(ctx.get_route_param("room")).unwrap();
    let socket = ctx.upgrade(stream).await.unwrap();
    room.join(&socket).await.unwrap();
    while socket.recv().await.is_ok() {}
});

async fn in_room(room: &Room, count: usize) {
    eventually("members come and go", || room.len() == count).await;
}

/// The resident memory of this process, in KiB.
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .and_then(|line| line.trim().trim_end_matches(" kB").parse().ok())
        .unwrap_or(0)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn members_that_never_read_are_let_go_and_the_others_get_everything() {
    const MEMBERS: usize = 1000;
    const SLOW: usize = 10;
    const COUNT: usize = 60;
    const LENGTH: usize = 150_000;
    let history = RoomsConfig::default().history_messages(10);
    let rooms = Rooms::with_config(history);
    let control = start(|server| {
        server.state(rooms.clone()).route::<Joins>("/{room}");
        let config = server.get_mut_server_config();
        config.outbox_bytes = 64 * 1024;
        config.close_timeout = PATIENCE;
    })
    .await;
    let room = rooms.room("lobby").unwrap();
    let mut slow = Vec::new();
    let mut readers = Vec::new();
    for at in 0..MEMBERS {
        let mut client = Client::websocket(address(&control), "/lobby").await;
        if at % (MEMBERS / SLOW) == 0 {
            slow.push(client);
            continue;
        }
        readers.push(tokio::spawn(async move {
            for number in 0..20 {
                assert_eq!(
                    client.next_message().await.text(),
                    format!("small {number}")
                );
            }
            client
        }));
    }
    in_room(&room, MEMBERS).await;
    for number in 0..20 {
        assert_eq!(
            room.broadcast(format!("small {number}"))
                .await
                .unwrap()
                .members,
            MEMBERS
        );
    }
    // Only a few read all of the large ones, which keeps the test quick.
    let mut quick = Vec::new();
    for reader in readers {
        let client = timeout(PATIENCE, reader).await.unwrap().unwrap();
        if quick.len() < 20 {
            quick.push(client);
        } else {
            client.close().await;
        }
    }
    in_room(&room, SLOW + 20).await;
    let before = resident();
    let payload = "x".repeat(LENGTH);
    for number in 0..COUNT {
        room.broadcast(format!("{number:03}{payload}"))
            .await
            .unwrap();
        for client in &mut quick {
            assert_eq!(
                &client.next_message().await.payload[..3],
                format!("{number:03}").as_bytes()
            );
        }
    }
    // 10 times 60 times 150 kB would be 90 MB.
    assert!(
        resident() < before + 40_000,
        "{} kB more",
        resident() - before
    );
    for client in &mut slow {
        for number in 0..20 {
            assert_eq!(
                client.next_message().await.text(),
                format!("small {number}")
            );
        }
        let mut expected = 0;
        let code = loop {
            let frame = client.next_message().await;
            if frame.opcode == CLOSE {
                break frame.code();
            }
            assert_eq!(&frame.payload[..3], format!("{expected:03}").as_bytes());
            expected += 1;
        };
        assert!(expected < COUNT, "it lagged");
        assert_eq!(code, 1013);
        client.frame(CLOSE, code.to_be_bytes()).await;
        assert!(client.ends().await);
    }
    in_room(&room, 20).await;
}
