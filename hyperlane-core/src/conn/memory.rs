//! Connections in memory, without sockets: for services of tower, and for the test kit.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU8, Ordering},
    },
    task::{Context, Poll, ready},
};

use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf};

/// Capacity of a connection in each direction, in bytes. If it is full, the writer waits, as at a socket.
const CAPACITY: usize = 64 * 1024;

/// Buffer space of a client for one read, in bytes.
pub(crate) const READ_SIZE: usize = 16 * 1024;

/// What the server reads when the client's end was dropped.
#[derive(Clone, Copy)]
#[repr(u8)]
pub(crate) enum Afterwards {
    /// The end of the stream: the client has closed its connection in order.
    #[cfg_attr(
        not(feature = "test-util"),
        expect(dead_code, reason = "for the test kit")
    )]
    End,
    /// An error: the client has disconnected.
    Reset,
    /// Nothing until the server shuts its own end down, and the end of the stream then: the client needs nothing more,
    /// but hooks may still be busy.
    Nothing,
}

/// What both ends know of a connection, beside the bytes. The client's end holds this value.
#[derive(Clone)]
pub(crate) struct Ends(Arc<Shared>);

struct Shared {
    /// An [`Afterwards`].
    afterwards: AtomicU8,
    /// The server has shut down its end in order. False if the connection was cut.
    is_shut_down: AtomicBool,
}

impl Ends {
    /// Decides what the server reads when the client's end was dropped.
    pub(crate) fn set(&self, afterwards: Afterwards) {
        self.0.afterwards.store(afterwards as u8, Ordering::Release);
    }

    /// Returns whether the server has shut down its end in order.
    pub(crate) fn is_shut_down(&self) -> bool {
        self.0.is_shut_down.load(Ordering::Acquire)
    }
}

/// The server's end of a connection. The connection's task uses it like a socket.
pub(crate) struct InMemory {
    io: DuplexStream,
    ends: Ends,
}

/// Creates a connection. Returns the client's end with its state, and the server's end.
pub(crate) fn connect(afterwards: Afterwards) -> (DuplexStream, Ends, InMemory) {
    let (client, io) = tokio::io::duplex(CAPACITY);
    let ends = Ends(Arc::new(Shared {
        afterwards: AtomicU8::new(afterwards as u8),
        is_shut_down: AtomicBool::new(false),
    }));
    let server = InMemory {
        io,
        ends: ends.clone(),
    };
    (client, ends, server)
}

impl AsyncRead for InMemory {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        target: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = target.filled().len();
        ready!(Pin::new(&mut self.io).poll_read(cx, target))?;
        if target.filled().len() > before || target.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        // A read of 0 bytes means that the client's end was dropped, because a client never shuts down only its writing
        // side.
        match self.ends.0.afterwards.load(Ordering::Acquire) {
            reset if reset == Afterwards::Reset as u8 => {
                Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()))
            }
            // No more input can arrive, so no waker is registered.
            nothing if nothing == Afterwards::Nothing as u8 && !self.ends.is_shut_down() => {
                Poll::Pending
            }
            _ => Poll::Ready(Ok(())),
        }
    }
}

impl AsyncWrite for InMemory {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.ends.0.is_shut_down.store(true, Ordering::Release);
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
