//! The log of a test, line by line.

use std::{
    io,
    sync::{Arc, LazyLock, Mutex},
};

use tracing::{Dispatch, subscriber::DefaultGuard};

/// What servers on this thread have logged, from INFO on.
#[derive(Clone, Default)]
pub struct Lines(Arc<Mutex<Vec<u8>>>);

impl Lines {
    /// Those that contain `text`.
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

/// Listens for as long as the guard lives; a test's server runs on no other thread.
pub fn listen() -> (Lines, DefaultGuard) {
    // While there is but one subscriber, whether a line is of interest is asked on the thread that reaches it first: that
    // of another test may have none, and the answer is kept.
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
