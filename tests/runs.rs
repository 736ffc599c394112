//! The example `llm_stream`: a run outlives the request that has started it, and every connection.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails by a panic"
)]

#[path = "../examples/llm_stream/main.rs"]
#[allow(dead_code, reason = "its `main` is not ours")]
mod llm_stream;

use std::net::SocketAddr;

use hyperlane::{
    ServerControlHook,
    proto::sse::{EventReader, ReceivedEvent},
};
use test_support::{Client, Reply, address, start};

async fn serve() -> ServerControlHook {
    start(|server| {
        server.__register_all();
        llm_stream::serve_runs(server);
    })
    .await
}

struct Browser {
    address: SocketAddr,
    cookie: String,
}

impl Browser {
    fn new(control: &ServerControlHook) -> Self {
        Self {
            address: address(control),
            cookie: String::new(),
        }
    }

    async fn request(&mut self, method: &str, target: &str, body: &str) -> Reply {
        let mut client = Client::connect(self.address).await;
        let fields = format!(
            "cookie: {}\r\ncontent-type: application/x-www-form-urlencoded\r\ncontent-length: {}\r\n",
            self.cookie,
            body.len()
        );
        client.request(method, target, &fields).await;
        client.send(body).await;
        let reply = client.reply().await;
        if let Some(cookie) = reply.header("set-cookie") {
            self.cookie = cookie.split(';').next().unwrap().to_owned();
        }
        reply
    }

    /// Starts a run, and returns its path.
    async fn ask(&mut self, question: &str) -> String {
        let reply = self
            .request("POST", "/runs", &format!("question={question}"))
            .await;
        assert_eq!(reply.status, 303, "{}", reply.text());
        reply.header("location").unwrap().to_owned()
    }

    /// Waits until a run is over, and returns its answer.
    async fn answer(&mut self, run: &str) -> String {
        loop {
            let reply = self.request("GET", &format!("{run}/answer"), "").await;
            if reply.status == 200 {
                return reply.text().to_owned();
            }
            assert_eq!(reply.status, 404);
            tokio::task::yield_now().await;
        }
    }

    /// Connects to the tokens of a run.
    async fn tab(&self, run: &str, last_event_id: &str) -> Result<Tab, u16> {
        let mut client = Client::connect(self.address).await;
        let fields = format!(
            "cookie: {}\r\nlast-event-id: {last_event_id}\r\n",
            self.cookie
        );
        client
            .request("GET", &format!("{run}/tokens"), &fields)
            .await;
        let head = String::from_utf8(client.until(b"\r\n\r\n").await).unwrap();
        match head.split(' ').nth(1).unwrap().parse().unwrap() {
            200 => Ok(Tab {
                client,
                reader: EventReader::new(),
                text: String::new(),
            }),
            status => Err(status),
        }
    }
}

/// A tab that shows a run.
struct Tab {
    client: Client,
    reader: EventReader,
    text: String,
}

impl Tab {
    /// Reads the next tokens; returns false at the end of the stream.
    async fn read(&mut self) -> bool {
        let chunk = self.client.chunk().await;
        let mut events: Vec<ReceivedEvent> = Vec::new();
        self.reader.push(&chunk, &mut events).unwrap();
        for event in events {
            assert_ne!(event.event, "reset");
            if event.event == "message" {
                let token: String = serde_json::from_str(&event.data).unwrap();
                self.text.push_str(&token);
            }
        }
        !chunk.is_empty()
    }

    async fn read_to_end(mut self) -> String {
        while self.read().await {}
        self.text
    }

    async fn read_until(&mut self, length: usize) {
        while self.text.len() < length {
            assert!(self.read().await, "the run is over");
        }
    }
}

