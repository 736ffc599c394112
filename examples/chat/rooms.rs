//! The chat's own data for each room, which is the list of its latest messages. The functions here also send notices to
//! members.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};

use hyperlane::prelude::*;
use tokio::sync::Mutex;

use crate::protocol::{Invalid, Name, Said, ToClient, Who};

/// Number of earlier messages that a new member receives.
const HISTORY: usize = 50;

/// The latest messages of each room that has members or readers.
#[derive(Default)]
pub struct Chat {
    logs: Mutex<HashMap<String, Log>>,
}

/// The latest messages of one room. The chat holds the lock while it publishes a message, and while a member joins. A
/// welcome therefore contains exactly the messages that were published before the member joined.
type Log = Arc<Mutex<VecDeque<Said>>>;

impl Chat {
    async fn log(&self, room: &Room) -> Log {
        let mut logs = self.logs.lock().await;
        logs.entry(room.name().to_owned()).or_default().clone()
    }

    /// Adds a member to the room. Sends a welcome to the member and a notice to the other members.
    pub async fn join(
        &self,
        room: &Room,
        socket: &WebSocket,
        name: Name,
    ) -> Result<Who, RoomError> {
        let who = Who {
            id: socket.connection_id(),
            name: name.into_string(),
        };
        let log = self.log(room).await;
        let log = log.lock().await;
        let mut members = members(room);
        members.push(who.clone());
        let welcome = ToClient::Welcome {
            id: Some(who.id),
            members,
            history: log.iter().collect(),
        };
        // If the client has disconnected, this send fails, and so does the join below.
        let _ = socket.send(welcome.to_message()).await;
        room.join_with(socket, seat(&who)).await?;
        // A room that is flooded takes no news for a while. The list of members is right all the same.
        let _ = room
            .broadcast_except(socket, ToClient::Joined { member: &who }.to_message())
            .await;
        Ok(who)
    }

    /// Adds a reader to the room. The list of members does not contain readers, so the members get no notice.
    pub async fn follow(&self, room: &Room, events: &ServerSentEvents) -> Result<(), RoomError> {
        let log = self.log(room).await;
        let log = log.lock().await;
        let welcome = ToClient::Welcome {
            id: None,
            members: members(room),
            history: log.iter().collect(),
        };
        // If the client has disconnected, this send fails, and so does the join below.
        let _ = events.send(welcome.to_message()).await;
        room.join(events).await?;
        Ok(())
    }

    pub async fn say(&self, room: &Room, from: &Who, text: String) {
        let said = Said::now(from.clone(), text);
        let log = self.log(room).await;
        let mut log = log.lock().await;
        if room
            .broadcast(ToClient::Message(&said).to_message())
            .await
            .is_err()
        {
            return;
        }
        log.push_back(said);
        if log.len() > HISTORY {
            log.pop_front();
        }
    }

    pub async fn rename(
        &self,
        room: &Room,
        socket: &WebSocket,
        who: &mut Who,
        name: String,
    ) -> Result<(), Invalid> {
        who.name = Name::new(&name)?.into_string();
        // A second join changes the name and the farewell of the member. The join fails if the client has disconnected.
        if room.join_with(socket, seat(who)).await.is_ok() {
            let _ = room
                .broadcast(ToClient::Renamed { member: who }.to_message())
                .await;
        }
        Ok(())
    }

    /// Removes a connection from the room. If the room is then empty, also removes the room's latest messages from
    /// memory.
    pub async fn forget_if_empty(&self, room: &Room, leaving: impl Into<MemberId>) {
        room.leave(leaving).await;
        let mut logs = self.logs.lock().await;
        if room.is_empty() {
            logs.remove(room.name());
        }
    }
}

/// Returns the options for a member's join: its name, and the farewell that the other members receive when the member
/// leaves.
fn seat(who: &Who) -> Join {
    Join::new()
        .user(&who.name)
        .farewell(ToClient::Left { member: who }.to_message())
}

/// Returns the members of the room. Leaves out readers, which have no name.
fn members(room: &Room) -> Vec<Who> {
    room.members()
        .into_iter()
        .filter(|member| !member.user.is_empty())
        .map(|member| Who {
            id: member.id.number(),
            name: member.user.to_string(),
        })
        .collect()
}
