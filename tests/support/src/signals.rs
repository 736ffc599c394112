//! Signals between hooks and their test.

use std::sync::Arc;

use tokio::{
    sync::{
        Notify,
        mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
    },
    time::timeout,
};

use crate::PATIENCE;

/// Sender of a hook's notes to its test; state of the server.
#[derive(Clone)]
pub struct Notes(UnboundedSender<String>);

impl Notes {
    /// Sends a note.
    pub fn note(&self, what: impl ToString) {
        // The test may be over.
        let _ = self.0.send(what.to_string());
    }
}

/// The test's side of [`Notes`].
pub struct Noted(UnboundedReceiver<String>);

impl Noted {
    /// Waits for the next note.
    pub async fn next(&mut self) -> String {
        timeout(PATIENCE, self.0.recv())
            .await
            .expect("the hook says something in time")
            .expect("the server lives")
    }

    /// Returns true if the test has looked at every note so far.
    pub fn is_empty(&mut self) -> bool {
        self.0.try_recv().is_err()
    }
}

/// Returns both sides of a channel for notes.
pub fn notes() -> (Notes, Noted) {
    let (sender, receiver) = unbounded_channel();
    (Notes(sender), Noted(receiver))
}

/// Gate at which a hook waits until its test opens it; state of the server.
#[derive(Clone, Default)]
pub struct Gate(pub Arc<Notify>);

impl Gate {
    /// Waits until the gate opens, and passes.
    pub async fn pass(&self) {
        self.0.notified().await;
    }

    /// Lets one hook pass.
    pub fn open(&self) {
        self.0.notify_one();
    }
}
