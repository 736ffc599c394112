//! One connection: its shared state, and the task that drives it.
//!
//! A [`Link`](link::Link) is the shared state of a socket and of the task that polls the socket. The link holds the
//! input, the timers and the transport. A [`Lane`](lane::Lane) is the sending part of a connection: the program's
//! handles, such as a [`WebSocket`](crate::WebSocket), send on it. The lane holds the queue of unsent bytes, the wire
//! format and the end hooks (functions that run when the connection has ended). HTTP/1.1 has one lane, inside the link.
//! A protocol with many streams would have many lanes on one link. A [`LaneRef`](lane::LaneRef) is a lane together with
//! its link, and has the functions for sending.
//!
//! The connection's own task ([`ConnectionTask`](task::ConnectionTask)), the [`Stream`](crate::Stream) that the
//! program's request handlers borrow, and the handles of other tasks share the link. Two locks protect its state:
//! `input` protects the reading side, and `out` protects the queue of the lane. A thread holds a lock for a moment,
//! never across an await. A thread that needs both locks acquires `input` first. [`Lifecycle`](lifecycle::Lifecycle)
//! has the states of a connection from its beginning to its end.

pub(crate) mod acks;
pub(crate) mod barrier;
pub(crate) mod buffer;
mod clock;
pub(crate) mod cork;
pub(crate) mod driver;
pub(crate) mod end;
pub(crate) mod extensions;
pub(crate) mod facts;
pub(crate) mod handle;
pub(crate) mod handshake;
mod heartbeat;
#[cfg(feature = "http2")]
pub(crate) mod http2;
pub(crate) mod inbox;
pub(crate) mod input;
pub(crate) mod lane;
pub(crate) mod lifecycle;
pub(crate) mod link;
#[cfg(any(feature = "tower", feature = "test-util"))]
pub(crate) mod memory;
pub(crate) mod out;
pub(crate) mod outbox;
#[cfg(any(feature = "http2", feature = "__tls"))]
pub(crate) mod patient;
mod rates;
pub(crate) mod send;
pub(crate) mod task;
#[cfg(test)]
mod testing;
pub(crate) mod transport;
pub(crate) mod wakers;
pub(crate) mod websocket;
