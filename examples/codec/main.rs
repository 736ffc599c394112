//! A WebSocket server and a WebSocket client that use only the codec of the library. Both run on plain threads.
//!
//! ```text
//! cargo run --example codec
//! ```
//!
//! The codec `hyperlane::proto::ws` turns bytes into messages and messages into bytes. The codec does no I/O and works
//! with any transport. In this example the transport is a blocking socket.

use std::{
    error::Error,
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    thread,
};

use hyperlane::{
    CloseCode, CloseFrame, Message,
    proto::ws::{
        Decoder, Incoming, Limits, Role, encode_masked_message, encode_message,
        handshake::{HandshakeRequest, accept_key, validate},
    },
};

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

/// One side of a WebSocket over a blocking socket: the client or the server.
struct Connection {
    stream: TcpStream,
    role: Role,
    decoder: Decoder,
    /// Bytes that have been read but not decoded yet.
    buffer: Vec<u8>,
}

impl Connection {
    /// Creates a connection after the handshake. `buffer` contains the bytes that were read after the head of the
    /// handshake.
    fn new(stream: TcpStream, role: Role, buffer: Vec<u8>) -> Self {
        // Servers limit the size of messages. A client on the open network needs this limit too.
        let limits = Limits::default().message(64 * 1024);
        Self {
            stream,
            role,
            decoder: Decoder::new(role, limits),
            buffer,
        }
    }

    fn send(&mut self, message: &Message) -> Outcome<()> {
        let mut frame = Vec::new();
        match self.role {
            Role::Server => encode_message(message, &mut frame),
            // A real client takes an unpredictable masking key from the random number source of the system.
            Role::Client => encode_masked_message(message, [0x37, 0xfa, 0x21, 0x3d], &mut frame),
        }
        Ok(self.stream.write_all(&frame)?)
    }

    /// Returns the next data message. Returns `None` after a Close frame.
    fn next(&mut self) -> Outcome<Option<Message>> {
        loop {
            let decoded = match self.decoder.next(&self.buffer) {
                Ok(decoded) => decoded,
                Err(error) => {
                    let reason = CloseFrame::new(error.close_code(), error.to_string());
                    self.send(&Message::Close(Some(reason)))?;
                    return Err(error.into());
                }
            };
            self.buffer.drain(..decoded.consumed);
            match decoded.event {
                None => {
                    let mut read = [0; 4096];
                    let count = self.stream.read(&mut read)?;
                    if count == 0 {
                        return Err("the peer left without a Close".into());
                    }
                    self.buffer
                        .extend_from_slice(read.get(..count).unwrap_or_default());
                }
                Some(Incoming::Ping(payload)) => self.send(&Message::Pong(payload))?,
                Some(Incoming::Pong(_)) => {}
                Some(Incoming::Close(frame)) => {
                    if self.role == Role::Server {
                        self.send(&Message::Close(frame))?;
                    }
                    return Ok(None);
                }
                Some(data) => return Ok(Some(data.try_into()?)),
            }
        }
    }
}

/// Reads an HTTP head up to its empty line. Returns the head and the bytes that were read after it.
fn read_head(stream: &mut TcpStream) -> Outcome<(String, Vec<u8>)> {
    let mut bytes = Vec::new();
    loop {
        if let Some(at) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            let rest = bytes.split_off(at + 4);
            return Ok((String::from_utf8(bytes)?, rest));
        }
        let mut read = [0; 1024];
        let count = stream.read(&mut read)?;
        if count == 0 || bytes.len() > 16 * 1024 {
            return Err("no head".into());
        }
        bytes.extend_from_slice(read.get(..count).unwrap_or_default());
    }
}

fn fields(head: &str) -> impl Iterator<Item = (&str, &str)> {
    head.lines().skip(1).filter_map(|line| line.split_once(':'))
}

fn serve(mut stream: TcpStream) -> Outcome<()> {
    let (head, rest) = read_head(&mut stream)?;
    let accepted = validate(HandshakeRequest {
        method: head.split(' ').next().unwrap_or_default(),
        version: (1, 1),
        headers: fields(&head),
    })?;
    write!(
        stream,
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {}\r\n\r\n",
        str::from_utf8(&accepted.accept_key)?
    )?;
    let mut connection = Connection::new(stream, Role::Server, rest);
    while let Some(message) = connection.next()? {
        connection.send(&message)?;
    }
    Ok(())
}

fn main() -> Outcome<()> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    let server = thread::spawn(move || serve(listener.accept()?.0));

    let mut stream = TcpStream::connect(address)?;
    // A real client encodes 16 random bytes in base64.
    let key = "dGhlIHNhbXBsZSBub25jZQ==";
    write!(
        stream,
        "GET / HTTP/1.1\r\nHost: {address}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n\r\n"
    )?;
    let (head, rest) = read_head(&mut stream)?;
    let answered = fields(&head).any(|(name, value)| {
        name.eq_ignore_ascii_case("sec-websocket-accept")
            && value.trim().as_bytes() == accept_key(key)
    });
    if !answered {
        return Err(format!("not a WebSocket server: {head}").into());
    }
    let mut connection = Connection::new(stream, Role::Client, rest);
    for message in [Message::from("Hello"), Message::from(b"bytes")] {
        connection.send(&message)?;
        match connection.next()? {
            Some(answer) => println!("sent {message}, received {answer}"),
            None => return Err("closed too early".into()),
        }
    }
    let bye = CloseFrame::new(CloseCode::NORMAL, "bye");
    connection.send(&Message::Close(Some(bye)))?;
    while connection.next()?.is_some() {}
    server.join().map_err(|_| "the server panicked")??;
    println!("closed");
    Ok(())
}
