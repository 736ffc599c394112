//! A client at byte level, over TCP.

use std::net::SocketAddr;

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use crate::{
    PATIENCE,
    bridge::{self, Over},
    frame::{CLOSE, Frame, PING, PONG, TEXT, frame},
};

/// A connection at byte level, over TCP or over TLS.
pub struct Client<S = TcpStream> {
    /// The socket.
    pub stream: S,
    /// Bytes that were read and not yet looked at.
    pub buffer: Vec<u8>,
}

/// A response as it stood on the wire.
#[derive(Debug)]
pub struct Reply {
    /// Status code.
    pub status: u16,
    /// Status line and fields, as sent.
    pub head: String,
    /// Body, without the framing of chunks.
    pub body: Vec<u8>,
}

impl Reply {
    /// Returns all values of a field.
    pub fn all(&self, name: &str) -> Vec<&str> {
        self.head
            .lines()
            .skip(1)
            .filter_map(|line| line.split_once(':'))
            .filter(|(known, _)| known.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.trim())
            .collect()
    }

    /// Returns the only value of a field.
    pub fn header(&self, name: &str) -> Option<&str> {
        let all = self.all(name);
        assert!(all.len() <= 1, "`{name}` stands twice in {}", self.head);
        all.first().copied()
    }

    /// Returns the body as text.
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("a body of text")
    }
}

impl Client {
    /// Connects, with `TCP_NODELAY`, over the protocol of this run ([`Over`]).
    pub async fn connect(address: SocketAddr) -> Self {
        let stream = bridge::connect(address, Over::of_this_run())
            .await
            .expect("connect");
        stream.set_nodelay(true).expect("nodelay");
        Self::on(stream)
    }

    /// Connects and upgrades.
    pub async fn websocket(address: SocketAddr, target: &str) -> Self {
        let mut client = Self::connect(address).await;
        client.open(target).await;
        client
    }

    /// Resets the connection.
    pub fn reset(self) {
        self.stream.set_zero_linger().expect("linger");
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Client<S> {
    /// Uses a stream that is connected.
    pub fn on(stream: S) -> Self {
        Self {
            stream,
            buffer: Vec::new(),
        }
    }

    /// Sends bytes.
    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).await.expect("write");
    }

    /// Reads more; returns false at the end of the stream or a reset.
    pub async fn fill(&mut self) -> bool {
        let read = timeout(PATIENCE, self.stream.read_buf(&mut self.buffer))
            .await
            .expect("the server answers in time");
        matches!(read, Ok(count) if count > 0)
    }

    /// Reads everything up to the end of the stream.
    pub async fn rest(&mut self) -> Vec<u8> {
        while self.fill().await {}
        std::mem::take(&mut self.buffer)
    }

    /// Shuts down the sending half and reads on.
    pub async fn finish(&mut self) {
        self.stream.shutdown().await.expect("shutdown");
    }

    /// Returns true if the server ends the stream without a further byte.
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

    /// Takes `count` bytes.
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

    /// Reads a response.
    pub async fn reply(&mut self) -> Reply {
        self.reply_to(false).await
    }

    /// Reads a chunk; the last is empty.
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

    /// Upgrades to a WebSocket.
    pub async fn open(&mut self, target: &str) {
        let reply = self.upgrade(target, "").await;
        assert_eq!(reply.status, 101, "{}", reply.head);
        // The example of RFC 6455 §1.3.
        assert_eq!(
            reply.header("sec-websocket-accept"),
            Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo=")
        );
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

    /// Sends a text message.
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

    /// Closes with 1000; asserts that the server answers with 1000 and ends the stream.
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

    /// Reads `count` data frames and returns their texts.
    pub async fn texts(&mut self, count: usize) -> Vec<String> {
        let mut texts = Vec::with_capacity(count);
        while texts.len() < count {
            texts.push(self.next_message().await.text().to_owned());
        }
        texts
    }
}
