//! Event streams that follow rooms.

use std::sync::Arc;

use hyperlane_core::{
    WireFormat,
    hub::{PastHeld, flush_current},
};

use super::RoomRegistry;
use crate::{
    delivery::{core::RoomCore, membership::Membership, positions::lost},
    error::RoomError,
    follow::{Claim, Follow, Followed, RoomClaim},
    member::{Join, Joined, Start},
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
        let followed = made.and_then(|()| self.follow_rooms(outlet, follow, &cores));
        for core in cores {
            self.release(core);
        }
        flush_current();
        followed
    }

    fn follow_rooms(
        self: &Arc<Self>,
        outlet: &Outlet,
        follow: &Follow,
        cores: &[Arc<RoomCore>],
    ) -> Result<Followed, RoomError> {
        let limit = self.config.rooms_per_connection;
        let known = self.lock_memberships().get(&outlet.id()).cloned();
        let before = known.map_or(Ok(0), |membership| {
            let rooms = membership.lock();
            let is_in =
                |core: &Arc<RoomCore>| rooms.entries.iter().any(|entry| entry.shard.is_of(core));
            match cores.iter().any(is_in) {
                true => Err(RoomError::AlreadyMember),
                false => Ok(rooms.len()),
            }
        })?;
        if before + cores.len() > limit {
            return Err(RoomError::TooManyMemberships { limit });
        }
        let membership = self.admit(outlet)?;
        let claim = Claim::parse(follow.last_event_id.as_deref());
        let joined = self.follow_all(&membership, follow, cores, &claim)?;
        // The client learns its position, or of a gap, also if no message comes. If the outbox is full, the notice goes
        // before the next message. If the stream has closed, no client is left.
        let format = outlet.connection().map(|outbox| (outbox, outbox.format()));
        if let Some((outbox, format)) = format
            && matches!(
                format,
                WireFormat::EventStream | WireFormat::EventStreamChunked
            )
        {
            let _ = outbox.__deliver_with(usize::MAX, PastHeld::Yes, || {
                membership.followed().encode(0, format, &[])
            });
        }
        Ok(Followed { joined })
    }

    /// Follows all rooms, or none of them.
    fn follow_all(
        self: &Arc<Self>,
        membership: &Arc<Membership>,
        follow: &Follow,
        cores: &[Arc<RoomCore>],
        claim: &Claim,
    ) -> Result<Vec<Joined>, RoomError> {
        let followed = membership.followed();
        let of_room = |core: &Arc<RoomCore>| claim.of_room(&core.name, core.epoch);
        let rooms = cores.iter().map(|core| (core, of_room(core)));
        if !followed.begin(rooms, *claim == Claim::New) {
            return Err(RoomError::AlreadyMember);
        }
        self.join_followed(membership, follow, cores, claim)
            .inspect_err(|_| followed.abandon())
    }

    /// Joins all rooms, or none of them.
    fn join_followed(
        self: &Arc<Self>,
        membership: &Arc<Membership>,
        follow: &Follow,
        cores: &[Arc<RoomCore>],
        claim: &Claim,
    ) -> Result<Vec<Joined>, RoomError> {
        let mut joined = Vec::with_capacity(cores.len());
        for core in cores {
            let join = Join {
                user: follow.user.clone(),
                start: match claim.of_room(&core.name, core.epoch) {
                    RoomClaim::New if follow.history == 0 => Start::Next,
                    RoomClaim::New => Start::Last(follow.history),
                    RoomClaim::Lost => Start::After(lost(core.epoch)),
                    RoomClaim::After(offset) => Start::After(offset),
                },
                farewell: None,
            };
            match self.join_as(core, membership, join, true) {
                Ok(one) => joined.push(one),
                Err(error) => {
                    for core in cores.iter().take(joined.len()) {
                        self.leave(core, membership.id);
                    }
                    return Err(error);
                }
            }
        }
        Ok(joined)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        broker::InProcess, config::RoomsConfig, outlet::SinkQueue, registry::RoomRegistry,
    };

    #[tokio::test]
    async fn a_follow_that_fails_between_two_rooms_leaves_nothing() {
        let config = RoomsConfig::default().rooms_per_connection(2);
        let registry = RoomRegistry::new(config, Box::new(InProcess), None);
        let room = |name| registry.room(name).unwrap();
        let outlet = Outlet::from(SinkQueue::new(1000, None));
        let membership = registry.admit(&outlet).unwrap();
        let others = [room("other")];
        registry
            .join_as(&others[0], &membership, Join::new(), false)
            .unwrap();
        let cores = [room("a"), room("b")];
        let follow = Follow::new(["a", "b"]);
        for claim in [Claim::New, Claim::Invalid] {
            let rooms = || cores.iter().map(|core| (core, RoomClaim::New));
            let error = registry.follow_all(&membership, &follow, &cores, &claim);
            let limit = RoomError::TooManyMemberships { limit: 2 };
            assert_eq!(error.unwrap_err(), limit);
            assert!(cores.iter().all(|core| core.is_empty()));
            assert!(membership.followed().begin(rooms(), true), "it is free");
            membership.followed().abandon();
        }
        registry
            .follow_all(&membership, &follow, &cores[..1], &Claim::New)
            .unwrap();
        assert_eq!(cores[0].member_count(), 1);
        let again = registry.follow_all(&membership, &follow, &cores[1..], &Claim::New);
        assert_eq!(again.unwrap_err(), RoomError::AlreadyMember);
    }
}
