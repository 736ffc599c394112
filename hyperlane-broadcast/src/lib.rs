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

mod config;
mod core;
mod error;
mod ext;
mod history;
mod hub;
mod lane;
mod member;
#[cfg_attr(not(feature = "metrics"), path = "no_metrics.rs")]
mod metrics;
mod pass;
mod post;
mod registry;
mod room;
mod rooms;
mod seat;

// Channels between tasks.
mod broadcast;
mod broadcast_map;
mod key;

pub use broadcast::{
    Broadcast, BroadcastReceiver, BroadcastSendError, BroadcastSendResult, BroadcastSender,
    Capacity, DEFAULT_BROADCAST_SENDER_CAPACITY, ReceiverCount,
};
pub use broadcast_map::{
    BroadcastMap, BroadcastMapReceiver, BroadcastMapSendError, BroadcastMapSender,
};
pub use config::RoomsConfig;
pub use error::RoomError;
pub use ext::RoomExt;
pub use key::BroadcastType;
pub use member::{Connected, Join, Member, MemberId};
pub use post::Offset;
pub use room::Room;
pub use rooms::Rooms;
