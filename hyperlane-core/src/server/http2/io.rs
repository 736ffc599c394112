//! The socket of an HTTP/2 connection. What the protocol writes is collected until the end of the poll.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, ready},
};

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::frames::Frames;
use crate::{conn::transport::Duplex, env::timers::Tick};

/// The number of collected bytes from which the protocol has to wait for the socket.
const HIGH: usize = 64 * 1024;

/// Capacity that stays allocated between the polls of a connection that has streams, in bytes.
const KEEP: usize = 16 * 1024;

/// Maximum number of bytes of a client that are dropped after the end.
const MAX_DROPPED: usize = 256 * 1024;

/// Capacity that an idle connection keeps, in bytes.
const KEEP_IDLE: usize = 1024;

/// A socket, and the bytes for it.
pub(super) struct Io {
    /// `None` after the end.
    socket: Option<Box<dyn Duplex>>,
    /// Bytes that were read before HTTP/2 began.
    unread: Bytes,
    out: Vec<u8>,
    /// Number of bytes of `out` that are written.
    written: usize,
    /// The tick since which the socket has accepted nothing although `out` has bytes, or since which the socket holds
    /// bytes itself.
    stalled_since: Tick,
    /// True while the socket itself, which is one of TLS, holds bytes that have left `out`.
    is_unflushed: bool,
    now: Tick,
    /// True after the server's direction has ended.
    is_lingering: bool,
    /// The number of bytes that were dropped after the end.
    dropped: usize,
    pub(super) frames: Frames,
}

impl Io {
    pub(super) fn new(socket: Box<dyn Duplex>, unread: Bytes, now: Tick) -> Self {
        Self {
            socket: Some(socket),
            unread,
            out: Vec::new(),
            written: 0,
            stalled_since: now,
            is_unflushed: false,
            now,
            is_lingering: false,
            dropped: 0,
            frames: Frames::new(now),
        }
    }

    /// Sets the time of the current poll.
    pub(super) fn set_now(&mut self, now: Tick) {
        self.now = now;
    }

    fn waiting(&self) -> usize {
        self.out.len() - self.written
    }

    /// Returns the tick since which the socket has accepted nothing; `None` if nothing waits for it.
    pub(super) fn stalled_since(&self) -> Option<Tick> {
        (self.waiting() > 0 || self.is_unflushed).then_some(self.stalled_since)
    }

    /// Returns whether the socket itself holds the last bytes. How many of them it has passed on is not known.
    pub(super) fn is_flushing(&self) -> bool {
        self.is_unflushed && self.waiting() == 0
    }

    /// Writes the collected bytes.
    pub(super) fn poll_write_out(
        &mut self,
        cx: &mut Context<'_>,
        now: Tick,
    ) -> Poll<io::Result<()>> {
        self.now = now;
        ready!(self.poll_drain(cx))?;
        let Some(socket) = &mut self.socket else {
            return Poll::Ready(Ok(()));
        };
        let flushed = Pin::new(socket).poll_flush(cx);
        if flushed.is_pending() && !self.is_unflushed {
            self.stalled_since = now;
        }
        self.is_unflushed = flushed.is_pending();
        flushed
    }

