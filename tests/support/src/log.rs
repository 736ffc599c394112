//! The log of a test, line by line.

use std::{
    io,
    sync::{Arc, LazyLock, Mutex},
};

use tracing::{Dispatch, subscriber::DefaultGuard};

/// The log of servers on this thread, from INFO on.
#[derive(Clone, Default)]
pub struct Lines(Arc<Mutex<Vec<u8>>>);

impl Lines {
    /// Returns the lines that contain `text`.
    pub fn with(&self, text: &str) -> Vec<String> {
        let bytes = self.0.lock().expect("the log").clone();
        let all = String::from_utf8(bytes).expect("text");
        all.lines()
            .filter(|line| line.contains(text))
            .map(str::to_owned)
            .collect()
    }
}

impl io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().expect("the log").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Collects the log while the guard lives; works for servers on the thread of the test alone.
pub fn collect_log() -> (Lines, DefaultGuard) {
    // `tracing` asks once per log statement if a subscriber wants it, and keeps the answer. With a single subscriber it
    // asks only on the thread that reaches the statement first, which may be that of a test without a subscriber.
    static ANOTHER: LazyLock<Dispatch> =
        LazyLock::new(|| tracing_subscriber::fmt().with_writer(io::sink).into());
    LazyLock::force(&ANOTHER);
    let lines = Lines::default();
    let writer = lines.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_ansi(false)
        .with_writer(move || writer.clone())
        .finish();
    (lines, tracing::subscriber::set_default(subscriber))
}
