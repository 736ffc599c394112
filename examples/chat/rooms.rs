//! The chat's own part of a room: its latest messages, and the notices to its members.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};

use hyperlane::prelude::*;
use tokio::sync::Mutex;

use crate::protocol::{Invalid, Name, Said, ToClient, Who};

/// Number of messages that a new member sees.
const HISTORY: usize = 50;

/// Latest messages by room, while the room has visitors.
#[derive(Default)]
pub struct Chat {
    logs: Mutex<HashMap<String, Log>>,
}

/// Locked while a message is published and while a member joins, so that a welcome holds exactly the
/// messages before it.
type Log = Arc<Mutex<VecDeque<Said>>>;

impl Chat {
    async fn log(&self, room: &Room) -> Log {
        let mut logs = self.logs.lock().await;
        logs.entry(room.name().to_owned()).or_default().clone()
    }

    /// Welcomes a member and tells the others.
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
        // If the client has left, joining fails.
        let _ = socket.send(welcome.to_message()).await;
        room.join_with(socket, seat(&who)).await?;
        room.broadcast_except(socket, ToClient::Joined { member: &who }.to_message())
            .await;
        Ok(who)
    }

    /// Lets a reader in. The room shows no reader, so the members get no notice.
    pub async fn follow(&self, room: &Room, events: &ServerSentEvents) -> Result<(), RoomError> {
        let log = self.log(room).await;
        let log = log.lock().await;
        let welcome = ToClient::Welcome {
            id: None,
            members: members(room),
            history: log.iter().collect(),
        };
        // If the client has left, joining fails.
        let _ = events.send(welcome.to_message()).await;
        room.join(events).await?;
        Ok(())
    }

    pub async fn say(&self, room: &Room, from: &Who, text: String) {
        let said = Said::now(from.clone(), text);
        let log = self.log(room).await;
        let mut log = log.lock().await;
        room.broadcast(ToClient::Message(&said).to_message()).await;
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
        // Joining again changes the name and the farewell. It fails if the client has left.
        if room.join_with(socket, seat(who)).await.is_ok() {
            room.broadcast(ToClient::Renamed { member: who }.to_message())
                .await;
        }
        Ok(())
    }

    /// Removes the messages of a room that its last visitor leaves.
    pub async fn forget_if_empty(&self, room: &Room, leaving: impl Into<MemberId>) {
        room.leave(leaving).await;
        let mut logs = self.logs.lock().await;
        if room.is_empty() {
            logs.remove(room.name());
        }
    }
}

/// The entry of a member in the room, with a farewell for the others, however the member leaves.
fn seat(who: &Who) -> Join {
    Join::new()
        .user(&who.name)
        .farewell(ToClient::Left { member: who }.to_message())
}

/// Lists the members. Readers have no name and are left out.
fn members(room: &Room) -> Vec<Who> {
    room.members()
        .into_iter()
        .filter(|member| !member.user.is_empty())
        .map(|member| Who {
            id: member.id.get(),
            name: member.user.to_string(),
        })
        .collect()
}
