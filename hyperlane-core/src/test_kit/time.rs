//! Virtual time.

use std::time::Duration;

/// Lets `duration` pass on tokio's paused clock, without sleeping. The timers of servers, handlers and clients fire on
/// the way, each at its time: heartbeats, graces, timeouts, and `tokio::time::sleep` in handlers.
///
/// The clock is paused in a test with `#[tokio::test(start_paused = true)]`, and after `tokio::time::pause()`. It then
/// stands still while a task can run or the work of `tokio::task::spawn_blocking` runs, and jumps to the next timer when
/// all tasks wait. Sockets and threads of the program's own do not hold the clock.
///
/// # Panics
/// Panics if the clock is not paused.
///
/// ```
/// use std::time::Duration;
///
/// use hyperlane_core::{Server, test_kit::{TestServer, advance}};
///
/// # #[tokio::main(flavor = "current_thread", start_paused = true)]
/// # async fn main() -> Result<(), hyperlane_core::ServerError> {
/// let mut server = Server::new();
/// server.at("/").get(async || "hello");
/// let server = TestServer::start(&server)?;
/// server.client().get("/").await;
///
/// let begun = std::time::Instant::now();
/// advance(Duration::from_secs(3600)).await;
/// assert!(begun.elapsed() < Duration::from_secs(60));
/// # Ok(())
/// # }
/// ```
pub async fn advance(duration: Duration) {
    // This call panics unless the clock is paused: an hour would otherwise be an hour.
    tokio::time::advance(Duration::ZERO).await;
    tokio::time::sleep(duration).await;
}
