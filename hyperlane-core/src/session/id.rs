//! Ids of sessions.

use std::fmt;

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

/// Number of characters of an id that logs may show.
const SHOWN: usize = 6;

/// The id of a session: 128 random bits.
///
/// `Debug` and `Display` show only the beginning of the id, for logs. The id alone gives a client no access to the
/// session, because the client also needs the server's signature. A [`SessionStore`](crate::SessionStore) does not
/// check the signature: code with access to the store finds a session by the id alone. Therefore treat the text of
/// [`encode`](Self::encode) as a secret.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionId([u8; 16]);

impl SessionId {
    pub(crate) fn random() -> Result<Self, getrandom::Error> {
        let mut bytes = [0; 16];
        getrandom::fill(&mut bytes)?;
        Ok(Self(bytes))
    }

    /// Returns the id for a session that begins while the system has no random bytes. Such a session lasts for its
    /// request only. No other request finds a session with this id.
    pub(super) fn nil() -> Self {
        Self([0; 16])
    }

    /// Returns the id as bytes.
    pub fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }

    /// Returns the id as 22 characters of base64url, which a store can use as a key.
    pub fn encode(&self) -> String {
        BASE64_URL_SAFE_NO_PAD.encode(self.0)
    }

    /// Decodes the text of [`encode`](Self::encode); `None` for any other text.
    pub fn decode(text: &str) -> Option<Self> {
        let mut bytes = [0; 16];
        match BASE64_URL_SAFE_NO_PAD.decode_slice(text, &mut bytes) {
            Ok(16) => Some(Self(bytes)),
            _ => None,
        }
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.encode();
        write!(f, "{}..", text.get(..SHOWN).unwrap_or_default())
    }
}

impl fmt::Debug for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SessionId({self})")
    }
}

/// Serializes to the text of [`SessionId::encode`].
impl Serialize for SessionId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.encode())
    }
}

impl<'de> Deserialize<'de> for SessionId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::decode(&text).ok_or_else(|| D::Error::custom("not a session id"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_read_back_and_never_shown_whole() {
        let id = SessionId::random().unwrap();
        let text = id.encode();
        assert_eq!((text.len(), SessionId::decode(&text)), (22, Some(id)));
        for shown in [format!("{id}"), format!("{id:?}")] {
            assert!(shown.contains(&text[..6]) && !shown.contains(&text[..8]));
        }
        let json = serde_json::to_string(&id).unwrap();
        assert_eq!(serde_json::from_str::<SessionId>(&json).unwrap(), id);
        for wrong in [
            "",
            "AAAA",
            "AAAAAAAAAAAAAAAAAAAAAB",
            "AAAAAAAAAAAAAAAAAAAAA=",
            "AAAAAAAAAAAAAAAAAAAAAAA",
        ] {
            assert_eq!(SessionId::decode(wrong), None, "{wrong}");
        }
    }
}
