//! What the end-to-end tests share: servers on port 0 and clients at byte level.
#![allow(
    dead_code,
    unreachable_pub,
    reason = "every test binary uses its own part"
)]

use std::{net::SocketAddr, time::Duration};

use hyperlane::prelude::*;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

pub mod lines;
pub mod realtime;

/// Patience of every wait: a hang fails the test instead of stopping the run.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Hosts that tests name where they do not matter: a server of this machine alone would not answer to them.
pub const HOSTS: [&str; 9] = [
    "a",
    "b",
    "h",
    "x",
    "home",
    "*.example",
    "*.com",
    "192.0.2.1",
    "[2001:db8::1]",
];

/// The same, as a configuration takes them.
pub fn hosts() -> Vec<String> {
    HOSTS.map(str::to_owned).to_vec()
}

/// A server on a port that the system chose.
pub async fn start(configure: impl FnOnce(&mut Server)) -> ServerControlHook {
    let mut server = Server::new();
    server.bind("127.0.0.1:0");
    server.get_mut_server_config().allowed_hosts = hosts();
    configure(&mut server);
    server.run().await.expect("the server starts")
}

/// Its address.
pub fn address(control: &ServerControlHook) -> SocketAddr {
    control.local_addr().expect("a TCP address")
}

/// A connection at byte level.
pub struct Client {
    pub stream: TcpStream,
    /// Read and not yet looked at.
    pub buffer: Vec<u8>,
}

/// A response as it stood on the wire.
#[derive(Debug)]
pub struct Reply {
    pub status: u16,
    /// Status line and fields, as sent.
    pub head: String,
    pub body: Vec<u8>,
}

impl Reply {
    /// All values of a field.
    pub fn all(&self, name: &str) -> Vec<&str> {
        self.head
            .lines()
            .skip(1)
            .filter_map(|line| line.split_once(':'))
            .filter(|(known, _)| known.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.trim())
            .collect()
    }

    /// The only value of a field.
    pub fn header(&self, name: &str) -> Option<&str> {
        let all = self.all(name);
        assert!(all.len() <= 1, "`{name}` stands twice in {}", self.head);
        all.first().copied()
    }

    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("a body of text")
    }
}

/// A frame as it stood on the wire.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    pub fin: bool,
    pub opcode: u8,
    pub payload: Vec<u8>,
}

pub const TEXT: u8 = 1;
pub const BINARY: u8 = 2;
pub const CLOSE: u8 = 8;
pub const PING: u8 = 9;
pub const PONG: u8 = 10;

impl Frame {
    pub fn text(&self) -> &str {
        assert_eq!(self.opcode, TEXT, "{self:?}");
        std::str::from_utf8(&self.payload).expect("UTF-8")
    }

    /// The code of a Close.
    pub fn code(&self) -> u16 {
        assert_eq!(self.opcode, CLOSE, "{self:?}");
        u16::from_be_bytes([self.payload[0], self.payload[1]])
    }
}

