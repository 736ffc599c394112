//! Hooks and helpers of the tests of WebSockets, event streams and rooms.

use std::sync::Arc;

use tokio::{
    sync::{
        Notify,
        mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
    },
    time::timeout,
};

use super::{Client, PATIENCE};

/// Makes a hook of a block, which goes on unless it returns early.
#[allow(unused_macros, reason = "every test binary uses its own part")]
macro_rules! handler {
    ($name:ident, |$stream:ident, $ctx:ident| $body:block) => {
        struct $name;

        impl ServerHook for $name {
            async fn new(_: &mut Stream, _: &mut Context) -> Self {
                Self
            }

            async fn handle(self, $stream: &mut Stream, $ctx: &mut Context) -> Status {
                $body
                Status::Continue
            }
        }
    };
}
#[allow(unused_imports, reason = "every test binary uses its own part")]
pub(crate) use handler;

/// What a hook tells its test; state of the server.
#[derive(Clone)]
pub struct Notes(UnboundedSender<String>);

impl Notes {
    pub fn note(&self, what: impl ToString) {
        // The test may be over.
        let _ = self.0.send(what.to_string());
    }
}

/// The test's side of [`Notes`].
pub struct Noted(UnboundedReceiver<String>);

impl Noted {
    pub async fn next(&mut self) -> String {
        timeout(PATIENCE, self.0.recv())
            .await
            .expect("the hook says something in time")
            .expect("the server lives")
    }

    /// Whether nothing was said that the test has not looked at.
    pub fn is_empty(&mut self) -> bool {
        self.0.try_recv().is_err()
    }
}

pub fn notes() -> (Notes, Noted) {
    let (sender, receiver) = unbounded_channel();
    (Notes(sender), Noted(receiver))
}

/// What a hook waits for until its test lets it go on; state of the server.
#[derive(Clone, Default)]
pub struct Gate(pub Arc<Notify>);

impl Gate {
    pub async fn pass(&self) {
        self.0.notified().await;
    }

    pub fn open(&self) {
        self.0.notify_one();
    }
}

impl Client {
    /// Sends what it has and resets the connection.
    pub fn reset(self) {
        self.stream.set_zero_linger().expect("linger");
    }

    /// Reads data frames until `count` have come and gives their texts.
    pub async fn texts(&mut self, count: usize) -> Vec<String> {
        let mut texts = Vec::with_capacity(count);
        while texts.len() < count {
            texts.push(self.next_message().await.text().to_owned());
        }
        texts
    }
}
