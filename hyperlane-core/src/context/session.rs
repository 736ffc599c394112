//! The session of the client that a request comes from.

use std::sync::{Arc, LazyLock};

use crate::{
    Context, Error, FromContext, RequestError, ServerConfig, Session,
    channel::Direction,
    http::SessionFields,
    session::{Credential, Loaded, Sessions},
};

/// Cookies of the session's name that are looked at: a page of a sibling domain can put its own before the right one.
const COOKIES: usize = 4;

/// What a request knows of its client's session.
#[derive(Clone, Default)]
pub(super) struct RequestSession {
    current: Option<Session>,
    fields: Option<Arc<SessionFields>>,
    /// What was found for the client's credential.
    loaded: Option<(Credential, Loaded)>,
    is_looked_up: bool,
    /// Destroyed by this request.
    ended: Vec<Session>,
    /// `ctx.ws()` and `ctx.sse()` were told that this request loads a page.
    told: [bool; 2],
}

impl Context {
    /// The session of the client. One is begun if it has none that is valid, which sets the cookie.
    ///
    /// The client is known by the cookie, else by a token ([`Session::token`]) in `Authorization: Bearer` or `?token=`.
    /// The cookie is named `__Host-session` and Secure where the request came over TLS, as a proxy of
    /// [`trusted_proxies`](crate::ServerConfig) says or [`cookie_secure`](crate::ServerConfig) has it, and `session`
    /// elsewhere; always HttpOnly, SameSite=Lax, Path=/. A response that a session was used for is
    /// `Cache-Control: private`, unless the program says otherwise and no cookie is set.
    ///
    /// After the head of the response is out no cookie can be set any more: what is begun then lasts for its request.
    ///
    /// ```
    /// use hyperlane_core::Context;
    ///
    /// // #[get("/")]
    /// async fn index(ctx: &mut Context) -> String {
    ///     let session = ctx.session();
    ///     let visits = session.get::<u32>("visits").unwrap_or(0) + 1;
    ///     let _ = session.insert("visits", &visits);
    ///     format!("visit {visits} of {:?}", session.user())
    /// }
    /// ```
    pub fn session(&mut self) -> Session {
        if let Some(session) = self.try_session() {
            return session;
        }
        let fields = self.session_fields();
        let sessions = self.sessions();
        let kept = &self.extras.get_or_insert_default().session;
        // Elsewhere the client has got, or is about to get, a cookie that must not be taken from it.
        let is_renewed = matches!(kept.loaded, Some((_, Loaded::Renewed)));
        let session = Session::begin(sessions, fields.clone(), is_renewed || fields.is_written());
        self.extras.get_or_insert_default().session.current = Some(session.clone());
        self.attach_session();
        session
    }

    /// The session of the client, if it has one that is valid; none is begun.
    pub fn try_session(&mut self) -> Option<Session> {
        let kept = &mut self.extras.get_or_insert_default().session;
        if let Some(current) = &kept.current {
            if !current.is_ended() {
                return Some(current.clone());
            }
            kept.ended.extend(kept.current.take());
            kept.loaded = None;
            kept.is_looked_up = true;
        }
        if !kept.is_looked_up {
            let credential = self.session_credential();
            let loaded =
                credential.map(|credential| (credential, self.sessions().look_up(credential.id)));
            let kept = &mut self.extras.get_or_insert_default().session;
            kept.loaded = loaded;
            kept.is_looked_up = true;
        }
        let kept = &self.extras.get_or_insert_default().session;
        let Some((credential, Loaded::Session(entry))) = kept.loaded.clone() else {
            return None;
        };
        if entry.is_ended() {
            return None;
        }
        let fields = self.session_fields();
        let session = Session::resume(self.sessions(), fields, entry, credential);
        self.extras.get_or_insert_default().session.current = Some(session.clone());
        self.attach_session();
        Some(session)
    }

    pub(crate) fn sessions(&self) -> Arc<Sessions> {
        /// Of contexts that programs make themselves.
        static NOBODYS: LazyLock<Arc<Sessions>> =
            LazyLock::new(|| Sessions::new(&ServerConfig::default(), &Default::default()));
        match &self.connection {
            Some(connection) => connection.server.sessions.clone(),
            None => NOBODYS.clone(),
        }
    }

    fn session_fields(&mut self) -> Arc<SessionFields> {
        let known = self
            .extras
            .as_ref()
            .and_then(|extras| extras.session.fields.clone());
        known.unwrap_or_else(|| {
            let fields = SessionFields::new(self.is_session_secure());
            if self.head_is_out {
                fields.write();
            }
            self.extras.get_or_insert_default().session.fields = Some(fields.clone());
            fields
        })
    }

    fn is_session_secure(&self) -> bool {
        self.sessions()
            .is_secure(|| self.forwarded().and_then(|forwarded| forwarded.secure) == Some(true))
    }

