//! Transports: TCP, Unix sockets, or any other duplex stream.
//!
//! A socket is split into two halves. Only the connection's task reads, because tokio keeps one waker per direction.
//! Any task may try to write without waiting. Other transports (TLS, in-memory pipes) need `&mut` to write, so only the
//! connection's task drives them: it reads and it writes.

use std::{
    io::{self, IoSlice},
    pin::{Pin, pin},
    task::{Context, Poll, ready},
};

use bytes::buf::Limit;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf},
    net::{TcpStream, tcp},
};

#[cfg(unix)]
use tokio::net::{UnixStream, unix};

#[cfg(feature = "http2")]
use super::{http2::Http2Stream, patient::Patient};

/// A transport that only the connection's task can drive.
pub(crate) trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

/// The part of a transport that the connection's task owns: the reading half of a socket, or a whole transport of
/// another kind.
pub(crate) enum Reader {
    Tcp(tcp::OwnedReadHalf),
    #[cfg(unix)]
    Unix(unix::OwnedReadHalf),
    // A box of a box takes one word, as the other variants do.
    Driven(Box<Box<dyn Duplex>>),
    /// A stream of an HTTP/2 connection.
    #[cfg(feature = "http2")]
    Http2(Box<Http2Stream>),
    /// The socket is closed. This value remains while the program has handles to the connection.
    Closed,
}

/// The part of a transport that any task may try to write to: the writing half of a socket.
pub(crate) enum Writer {
    Tcp(tcp::OwnedWriteHalf),
    #[cfg(unix)]
    Unix(unix::OwnedWriteHalf),
    /// Another kind of transport. All bytes are queued, and the connection's task writes them.
    Driven,
    /// The socket is closed.
    Closed,
}

/// Splits a TCP connection.
pub(crate) fn tcp(stream: TcpStream) -> (Reader, Writer) {
    let (read, write) = stream.into_split();
    (Reader::Tcp(read), Writer::Tcp(write))
}

/// Joins the halves of a TCP connection again. Returns `None` for another transport.
#[cfg(feature = "__tls")]
pub(crate) fn rejoin(halves: (Reader, Writer)) -> Option<TcpStream> {
    match halves {
        (Reader::Tcp(read), Writer::Tcp(write)) => read.reunite(write).ok(),
        _ => None,
    }
}

/// Splits a Unix connection.
#[cfg(unix)]
pub(crate) fn unix(stream: UnixStream) -> (Reader, Writer) {
    let (read, write) = stream.into_split();
    (Reader::Unix(read), Writer::Unix(write))
}

/// Wraps a stream of an HTTP/2 connection.
#[cfg(feature = "http2")]
pub(crate) fn http2(stream: Http2Stream) -> (Reader, Writer) {
    (Reader::Http2(Box::new(stream)), Writer::Driven)
}

/// Joins the halves of a connection again; `None` if they are closed.
#[cfg(feature = "http2")]
pub(crate) fn join(reader: Reader, writer: Writer) -> Option<Box<dyn Duplex>> {
    match (reader, writer) {
        (Reader::Tcp(read), Writer::Tcp(write)) => {
            Some(Box::new(Patient::new(read.reunite(write).ok()?)))
        }
        #[cfg(unix)]
        (Reader::Unix(read), Writer::Unix(write)) => Some(Box::new(read.reunite(write).ok()?)),
        (Reader::Driven(transport), _) => Some(*transport),
        _ => None,
    }
}

/// Wraps any other duplex stream.
pub(crate) fn driven(
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
) -> (Reader, Writer) {
    (Reader::Driven(Box::new(Box::new(stream))), Writer::Driven)
}

impl Reader {
    /// Returns the address of the peer; `None` for a transport other than TCP, or if the system reports no address.
    #[cfg(feature = "proxy-protocol")]
    pub(crate) fn peer_addr(&self) -> Option<std::net::SocketAddr> {
        match self {
            Self::Tcp(half) => half.peer_addr().ok(),
            _ => None,
        }
    }

    /// Waits until a read may find bytes. Costs less than a read that finds none. Is ready at once for a driven
    /// transport and for a closed socket.
    pub(crate) fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<()> {
        match self {
            Self::Tcp(half) => half.as_ref().poll_read_ready(cx).map(drop),
            #[cfg(unix)]
            Self::Unix(half) => half.as_ref().poll_read_ready(cx).map(drop),
            #[cfg(feature = "http2")]
            Self::Http2(_) => Poll::Ready(()),
            Self::Driven(_) | Self::Closed => Poll::Ready(()),
        }
    }

