//! The sessions of a running server. This module checks the credentials of clients and uses the store.

use std::{
    fmt, io,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use super::{
    SessionData, SessionId,
    entry::SessionEntry,
    sign::{Purpose, Signer},
    store::AnyStore,
    table::{FORMER_ID_SECONDS, Found, IdEnd, Table},
};
use crate::{
    config::{CookieSameSite, CookieSecure, ServerConfig, SessionKey},
    error::{RequestError, SessionError},
    http::SessionFields,
};

/// The sessions of a running server, with the configuration that the server was started with.
pub(crate) struct Sessions {
    pub(crate) table: Arc<Table>,
    signer: Signer,
    /// True if the server made the session key itself and has not logged this yet. The first session that begins
    /// triggers the log line.
    warn_of_made_keys: AtomicBool,
    secure: CookieSecure,
    same_site: CookieSameSite,
    partitioned: bool,
    /// True if the cookie is configured as SameSite=None, and the server has not logged yet that this is impossible
    /// over plain HTTP.
    warn_of_plain_http: AtomicBool,
    /// Lifetime of an unused session, in seconds.
    ttl: u64,
    token_ttl: u64,
    store: Option<Arc<dyn AnyStore>>,
}

/// The program's settings for sessions, as they are before the server starts.
#[derive(Clone, Default)]
pub(crate) struct Planned {
    pub(crate) table: Arc<Table>,
    store: Option<Arc<dyn AnyStore>>,
    /// The key that the server makes if none is configured. If the server is started again, it uses the same key.
    key: Arc<OnceLock<SessionKey>>,
}

/// A valid credential of a client: a cookie or a token.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Credential {
    pub(crate) id: SessionId,
    /// True if the answer should set the cookie again: the cookie is older than half of its lifetime, or a key other
    /// than the first one signed it. Always false for a token.
    pub(crate) is_stale: bool,
    pub(crate) by_token: bool,
}

/// The result of looking up an id in the memory or the store.
#[derive(Clone, Debug)]
pub(crate) enum Loaded {
    Session(Arc<SessionEntry>),
    /// The id has ended, because the session has a new id. The client has received the new id, or is about to receive
    /// it.
    Renewed,
    Nothing,
}

impl Planned {
    pub(crate) fn set_store(&mut self, store: impl super::SessionStore) {
        self.store = Some(Arc::new(store));
    }

    /// Returns the key that the server makes if none is configured. The first call makes the key.
    fn made_key(&self) -> Result<&SessionKey, getrandom::Error> {
        if let Some(key) = self.key.get() {
            return Ok(key);
        }
        let mut bytes = [0; 32];
        getrandom::fill(&mut bytes)?;
        Ok(self.key.get_or_init(|| bytes.into()))
    }
}

impl Sessions {
    pub(crate) fn new(config: &ServerConfig, planned: &Planned) -> Arc<Self> {
        let warn_of_made_keys = config.session_keys.is_empty();
        let signer = if warn_of_made_keys {
            match planned.made_key() {
                Ok(key) => Signer::new(std::slice::from_ref(key)),
                Err(error) => {
                    tracing::error!(%error, "no random bytes for a session key: sessions are off");
                    Signer::default()
                }
            }
        } else {
            Signer::new(&config.session_keys)
        };
        let ttl = config.session_ttl.as_secs();
        planned.table.configure(
            config.session_memory,
            ttl,
            config.session_max_age.as_secs(),
            planned.store.is_some(),
        );
        Arc::new(Self {
            table: planned.table.clone(),
            signer,
            warn_of_made_keys: AtomicBool::new(warn_of_made_keys),
            secure: config.cookie_secure,
            same_site: config.cookie_same_site,
            partitioned: config.cookie_partitioned,
            warn_of_plain_http: AtomicBool::new(config.cookie_same_site == CookieSameSite::None),
            ttl,
            token_ttl: config.session_token_ttl.as_secs().max(1),
            store: planned.store.clone(),
        })
    }

