//! Where sessions are kept when not in this process's memory alone.

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
use crate::panic::dispose;

/// Keys and values as JSON, in the order they were first set: they are few. A clone shares the texts, so that none is copied
/// while a session is locked.
pub(super) type Values = Vec<(Arc<str>, Arc<str>)>;

/// Keeps sessions for several servers, or beyond the end of this one; given to
/// [`Server::session_store`](crate::Server::session_store).
///
/// The contract:
/// - `load` is asked for each request that comes with a session's valid cookie or token, before its hooks: once, and again
///   for the next of them where it does not have the first. What it does not have is no session.
/// - `save` is asked before the response is sent (before the head of an event stream or an upgrade), and only if
///   something changed, or the time to live must begin anew. What is saved under an id replaces what was, and may be
///   forgotten when `ttl` has passed.
/// - `delete` is asked when a session is destroyed. An id that is not there is no error.
/// - An error is answered with 503 and logged; the session keeps its changes in this process, and the next request of it
///   saves them.
/// - Of two servers that change one session at once the later wins. A request of the one in flight while the other
///   destroys the session may save it again.
///
/// Futures may be dropped at any await when a client's connection ends.
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
    /// Gives what was last saved under `id`.
    fn load(&self, id: &SessionId) -> impl Future<Output = io::Result<Option<SessionData>>> + Send;

    /// Keeps `data` under `id`, for `ttl` at least.
    fn save(
        &self,
        id: &SessionId,
        data: &SessionData,
        ttl: Duration,
    ) -> impl Future<Output = io::Result<()>> + Send;

    /// Forgets what is under `id`.
    fn delete(&self, id: &SessionId) -> impl Future<Output = io::Result<()>> + Send;
}

/// A session as stores keep it, by serde.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionData {
    /// In seconds since 1970.
    pub(super) created: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) user: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty", with = "values")]
    pub(super) values: Values,
    /// The session has another id now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) renewed: Option<SessionId>,
    /// Until when this mark at a former id says something, in seconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) until: Option<u64>,
    /// The id is worth nothing any more.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) over: bool,
}

/// Shared texts are written as texts: this is what serde's feature `rc` is for, which a library should not turn on.
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
    /// The user that the session is bound to.
    pub fn user(&self) -> Option<&str> {
        self.user.as_deref()
    }

    /// When the session began.
    pub fn created(&self) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(self.created)
    }
}

/// Values are the program's secrets.
impl fmt::Debug for SessionData {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionData")
            .field("user", &self.user)
            .field("values", &self.values.len())
            .finish_non_exhaustive()
    }
}

pub(super) type Stored<'a, T> = Pin<Box<dyn Future<Output = io::Result<T>> + Send + 'a>>;

/// The trait behind a pointer.
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

/// Makes a panic an error: it is asked outside of hooks, where a panic would end the connection.
fn caught<'a, T>(asked: impl Future<Output = io::Result<T>> + Send + 'a) -> Stored<'a, T> {
    Box::pin(async move {
        let mut asked = pin!(asked);
        poll_fn(|cx| {
            // It is dropped after a panic, never polled again.
            catch_unwind(AssertUnwindSafe(|| asked.as_mut().poll(cx))).unwrap_or_else(|payload| {
                dispose(payload);
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
