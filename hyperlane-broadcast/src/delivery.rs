//! Delivery: rooms, their members, and the hubs that bring messages to them.
//!
//! A room ([`RoomCore`]) has at most one shard for each hub. A shard is the part of the room that its hub serves: a queue of
//! messages, joins and leaves, and the seats of members. A hub is a task. Its *pass* over a shard takes what is in the
//! queue, in order, and delivers the messages to the seats.
//!
//! A thread that needs several locks takes them in this order: the registry's tables, a membership's list of rooms, a
//! room's state, a shard's queue. The index of users, the positions of an event stream and the recipients of a message
//! have locks under which a thread takes no other lock. No code calls a connection, wakes a hub, or drops a message while
//! it holds one of these locks. Debug builds check this ([`crate::locks`]).

pub(crate) mod core;
pub(crate) mod hub;
pub(crate) mod membership;
mod pass;
pub(crate) mod positions;
mod seat;
pub(crate) mod shard;
pub(crate) mod shards;
pub(crate) mod users;
pub(crate) mod waiters;

#[cfg(test)]
mod tests;

#[cfg(test)]
pub(crate) const SEAT_BYTES: usize = size_of::<seat::Seat>();