    /// Returns whether the cookie is sent over TLS only. `is_tls` tells whether the request came over TLS.
    pub(crate) fn is_secure(&self, is_tls: impl FnOnce() -> bool) -> bool {
        match self.secure {
            CookieSecure::Auto => is_tls(),
            CookieSecure::Always => true,
            CookieSecure::Never => false,
        }
    }

    /// Makes the session's fields for a response. If `secure` is true, their cookie is sent over TLS only. `base_path` is
    /// the path under which the server is published.
    pub(crate) fn fields(&self, secure: bool, base_path: &str) -> Arc<SessionFields> {
        let same_site = self.same_site.attribute(secure);
        SessionFields::new(secure, same_site, self.partitioned, base_path)
    }

    pub(crate) fn has_store(&self) -> bool {
        self.store.is_some()
    }

    /// Verifies a cookie with this name. Returns `None` if the cookie is invalid or has expired.
    pub(crate) fn read_cookie(&self, name: &str, value: &str) -> Option<Credential> {
        let signed = self.signer.verify(Purpose::Cookie(name), value)?;
        let age = self.table.now().saturating_sub(signed.time);
        (age < self.ttl).then_some(Credential {
            id: signed.id,
            is_stale: !signed.by_first || age > self.ttl / 2,
            by_token: false,
        })
    }

    /// Verifies a token for this path. Returns `None` if the token is invalid or has expired.
    pub(crate) fn read_token(&self, path: &str, token: &str) -> Option<Credential> {
        let signed = self.signer.verify(Purpose::Token(path), token)?;
        (self.table.now() < signed.time).then_some(Credential {
            id: signed.id,
            is_stale: false,
            by_token: true,
        })
    }

    /// Makes a token. Returns `None` if the server has no key.
    pub(super) fn token(&self, id: SessionId, path: &str) -> Option<String> {
        let ends = self.table.now() + self.token_ttl;
        self.signer.sign(Purpose::Token(path), id, ends)
    }

    pub(super) fn set_cookie(&self, fields: &SessionFields, id: SessionId) {
        let purpose = Purpose::Cookie(fields.name());
        if !fields.is_secure() && self.warn_of_plain_http.swap(false, Ordering::Relaxed) {
            tracing::warn!(
                "`cookie_same_site` None over plain HTTP: the cookie is SameSite=Lax, since browsers take None over TLS \
                 alone; name the proxy that ends TLS in `trusted_proxies`, or set `cookie_secure` to Always"
            );
        }
        if let Some(value) = self.signer.sign(purpose, id, self.table.now()) {
            fields.set(&value, self.ttl);
        }
    }

    /// Begins a session, and returns whether the session outlasts its request. The session can outlast the request only
    /// if `is_lasting` is true.
    pub(super) fn begin(&self, is_lasting: bool) -> (Arc<SessionEntry>, bool) {
        if self.warn_of_made_keys.swap(false, Ordering::Relaxed) {
            tracing::warn!(
                "no `session_keys` configured: the server made a key, and sessions end with this process"
            );
        }
        let now = self.table.now();
        match SessionId::random() {
            Ok(id) => {
                let entry = SessionEntry::new(&self.table, id, now);
                let is_kept = is_lasting && self.keep(&entry);
                (entry, is_kept)
            }
            Err(error) => {
                tracing::error!(%error, "no random bytes for a session: it lasts for its request");
                (SessionEntry::new(&self.table, SessionId::nil(), now), false)
            }
        }
    }

    /// Makes a session outlast its request. Returns false if that is impossible.
    pub(super) fn keep(&self, entry: &Arc<SessionEntry>) -> bool {
        if entry.id() == SessionId::nil() {
            return false;
        }
        entry.state().touch();
        self.table.insert(entry) || self.has_store()
    }