    /// What the client shows for a session, if it is signed.
    fn session_credential(&self) -> Option<Credential> {
        let sessions = self.sessions();
        let request = self.get_request();
        let headers = request.get_headers();
        let name = SessionFields::new(self.is_session_secure()).name();
        let by_cookie = headers
            .get_all("cookie")
            .flat_map(|value| value.split(';'))
            .filter_map(|pair| pair.trim_ascii().split_once('='))
            .filter(|(known, _)| *known == name)
            .take(COOKIES)
            .find_map(|(_, value)| sessions.read_cookie(name, value));
        by_cookie.or_else(|| {
            let path = request.get_path();
            let bearer = headers.get("authorization").and_then(|value| {
                let (scheme, token) = value.split_once(' ')?;
                scheme
                    .eq_ignore_ascii_case("bearer")
                    .then(|| token.trim_ascii())
            });
            match bearer {
                Some(token) => sessions.read_token(path, token),
                None => sessions.read_token(path, &request.try_get_query("token")?),
            }
        })
    }

    /// Gives back what is not needed after the head.
    pub(super) fn shrink_session(&mut self) {
        if let Some(extras) = &mut self.extras {
            let kept = &mut extras.session;
            kept.ended = Vec::new();
            kept.loaded = None;
            if let Some(fields) = &kept.fields {
                fields.unset();
            }
        }
    }

    /// Has the response say what the session adds, whoever has replaced it.
    pub(crate) fn attach_session(&mut self) {
        let Some(extras) = &self.extras else { return };
        if let Some(fields) = &extras.session.fields
            && self.get_response().session() != Some(fields)
        {
            let fields = fields.clone();
            self.get_mut_response().set_session(Some(fields));
        }
    }

    /// Whether a store may have to be asked before the hooks: a look at what is there, without reading it.
    pub(crate) fn may_have_session_to_load(&self) -> bool {
        let has_store = |sessions: &Arc<Sessions>| sessions.has_store();
        let connection = self.connection.as_ref();
        connection.is_some_and(|connection| has_store(&connection.server.sessions)) && {
            let headers = self.request.get_headers();
            headers.contains("cookie")
                || headers.contains("authorization")
                || self.request.try_get_query("token").is_some()
        }
    }

    /// Asks the store for the client's session, if there is one and the client has shown something that is signed.
    pub(crate) async fn load_session(&mut self) -> Result<(), RequestError> {
        let sessions = self.sessions();
        if sessions.has_store()
            && let Some(credential) = self.session_credential()
        {
            let loaded = sessions.load(credential.id).await?;
            let kept = &mut self.extras.get_or_insert_default().session;
            kept.loaded = Some((credential, loaded));
            kept.is_looked_up = true;
        }
        Ok(())
    }

    /// Whether a store has to be told of something.
    pub(crate) fn has_session_to_save(&self) -> bool {
        self.extras.as_ref().is_some_and(|extras| {
            let kept = &extras.session;
            let mut used = kept.ended.iter().chain(&kept.current);
            used.any(Session::needs_saving)
        })
    }

    /// Whether this request loads a page that this channel knows nothing of yet.
    pub(crate) fn begins_page(&mut self, direction: Direction) -> bool {
        let request = self.get_request();
        let loads_page = match request.header("sec-fetch-mode") {
            Some(mode) => mode == "navigate",
            // Browsers do not say it over plain HTTP, but ask for HTML when they will show it.
            None => request
                .header("accept")
                .is_some_and(|accept| accept.contains("text/html")),
        };
        if !loads_page {
            return false;
        }
        let [both, to_client] = &mut self.extras.get_or_insert_default().session.told;
        let told = match direction {
            Direction::Both => both,
            Direction::ToClient => to_client,
        };
        !std::mem::replace(told, true)
    }

    /// Tells the store what has changed.
    pub(crate) async fn save_session(&mut self) -> Result<(), RequestError> {
        if !self.has_session_to_save() {
            return Ok(());
        }
        let kept = &self.extras.get_or_insert_default().session;
        let used: Vec<Session> = kept.ended.iter().chain(&kept.current).cloned().collect();
        for session in used {
            if let Err(error) = session.save().await {
                tracing::error!(%error, "a session is not saved");
                session.withdraw();
                self.set_request_error(RequestError::SessionStore);
                return Err(RequestError::SessionStore);
            }
        }
        Ok(())
    }
}

/// The session of the client; one is begun if it has none.
impl FromContext for Session {
    async fn from_context(ctx: &mut Context) -> Result<Self, Error> {
        Ok(ctx.session())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_costs_an_idle_connection_little() {
        // Of the 512 bytes that a channel may add; what the context holds beside it, its handle, and the slot of its cookie.
        let size = size_of::<super::super::Extras>() + Session::HANDLE + size_of::<SessionFields>();
        assert!(size <= 352, "{size} bytes");
    }
}
