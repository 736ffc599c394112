//! The messages between the page and the server: JSON objects with a field `type`.

use std::{
    fmt,
    time::{SystemTime, UNIX_EPOCH},
};

use hyperlane::prelude::*;
use serde::{Deserialize, Serialize};

/// Maximum number of characters in a message.
const TEXT_CHARS: usize = 4000;
/// Maximum number of characters in a name.
const NAME_CHARS: usize = 32;

/// A message from the page to the server.
#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum FromClient {
    Message { text: String },
    Rename { name: String },
}

/// A message from the server to the page, over the WebSocket or the event stream.
#[derive(Serialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum ToClient<'a> {
    Welcome {
        #[serde(skip_serializing_if = "Option::is_none")]
        id: Option<u64>,
        members: Vec<Who>,
        history: Vec<&'a Said>,
    },
    Joined {
        member: &'a Who,
    },
    Left {
        member: &'a Who,
    },
    Renamed {
        member: &'a Who,
    },
    Message(&'a Said),
    Error {
        text: String,
    },
}

/// A member, with the data that the page shows.
#[derive(Clone, Serialize)]
pub struct Who {
    pub id: u64,
    pub name: String,
}

/// A chat message, with the data that the page shows.
#[derive(Clone, Serialize)]
pub struct Said {
    pub from: Who,
    pub text: String,
    /// The time of the message, in milliseconds since 1970-01-01 UTC.
    pub at: u64,
}

impl Said {
    pub fn now(from: Who, text: String) -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        Self {
            from,
            text,
            at: since.map_or(0, |since| since.as_millis() as u64),
        }
    }
}

/// A valid name of a member.
pub struct Name(String);

/// The reason why the server does not accept a message of the page.
#[derive(Debug)]
pub struct Invalid(&'static str);

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl Name {
    pub fn new(name: &str) -> Result<Self, Invalid> {
        let name = name.trim();
        match name.chars().count() {
            1..=NAME_CHARS => Ok(Self(name.to_owned())),
            _ => Err(Invalid("a name has 1 to 32 characters")),
        }
    }

    pub fn into_string(self) -> String {
        self.0
    }
}

impl FromClient {
    pub fn read(message: &Message) -> Result<Self, Invalid> {
        let read = serde_json::from_slice(message.as_bytes())
            .map_err(|_| Invalid("expected {\"type\":\"message\",\"text\":\"…\"}"))?;
        if let Self::Message { text } = &read {
            match text.chars().count() {
                1..=TEXT_CHARS => {}
                _ => return Err(Invalid("a message has 1 to 4000 characters")),
            }
        }
        Ok(read)
    }
}

impl ToClient<'_> {
    pub fn error(error: Invalid) -> Self {
        Self::Error {
            text: error.to_string(),
        }
    }

    /// Encodes the message for a room.
    pub fn to_message(&self) -> Message {
        // The serialization cannot fail: JSON can represent all fields of this type.
        Message::from(serde_json::to_string(self).unwrap_or_default())
    }
}