    /// Notes that a session was used: marks the session as changed. The next save then restarts the session's lifetime
    /// in the store, even if no value has changed.
    pub(super) fn note_use(&self, entry: &Arc<SessionEntry>) {
        entry.state().touch();
    }

    pub(super) fn insert(
        &self,
        entry: &Arc<SessionEntry>,
        key: Arc<str>,
        value: Arc<str>,
    ) -> Result<(), SessionError> {
        // This is an upper bound, because it ignores the size of the old value.
        let more = key.len() + value.len() + 256;
        let replaced = self.table.change(entry, more, |state| match state.ended {
            true => Err(SessionError::Ended),
            false => {
                state.touch();
                Ok(state.set_value(key, value))
            }
        })?;
        replaced.map(drop)
    }

    pub(super) fn remove(&self, entry: &Arc<SessionEntry>, key: &str) -> bool {
        let removed = self.table.change(entry, 0, |state| {
            let removed = state.remove_value(key);
            if removed.is_some() {
                state.touch();
            }
            removed
        });
        removed.is_ok_and(|removed| removed.is_some())
    }

    /// Looks up an id in this process's memory.
    pub(crate) fn look_up(&self, id: SessionId) -> Loaded {
        match self.table.look_up(&id) {
            Found::Session(entry) => Loaded::Session(entry),
            Found::Ended(IdEnd::Renewed) => Loaded::Renewed,
            Found::Ended(IdEnd::Destroyed) | Found::Unknown => Loaded::Nothing,
        }
    }

    /// Looks up an id in the store, unless this process's memory knows that the id has ended. Without a store, looks it
    /// up only in this process's memory.
    ///
    /// # Errors
    /// [`RequestError::SessionStore`] if the store fails.
    pub(crate) async fn load(&self, id: SessionId) -> Result<Loaded, RequestError> {
        let Some(store) = &self.store else {
            return Ok(self.look_up(id));
        };
        let ask = async |id: SessionId| {
            let data = store.load(&id).await.map_err(refused)?;
            Ok::<_, RequestError>(data)
        };
        let known = match self.table.look_up(&id) {
            Found::Session(entry) => Some(entry),
            Found::Ended(IdEnd::Renewed) => return Ok(Loaded::Renewed),
            Found::Ended(IdEnd::Destroyed) => return Ok(Loaded::Nothing),
            Found::Unknown => None,
        };
        // If this process knows that the session has a newer id than `id`, the store looks up the newer id.
        let mut asked = known.as_ref().map_or(id, |entry| entry.id());
        let version = known.as_ref().map(|entry| entry.state().version);
        let now = self.table.now();
        // Under a former id, the store has data that names the new id and is valid until a given time. The store may
        // keep this data for longer than requested, so the filter drops it after that time.
        let is_marked_still = |data: &SessionData| data.until.is_none_or(|until| now < until);
        let mut data = ask(asked).await?.filter(is_marked_still);
        let mut until = None;
        if let Some(former) = &data
            && let Some(renewed) = former.renewed
        {
            let latest = now + FORMER_ID_SECONDS;
            until = Some(former.until.map_or(latest, |until| until.min(latest)));
            asked = renewed;
            data = ask(asked).await?;
        }
        let Some(data) = data else {
            return Ok(match known {
                // This process made the session and has not stored it yet, because its first request is still running.
                Some(entry) if !entry.state().stored => Loaded::Session(entry),
                Some(entry) => {
                    self.table.forget(&entry);
                    Loaded::Nothing
                }
                None => Loaded::Nothing,
            });
        };
        if data.over {
            return Ok(Loaded::Renewed);
        }
        if data.renewed.is_some() || self.table.is_too_old(data.created, self.table.now()) {
            return Ok(Loaded::Nothing);
        }
        let loaded = self.adopt(asked, &data, version);
        if let (Loaded::Session(entry), Some(until)) = (&loaded, until) {
            entry.note_former(id, until);
        }
        Ok(loaded)
    }