impl Client {
    pub async fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.expect("connect");
        stream.set_nodelay(true).expect("nodelay");
        Self {
            stream,
            buffer: Vec::new(),
        }
    }

    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).await.expect("write");
    }

    /// Reads more; false at the end of the stream or a reset.
    pub async fn fill(&mut self) -> bool {
        let read = timeout(PATIENCE, self.stream.read_buf(&mut self.buffer))
            .await
            .expect("the server answers in time");
        matches!(read, Ok(count) if count > 0)
    }

    /// Everything up to the end of the stream.
    pub async fn rest(&mut self) -> Vec<u8> {
        while self.fill().await {}
        std::mem::take(&mut self.buffer)
    }

    /// Says that nothing more will be sent, and reads on.
    pub async fn finish(&mut self) {
        self.stream.shutdown().await.expect("shutdown");
    }

    /// Whether the server ends the stream without a further byte.
    pub async fn ends(&mut self) -> bool {
        self.rest().await.is_empty()
    }

    /// Takes bytes up to and with `end`.
    pub async fn until(&mut self, end: &[u8]) -> Vec<u8> {
        loop {
            if let Some(at) = self
                .buffer
                .windows(end.len())
                .position(|window| window == end)
            {
                return self.buffer.drain(..at + end.len()).collect();
            }
            assert!(
                self.fill().await,
                "ended before {:?}: {:?}",
                String::from_utf8_lossy(end),
                String::from_utf8_lossy(&self.buffer)
            );
        }
    }

    pub async fn exactly(&mut self, count: usize) -> Vec<u8> {
        while self.buffer.len() < count {
            assert!(
                self.fill().await,
                "ended {} bytes early",
                count - self.buffer.len()
            );
        }
        self.buffer.drain(..count).collect()
    }

    /// Reads a response; `head_only` for the answer to HEAD.
    pub async fn reply_to(&mut self, head_only: bool) -> Reply {
        let head = String::from_utf8(self.until(b"\r\n\r\n").await).expect("a head of text");
        let status = head
            .split(' ')
            .nth(1)
            .and_then(|code| code.parse().ok())
            .unwrap_or_else(|| panic!("no status line: {head:?}"));
        let mut reply = Reply {
            status,
            head,
            body: Vec::new(),
        };
        if head_only || matches!(status, 100..=199 | 204 | 304) {
            return reply;
        }
        reply.body = if let Some(length) = reply.header("content-length") {
            let length = length.parse().expect("a length");
            self.exactly(length).await
        } else if reply.header("transfer-encoding") == Some("chunked") {
            self.chunks().await
        } else {
            self.rest().await
        };
        reply
    }

    pub async fn reply(&mut self) -> Reply {
        self.reply_to(false).await
    }

    /// A chunk; empty for the last.
    pub async fn chunk(&mut self) -> Vec<u8> {
        let line = self.until(b"\r\n").await;
        let size = std::str::from_utf8(&line).expect("a size").trim();
        let size = usize::from_str_radix(size, 16).expect("a hex size");
        let data = self.exactly(size).await;
        assert_eq!(self.exactly(2).await, b"\r\n");
        data
    }

    async fn chunks(&mut self) -> Vec<u8> {
        let mut body = Vec::new();
        loop {
            let chunk = self.chunk().await;
            if chunk.is_empty() {
                return body;
            }
            body.extend(chunk);
        }
    }

    /// Sends a request without a body.
    pub async fn request(&mut self, method: &str, target: &str, fields: &str) {
        self.send(format!(
            "{method} {target} HTTP/1.1\r\nhost: localhost\r\n{fields}\r\n"
        ))
        .await;
    }

    /// Sends GET and reads the response.
    pub async fn get(&mut self, target: &str) -> Reply {
        self.request("GET", target, "").await;
        self.reply().await
    }

    /// Sends a request with a body and reads the response.
    pub async fn post(&mut self, target: &str, body: &str) -> Reply {
        self.send(format!(
            "POST {target} HTTP/1.1\r\nhost: localhost\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        ))
        .await;
        self.reply().await
    }

    // ------------------------------------------------------------ WebSocket

    /// Connects and upgrades.
    pub async fn websocket(address: SocketAddr, target: &str) -> Self {
        let mut client = Self::connect(address).await;
        let reply = client.upgrade(target, "").await;
        assert_eq!(reply.status, 101, "{}", reply.head);
        // The example of RFC 6455 §1.3.
        assert_eq!(
            reply.header("sec-websocket-accept"),
            Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo=")
        );
        client
    }

    /// Sends a handshake with further fields and reads the answer.
    pub async fn upgrade(&mut self, target: &str, fields: &str) -> Reply {
        self.request(
            "GET",
            target,
            &format!(
                "upgrade: websocket\r\nconnection: Upgrade\r\nsec-websocket-version: 13\r\n\
                 sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n{fields}"
            ),
        )
        .await;
        self.reply().await
    }

    /// Sends a masked frame.
    pub async fn frame(&mut self, opcode: u8, payload: impl AsRef<[u8]>) {
        self.send(frame(true, opcode, payload)).await;
    }

    pub async fn say(&mut self, text: &str) {
        self.frame(TEXT, text).await;
    }

    /// Reads a frame, which must not be masked.
    pub async fn next_frame(&mut self) -> Frame {
        let head = self.exactly(2).await;
        assert_eq!(head[1] & 0x80, 0, "a server's frames are not masked");
        assert_eq!(head[0] & 0x70, 0, "no extension was negotiated");
        let length = match head[1] & 0x7f {
            126 => {
                let bytes = self.exactly(2).await;
                usize::from(u16::from_be_bytes([bytes[0], bytes[1]]))
            }
            127 => {
                let bytes = self.exactly(8).await;
                usize::try_from(u64::from_be_bytes(bytes.try_into().expect("8 bytes")))
                    .expect("a length")
            }
            short => usize::from(short),
        };
        Frame {
            fin: head[0] & 0x80 != 0,
            opcode: head[0] & 0x0f,
            payload: self.exactly(length).await,
        }
    }

    /// Reads a frame that is neither ping nor pong.
    pub async fn next_message(&mut self) -> Frame {
        loop {
            let frame = self.next_frame().await;
            if frame.opcode != PING && frame.opcode != PONG {
                return frame;
            }
        }
    }

    /// Closes with 1000 and sees it answered, and the stream ended by the server.
    pub async fn close(mut self) {
        self.frame(CLOSE, 1000u16.to_be_bytes()).await;
        let answer = loop {
            let frame = self.next_frame().await;
            if frame.opcode == CLOSE {
                break frame;
            }
        };
        assert_eq!(answer.code(), 1000);
        assert!(self.ends().await);
    }
}

/// A masked frame as a client sends it.
pub fn frame(fin: bool, opcode: u8, payload: impl AsRef<[u8]>) -> Vec<u8> {
    let payload = payload.as_ref();
    let key = [0x37, 0xfa, 0x21, 0x3d];
    let mut bytes = vec![u8::from(fin) << 7 | opcode];
    match payload.len() {
        length @ 0..126 => bytes.push(0x80 | length as u8),
        length @ 126..65_536 => {
            bytes.push(0x80 | 126);
            bytes.extend((length as u16).to_be_bytes());
        }
        length => {
            bytes.push(0x80 | 127);
            bytes.extend((length as u64).to_be_bytes());
        }
    }
    bytes.extend(key);
    bytes.extend(
        payload
            .iter()
            .zip(key.iter().cycle())
            .map(|(byte, key)| byte ^ key),
    );
    bytes
}

/// Waits until `condition` holds; for what has no event to wait for.
pub async fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    timeout(PATIENCE, async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await
    .unwrap_or_else(|_| panic!("not in time: {what}"));
}

/// Makes a [`ServerHook`] of a body, which ends with a [`Status`] or with nothing.
#[allow(unused_macros, reason = "every test binary uses its own part")]
macro_rules! hook {
    ($($(@$mode:ident)? $name:ident |$stream:pat_param, $ctx:pat_param| $body:block)*) => {$(
        struct $name;

        impl ServerHook for $name {
            $(const BODY: BodyMode = BodyMode::$mode;)?

            async fn new(_: &mut Stream, _: &mut Context) -> Self {
                Self
            }

            #[allow(unreachable_code, reason = "a body may not come to its end")]
            async fn handle(self, $stream: &mut Stream, $ctx: &mut Context) -> Status {
                $crate::common::Outcome::status($body)
            }
        }
    )*};
}
#[allow(unused_imports, reason = "every test binary uses its own part")]
pub(crate) use hook;

/// What the body of a `hook!` may end with.
pub trait Outcome {
    fn status(self) -> Status;
}

impl Outcome for () {
    fn status(self) -> Status {
        Status::Continue
    }
}

impl Outcome for Status {
    fn status(self) -> Status {
        self
    }
}
