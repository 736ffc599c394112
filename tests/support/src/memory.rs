//! A client of a server in memory: the test kit, with the methods and answers of the client at byte level.

use hyperlane::{
    Method, Server,
    test::{TestClient, TestRequest, TestServer},
};

use crate::{Reply, hosts};

/// A client of a server in memory, for tests to which sockets add nothing. It has the methods of
/// [`Client`](crate::Client) that do not concern bytes.
pub struct Memory {
    client: TestClient,
    /// The request that [`reply`](Self::reply) sends.
    request: Option<TestRequest>,
}

/// Starts a server in memory, and returns a client of it.
pub fn memory(configure: impl FnOnce(&mut Server)) -> Memory {
    let mut server = Server::new();
    server.get_mut_server_config().allowed_hosts = hosts();
    configure(&mut server);
    Memory::of(&server)
}

impl Memory {
    /// Starts a server, and returns a client of it.
    pub fn of(server: &Server) -> Self {
        let server = TestServer::start(server).expect("the server starts");
        Self {
            client: server.client().with_peer(([127, 0, 0, 1], 50_000).into()),
            request: None,
        }
    }

    /// Prepares a request. Each field ends with CR LF. [`send`](Self::send) sets its body.
    pub async fn request(&mut self, method: &str, target: &str, fields: &str) {
        let request = self.client.request(Method::from(method), target);
        let fields = fields.lines().filter_map(|line| line.split_once(':'));
        self.request = Some(fields.fold(request, |request, (name, value)| {
            request.header(name, value.trim())
        }));
    }

    /// Sets the body of the prepared request.
    pub async fn send(&mut self, body: impl AsRef<[u8]>) {
        let request = self.request.take().expect("a request");
        self.request = Some(request.body(body.as_ref().to_vec()));
    }

    /// Sends the prepared request.
    pub async fn reply(&mut self) -> Reply {
        let response = self.request.take().expect("a request").await;
        let mut head = format!("HTTP/1.1 {}\r\n", response.status());
        for (name, value) in response.headers().iter() {
            head += &format!("{name}: {value}\r\n");
        }
        Reply {
            status: response.status(),
            head,
            body: response.bytes().to_vec(),
        }
    }

    /// Sends the prepared request, like [`reply`](Self::reply). The kit knows itself that HEAD has no body.
    pub async fn reply_to(&mut self, _head_only: bool) -> Reply {
        self.reply().await
    }

    /// Requests a path.
    pub async fn get(&mut self, target: &str) -> Reply {
        self.request("GET", target, "").await;
        self.reply().await
    }

    /// Sends a body to a path.
    pub async fn post(&mut self, target: &str, body: &str) -> Reply {
        self.request("POST", target, "").await;
        self.send(body).await;
        self.reply().await
    }
}