    fn poll_drain(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while let Some(waiting) = self.out.get(self.written..).filter(|left| !left.is_empty()) {
            let Some(socket) = &mut self.socket else {
                return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
            };
            match ready!(Pin::new(socket).poll_write(cx, waiting))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                count => {
                    self.written += count;
                    self.stalled_since = self.now;
                }
            }
        }
        self.out.clear();
        self.written = 0;
        if self.out.capacity() > KEEP {
            self.out.shrink_to(KEEP);
        }
        Poll::Ready(Ok(()))
    }

    /// Collects bytes. Waits for the socket while there are too many.
    fn poll_collect(
        &mut self,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.socket.is_none() {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        if self.waiting() >= HIGH {
            ready!(self.poll_drain(cx))?;
        }
        if self.waiting() == 0 {
            self.stalled_since = self.now;
        }
        let before = self.out.len();
        for slice in slices {
            self.out.extend_from_slice(slice);
        }
        Poll::Ready(Ok(self.out.len() - before))
    }

    /// Corrects the code of a `GOAWAY` that is the last frame: the crate says `PROTOCOL_ERROR` for field blocks that it
    /// cannot decode as well (RFC 9113 §4.3).
    fn name_fault(&mut self) {
        const END: [u8; 9] = [0, 0, 8, 7, 0, 0, 0, 0, 0];
        const CODE: [u8; 4] = [0, 0, 0, 1];
        if self.waiting() < END.len() + 8 || self.frames.fault().is_some() {
            return;
        }
        let Some((rest, [_, _, _, _, code @ ..])) = self.out.split_last_chunk_mut::<8>() else {
            return;
        };
        if rest.ends_with(&END) && *code == CODE {
            *code = u32::from(self.frames.reason_of_block()).to_be_bytes();
        }
    }

    /// Frees the memory that an idle connection does not need.
    pub(super) fn settle(&mut self) {
        self.frames.settle();
        if self.out.is_empty() && self.out.capacity() > KEEP_IDLE {
            self.out = Vec::new();
        }
    }

    /// Ends the server's direction, and drops what the client still sends, up to [`MAX_DROPPED`] bytes. Ready at the end of the
    /// client's direction. A socket that is closed with unread bytes resets the connection, and the reset could destroy the
    /// last frames.
    pub(super) fn poll_linger(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(socket) = &mut self.socket else {
            return Poll::Ready(());
        };
        if !self.is_lingering {
            let _ = ready!(Pin::new(&mut *socket).poll_shutdown(cx));
            self.is_lingering = true;
        }
        let mut bytes = [0; 4096];
        while self.dropped < MAX_DROPPED {
            let mut target = ReadBuf::new(&mut bytes);
            match ready!(Pin::new(&mut *socket).poll_read(cx, &mut target)) {
                Ok(()) if !target.filled().is_empty() => self.dropped += target.filled().len(),
                _ => break,
            }
        }
        Poll::Ready(())
    }

    pub(super) fn is_closed(&self) -> bool {
        self.socket.is_none()
    }

    pub(super) fn close(&mut self) {
        self.socket = None;
        self.out = Vec::new();
        self.written = 0;
        self.is_unflushed = false;
    }
}

/// The socket as the protocol sees it.
pub(super) struct SharedIo(pub(super) Arc<Mutex<Io>>);

impl SharedIo {
    fn lock(&self) -> MutexGuard<'_, Io> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl AsyncRead for SharedIo {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        target: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let mut io = self.lock();
        if io.frames.fault().is_some() {
            return Poll::Pending;
        }
        let before = target.filled().len();
        if !io.unread.is_empty() {
            let count = io.unread.len().min(target.remaining());
            target.put_slice(io.unread.get(..count).unwrap_or_default());
            io.unread.advance(count);
        } else {
            match &mut io.socket {
                Some(socket) => ready!(Pin::new(socket).poll_read(cx, target))?,
                None => return Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
            }
        }
        let now = io.now;
        let arrived = target.filled().get(before..).unwrap_or_default();
        if arrived.is_empty() {
            return Poll::Ready(Ok(()));
        }
        let count = io.frames.follow(arrived, now);
        target.set_filled(before + count);
        match count {
            // No more is read. The task ends the connection.
            0 => Poll::Pending,
            _ => Poll::Ready(Ok(())),
        }
    }
}

impl AsyncWrite for SharedIo {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.lock().poll_collect(cx, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.lock().poll_collect(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    /// Does nothing: the task writes at the end of its poll.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.lock().socket {
            Some(_) => Poll::Ready(Ok(())),
            None => Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
        }
    }

    /// Waits until everything is written. The task ends the socket.
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut io = self.lock();
        io.name_fault();
        io.poll_drain(cx)
    }
}