#[tokio::test]
async fn every_tab_shows_the_whole_run_through_cuts_and_reloads() {
    let control = serve().await;
    let mut browser = Browser::new(&control);
    let (one, other) = (browser.ask("one").await, browser.ask("other").await);
    assert_eq!(browser.request("GET", &one, "").await.status, 200);
    let mut tab = browser.tab(&one, "").await.unwrap();
    let beside = browser.tab(&other, "").await.unwrap();
    tab.read_until(40).await;
    // The connection is cut, and the browser resumes. Then the page is reloaded, and another tab opens.
    let id = tab.reader.last_event_id().to_owned();
    let Tab { client, text, .. } = tab;
    client.reset();
    let mut tab = browser.tab(&one, &id).await.unwrap();
    tab.text = text;
    tab.read_until(80).await;
    let second = browser.tab(&one, "").await.unwrap();
    let answer = second.read_to_end().await;
    assert!(
        answer.starts_with("You ask: one A named channel"),
        "{answer}"
    );
    assert!(answer.ends_with("never mix."), "{answer}");
    assert_eq!(tab.read_to_end().await, answer);
    assert_eq!(
        beside.read_to_end().await,
        answer.replacen("one", "other", 1),
        "no token of the other run"
    );
    // The run is over: a browser stops, with an id and without one.
    for id in [&id, ""] {
        assert_eq!(browser.tab(&one, id).await.err(), Some(204));
    }
    let stored = browser.request("GET", &format!("{one}/answer"), "").await;
    assert_eq!(stored.text(), answer);
}

#[tokio::test]
async fn a_run_that_is_stopped_keeps_the_tokens_so_far() {
    let control = serve().await;
    let mut browser = Browser::new(&control);
    let run = browser.ask("x").await;
    let answer = format!("{run}/answer");
    assert_eq!(browser.request("GET", &answer, "").await.status, 404);
    let mut tab = browser.tab(&run, "").await.unwrap();
    tab.read_until(40).await;
    let stop = format!("{run}/stop");
    assert_eq!(browser.request("POST", &stop, "").await.status, 204);
    let shown = tab.read_to_end().await;
    assert_eq!(browser.tab(&run, "").await.err(), Some(204));
    let stored = browser.answer(&run).await;
    assert!(stored.starts_with(&shown), "{stored:?} {shown:?}");
    assert!(!stored.ends_with("never mix."), "{stored:?}");
}

#[tokio::test]
async fn a_run_needs_no_client() {
    let control = serve().await;
    let mut browser = Browser::new(&control);
    let run = browser.ask("alone").await;
    let answer = browser.answer(&run).await;
    assert!(answer.ends_with("never mix."), "{answer}");
    assert_eq!(browser.tab(&run, "").await.err(), Some(204));
}

#[tokio::test]
async fn a_session_has_16_runs_at_a_time_and_no_other_sees_them() {
    let control = serve().await;
    let (mut browser, mut stranger) = (Browser::new(&control), Browser::new(&control));
    let mut runs = Vec::new();
    for _ in 0..16 {
        runs.push(browser.ask("x").await);
    }
    let reply = browser.request("POST", "/runs", "question=x").await;
    assert_eq!(reply.status, 429, "{}", reply.text());
    let stop = format!("{}/stop", runs[0]);
    stranger.ask("y").await;
    for target in [&runs[0], &format!("{}/answer", runs[0])] {
        assert_eq!(stranger.request("GET", target, "").await.status, 404);
    }
    stranger.request("POST", &stop, "").await;
    let mut tab = browser.tab(&runs[0], "").await.unwrap();
    tab.read_until(40).await;
    browser.request("POST", &stop, "").await;
    browser.ask("x").await;
}

#[tokio::test]
async fn a_run_that_cannot_start_takes_no_channel() {
    let control = start(|server| {
        server.get_mut_server_config().session_memory = 64 * 1024;
        server.__register_all();
        llm_stream::serve_runs(server);
    })
    .await;
    let mut browser = Browser::new(&control);
    browser.ask("x").await;
    let long = format!("question={}", "x".repeat(100_000));
    for _ in 0..20 {
        let reply = browser.request("POST", "/runs", &long).await;
        assert_eq!(
            reply.status,
            500,
            "no room for the question: {}",
            reply.text()
        );
    }
    browser.ask("y").await;
}

#[tokio::test]
async fn a_session_forgets_its_oldest_runs() {
    let control = serve().await;
    let mut browser = Browser::new(&control);
    let mut runs = Vec::new();
    for _ in 0..40 {
        let run = browser.ask("x").await;
        let stop = format!("{run}/stop");
        assert_eq!(browser.request("POST", &stop, "").await.status, 204);
        browser.answer(&run).await;
        runs.push(run);
    }
    let mut stored = 0;
    for run in &runs {
        let reply = browser.request("GET", &format!("{run}/answer"), "").await;
        stored += usize::from(reply.status == 200);
    }
    assert_eq!(stored, 32);
    let first = format!("{}/answer", runs[0]);
    assert_eq!(browser.request("GET", &first, "").await.status, 404);
}
