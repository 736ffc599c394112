//! The parts that end-to-end tests share: servers on port 0, clients at byte level, hooks in short form.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails by a panic"
)]

use std::time::Duration;

use tokio::time::timeout;

pub mod bridge;
mod cases;
mod client;
mod frame;
mod hook;
mod http2;
mod log;
mod memory;
mod server;
mod signals;
mod tls;

pub use bridge::http2_socket;
pub use cases::{CaseLine, case_lines, expand};
pub use client::{Client, Reply};
pub use frame::{BINARY, CLOSE, Frame, PING, PONG, TEXT, frame};
pub use hook::Outcome;
pub use http2::{
    ACK, END_HEADERS, END_STREAM, Http2Frame, PREFACE, http2_field, http2_frame, http2_get,
    http2_request, http2_settings, kind,
};
pub use log::{Lines, collect_log};
pub use memory::{Memory, memory};
pub use server::{BindLocal, HOSTS, address, hosts, start};
pub use signals::{Gate, Noted, Notes, notes};
pub use tls::{Authority, Issued, connect_tls, provider};

/// Time limit of every wait: a hang fails the test instead of stopping the run.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Waits until `condition` holds; for changes that raise no event.
pub async fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    timeout(PATIENCE, async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await
    .unwrap_or_else(|_| panic!("not in time: {what}"));
}