    /// Inserts a session from the store into the table, or updates the session in the table. `version` is the version
    /// of the table's session at the time when the store was asked. A session is not updated if its version has changed
    /// since, or if it has unsaved changes.
    fn adopt(&self, id: SessionId, data: &SessionData, version: Option<u32>) -> Loaded {
        let entry = match self.table.look_up(&id) {
            Found::Session(entry) => entry,
            Found::Ended(IdEnd::Renewed) => return Loaded::Renewed,
            Found::Ended(IdEnd::Destroyed) => return Loaded::Nothing,
            Found::Unknown => {
                let entry = SessionEntry::of_data(&self.table, id, data);
                entry.state().stored = true;
                if !self.table.insert(&entry)
                    && let Found::Session(faster) = self.table.look_up(&id)
                {
                    return Loaded::Session(faster);
                }
                return Loaded::Session(entry);
            }
        };
        let is_believed = {
            let state = entry.state();
            !state.unsaved && Some(state.version) == version
        };
        // The comparison runs outside of all locks.
        if let (true, Some(version)) = (is_believed && entry.data() != *data, version) {
            self.table.replace(&entry, data, version);
        }
        Loaded::Session(entry)
    }

    /// Saves the changes of a session to the store.
    pub(super) async fn save(&self, entry: &Arc<SessionEntry>) -> io::Result<()> {
        let Some(store) = &self.store else {
            return Ok(());
        };
        // This lock serializes the saves of one session, so an older state never replaces a newer one. Another session
        // has another lock and does not wait for a slow store.
        let save_lock = entry.save_lock();
        let _saving = save_lock.lock().await;
        let (id, unsaved_ids, ended) = {
            let mut state = entry.state();
            if !state.unsaved {
                return Ok(());
            }
            state.unsaved = false;
            state.version = state.version.wrapping_add(1);
            let unsaved_ids = std::mem::take(&mut state.unsaved_ids);
            (state.id, unsaved_ids, state.ended)
        };
        // A change from here on marks the session as unsaved again.
        let data = entry.data();
        // If the save fails or its future is dropped, this guard marks the session as unsaved again.
        let mut unsaved = Unsaved {
            entry,
            unsaved_ids,
            is_done: false,
        };
        if ended {
            for id in &unsaved.unsaved_ids {
                store.delete(id).await?;
            }
        } else {
            store
                .save(&id, &data, Duration::from_secs(self.ttl))
                .await?;
            for former in &unsaved.unsaved_ids {
                let is_over =
                    matches!(self.table.look_up(former), Found::Ended(_) | Found::Unknown);
                let marked = SessionData {
                    created: data.created,
                    renewed: (!is_over).then_some(id),
                    until: (entry.state().former_until(former))
                        .or_else(|| Some(self.table.now() + FORMER_ID_SECONDS)),
                    over: is_over,
                    ..SessionData::default()
                };
                store
                    .save(former, &marked, Duration::from_secs(FORMER_ID_SECONDS))
                    .await?;
            }
            entry.state().stored = true;
        }
        unsaved.is_done = true;
        Ok(())
    }
}

fn refused(error: io::Error) -> RequestError {
    // The level is WARN, because the failed request logs its own line at ERROR, with its route.
    tracing::warn!(%error, "the session store cannot be asked");
    RequestError::SessionStore
}

/// A guard that marks a session as unsaved again, if it is dropped before the save is done.
struct Unsaved<'a> {
    entry: &'a SessionEntry,
    unsaved_ids: Vec<SessionId>,
    is_done: bool,
}

impl Drop for Unsaved<'_> {
    fn drop(&mut self) {
        if !self.is_done {
            let mut state = self.entry.state();
            state.unsaved = true;
            state.unsaved_ids.append(&mut self.unsaved_ids);
        }
    }
}

impl fmt::Debug for Sessions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sessions").finish_non_exhaustive()
    }
}
