//! Rooms: named groups of connections that receive the same messages.
//!
//! A [`Room`] sends messages to many WebSockets and event streams. All of them receive the messages in the
//! same order. `room.broadcast(..)` never waits for a receiver: background tasks, the hubs, deliver the
//! messages. Connections with the same wire format (WebSocket frames, for example) share the encoded message. A
//! connection that reads too slowly catches up from the room's history. A slow connection delays neither the
//! sender nor the other members.
//!
//! ```
//! use hyperlane_broadcast::{Join, RoomExt};
//! use hyperlane_core::{Context, ServerHook, Status, Stream};
//!
//! struct Chat;
//!
//! impl ServerHook for Chat {
//!     async fn new(_: &mut Stream, _: &mut Context) -> Self {
//!         Self
//!     }
//!
//!     async fn handle(self, stream: &mut Stream, ctx: &mut Context) -> Status {
//!         let Ok(room) = ctx.room("lobby") else { return Status::Reject };
//!         let Ok(socket) = ctx.upgrade(stream).await else { return Status::Reject };
//!         let join = Join::new().history(20).farewell("a member has left");
//!         if room.join_with(&socket, join).await.is_ok() {
//!             while let Ok(message) = socket.recv().await {
//!                 if room.broadcast(message).await.is_err() {
//!                     break;
//!                 }
//!             }
//!         }
//!         Status::Continue
//!     }
//! }
//! ```
//!
//! # Words
//!
//! | word | meaning |
//! | --- | --- |
//! | room | a named group of members, with the last messages sent to the group; [`Rooms`] are all rooms of a server |
//! | member | a connection in a room: a WebSocket or an event stream ([`Member`]) |
//! | offset | the number of a message in its room ([`Offset`]); members receive messages in this order |
//! | hub | a task that delivers messages to members; a server has one hub per worker thread, at most 16 |
//! | shard | the part of a room that one hub serves: a queue of messages, joins and leaves, and the seats of members |
//! | outbox | the sending side of a connection, with the queue of bytes that the client has not received yet |
//! | seat | a member's entry in a shard: the outbox of the member's connection, and the position of a slow member |
//! | position | the offset of the first message that a slow member has not received yet |
//! | pass | a hub's delivery of one shard's queue to the shard's seats |
//!
//! A member is *slow* from the first message that its full outbox refuses until it has received all missed
//! messages. When the outbox has space again, the hub delivers the room's history from the member's position on. If
//! the history has dropped the message at the member's position, the hub closes the connection (a WebSocket with
//! code 1013).
//!
//! # Channels between tasks
//!
//! A [`Broadcast`] is a channel that sends each value, of any type, to all of its receivers. A
//! [`BroadcastMap`] stores `Broadcast` channels by name. Both work between tasks, without a connection.

#![warn(unreachable_pub)]

mod broker;
#[cfg(feature = "compat")]
pub mod compat;
mod config;
mod conflated;
mod delivery;
mod error;
mod ext;
mod follow;
mod history;
mod ledger;
mod locks;
mod log;
mod member;
#[cfg_attr(not(feature = "metrics"), path = "no_metrics.rs")]
mod metrics;
mod offset;
mod outlet;
mod panics;
mod pattern;
mod post;
mod publisher;
mod registry;
mod room;
mod rooms;
mod sink;

// Channels between tasks.
mod broadcast;
mod broadcast_map;
mod key;

pub use broadcast::{
    Broadcast, BroadcastReceiver, BroadcastSendError, BroadcastSendResult, BroadcastSender,
    Capacity, DEFAULT_BROADCAST_SENDER_CAPACITY, MAX_BROADCAST_SENDER_CAPACITY, ReceiverCount,
};
pub use broadcast_map::{
    BroadcastMap, BroadcastMapReceiver, BroadcastMapSendError, BroadcastMapSender,
};
pub use broker::{
    Broker, BrokerRoom, InProcess, Publication, PublishScope, Published, Publishing, Refused,
    Removal, Removing,
};
pub use config::{RoomLimits, RoomsConfig, SlowPolicy};
pub use error::{PublishError, RoomError};
pub use ext::RoomExt;
pub use follow::{Follow, Followed};
pub use history::{History, Page, Stored};
pub use key::BroadcastType;
pub use member::{Connected, Join, Joined, Member, MemberId};
pub use offset::{Offset, OffsetError};
pub use outlet::Outlet;
pub use publisher::{ManyPublisher, PublishManyError, Publisher};
pub use room::Room;
pub use rooms::{Rooms, RoomsBuilder};
pub use sink::SinkMember;
