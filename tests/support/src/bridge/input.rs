//! The bytes of a client.

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use tokio::{
    io::{AsyncRead, AsyncReadExt},
    time::sleep,
};

/// The reading half of a client, and the bytes that were read and not used yet.
pub(super) struct Input<R> {
    reader: R,
    /// The addresses of the client and of the bridge.
    addresses: Option<(SocketAddr, SocketAddr)>,
    pub(super) buffer: BytesMut,
    /// The end of the client's direction, once it was read.
    pub(super) end: Option<End>,
}

/// The end of a client's direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// The client has shut down its direction, or closed its socket.
    Regular,
    /// The client has reset the connection.
    Reset,
}

impl<R: AsyncRead + Unpin> Input<R> {
    pub(super) fn new(reader: R, addresses: Option<(SocketAddr, SocketAddr)>) -> Self {
        Self {
            reader,
            addresses,
            buffer: BytesMut::new(),
            end: None,
        }
    }

    /// Reads more; returns false at the end. Cancel safe.
    pub(super) async fn fill(&mut self) -> bool {
        if self.end.is_some() {
            return false;
        }
        self.buffer.reserve(16 * 1024);
        match self.reader.read_buf(&mut self.buffer).await {
            Ok(0) => self.end = Some(End::Regular),
            Err(_) => self.end = Some(End::Reset),
            Ok(_) => return true,
        }
        false
    }

    /// Waits until a client that has ended its direction has closed its socket. Over HTTP/1.1 the server finds that by a
    /// write. A stream is reset for it, so the bridge looks.
    pub(super) async fn closed(&self) {
        loop {
            sleep(Duration::from_millis(2)).await;
            if let Some((client, bridge)) = self.addresses
                && !is_open(client, bridge)
            {
                return;
            }
        }
    }

    /// Takes a head with its empty line; `None` at the end. Line ends before the head are no part of it.
    pub(super) async fn head(&mut self) -> Option<Bytes> {
        loop {
            while let [b'\r' | b'\n', ..] = self.buffer[..] {
                let _ = self.buffer.split_to(1);
            }
            if let Some(length) = head_length(&self.buffer) {
                return Some(self.buffer.split_to(length).freeze());
            }
            if !self.fill().await {
                return None;
            }
        }
    }

    /// Takes a line with its end; `None` at the end of the input.
    pub(super) async fn line(&mut self) -> Option<Bytes> {
        loop {
            if let Some(at) = self.buffer.iter().position(|byte| *byte == b'\n') {
                return Some(self.buffer.split_to(at + 1).freeze());
            }
            if !self.fill().await {
                return None;
            }
        }
    }

    /// Takes from 1 to `most` bytes; `None` at the end of the input.
    pub(super) async fn piece(&mut self, most: usize) -> Option<Bytes> {
        while self.buffer.is_empty() {
            if !self.fill().await {
                return None;
            }
        }
        let length = self.buffer.len().min(most);
        Some(self.buffer.split_to(length).freeze())
    }
}

/// Returns the length of a head with its empty line. A line may end with LF alone.
fn head_length(bytes: &[u8]) -> Option<usize> {
    let ends = bytes.iter().enumerate().filter(|(_, byte)| **byte == b'\n');
    ends.map(|(at, _)| at + 1).find_map(|at| match bytes[at..] {
        [b'\n', ..] => Some(at + 1),
        [b'\r', b'\n', ..] => Some(at + 2),
        _ => None,
    })
}

/// Returns whether a process holds the socket of this connection, as far as the system tells.
fn is_open(local: SocketAddr, remote: SocketAddr) -> bool {
    let (IpAddr::V4(local_ip), IpAddr::V4(remote_ip)) = (local.ip(), remote.ip()) else {
        return true;
    };
    let Ok(sockets) = std::fs::read_to_string("/proc/net/tcp") else {
        return true;
    };
    // Addresses are in hexadecimal, in the order of the machine's bytes.
    let local = format!(
        "{:08X}:{:04X}",
        u32::from_ne_bytes(local_ip.octets()),
        local.port()
    );
    let remote = format!(
        "{:08X}:{:04X}",
        u32::from_ne_bytes(remote_ip.octets()),
        remote.port()
    );
    sockets.lines().any(|line| {
        let mut words = line.split_whitespace().skip(1);
        // The inode of a socket without a process is 0.
        (words.next(), words.next()) == (Some(&local), Some(&remote)) && words.nth(6) != Some("0")
    })
}
