//! A socket below TLS or HTTP/2 that finds room for a slow client.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};

/// The time after which a socket that is full is tried again.
const AGAIN: Duration = Duration::from_millis(100);

/// A TCP socket whose writes call the system again and again, even if tokio has not recorded the socket as writable.
///
/// Linux reports a socket as writable only when a third of its buffer is free, and a slow client may take long to read
/// that much. Without these writes, a client that reads slowly could not be told from one that reads nothing.
pub(crate) struct Patient {
    socket: TcpStream,
    /// The time of the last write that found no room.
    tried: Option<Instant>,
}

impl Patient {
    pub(crate) fn new(socket: TcpStream) -> Self {
        Self {
            socket,
            tried: None,
        }
    }

    /// Borrows the socket.
    pub(crate) fn get_ref(&self) -> &TcpStream {
        &self.socket
    }

    /// Tries a write that tokio has not tried, if the last one is long enough ago.
    fn try_again(&mut self, slices: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let now = Instant::now();
        let tried = *self.tried.get_or_insert(now);
        if now.duration_since(tried) < AGAIN {
            return Poll::Pending;
        }
        self.tried = Some(now);
        match socket2::SockRef::from(&self.socket).send_vectored(slices) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Poll::Pending,
            written => Poll::Ready(written),
        }
    }
}

impl AsyncRead for Patient {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        target: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_read(cx, target)
    }
}

impl AsyncWrite for Patient {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match Pin::new(&mut self.socket).poll_write(cx, bytes) {
            Poll::Pending => self.try_again(&[IoSlice::new(bytes)]),
            written => {
                self.tried = None;
                written
            }
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match Pin::new(&mut self.socket).poll_write_vectored(cx, slices) {
            Poll::Pending => self.try_again(slices),
            written => {
                self.tried = None;
                written
            }
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}
