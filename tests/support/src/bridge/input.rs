//! The bytes of a client.

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt};

/// The reading half of a client, and the bytes that were read and not used yet.
pub(super) struct Input<R> {
    reader: R,
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
    pub(super) fn new(reader: R) -> Self {
        Self {
            reader,
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