    /// Returns the stream of an HTTP/2 connection; `None` for any other transport.
    #[cfg(feature = "http2")]
    pub(crate) fn http2(&mut self) -> Option<&mut Http2Stream> {
        match self {
            Self::Http2(stream) => Some(stream),
            _ => None,
        }
    }

    /// Returns whether the transport is a stream of an HTTP/2 connection.
    pub(super) fn is_stream(&self) -> bool {
        #[cfg(feature = "http2")]
        return matches!(self, Self::Http2(_));
        #[cfg(not(feature = "http2"))]
        false
    }

    /// Returns true once after a client of HTTP/2 has ended its direction.
    pub(super) fn take_end_news(&mut self) -> bool {
        match self {
            #[cfg(feature = "http2")]
            Self::Http2(stream) => stream.take_end_news(),
            _ => false,
        }
    }

    /// Returns the address of the server's end; `None` for a transport other than TCP, or if the system reports no
    /// address.
    pub(crate) fn local_addr(&self) -> Option<std::net::SocketAddr> {
        match self {
            Self::Tcp(half) => half.local_addr().ok(),
            #[cfg(feature = "http2")]
            Self::Http2(stream) => stream.local_addr(),
            _ => None,
        }
    }

    /// Reads into `target` and returns the number of bytes; 0 means the end of the stream.
    pub(crate) fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        target: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let mut buffer = ReadBuf::new(target);
        ready!(match self {
            Self::Tcp(half) => Pin::new(half).poll_read(cx, &mut buffer),
            #[cfg(unix)]
            Self::Unix(half) => Pin::new(half).poll_read(cx, &mut buffer),
            Self::Driven(stream) => Pin::new(stream).poll_read(cx, &mut buffer),
            #[cfg(feature = "http2")]
            Self::Http2(stream) => return stream.poll_read(cx, target),
            Self::Closed => Poll::Ready(Ok(())),
        })?;
        Poll::Ready(Ok(buffer.filled().len()))
    }

    /// Reads into the spare capacity of `target` and returns the number of bytes; 0 means the end of the stream.
    pub(crate) fn poll_read_buf(
        &mut self,
        cx: &mut Context<'_>,
        target: &mut Limit<&mut Vec<u8>>,
    ) -> Poll<io::Result<usize>> {
        // A `read_buf` future keeps no state between polls, so each poll can create a new one.
        match self {
            Self::Tcp(half) => pin!(half.read_buf(target)).poll(cx),
            #[cfg(unix)]
            Self::Unix(half) => pin!(half.read_buf(target)).poll(cx),
            Self::Driven(stream) => pin!(stream.read_buf(target)).poll(cx),
            #[cfg(feature = "http2")]
            Self::Http2(stream) => poll_read_buf(stream, cx, target),
            Self::Closed => Poll::Ready(Ok(0)),
        }
    }

    /// Writes to a driven transport; never called for a socket.
    pub(crate) fn poll_write_driven(
        &mut self,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self {
            Self::Driven(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
            #[cfg(feature = "http2")]
            Self::Http2(stream) => stream.poll_write(cx, slices),
            _ => Poll::Ready(Err(io::ErrorKind::Unsupported.into())),
        }
    }

    /// Returns whether the client has cancelled a stream of HTTP/2, or its connection has ended. Otherwise the task is woken
    /// when this happens. Returns false for other transports.
    pub(crate) fn is_cancelled(&mut self, cx: &mut Context<'_>) -> bool {
        match self {
            #[cfg(feature = "http2")]
            Self::Http2(stream) => stream.poll_cancelled(cx).is_ready(),
            _ => {
                let _ = cx;
                false
            }
        }
    }

    /// Flushes the bytes that a driven transport has buffered, such as TLS records. Does nothing for a socket.
    pub(crate) fn poll_flush_driven(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Driven(stream) => Pin::new(stream).poll_flush(cx),
            _ => Poll::Ready(Ok(())),
        }
    }

    /// Ends the sending direction of a driven transport. Does nothing for a socket.
    pub(crate) fn poll_shutdown_driven(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Driven(stream) => Pin::new(stream).poll_shutdown(cx),
            #[cfg(feature = "http2")]
            Self::Http2(stream) => {
                stream.end();
                Poll::Ready(Ok(()))
            }
            _ => Poll::Ready(Ok(())),
        }
    }
}

