//! The client of the measured program: everything in lock step, so that every run asks for the same work.

use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream},
    thread,
    time::Duration,
};

/// The endpoints of the measured program.
pub(super) const PATHS: [&str; 6] = [
    "/plaintext",
    "/echo",
    "/room",
    "/channel",
    "/sse",
    "/publish",
];

/// The longest wait for an answer; valgrind makes a program some fifty times slower.
const WAIT: Duration = Duration::from_secs(30);

/// Payload of every message and event.
pub(crate) const MESSAGE: &[u8; 64] =
    b"The payload of a message: sixty-four bytes, all of them letters.";

const REQUEST: &[u8] = b"GET /plaintext HTTP/1.1\r\nhost: localhost\r\n\r\n";

/// The body of the answer to [`REQUEST`].
const ANSWER: &[u8] = b"Hello, World!";

/// The masking key of every frame (RFC 6455 §5.3).
const MASK: [u8; 4] = [0x37, 0xFA, 0x21, 0x3D];

/// One kind of work, done over and over.
#[derive(Clone, Copy)]
pub(super) enum Scenario {
    /// Requests over one connection, so many at once.
    Requests(u32),
    /// Messages to a WebSocket that sends them back, so many at once.
    Messages(u32),
    /// A message to a room with so many WebSockets.
    FanOut(u32),
    /// A message to a room with so many event streams.
    Events(u32),
    /// A WebSocket that is opened and closed.
    Connect,
}

impl Scenario {
    /// Returns how many operations a round has.
    pub(super) fn operations(self) -> u32 {
        match self {
            Self::Requests(count)
            | Self::Messages(count)
            | Self::FanOut(count)
            | Self::Events(count) => count,
            Self::Connect => 1,
        }
    }

    /// Returns the connections that are open at the end: the server would work at closing them, or not in time.
    pub(super) fn run(self, server: SocketAddr, rounds: u32) -> io::Result<Vec<Connection>> {
        match self {
            Self::Requests(count) => requests(server, count as usize, rounds),
            Self::Messages(count) => messages(server, count as usize, rounds),
            Self::FanOut(members) => fan_out(server, members, rounds),
            Self::Events(streams) => events(server, streams, rounds),
            Self::Connect => connect(server, rounds),
        }
    }
}

fn requests(server: SocketAddr, count: usize, rounds: u32) -> io::Result<Vec<Connection>> {
    let mut connection = Connection::open(server)?;
    let requests = REQUEST.repeat(count);
    for _ in 0..rounds {
        connection.send(&requests)?;
        for _ in 0..count {
            connection.skip_past(ANSWER)?;
        }
    }
    Ok(vec![connection])
}

fn messages(server: SocketAddr, count: usize, rounds: u32) -> io::Result<Vec<Connection>> {
    let mut socket = Connection::upgraded(server, "/echo")?;
    let frames = text().repeat(count);
    for _ in 0..rounds {
        socket.send(&frames)?;
        for _ in 0..count {
            socket.skip_past(MESSAGE)?;
        }
    }
    Ok(vec![socket])
}

fn fan_out(server: SocketAddr, count: u32, rounds: u32) -> io::Result<Vec<Connection>> {
    let frame = text();
    let mut members: Vec<Connection> = Vec::new();
    let talk = |members: &mut Vec<Connection>| {
        if let Some(last) = members.last_mut() {
            last.send(&frame)?;
        }
        let mut members = members.iter_mut();
        members.try_for_each(|member| member.skip_past(MESSAGE))
    };
    for _ in 0..count {
        members.push(Connection::upgraded(server, "/room")?);
        // A member that has heard itself has joined.
        talk(&mut members)?;
    }
    for _ in 0..rounds {
        talk(&mut members)?;
    }
    Ok(members)
}

