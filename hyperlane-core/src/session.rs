//! Sessions: what a server remembers of a client, whatever connection it comes by.

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
/// Values are kept as JSON, in this process's memory or a [`SessionStore`]. Clones, and requests of one client at the
/// same time, see each other's changes at once; between `get` and `insert` others may write.
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
    /// The id that this request's client knows, or is told by this request's answer. The session has another one where
    /// another request has renewed it, and that one stays unknown here.
    known: Mutex<SessionId>,
    /// The client has come without one.
    is_new: bool,
    by_token: bool,
    /// Whether the client learns the id by this request's answer.
    cookie_pending: AtomicBool,
    /// It lasts for the request alone, and no cookie is set.
    is_passing: AtomicBool,
}

impl Session {
    /// Bytes that a clone shares with others.
    #[cfg(test)]
    pub(crate) const HANDLE: usize = size_of::<Handle>();

    /// Begins one.
    ///
    /// `is_passing`: it lasts for the request, unless something is done with it by which a client logs in.
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

    /// Goes on with one that a client came back to.
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
        // The answer to the renewal has the cookie of the next id, and no other answer has it.
        if credential.is_stale && !session.is_former() {
            session.0.sessions.note_use(&session.0.entry);
            session.send_cookie();
        }
        session
    }

    /// Has the response set the cookie.
    fn send_cookie(&self) {
        let handle = &self.0;
        // Who holds a token is not to get more than the token is worth.
        if handle.by_token || self.is_passing() {
            return;
        }
        handle.sessions.set_cookie(&handle.fields, self.id());
    }

    /// The id that the client of this request knows. It changes with [`renew`](Self::renew).
    ///
    /// Where another request has renewed the session meanwhile it is a former id: good for 60 s, and never the present
    /// one. [`SessionChannels::id`](crate::SessionChannels::id) gives that to tasks of the program's own.
    pub fn id(&self) -> SessionId {
        *self.lock_known()
    }

    fn lock_known(&self) -> std::sync::MutexGuard<'_, SessionId> {
        self.0.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether another request has renewed the session, so that this one knows only an id that it had before.
    pub(crate) fn is_former(&self) -> bool {
        self.id() != self.0.entry.id()
    }

    /// Whether it lasts for its request alone.
    pub(crate) fn is_passing(&self) -> bool {
        self.0.is_passing.load(Ordering::Acquire)
    }

    /// Whether this request began it: the client has come without a session, or with one that is over.
    pub fn is_new(&self) -> bool {
        self.0.is_new
    }

    /// The value of a key; `None` also when it is no `T`.
    pub fn get<T: DeserializeOwned>(&self, key: impl AsRef<str>) -> Option<T> {
        self.try_get(key).ok().flatten()
    }

    /// The value of a key, if it is set.
    ///
    /// # Errors
    /// [`SessionError::Json`] when it is no `T`.
    pub fn try_get<T: DeserializeOwned>(
        &self,
        key: impl AsRef<str>,
    ) -> Result<Option<T>, SessionError> {
        // Parsed after the lock is gone: `T` may take its time, and may ask this very session.
        let value = self.0.entry.value(key.as_ref());
        Ok(value
            .map(|value| serde_json::from_str(&value))
            .transpose()?)
    }

    /// Sets the value of a key.
    ///
    /// # Errors
    /// [`SessionError::Json`] for a value without a JSON form, [`SessionError::Full`] when there is no room for it.
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

    /// Removes a key; whether it was set.
    pub fn remove(&self, key: impl AsRef<str>) -> bool {
        self.0.sessions.remove(&self.0.entry, key.as_ref())
    }

    /// The user that the session is bound to.
    pub fn user(&self) -> Option<String> {
        self.0.entry.user().as_deref().map(str::to_owned)
    }

    /// Binds the session to a user: `server.channels()` reaches its channels by this name. Ids that the session had before
    /// are over at once where this changes the user.
    ///
    /// [`renew`](Self::renew) goes along with it, before or after.
    ///
    /// # Errors
    /// [`SessionError::Full`] when there is no room for it. [`SessionError::Former`] where this would change the user, and
    /// another request has renewed the session meanwhile, or is logging in and has not answered: a former id does not
    /// decide whose the session is.
    pub fn set_user(&self, user: impl Into<String>) -> Result<(), SessionError> {
        let user: Arc<str> = user.into().into();
        if self.is_former() && self.0.entry.user().as_ref() != Some(&user) {
            return Err(SessionError::Former);
        }
        self.change_user(Some(user))
    }

    /// Binds the session to no user. To log out, [`destroy`](Self::destroy) leaves less behind.
    pub fn clear_user(&self) {
        // Less takes no room.
        let _ = self.change_user(None);
    }

    fn change_user(&self, user: Option<Arc<str>>) -> Result<(), SessionError> {
        self.make_lasting();
        let handle = &self.0;
        // With the head the client has got it.
        let client_knows_id =
            !handle.cookie_pending.load(Ordering::Acquire) || handle.fields.is_written();
        let by = Some((self.id(), &handle.fields));
        let table = &handle.sessions.table;
        table.set_user(&handle.entry, user, client_knows_id, by)
    }

    /// Gives the session another id and sets the cookie anew. Values, user and channels stay.
    ///
    /// To be called at every login and change of rights. Requests in flight with the id before are served for another
    /// 60 s; where the user has changed along with it they get an empty session that lasts for them alone. If another
    /// request of the client has renewed it meanwhile, or has changed the user and not answered yet, this one changes nothing
    /// and sets no cookie: the answer to the other one does. Nor does it where the session lasts for its request alone. So a former id, which may be in other hands, never leads to the present one.
    ///
    /// # Errors
    /// [`SessionError::TooLate`] when the head of the response is out, [`SessionError::ByToken`] when the request came by
    /// a token, [`SessionError::Ended`] after [`destroy`](Self::destroy); nothing has changed then.
    pub fn renew(&self) -> Result<(), SessionError> {
        let handle = &self.0;
        if handle.by_token {
            return Err(SessionError::ByToken);
        }
        if handle.fields.is_written() {
            return Err(SessionError::TooLate);
        }
        if self.is_passing() && !self.is_ended() {
            // No client has its id. A cookie for it would take the place of the one that the answer to a login has.
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
                    // Nor the cookie of an id that is former by now, made anew as it was old.
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

    /// A session that was to last for its request lasts after all, and so does one that had to go for others while its request
    /// was running: a login that takes its time.
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

    /// Ends the session: its values are gone, its channels end, the client is told to forget the cookie, and whoever comes
    /// with it gets another session.
    pub fn destroy(&self) {
        let handle = &self.0;
        handle.sessions.table.destroy(&handle.entry);
        if handle.is_new || handle.by_token {
            handle.fields.unset();
        } else {
            handle.fields.set("", 0);
        }
    }

    /// A token with which a client that has no cookies uses the session, on one path: as `Authorization: Bearer`, as
    /// `?token=`, or among the subprotocols of a WebSocket. Valid for [`session_token_ttl`](crate::ServerConfig) (60 s),
    /// any number of times. A request by it is sent no cookie, and cannot renew the session.
    ///
    /// # Errors
    /// [`SessionError::Former`] when another request has renewed the session meanwhile: a former id does not lead to the
    /// present one. [`SessionError::Passing`] when the session lasts for this request alone, [`SessionError::Ended`]
    /// after [`destroy`](Self::destroy), [`SessionError::Random`] when there was no randomness for a key.
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

    /// Saves what has changed, where a [`SessionStore`] keeps the sessions. The server does so before it answers; this is
    /// for what is changed later, by other tasks and by handlers of WebSockets and event streams.
    ///
    /// # Errors
    /// [`SessionError::Store`]; the changes are saved with the next request of the session.
    ///
    /// # Cancel safety
    /// Dropped, the changes may be saved or not; if not, they are with the next request.
    pub async fn save(&self) -> Result<(), SessionError> {
        if self.needs_saving() {
            let saved = self.0.sessions.save(&self.0.entry).await;
            saved.map_err(SessionError::Store)?;
        }
        Ok(())
    }

    /// Whether a store has to be told of something.
    pub(crate) fn needs_saving(&self) -> bool {
        self.0.sessions.has_store() && !self.is_passing() && { self.0.entry.state().unsaved }
    }

    pub(crate) fn is_ended(&self) -> bool {
        self.0.entry.is_ended()
    }

    /// The store has not got it: nobody may come back to it.
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
