//! Errors of the test kit.

use std::time::Duration;

use super::TestResponse;
use crate::{CloseCode, HeaderError, ServerError, Utf8Bytes};

/// The reason why a step of a test client failed.
///
/// ```
/// use hyperlane_core::{Server, test_kit::{TestError, TestServer}};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), hyperlane_core::ServerError> {
/// let mut server = Server::new();
/// server.at("/").get(async || "hello");
/// let client = TestServer::start(&server)?.client();
/// let cut = client.get("/").cut_after_received(20).send().await;
/// assert!(matches!(cut, Err(TestError::Cut)));
/// # Ok(())
/// # }
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TestError {
    /// The server closed the WebSocket.
    #[error("the server closed the WebSocket with code {} and reason {reason:?}", code.get())]
    Closed {
        /// The code of the close frame; 1005 if the frame has no code.
        code: CloseCode,
        /// The reason of the close frame.
        reason: Utf8Bytes,
    },
    /// The server ended the connection: in the middle of a response, without the close frame of a WebSocket, or at the
    /// end of an event stream.
    #[error("the server ended the connection")]
    Ended,
    /// The client cut the connection, as the test requested.
    #[error("the client cut the connection, as the test requested")]
    Cut,
    /// Nothing arrived within the patience of the client.
    #[error("nothing arrived within {0:?}")]
    Timeout(Duration),
    /// The server answered a WebSocket handshake, or a request for an event stream, with another response.
    #[error("the server answered with status {}: {}", .0.status(), String::from_utf8_lossy(.0.bytes()))]
    Refused(Box<TestResponse>),
    /// The server sent bytes that break the protocol. The text names the broken rule.
    #[error("the server broke the protocol: {0}")]
    Protocol(String),
    /// The body of a response exceeds 64 MiB.
    #[error("the body of the response exceeds {0} bytes")]
    TooLarge(usize),
    /// A header field of the request is invalid.
    #[error("the request has an invalid header field: {0}")]
    Header(#[from] HeaderError),
    /// The body of the request cannot be written as JSON.
    #[error("the body of the request is not JSON: {0}")]
    Json(#[from] serde_json::Error),
    /// The server of a [`call`](super::call) did not start.
    #[error(transparent)]
    Server(#[from] ServerError),
    /// The request was created without a client: [`call`](super::call) and
    /// [`TestClient::send`](super::TestClient::send) take such a request.
    #[error("the request has no client: pass it to `TestClient::send` or `test::call`")]
    NoClient,
}
