//! One connection: its shared state, and the task that drives it.
//!
//! A [`Link`](link::Link) is a socket with its task: reading, time, the end of the transport. A [`Lane`](lane::Lane) is
//! the part that handles use: the queue, the format, the end. HTTP/1.1 has one lane, which lies inside its link; a
//! protocol with many streams has many lanes on one link. [`LaneRef`](lane::LaneRef) is a lane together with its link,
//! and sends.
//!
//! The connection's own task ([`ConnectionTask`](task::ConnectionTask)), the [`Stream`](crate::Stream) lent to hooks,
//! and the handles of other tasks share the link. It has two locks: `input` for the reading side, which in practice
//! only the task takes, and `out` for the queue. Both are held for moments, never across an await; `input` is taken
//! before `out`. [`Lifecycle`](lifecycle::Lifecycle) holds the states in which a connection ends.

pub(crate) mod acks;
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
pub(crate) mod inbox;
pub(crate) mod input;
pub(crate) mod lane;
pub(crate) mod lifecycle;
pub(crate) mod link;
pub(crate) mod out;
pub(crate) mod outbox;
mod rates;
pub(crate) mod send;
pub(crate) mod task;
pub(crate) mod transport;
pub(crate) mod wakers;
pub(crate) mod websocket;
