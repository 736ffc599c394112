//! Sessions: state that a server keeps for a client across connections.

mod attachment;
mod entry;
mod id;
mod manager;
mod sign;
mod store;
mod table;

use std::{
    fmt,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use serde::{Serialize, de::DeserializeOwned};

use crate::{error::SessionError, http::SessionFields};

pub(crate) use self::{
    attachment::{Attachment, AttachmentSlot},
    entry::{KeptAlive, SessionEntry},
    manager::{Credential, Loaded, Planned, Sessions},
    table::Table,
};
pub use self::{
    id::SessionId,
    store::{SessionData, SessionStore},
};

/// The session of a client. Clones are cheap, and any task may hold one. [`Context::session`](crate::Context::session)
/// returns it.
///
/// Values are kept as JSON, in this process's memory and in the [`SessionStore`] if the server has one. All clones of a
/// session see a change at once, also in other requests of the same client. A `get` followed by an `insert` is not
/// atomic: another request may write in between.
///
/// ```
/// use hyperlane_core::{Context, Error};
///
/// // #[post("/login")]
/// async fn login(ctx: &mut Context) -> Result<String, Error> {
///     let session = ctx.session();
///     // The id from before the login is worthless after it.
///     session.renew()?;
///     session.set_user("ann")?;
///     session.insert("theme", &"dark")?;
///     let visits = session.get::<u32>("visits").unwrap_or(0) + 1;
///     session.insert("visits", &visits)?;
///     Ok(format!("visit {visits}"))
/// }
/// ```
#[derive(Clone)]
pub struct Session(Arc<Handle>);

/// A session, together with what one request knows about it.
struct Handle {
    entry: Arc<SessionEntry>,
    sessions: Arc<Sessions>,
    fields: Arc<SessionFields>,
    /// The id that the client knows, or will learn from the answer to this request. If another request gives the
    /// session a new id, this field keeps the old id, which is then a *former id*.
    known: Mutex<SessionId>,
    /// True if this request began the session.
    is_new: bool,
    by_token: bool,
    /// True if the client learns the id from the answer to this request.
    cookie_pending: AtomicBool,
    /// True for a *passing* session: it lasts for this request only, and sets no cookie.
    is_passing: AtomicBool,
}

impl Session {
    /// Size of the data that clones share, in bytes.
    #[cfg(test)]
    pub(crate) const HANDLE: usize = size_of::<Handle>();

    /// Begins a session.
    ///
    /// If `is_passing` is true, or the server cannot keep the session, the session lasts for this request only. A login
    /// can still make the session last ([`make_lasting`](Self::make_lasting)).
    pub(crate) fn begin(
        sessions: Arc<Sessions>,
        fields: Arc<SessionFields>,
        is_passing: bool,
    ) -> Self {
        let (entry, is_kept) = sessions.begin(!is_passing);
        let known = Mutex::new(entry.id());
        let session = Self(Arc::new(Handle {
            entry,
            sessions,
            fields,
            known,
            is_new: true,
            by_token: false,
            cookie_pending: AtomicBool::new(true),
            is_passing: AtomicBool::new(!is_kept),
        }));
        session.send_cookie();
        session
    }

    /// Returns the handle of an existing session, for a client with a valid cookie or token.
    pub(crate) fn resume(
        sessions: Arc<Sessions>,
        fields: Arc<SessionFields>,
        entry: Arc<SessionEntry>,
        credential: Credential,
    ) -> Self {
        let session = Self(Arc::new(Handle {
            entry,
            sessions,
            fields,
            known: Mutex::new(credential.id),
            is_new: false,
            by_token: credential.by_token,
            cookie_pending: AtomicBool::new(false),
            is_passing: AtomicBool::new(false),
        }));
        // A stale cookie (an old one, or one signed with an older key) is set again. A request with a former id must
        // not set the cookie of the current id: only the answer to the renewal may set it.
        if credential.is_stale && !session.is_former() {
            session.0.sessions.note_use(&session.0.entry);
            session.send_cookie();
        }
        session
    }

    /// Sets the session's cookie in the response, unless the session is passing or the client sent a token.
    fn send_cookie(&self) {
        let handle = &self.0;
        // A client with a token must not get the cookie, because the cookie gives more access than the token.
        if handle.by_token || self.is_passing() {
            return;
        }
        handle.sessions.set_cookie(&handle.fields, self.id());
    }

    /// Returns the id that the client of this request knows, or learns from the answer. [`renew`](Self::renew) changes
    /// the id.
    ///
    /// If another request has renewed the session meanwhile, this method returns the former id and not the current id.
    /// A former id is valid for 60 s. Tasks of the program get the current id from
    /// [`SessionChannels::id`](crate::SessionChannels::id).
    pub fn id(&self) -> SessionId {
        *self.lock_known()
    }

    fn lock_known(&self) -> std::sync::MutexGuard<'_, SessionId> {
        self.0.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns whether this request knows only a former id, because another request has renewed the session.
    pub(crate) fn is_former(&self) -> bool {
        self.id() != self.0.entry.id()
    }

    /// Returns whether the session lasts for its request only.
    pub(crate) fn is_passing(&self) -> bool {
        self.0.is_passing.load(Ordering::Acquire)
    }

    /// Returns whether this request began the session. The client then had no session, or its session had ended.
    pub fn is_new(&self) -> bool {
        self.0.is_new
    }

    /// Returns the value of a key. Returns `None` if the key is not set, or if the value is not a `T`.
    pub fn get<T: DeserializeOwned>(&self, key: impl AsRef<str>) -> Option<T> {
        self.try_get(key).ok().flatten()
    }

    /// Returns the value of a key, if the key is set.
    ///
    /// # Errors
    /// [`SessionError::Json`] if the value is not a `T`.
    pub fn try_get<T: DeserializeOwned>(
        &self,
        key: impl AsRef<str>,
    ) -> Result<Option<T>, SessionError> {
        // The value is parsed after the lock is released: parsing a `T` may be slow, and may use this session.
        let value = self.0.entry.value(key.as_ref());
        Ok(value
            .map(|value| serde_json::from_str(&value))
            .transpose()?)
    }

    /// Sets the value of a key.
    ///
    /// # Errors
    /// - [`SessionError::Json`] for a value without a JSON form.
    /// - [`SessionError::Full`] if the memory for sessions has no room for the value.
    /// - [`SessionError::Ended`] after [`destroy`](Self::destroy).
    pub fn insert<T: Serialize + ?Sized>(
        &self,
        key: impl AsRef<str>,
        value: &T,
    ) -> Result<(), SessionError> {
        let key = key.as_ref();
        let value = serde_json::to_string(value)?;
        self.0
            .sessions
            .insert(&self.0.entry, key.into(), value.into())
    }

    /// Removes a key, and returns whether the key was set.
    pub fn remove(&self, key: impl AsRef<str>) -> bool {
        self.0.sessions.remove(&self.0.entry, key.as_ref())
    }

    /// Returns the user that the session is bound to.
    pub fn user(&self) -> Option<String> {
        self.0.entry.user().as_deref().map(str::to_owned)
    }

    /// Binds the session to a user. `server.channels()` finds the session's channels by the name of the user. If this
    /// call changes the user, all former ids of the session end at once.
    ///
    /// At a login, call [`renew`](Self::renew) as well, before or after this method.
    ///
    /// # Errors
    /// [`SessionError::Full`] if the memory for sessions has no room for the name.
    ///
    /// [`SessionError::Former`] if this call would change the user, and another request has renewed the session or is
    /// logging a user in. This request then has a former id, or will have one soon, and must not decide the user of the
    /// session.
    pub fn set_user(&self, user: impl Into<String>) -> Result<(), SessionError> {
        let user: Arc<str> = user.into().into();
        if self.is_former() && self.0.entry.user().as_ref() != Some(&user) {
            return Err(SessionError::Former);
        }
        self.change_user(Some(user))
    }

    /// Removes the user from the session. For a logout, [`destroy`](Self::destroy) is better: it removes the values and
    /// the channels as well.
    pub fn clear_user(&self) {
        // Removing a user needs no room, so there is no error to handle.
        let _ = self.change_user(None);
    }

    fn change_user(&self, user: Option<Arc<str>>) -> Result<(), SessionError> {
        self.make_lasting();
        let handle = &self.0;
        // The client knows the id once the head of the response is written.
        let client_knows_id =
            !handle.cookie_pending.load(Ordering::Acquire) || handle.fields.is_written();
        let by = Some((self.id(), &handle.fields));
        let table = &handle.sessions.table;
        table.set_user(&handle.entry, user, client_knows_id, by)
    }

    /// Gives the session a new id and sets the cookie again. The session keeps its values, user and channels.
    ///
    /// Call this at every login and at every change of rights. If the user does not change, requests in flight with the
    /// old id are served for another 60 s. If the user changes, the old id ends at once, and a request in flight with
    /// the old id gets an empty session that lasts for that request only.
    ///
    /// The call returns `Ok` and changes nothing in three cases:
    /// - Another request of the client has renewed the session meanwhile. The answer to the other request sets the
    ///   cookie.
    /// - Another request has changed the user and is not answered yet. The answer to the other request sets the cookie.
    /// - The session lasts for its request only.
    ///
    /// In the first two cases, this request has a former id, or will have one soon. An attacker may know a former id,
    /// so a client with a former id must never get the current id.
    ///
    /// # Errors
    /// - [`SessionError::TooLate`] if the head of the response is already sent.
    /// - [`SessionError::ByToken`] if the client sent a token instead of the cookie.
    /// - [`SessionError::Ended`] after [`destroy`](Self::destroy).
    /// - [`SessionError::Random`] if the system has no random bytes.
    ///
    /// After an error the session has its old id.
    pub fn renew(&self) -> Result<(), SessionError> {
        let handle = &self.0;
        if handle.by_token {
            return Err(SessionError::ByToken);
        }
        if handle.fields.is_written() {
            return Err(SessionError::TooLate);
        }
        if self.is_passing() && !self.is_ended() {
            // No client has the id of a passing session, so no id has to be replaced. If another request logs a user
            // in, a cookie with a new id of this session would replace the cookie of the login.
            return Ok(());
        }
        self.make_lasting();
        {
            // The lock makes clones that renew at the same time take turns.
            let mut known = self.lock_known();
            let table = &handle.sessions.table;
            match table.renew(&handle.entry, *known, &handle.fields)? {
                Some(id) => *known = id,
                None => {
                    // `resume` may have set the cookie again with the old id. The old id is a former id by now, so the
                    // cookie is removed from the response.
                    if !handle.is_new {
                        handle.fields.unset();
                    }
                    return Ok(());
                }
            }
        }
        handle.cookie_pending.store(true, Ordering::Release);
        self.send_cookie();
        Ok(())
    }

    /// Makes a passing session outlast its request, if the head of the response is not yet sent. Without a store, also
    /// inserts a session again that the table of sessions has evicted during the request, for example during a slow
    /// login.
    fn make_lasting(&self) {
        let handle = &self.0;
        let is_evicted = !self.is_passing()
            && !self.is_ended()
            && !handle.sessions.has_store()
            && !handle.entry.is_in_table();
        if is_evicted {
            handle.sessions.keep(&handle.entry);
        }
        if handle.is_passing.load(Ordering::Acquire)
            && !handle.fields.is_written()
            && handle.sessions.keep(&handle.entry)
        {
            handle.is_passing.store(false, Ordering::Release);
            self.send_cookie();
        }
    }

    /// Ends the session with its values and channels, and deletes the cookie at the client if the request came with
    /// one. The client's next request can begin another session.
    pub fn destroy(&self) {
        let handle = &self.0;
        handle.sessions.table.destroy(&handle.entry);
        if handle.is_new || handle.by_token {
            handle.fields.unset();
        } else {
            handle.fields.set("", 0);
        }
    }

    /// Returns a token for a client without cookies. With the token, the client can use the session on one path. The
    /// client sends the token as `Authorization: Bearer`, as `?token=`, or among the subprotocols of a WebSocket. The
    /// token is valid for [`session_token_ttl`](crate::ServerConfig) (default: 60 s), any number of times. A request
    /// with a token gets no cookie, and cannot renew the session.
    ///
    /// # Errors
    /// - [`SessionError::Former`] if another request has renewed the session meanwhile. A request with a former id must
    ///   not get access to the current id.
    /// - [`SessionError::Passing`] if the session lasts for this request only.
    /// - [`SessionError::Ended`] after [`destroy`](Self::destroy).
    /// - [`SessionError::Random`] if the server could not make a key because the system had no random bytes.
    ///
    /// ```
    /// use hyperlane_core::{Context, Error};
    ///
    /// // #[get("/ticket")]
    /// async fn ticket(ctx: &mut Context) -> Result<String, Error> {
    ///     let token = ctx.session().token("/ws")?;
    ///     Ok(format!("wss://example.com/ws?token={token}"))
    /// }
    /// ```
    pub fn token(&self, path: impl AsRef<str>) -> Result<String, SessionError> {
        let known = self.id();
        if self.is_ended() {
            return Err(SessionError::Ended);
        }
        if self.is_passing() {
            return Err(SessionError::Passing);
        }
        if known != self.0.entry.id() {
            return Err(SessionError::Former);
        }
        self.0
            .sessions
            .token(known, path.as_ref())
            .ok_or(SessionError::Random)
    }

    /// Saves changes to the [`SessionStore`], if the server has one. The server saves changes by itself before it
    /// answers a request. Call this method for later changes: those of other tasks, and those of handlers of WebSockets
    /// and event streams.
    ///
    /// # Errors
    /// [`SessionError::Store`] if the store fails. The next request of the session then saves the changes.
    ///
    /// # Cancel safety
    /// If the future is dropped, the changes may or may not be saved. The session's next request saves the changes that
    /// are still unsaved.
    pub async fn save(&self) -> Result<(), SessionError> {
        if self.needs_saving() {
            let saved = self.0.sessions.save(&self.0.entry).await;
            saved.map_err(SessionError::Store)?;
        }
        Ok(())
    }

    /// Returns whether the session has changes that the server's store must save.
    pub(crate) fn needs_saving(&self) -> bool {
        self.0.sessions.has_store() && !self.is_passing() && { self.0.entry.state().unsaved }
    }

    pub(crate) fn is_ended(&self) -> bool {
        self.0.entry.is_ended()
    }

    /// Removes the cookie of a new session from the response. The caller calls this if the store did not save the
    /// session.
    pub(crate) fn withdraw(&self) {
        if self.is_new() {
            self.0.fields.unset();
        }
    }

    pub(crate) fn entry(&self) -> &Arc<SessionEntry> {
        &self.0.entry
    }
}

/// Two values are equal if they are handles of the same session.
impl PartialEq for Session {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0.entry, &other.0.entry)
    }
}

impl Eq for Session {}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session")
            .field("id", &self.id())
            .field("user", &self.user())
            .field("new", &self.is_new())
            .finish_non_exhaustive()
    }
}