fn events(server: SocketAddr, count: u32, rounds: u32) -> io::Result<Vec<Connection>> {
    let mut streams = Vec::new();
    for _ in 0..count {
        let mut stream = Connection::open(server)?;
        stream
            .send(b"GET /sse HTTP/1.1\r\nhost: localhost\r\naccept: text/event-stream\r\n\r\n")?;
        stream.skip_past(b"\r\n\r\n")?;
        streams.push(stream);
    }
    let mut publisher = Connection::open(server)?;
    let length = MESSAGE.len();
    let mut request =
        format!("POST /publish HTTP/1.1\r\nhost: localhost\r\ncontent-length: {length}\r\n\r\n")
            .into_bytes();
    request.extend(MESSAGE);
    for _ in 0..rounds {
        publisher.send(&request)?;
        publisher.skip_past(b"\r\n\r\n")?;
        for stream in &mut streams {
            stream.skip_past(MESSAGE)?;
        }
    }
    streams.push(publisher);
    Ok(streams)
}

fn connect(server: SocketAddr, rounds: u32) -> io::Result<Vec<Connection>> {
    // Code 1000.
    let close = frame(0x88, &[0x03, 0xE8]);
    for _ in 0..rounds {
        let mut socket = Connection::upgraded(server, "/echo")?;
        socket.send(&close)?;
        socket.stream.read_to_end(&mut socket.read)?;
    }
    Ok(Vec::new())
}

/// Opens WebSockets at a path. At `/echo`, each has echoed a message. At `/room`, each has received the last message.
pub(super) fn idle(server: SocketAddr, path: &str, count: usize) -> io::Result<Vec<Connection>> {
    let open = |_| Connection::upgraded(server, path);
    let mut sockets: Vec<Connection> = (0..count).map(open).collect::<io::Result<_>>()?;
    let talking = match path {
        "/echo" => sockets.len(),
        "/room" => 1,
        _ => 0,
    };
    let hearing = if talking == 0 { 0 } else { sockets.len() };
    // A WebSocket joins its room after its 101.
    thread::sleep(Duration::from_millis(200));
    let last = sockets.len() - talking;
    for socket in sockets.iter_mut().skip(last) {
        socket.send(&text())?;
    }
    for socket in sockets.iter_mut().take(hearing) {
        socket.skip_past(MESSAGE)?;
    }
    Ok(sockets)
}

/// Returns [`MESSAGE`] as the text frame of a client.
pub(crate) fn text() -> Vec<u8> {
    frame(0x81, MESSAGE)
}

/// Returns a short frame of a client.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![first, 0x80 | payload.len() as u8];
    frame.extend(MASK);
    let masked = payload.iter().zip(MASK.iter().cycle());
    frame.extend(masked.map(|(byte, key)| byte ^ key));
    frame
}

/// A connection to the server.
pub(crate) struct Connection {
    stream: TcpStream,
    /// What has come and was not asked for yet.
    read: Vec<u8>,
}

impl Connection {
    pub(crate) fn open(server: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(server)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(WAIT))?;
        stream.set_write_timeout(Some(WAIT))?;
        Ok(Self {
            stream,
            read: Vec::new(),
        })
    }

    /// Opens a WebSocket.
    pub(crate) fn upgraded(server: SocketAddr, path: &str) -> io::Result<Self> {
        let mut connection = Self::open(server)?;
        let request = format!(
            "GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
             sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        );
        connection.send(request.as_bytes())?;
        connection.skip_past(b"\r\n\r\n")?;
        Ok(connection)
    }

    /// Sends bytes in one write, so that they come in one read.
    pub(crate) fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// Waits for these bytes and drops them, and everything before.
    pub(crate) fn skip_past(&mut self, wanted: &[u8]) -> io::Result<()> {
        let mut buffer = [0; 16 * 1024];
        loop {
            let mut windows = self.read.windows(wanted.len());
            if let Some(at) = windows.position(|window| window == wanted) {
                self.read.drain(..at + wanted.len());
                return Ok(());
            }
            match self.stream.read(&mut buffer) {
                Ok(0) => {
                    let read = self.read.escape_ascii();
                    return Err(io::Error::other(format!("the end after `{read}`")));
                }
                Ok(count) => self.read.extend(buffer.get(..count).unwrap_or_default()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}