/// Reads from a stream of HTTP/2 into the spare capacity of `target`.
#[cfg(feature = "http2")]
fn poll_read_buf(
    stream: &mut Http2Stream,
    cx: &mut Context<'_>,
    target: &mut Limit<&mut Vec<u8>>,
) -> Poll<io::Result<usize>> {
    use bytes::BufMut;

    // The bytes pass through a small buffer, because safe code cannot pass memory that is not initialized.
    let mut space = [0; 4096];
    let room = target.remaining_mut().min(space.len());
    let Some(space) = space.get_mut(..room) else {
        return Poll::Ready(Ok(0));
    };
    let count = ready!(stream.poll_read(cx, space))?;
    target.put_slice(space.get(..count).unwrap_or_default());
    Poll::Ready(Ok(count))
}

impl Writer {
    /// Returns whether only the connection's task can write.
    pub(crate) fn is_driven(&self) -> bool {
        matches!(self, Self::Driven)
    }

    /// Writes as much as the socket accepts without waiting.
    ///
    /// # Errors
    /// - [`WouldBlock`](io::ErrorKind::WouldBlock) if the socket accepts nothing now, or if only the connection's task
    ///   can write
    /// - [`BrokenPipe`](io::ErrorKind::BrokenPipe) if the socket is closed
    // The number of slices is known where this function is called.
    #[inline(always)]
    pub(crate) fn try_write(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        match (self, slices) {
            (Self::Tcp(half), [one]) => half.try_write(one),
            (Self::Tcp(half), many) => half.try_write_vectored(many),
            #[cfg(unix)]
            (Self::Unix(half), [one]) => half.try_write(one),
            #[cfg(unix)]
            (Self::Unix(half), many) => half.try_write_vectored(many),
            (Self::Driven, _) => Err(io::ErrorKind::WouldBlock.into()),
            (Self::Closed, _) => Err(io::ErrorKind::BrokenPipe.into()),
        }
    }

    /// Writes like [`try_write`](Self::try_write), but calls the system even if tokio has not recorded the socket as
    /// writable.
    pub(crate) fn write_skipping_readiness(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        match self {
            Self::Tcp(half) => socket2::SockRef::from(half.as_ref()).send_vectored(slices),
            #[cfg(unix)]
            Self::Unix(half) => socket2::SockRef::from(half.as_ref()).send_vectored(slices),
            Self::Driven => Err(io::ErrorKind::WouldBlock.into()),
            Self::Closed => Err(io::ErrorKind::BrokenPipe.into()),
        }
    }

    /// Waits until the socket is writable. Is ready at once for a driven transport and for a closed socket. Only the
    /// connection's task calls this.
    pub(crate) fn poll_writable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Tcp(half) => half.as_ref().poll_write_ready(cx),
            #[cfg(unix)]
            Self::Unix(half) => half.as_ref().poll_write_ready(cx),
            Self::Driven | Self::Closed => Poll::Ready(Ok(())),
        }
    }

    /// Ends the sending direction of a socket. The peer still receives the bytes that were written earlier. Does
    /// nothing for a driven transport.
    pub(crate) fn shutdown(&self) {
        // An error means that the peer has gone already.
        match self {
            Self::Tcp(half) => {
                drop(socket2::SockRef::from(half.as_ref()).shutdown(std::net::Shutdown::Write));
            }
            #[cfg(unix)]
            Self::Unix(half) => {
                drop(socket2::SockRef::from(half.as_ref()).shutdown(std::net::Shutdown::Write));
            }
            Self::Driven | Self::Closed => {}
        }
    }

    /// Drops this half. The socket closes when the reader's half is dropped as well.
    pub(crate) fn close(&mut self) {
        // The drop of a half makes a system call to end the sending direction. The socket closes anyway, so `forget`
        // saves this call.
        match std::mem::replace(self, Self::Closed) {
            Self::Tcp(half) => half.forget(),
            #[cfg(unix)]
            Self::Unix(half) => half.forget(),
            Self::Driven | Self::Closed => {}
        }
    }
}
