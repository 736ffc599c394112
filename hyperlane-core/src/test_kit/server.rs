//! A server in memory.

use std::fmt;

use super::TestClient;
use crate::{Server, ServerControlHook, ServerError};

/// A running server without ports. Clients from [`client`](Self::client) reach it through memory.
///
/// The server runs in the tokio runtime of the test, and ends with this runtime. Its connections have the limits,
/// timeouts and heartbeats of connections over sockets. The addresses of its configuration have no effect.
///
/// ```
/// use hyperlane_core::{Path, Server, test_kit::TestServer};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), hyperlane_core::ServerError> {
/// let mut server = Server::new();
/// server.at("/hello/{name}").get(async |Path(name): Path<String>| format!("hello {name}"));
///
/// let client = TestServer::start(&server)?.client();
/// let response = client.get("/hello/ada").await;
/// assert_eq!(response.status(), 200);
/// assert_eq!(response.text(), "hello ada");
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct TestServer {
    control: ServerControlHook,
}

impl TestServer {
    /// Starts a server. A function with `#[hyperlane(server: Server)]` gives the server that has the functions of the
    /// program.
    ///
    /// # Errors
    /// Returns the same errors as [`Server::run`], except those of addresses.
    pub fn start(server: &Server) -> Result<Self, ServerError> {
        Ok(Self {
            control: server.run_in_memory()?,
        })
    }

    /// Creates a client with no cookies.
    pub fn client(&self) -> TestClient {
        TestClient::new(self.control.clone())
    }

    /// Returns the handle of the server, to read its state or to serve other transports.
    pub fn control(&self) -> &ServerControlHook {
        &self.control
    }

    /// Shuts the server down, like [`ServerControlHook::shutdown`].
    ///
    /// # Cancel safety
    /// After the first poll, the shutdown continues even if the future is dropped.
    pub async fn shutdown(&self) {
        self.control.shutdown().await;
    }
}

impl fmt::Debug for TestServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TestServer").finish_non_exhaustive()
    }
}
