//! Channels whose hook does not receive.

use super::*;

/// Sends more than fits while the hook does not receive: no later pong is read.
async fn say_unheard(socket: &mut Client) {
    for _ in 0..50 {
        socket.say(&"x".repeat(4096)).await;
    }
}

/// Returns true if the client sees a reset.
async fn is_reset(browser: &mut Browser, target: &str, counts: bool) -> bool {
    let mut socket = browser.socket(target).await;
    if counts {
        let first: serde_json::Value = serde_json::from_str(&next_text(&mut socket).await).unwrap();
        return first["reset"] == true;
    }
    let next = socket.next_message().await;
    (next.opcode, next.code()) == (CLOSE, 4010)
}

#[tokio::test]
async fn a_client_whose_hook_does_not_receive_gets_all_and_a_reset_after_a_cut() {
    const COUNT: u64 = 600;
    for (query, counts) in [("", false), ("?tab=7", false), ("?tab=7", true)] {
        let endpoint = if counts { ws().resume_ids() } else { ws() };
        let (control, channels) = reachable(|_| (), endpoint).await;
        let mut browser = Browser::new(&control);
        let mut socket = browser.socket(&format!("/ws{query}")).await;
        let mut target = format!("/ws{query}");
        if counts {
            let first: serde_json::Value =
                serde_json::from_str(&next_text(&mut socket).await).unwrap();
            target = format!("/ws?tab=7&last_event_id={}-9", field(&first, "epoch"));
        }
        say_unheard(&mut socket).await;
        let channel = only(&channels);
        let sending = send_numbers(channel.clone(), COUNT);
        for number in 1..=COUNT {
            assert_eq!(next_text(&mut socket).await, number.to_string(), "{query}");
        }
        sending.await.unwrap();
        // Messages that left the history cannot come again; the server says so, once.
        drop(socket);
        assert!(is_reset(&mut browser, &target, counts).await, "{query}");
        let mut socket = browser.socket(&format!("/ws{query}")).await;
        if counts {
            next_text(&mut socket).await;
        }
        channel.send("what comes then").await.unwrap();
        assert_eq!(next_text(&mut socket).await, "what comes then", "{query}");
    }
}

#[tokio::test]
async fn a_client_whose_hook_paused_goes_on_as_any() {
    let (control, channels) = reachable(|_| (), ws()).await;
    let mut browser = Browser::new(&control);
    let mut socket = browser.socket("/ws").await;
    let channel = only(&channels);
    for _ in 0..3 {
        say_unheard(&mut socket).await;
        let sending = send_numbers(channel.clone(), 600);
        for number in 1..=600 {
            assert_eq!(next_text(&mut socket).await, number.to_string());
        }
        sending.await.unwrap();
        for _ in 0..50 {
            channel.recv().await.unwrap();
        }
    }
    answer_up_to(&mut socket, 1800).await;
    // So few are still in the history: they come again, as no pong has confirmed them.
    say_unheard(&mut socket).await;
    for text in ["a", "b", "c"] {
        channel.send(text).await.unwrap();
    }
    drop(socket);
    let mut socket = browser.socket("/ws").await;
    assert_eq!(next_text(&mut socket).await, "a");
    assert_eq!(next_text(&mut socket).await, "b");
    assert_eq!(next_text(&mut socket).await, "c");
}

#[tokio::test]
async fn a_tab_whose_hook_does_not_receive_takes_nothing_from_the_others() {
    const COUNT: u64 = 600;
    let (control, channels) = reachable(|_| (), ws()).await;
    let mut browser = Browser::new(&control);
    let mut paused = browser.socket("/ws?tab=1").await;
    let mut plain = browser.socket("/ws?tab=2").await;
    let mut events = browser.follow("/ws", "").await;
    say_unheard(&mut paused).await;
    let sending = send_numbers(only(&channels), COUNT);
    let one = async {
        for number in 1..=COUNT {
            assert_eq!(next_text(&mut paused).await, number.to_string());
        }
    };
    let other = async {
        for number in 1..=COUNT {
            assert_eq!(next_text(&mut plain).await, number.to_string());
        }
    };
    let third = async {
        let mut number = 1;
        while number <= COUNT {
            let event = events.next().await;
            if event.event != "position" {
                assert_eq!(event.data, number.to_string());
                number += 1;
            }
        }
    };
    tokio::join!(one, other, third);
    sending.await.unwrap();
    // The other socket stands at its last pong, at least.
    drop(plain);
    let mut plain = browser.socket("/ws?tab=2").await;
    only(&channels).send("next").await.unwrap();
    while next_text(&mut plain).await != "next" {}
}
