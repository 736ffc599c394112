//! Rooms over connected streams.
//!
//! A [`Room`] delivers messages to WebSockets and event streams together, in one total order. Its
//! members are dealt out among a few hub tasks, which write to each member's outbox directly: no
//! task, no channel and no copy per member. A message is encoded once per wire format. Members that
//! do not read fast enough read on from the room's history, and are let go when that has moved past
//! them; they never slow a publisher or each other.
//!
//! [`Broadcast`] and [`BroadcastMap`] are channels of any values between tasks.

#![warn(unreachable_pub)]

mod broadcast;
mod broadcast_map;
mod error;
mod ext;
mod history;
mod hub;
mod key;
#[cfg_attr(not(feature = "metrics"), path = "no_metrics.rs")]
mod metrics;
mod post;
mod room;
mod rooms;

pub use broadcast::{
    Broadcast, BroadcastReceiver, BroadcastSendError, BroadcastSendResult, BroadcastSender,
    Capacity, DEFAULT_BROADCAST_SENDER_CAPACITY, ReceiverCount,
};
pub use broadcast_map::{
    BroadcastMap, BroadcastMapReceiver, BroadcastMapSendError, BroadcastMapSender,
};
pub use error::RoomError;
pub use ext::{Connected, RoomExt};
pub use key::BroadcastType;
pub use room::{Join, Member, MemberId, Offset, Room};
pub use rooms::{Rooms, RoomsConfig};
