//! External stores of sessions.

use std::{
    fmt,
    future::poll_fn,
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::{Pin, pin},
    sync::Arc,
    task::Poll,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use serde::{Deserialize, Serialize};

use super::SessionId;
use crate::panic::drop_payload;

/// Keys and JSON values in the order of insertion. The type is a `Vec` and not a map, because a session has few values.
/// Clones share the texts, so a clone that is made under the lock of a session copies no text.
pub(super) type Values = Vec<(Arc<str>, Arc<str>)>;

/// A store of sessions. It shares sessions between servers, or keeps them beyond the end of the process. The program
/// passes the store to [`Server::session_store`](crate::Server::session_store).
///
/// Contract:
/// - The server calls `load` before the hooks (the program's functions) of each request whose cookie or token has a
///   valid signature. If a request has several cookies and tokens, the server tries them in turn until the store has a
///   session. For an unknown id, `load` returns `Ok(None)`.
/// - The server calls `save` before it sends a response, the head of an event stream, or the 101 of a WebSocket. The
///   server calls `save` only if the session has changed or its time to live must restart. `save` replaces the data
///   under the id. The store may delete the data after `ttl`.
/// - The server calls `delete` when a session is destroyed. An unknown id is not an error.
/// - If the store returns an error, the server logs the error and answers 503. The session keeps its changes in this
///   process. The session's next request saves the changes.
/// - If two servers change a session at the same time, the later save wins. A request in progress on one server may
///   save a session again after another server has destroyed it.
///
/// The server may drop a future of the store at any await, when the client's connection ends.
///
/// ```
/// use std::{collections::HashMap, io, sync::Mutex, time::Duration};
///
/// use hyperlane_core::{Server, SessionData, SessionId, SessionStore};
///
/// #[derive(Default)]
/// struct Kept(Mutex<HashMap<SessionId, String>>);
///
/// impl SessionStore for Kept {
///     async fn load(&self, id: &SessionId) -> io::Result<Option<SessionData>> {
///         let text = self.0.lock().unwrap().get(id).cloned();
///         Ok(text.map(|text| serde_json::from_str(&text)).transpose()?)
///     }
///
///     async fn save(&self, id: &SessionId, data: &SessionData, _ttl: Duration) -> io::Result<()> {
///         self.0.lock().unwrap().insert(*id, serde_json::to_string(data)?);
///         Ok(())
///     }
///
///     async fn delete(&self, id: &SessionId) -> io::Result<()> {
///         self.0.lock().unwrap().remove(id);
///         Ok(())
///     }
/// }
///
/// let mut server = Server::new();
/// server.session_store(Kept::default());
/// ```
pub trait SessionStore: Send + Sync + 'static {
    /// Returns the data last saved under `id`.
    fn load(&self, id: &SessionId) -> impl Future<Output = io::Result<Option<SessionData>>> + Send;

    /// Saves `data` under `id` for at least `ttl`.
    fn save(
        &self,
        id: &SessionId,
        data: &SessionData,
        ttl: Duration,
    ) -> impl Future<Output = io::Result<()>> + Send;

    /// Deletes the data under `id`.
    fn delete(&self, id: &SessionId) -> impl Future<Output = io::Result<()>> + Send;
}

/// The data of a session, as a store gets it. A store serializes it by serde.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionData {
    /// The time of creation, in seconds since 1970.
    pub(super) created: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) user: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty", with = "values")]
    pub(super) values: Values,
    /// The new id of the session, if this data is stored under a former id: an id from before a renewal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) renewed: Option<SessionId>,
    /// The time until which a former id leads to `renewed`, in seconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) until: Option<u64>,
    /// True if this data is stored under an id that has ended. The id then leads to no session.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) over: bool,
}

/// Serializes shared texts (`Arc<str>`) as plain texts. The feature `rc` of serde would do the same, but a library
/// should not enable it.
mod values {
    use serde::{Deserialize, Deserializer, Serializer};

    use super::Values;

    pub(super) fn serialize<S: Serializer>(
        values: &Values,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(values.iter().map(|(key, value)| (&**key, &**value)))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Values, D::Error> {
        let values = Vec::<(String, String)>::deserialize(deserializer)?;
        let shared = |(key, value): (String, String)| (key.into(), value.into());
        Ok(values.into_iter().map(shared).collect())
    }
}

impl SessionData {
    /// Returns the user that the session is bound to.
    pub fn user(&self) -> Option<&str> {
        self.user.as_deref()
    }

    /// Returns the time at which the session began.
    pub fn created(&self) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(self.created)
    }
}

/// The output hides the values, because they are secrets of the program.
impl fmt::Debug for SessionData {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionData")
            .field("user", &self.user)
            .field("values", &self.values.len())
            .finish_non_exhaustive()
    }
}

pub(super) type Stored<'a, T> = Pin<Box<dyn Future<Output = io::Result<T>> + Send + 'a>>;

/// The object-safe form of [`SessionStore`].
pub(super) trait AnyStore: Send + Sync {
    fn load<'a>(&'a self, id: &'a SessionId) -> Stored<'a, Option<SessionData>>;
    fn save<'a>(
        &'a self,
        id: &'a SessionId,
        data: &'a SessionData,
        ttl: Duration,
    ) -> Stored<'a, ()>;
    fn delete<'a>(&'a self, id: &'a SessionId) -> Stored<'a, ()>;
}

/// Converts a panic of the store to an error. The server calls the store outside of hooks, and an uncaught panic there
/// would end the connection.
fn caught<'a, T>(asked: impl Future<Output = io::Result<T>> + Send + 'a) -> Stored<'a, T> {
    Box::pin(async move {
        let mut asked = pin!(asked);
        poll_fn(|cx| {
            // The assertion holds: after a panic the future is dropped and never polled again.
            catch_unwind(AssertUnwindSafe(|| asked.as_mut().poll(cx))).unwrap_or_else(|payload| {
                drop_payload(payload);
                Poll::Ready(Err(io::Error::other("the store panicked")))
            })
        })
        .await
    })
}

impl<S: SessionStore> AnyStore for S {
    fn load<'a>(&'a self, id: &'a SessionId) -> Stored<'a, Option<SessionData>> {
        caught(SessionStore::load(self, id))
    }

    fn save<'a>(
        &'a self,
        id: &'a SessionId,
        data: &'a SessionData,
        ttl: Duration,
    ) -> Stored<'a, ()> {
        caught(SessionStore::save(self, id, data, ttl))
    }

    fn delete<'a>(&'a self, id: &'a SessionId) -> Stored<'a, ()> {
        caught(SessionStore::delete(self, id))
    }
}
