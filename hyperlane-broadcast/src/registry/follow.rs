//! Event streams that follow rooms.

use std::sync::Arc;

use hyperlane_core::{Outbox, WireFormat, hub::PastHeld};

use super::RoomRegistry;
use crate::{
    delivery::{
        core::RoomCore,
        positions::{Positions, lost},
    },
    error::RoomError,
    follow::{Claim, Follow, Followed, RoomClaim},
    member::{Join, Start},
    outlet::Outlet,
};

impl RoomRegistry {
    /// Makes an event stream a member of rooms, and resumes where the client was cut.
    pub(crate) fn follow(
        self: &Arc<Self>,
        outlet: &Outlet,
        follow: &Follow,
    ) -> Result<Followed, RoomError> {
        let outbox = outlet.connection().ok_or(RoomError::NotEvents)?;
        if outbox.is_of_channel() {
            return Err(RoomError::Channel);
        }
        if outbox.format().is_websocket() {
            return Err(RoomError::NotEvents);
        }
        let limit = Follow::MAX_ROOMS;
        if follow.names.len() > limit {
            return Err(RoomError::TooManyFollowed { limit });
        }
        let mut cores = Vec::with_capacity(follow.names.len());
        let mut made = Ok(());
        for name in &follow.names {
            match self.room(name) {
                Ok(core) => cores.push(core),
                Err(error) => made = Err(error),
            }
        }
        let followed = made.and_then(|()| self.follow_rooms(outbox, follow, &cores));
        for core in cores {
            self.release(core);
        }
        followed
    }

    fn follow_rooms(
        self: &Arc<Self>,
        outbox: &Outbox,
        follow: &Follow,
        cores: &[Arc<RoomCore>],
    ) -> Result<Followed, RoomError> {
        let limit = self.config.rooms_per_connection;
        let known = self.lock_memberships().get(&outbox.id()).cloned();
        let before = known.map_or(Ok(0), |membership| {
            let rooms = membership.lock();
            let is_in =
                |core: &Arc<RoomCore>| rooms.entries.iter().any(|entry| entry.shard.is_of(core));
            match cores.iter().any(is_in) {
                true => Err(RoomError::AlreadyMember),
                false => Ok(rooms.entries.len()),
            }
        })?;
        if before + cores.len() > limit {
            return Err(RoomError::TooManyMemberships { limit });
        }
        let claim = Claim::parse(follow.last_event_id.as_deref());
        let of_room = |core: &Arc<RoomCore>| claim.of_room(&core.name, core.epoch);
        let rooms = cores.iter().map(|core| (core, of_room(core)));
        let positions = Arc::new(Positions::new(rooms, claim == Claim::New));
        let mut joined = Vec::with_capacity(cores.len());
        for core in cores {
            let join = Join {
                user: follow.user.clone(),
                start: match of_room(core) {
                    RoomClaim::New if follow.history == 0 => Start::Next,
                    RoomClaim::New => Start::Last(follow.history),
                    RoomClaim::Lost => Start::After(lost(core.epoch)),
                    RoomClaim::After(offset) => Start::After(offset),
                },
                farewell: None,
            };
            match self.join(core, outbox.clone().into(), join, Some(&positions)) {
                Ok(one) => joined.push(one),
                Err(error) => {
                    for core in cores.iter().take(joined.len()) {
                        self.leave(core, outbox.id());
                    }
                    return Err(error);
                }
            }
        }
        // The client learns its position, or of a gap, also if no message comes. If the outbox is full, the notice goes
        // before the next message. If the stream has closed, no client is left.
        let format = outbox.format();
        if matches!(
            format,
            WireFormat::EventStream | WireFormat::EventStreamChunked
        ) {
            let _ = outbox.__deliver_with(usize::MAX, PastHeld::Yes, || {
                positions.encode(0, format, &[])
            });
        }
        Ok(Followed { joined })
    }
}
