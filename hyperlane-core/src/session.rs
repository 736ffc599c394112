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

/// The session of a client: a cheap clone, for any task. From [`Context::session`](crate::Context::session).
///
/// Values are kept as JSON, in this process's memory or a [`SessionStore`]. Clones and simultaneous requests of one
/// client see each other's changes at once; between `get` and `insert` others may write.
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

/// A session as one request uses it.
struct Handle {
    entry: Arc<SessionEntry>,
    sessions: Arc<Sessions>,
    fields: Arc<SessionFields>,
    /// The id that this request's client knows, or learns by this request's answer. If another request has renewed the
    /// session, its new id stays unknown here.
    known: Mutex<SessionId>,
    /// The client came without a session.
    is_new: bool,
    by_token: bool,
    /// The answer to this request still has to tell the client the id.
    cookie_pending: AtomicBool,
    /// The session lasts for the request alone, and sets no cookie.
    is_passing: AtomicBool,
}

impl Session {
    /// Bytes that clones share.
    #[cfg(test)]
    pub(crate) const HANDLE: usize = size_of::<Handle>();

    /// Begins a session.
    ///
    /// With `is_passing` it lasts for the request, unless a login keeps it.
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

    /// Resumes a session to which a client came back.
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
        // Only the answer to the renewal may set the cookie of the next id.
        if credential.is_stale && !session.is_former() {
            session.0.sessions.note_use(&session.0.entry);
            session.send_cookie();
        }
        session
    }

    /// Sets the cookie in the response.
    fn send_cookie(&self) {
        let handle = &self.0;
        // The holder of a token must not get the cookie, which is worth more.
        if handle.by_token || self.is_passing() {
            return;
        }
        handle.sessions.set_cookie(&handle.fields, self.id());
    }

    /// The id that the client of this request knows. [`renew`](Self::renew) changes it.
    ///
    /// If another request has renewed the session meanwhile, this is a former id, valid for 60 s, and never the
    /// current one. [`SessionChannels::id`](crate::SessionChannels::id) gives tasks of the program the current id.
    pub fn id(&self) -> SessionId {
        *self.lock_known()
    }

    fn lock_known(&self) -> std::sync::MutexGuard<'_, SessionId> {
        self.0.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns whether another request has renewed the session, so that this request knows only a former id.
    pub(crate) fn is_former(&self) -> bool {
        self.id() != self.0.entry.id()
    }

    /// Returns whether the session lasts for its request alone.
    pub(crate) fn is_passing(&self) -> bool {
        self.0.is_passing.load(Ordering::Acquire)
    }

    /// Returns whether this request began the session: the client came without one, or with one that has ended.
    pub fn is_new(&self) -> bool {
        self.0.is_new
    }

    /// Returns the value of a key; `None` also if it is not a `T`.
    pub fn get<T: DeserializeOwned>(&self, key: impl AsRef<str>) -> Option<T> {
        self.try_get(key).ok().flatten()
    }

    /// Returns the value of a key, if it is set.
    ///
    /// # Errors
    /// [`SessionError::Json`] if it is not a `T`.
    pub fn try_get<T: DeserializeOwned>(
        &self,
        key: impl AsRef<str>,
    ) -> Result<Option<T>, SessionError> {
        // Parsed after the lock is released: parsing a `T` may be slow, and may use this session.
        let value = self.0.entry.value(key.as_ref());
        Ok(value
            .map(|value| serde_json::from_str(&value))
            .transpose()?)
    }

    /// Sets the value of a key.
    ///
    /// # Errors
    /// [`SessionError::Json`] for a value without a JSON form, [`SessionError::Full`] if there is no room for it.
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

    /// Removes a key, and returns whether it was set.
    pub fn remove(&self, key: impl AsRef<str>) -> bool {
        self.0.sessions.remove(&self.0.entry, key.as_ref())
    }

    /// The user that the session is bound to.
    pub fn user(&self) -> Option<String> {
        self.0.entry.user().as_deref().map(str::to_owned)
    }

    /// Binds the session to a user: `server.channels()` finds its channels by this name. If this changes the user, all
    /// former ids end at once.
    ///
    /// Call [`renew`](Self::renew) as well, before or after.
    ///
    /// # Errors
    /// [`SessionError::Full`] if there is no room for the name. [`SessionError::Former`] if this would change the user
    /// while another request has renewed the session, or is logging in and has not answered: a former id must not
    /// decide the user of a session.
    pub fn set_user(&self, user: impl Into<String>) -> Result<(), SessionError> {
        let user: Arc<str> = user.into().into();
        if self.is_former() && self.0.entry.user().as_ref() != Some(&user) {
            return Err(SessionError::Former);
        }
        self.change_user(Some(user))
    }

    /// Binds the session to no user. For a logout, [`destroy`](Self::destroy) leaves less behind.
    pub fn clear_user(&self) {
        // Removing needs no room.
        let _ = self.change_user(None);
    }

    fn change_user(&self, user: Option<Arc<str>>) -> Result<(), SessionError> {
        self.make_lasting();
        let handle = &self.0;
        // The client learns the id with the head.
        let client_knows_id =
            !handle.cookie_pending.load(Ordering::Acquire) || handle.fields.is_written();
        let by = Some((self.id(), &handle.fields));
        let table = &handle.sessions.table;
        table.set_user(&handle.entry, user, client_knows_id, by)
    }

    /// Gives the session another id and sets the cookie again. Values, user and channels stay.
    ///
    /// Call this at every login and change of rights. Requests in flight with the old id are served for another 60 s;
    /// if the user changes as well, they get an empty session that lasts for them alone. This does nothing if another
    /// request of the client has renewed the session meanwhile, or has changed the user and not answered yet: the
    /// answer to that request sets the cookie. It also does nothing if the session lasts for its request alone. So a
    /// former id, which an attacker may know, never leads to the current one.
    ///
    /// # Errors
    /// [`SessionError::TooLate`] if the head of the response is out, [`SessionError::ByToken`] if the request came by
    /// a token, [`SessionError::Ended`] after [`destroy`](Self::destroy). Nothing has changed then.
    pub fn renew(&self) -> Result<(), SessionError> {
        let handle = &self.0;
        if handle.by_token {
            return Err(SessionError::ByToken);
        }
        if handle.fields.is_written() {
            return Err(SessionError::TooLate);
        }
        if self.is_passing() && !self.is_ended() {
            // No client has this id. A cookie for it would replace the one of a login's answer.
            return Ok(());
        }
        self.make_lasting();
        {
            // Clones that renew at the same time take turns.
            let mut known = self.lock_known();
            let table = &handle.sessions.table;
            match table.renew(&handle.entry, *known, &handle.fields)? {
                Some(id) => *known = id,
                None => {
                    // Takes back the cookie of an old id that was set again, which is former by now.
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

    /// Keeps a session that was to last for its request, or one that was evicted while its request was running: a slow
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

    /// Ends the session with its values and channels, and deletes the cookie at the client. The next request begins
    /// another session.
    pub fn destroy(&self) {
        let handle = &self.0;
        handle.sessions.table.destroy(&handle.entry);
        if handle.is_new || handle.by_token {
            handle.fields.unset();
        } else {
            handle.fields.set("", 0);
        }
    }

    /// Makes a token for a client without cookies, to use the session on one path: as `Authorization: Bearer`, as
    /// `?token=`, or among the subprotocols of a WebSocket. It is valid for [`session_token_ttl`](crate::ServerConfig)
    /// (60 s), any number of times. A request by a token gets no cookie, and cannot renew the session.
    ///
    /// # Errors
    /// [`SessionError::Former`] if another request has renewed the session meanwhile: a former id does not lead to the
    /// current one. [`SessionError::Passing`] if the session lasts for this request alone, [`SessionError::Ended`]
    /// after [`destroy`](Self::destroy), [`SessionError::Random`] if there was no randomness for a key.
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

    /// Saves changes to the [`SessionStore`], if there is one. The server does so before it answers; this is for later
    /// changes, by other tasks and by handlers of WebSockets and event streams.
    ///
    /// # Errors
    /// [`SessionError::Store`]; the next request of the session saves the changes.
    ///
    /// # Cancel safety
    /// If dropped, the changes may be saved or not; if not, the next request of the session saves them.
    pub async fn save(&self) -> Result<(), SessionError> {
        if self.needs_saving() {
            let saved = self.0.sessions.save(&self.0.entry).await;
            saved.map_err(SessionError::Store)?;
        }
        Ok(())
    }

    /// Returns whether a store has to save changes.
    pub(crate) fn needs_saving(&self) -> bool {
        self.0.sessions.has_store() && !self.is_passing() && { self.0.entry.state().unsaved }
    }

    pub(crate) fn is_ended(&self) -> bool {
        self.0.entry.is_ended()
    }

    /// Takes the cookie of a new session back: the store did not save the session.
    pub(crate) fn withdraw(&self) {
        if self.is_new() {
            self.0.fields.unset();
        }
    }

    pub(crate) fn entry(&self) -> &Arc<SessionEntry> {
        &self.0.entry
    }
}

/// Two handles of one session are equal.
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
