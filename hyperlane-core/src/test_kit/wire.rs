//! The client's end of a connection in memory.

use std::{
    future::poll_fn,
    pin::{Pin, pin},
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWrite, DuplexStream};

use super::TestError;
use crate::conn::memory::{self, Afterwards, Ends, InMemory, READ_SIZE};

/// The client's end of the connection. Dropping it closes the connection in order.
pub(super) struct Wire {
    /// `None` after the connection was cut.
    io: Option<DuplexStream>,
    ends: Ends,
    /// Bytes that were read and not parsed yet.
    pub(super) input: BytesMut,
    /// Bytes that were not written yet.
    output: BytesMut,
    pub(super) cuts: Cuts,
    patience: Duration,
}

/// The number of bytes after which the client cuts its connection.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Cuts {
    pub(super) sent: Option<usize>,
    pub(super) received: Option<usize>,
}

impl Cuts {
    pub(super) fn is_none(self) -> bool {
        self.sent.is_none() && self.received.is_none()
    }

    fn are_due(&self) -> bool {
        self.sent == Some(0) || self.received == Some(0)
    }
}

impl Wire {
    /// Creates a connection. A wait of the client fails after `patience`.
    pub(super) fn new(patience: Duration) -> (Self, InMemory) {
        let (io, ends, server) = memory::connect(Afterwards::End);
        let wire = Self {
            io: Some(io),
            ends,
            input: BytesMut::new(),
            output: BytesMut::new(),
            cuts: Cuts::default(),
            patience,
        };
        (wire, server)
    }

    pub(super) fn patience(&self) -> Duration {
        self.patience
    }

    /// Queues bytes. [`fill`](Self::fill) and [`poll_fill`](Self::poll_fill) write them.
    pub(super) fn queue(&mut self, bytes: &[u8]) {
        self.output.extend_from_slice(bytes);
    }

    /// Returns the number of queued bytes.
    pub(super) fn queued(&self) -> usize {
        self.output.len()
    }

    /// Returns whether the connection is open, and nothing is on its way as far as the client knows.
    pub(super) fn is_idle(&self) -> bool {
        self.io.is_some() && self.input.is_empty() && self.output.is_empty()
    }

    /// Cuts the connection. The server sees a reset.
    pub(super) fn cut(&mut self) {
        self.ends.set(Afterwards::Reset);
        self.io = None;
    }

    /// Reads more bytes into `input`, and writes the queued bytes meanwhile. Returns false at the end of the stream.
    pub(super) async fn fill(&mut self) -> Result<bool, TestError> {
        let patience = self.patience;
        tokio::time::timeout(patience, poll_fn(|cx| self.poll_fill(cx)))
            .await
            .map_err(|_| TestError::Timeout(patience))?
    }

    /// Polls [`fill`](Self::fill), without a time limit.
    pub(super) fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<Result<bool, TestError>> {
        self.poll_send(cx)?;
        let Some(io) = &mut self.io else {
            return Poll::Ready(Err(TestError::Cut));
        };
        self.input.reserve(READ_SIZE);
        let most = self.cuts.received.unwrap_or(READ_SIZE).min(READ_SIZE);
        let mut target = bytes::BufMut::limit(&mut self.input, most);
        let read = ready!(pin!(io.read_buf(&mut target)).poll(cx));
        let count = read.unwrap_or(0);
        if let Some(left) = &mut self.cuts.received {
            *left = left.saturating_sub(count);
        }
        if count > 0 && self.cuts.are_due() {
            self.cut();
        }
        Poll::Ready(Ok(count > 0))
    }

    /// Writes as many queued bytes as the connection accepts.
    pub(super) fn poll_send(&mut self, cx: &mut Context<'_>) -> Result<(), TestError> {
        loop {
            if self.cuts.are_due() {
                self.cut();
            }
            let Some(io) = &mut self.io else {
                return Err(TestError::Cut);
            };
            let most = self.cuts.sent.unwrap_or(usize::MAX);
            let part = self.output.get(..most).unwrap_or(&self.output);
            if part.is_empty() {
                return Ok(());
            }
            match Pin::new(io).poll_write(cx, part) {
                Poll::Pending => return Ok(()),
                Poll::Ready(Ok(written @ 1..)) => {
                    self.output.advance(written);
                    if let Some(left) = &mut self.cuts.sent {
                        *left = left.saturating_sub(written);
                    }
                }
                // The server has closed the connection. Its last bytes may still be on the way.
                Poll::Ready(_) => {
                    self.output.clear();
                    return Ok(());
                }
            }
        }
    }
}
