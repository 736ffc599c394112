//! The facade.
extern crate self as hyperlane;

pub use hyperlane_core::__private;
pub use hyperlane_core::*;

/// Rooms over connected streams, and channels between tasks.
pub mod broadcast {
    pub use hyperlane_broadcast::*;
}

/// What most programs need, in one import.
pub mod prelude {
    pub use hyperlane_broadcast::{Join, Member, MemberId, Room, RoomError, RoomExt, Rooms};
    pub use hyperlane_core::*;
}
