//! The session of the client: how a request finds it, creates it, loads it and saves it.

use std::{
    future::{Future, poll_fn},
    pin::pin,
    sync::{Arc, LazyLock},
    task::Poll,
};

use crate::{
    Context, RequestError, Session,
    channel::{connection::close_for_new_id, settings::Direction},
    config::{CookieSameSite, ServerConfig},
    conn::lifecycle::Until,
    context::Stage,
    env::ids::next_id,
    http::{SessionFields, is_session_token, list_items},
    session::{Credential, Loaded, Sessions},
};

/// Maximum number of session cookies that are checked. The server checks several, because a page of a sibling domain
/// can set a cookie of the same name, and browsers may send it before the right cookie.
const COOKIES: usize = 4;

/// Maximum number of tokens that are checked in each of their places: `Authorization`, the query, and
/// `Sec-WebSocket-Protocol`.
const TOKENS: usize = 4;

/// The state of the client's session during a request.
#[derive(Clone, Default)]
pub(super) struct RequestSession {
    current: Option<Session>,
    fields: Option<Arc<SessionFields>>,
    /// The credential of the client, and the result of looking it up.
    loaded: Option<(Credential, Loaded)>,
    is_looked_up: bool,
    /// True if the client has sent a text that has the form of a session token, but no valid credential.
    is_token_refused: bool,
    /// The sessions that this request has destroyed.
    ended: Vec<Session>,
    /// One flag per kind of channel, `ctx.ws()` and `ctx.sse()`. True if the channel already expects the page that this
    /// request loads.
    page_expected: [bool; 2],
    /// A number that only this request has, if it loads a page and uses named channels; 0 before the first use.
    page_number: u32,
}

impl Context {
    /// Returns the session of the client. If the client has no valid credential, creates a session and sets its cookie.
    ///
    /// The server recognizes the client by a valid cookie, or else by the first valid token ([`Session::token`]) in
    /// `Authorization: Bearer`, `?token=` or `Sec-WebSocket-Protocol`. If a text in one of these places does not have
    /// the form of a session token, the server ignores it, and the program may use it. If the client sends a text of
    /// this form but no valid credential, the session lasts only for this request and sets no cookie. A handler that
    /// takes a [`Session`] as argument then does not run, and the client gets 401.
    ///
    /// Over TLS the cookie is Secure and named `__Host-session`. Without TLS, its name is `session`. The server assumes
    /// TLS if a proxy of [`trusted_proxies`](crate::ServerConfig) reports it, or if the setting
    /// [`cookie_secure`](crate::ServerConfig) declares it. The cookie is always HttpOnly and Path=/. Its SameSite is
    /// [`cookie_same_site`](crate::ServerConfig).
    ///
    /// If a request uses a session, its response gets `Cache-Control: private`. If the program has set this field and
    /// the response sets no cookie, the server keeps the program's value.
    ///
    /// After the head of the response was sent, the server cannot set a cookie. A session that is created later lasts
    /// only for its request.
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
        // A new session sets no cookie in three cases: another request has renewed the session and sends the new
        // cookie, the client has sent an invalid token, or the head of the response was already written.
        let is_renewed = matches!(kept.loaded, Some((_, Loaded::Renewed)));
        let is_passing = is_renewed || kept.is_token_refused || fields.is_written();
        let session = Session::begin(sessions, fields.clone(), is_passing);
        self.extras.get_or_insert_default().session.current = Some(session.clone());
        self.attach_session();
        session
    }

    /// Returns the session of the client. Returns `None` if the client has no valid credential.
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
            let sessions = self.sessions();
            let mut found = None;
            for credential in self.session_credentials() {
                let loaded = sessions.look_up(credential.id);
                if keep_best(&mut found, credential, loaded) {
                    break;
                }
            }
            self.set_found_session(found);
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
        /// The sessions of contexts that programs create themselves.
        static DETACHED: LazyLock<Arc<Sessions>> =
            LazyLock::new(|| Sessions::new(&ServerConfig::default(), &Default::default()));
        match &self.program.sessions {
            Some(sessions) => sessions.clone(),
            None => DETACHED.clone(),
        }
    }

    fn session_fields(&mut self) -> Arc<SessionFields> {
        let known = self
            .extras
            .as_ref()
            .and_then(|extras| extras.session.fields.clone());
        known.unwrap_or_else(|| {
            let fields = self
                .sessions()
                .fields(self.is_session_secure(), &self.base_path());
            if self.is_head_out() {
                fields.write();
            }
            self.extras.get_or_insert_default().session.fields = Some(fields.clone());
            fields
        })
    }

    fn is_session_secure(&self) -> bool {
        self.sessions().is_secure(|| self.is_secure())
    }

    /// Returns whether a page of any site could have caused the browser to send this request with the session cookie.
    pub(super) fn may_carry_a_cookie_across_sites(&self) -> bool {
        let same_site = self
            .connection
            .as_ref()
            .map(|connection| connection.env.config.cookie_same_site);
        same_site == Some(CookieSameSite::None)
            && self.get_request().get_headers().contains("cookie")
            && self.is_session_secure()
    }

    /// Returns whether the request has a cookie of the name of the session's cookie.
    pub(super) fn carries_session_cookie(&self) -> bool {
        let mut cookies = self
            .get_request()
            .get_headers()
            .get_all("cookie")
            .flat_map(|value| value.split(';'))
            .filter_map(|pair| pair.trim_ascii().split_once('='))
            .peekable();
        cookies.peek().is_some() && {
            let name = SessionFields::name_of(self.is_session_secure());
            cookies.any(|(known, _)| known == name)
        }
    }

    /// Returns whether header fields can no longer be set. The program may have answered a WebSocket handshake by a
    /// handle to the connection, without this context. So the function also checks the connection.
    fn is_head_out(&self) -> bool {
        let connection = self.connection.as_ref();
        self.head_is_out
            || connection.is_some_and(|connection| connection.lane.format().is_websocket())
    }

    /// Returns the valid credentials of the client: first cookies, then tokens.
    fn session_credentials(&self) -> impl Iterator<Item = Credential> {
        let sessions = self.sessions();
        let signer = sessions.clone();
        let request = self.get_request();
        let name = SessionFields::name_of(self.is_session_secure());
        let cookies = request
            .get_headers()
            .get_all("cookie")
            .flat_map(|value| value.split(';'))
            .filter_map(|pair| pair.trim_ascii().split_once('='))
            .filter(move |(known, _)| *known == name)
            .take(COOKIES)
            .filter_map(move |(name, value)| sessions.read_cookie(name, value));
        let tokens = self
            .session_tokens()
            .filter_map(move |token| signer.read_token(request.path(), token));
        cookies.chain(tokens)
    }

    /// Returns the texts that have the form of a session's token, from `Authorization`, the query and
    /// `Sec-WebSocket-Protocol`.
    fn session_tokens(&self) -> impl Iterator<Item = &str> {
        let request = self.get_request();
        let headers = request.get_headers();
        let bearer = headers
            .get_all("authorization")
            .filter_map(|value| {
                let (scheme, token) = value.split_once(' ')?;
                scheme
                    .eq_ignore_ascii_case("bearer")
                    .then(|| token.trim_ascii())
            })
            .filter(|token| is_session_token(token))
            .take(TOKENS);
        // The query is parsed only when the iterator reaches it, after the tokens of `Authorization`.
        let queried = std::iter::once_with(|| request.get_querys())
            .filter(|_| !request.get_raw_query().is_empty())
            .flat_map(|querys| querys.get_all("token"))
            .filter(|token| is_session_token(token))
            .take(TOKENS);
        let offered = headers
            .get_all("sec-websocket-protocol")
            .flat_map(list_items)
            .filter(|token| is_session_token(token))
            .take(TOKENS);
        bearer.chain(queried).chain(offered)
    }

    fn set_found_session(&mut self, found: Option<(Credential, Loaded)>) {
        let is_valid = matches!(found, Some((_, Loaded::Session(_))));
        let is_token_refused = !is_valid && self.session_tokens().next().is_some();
        let kept = &mut self.extras.get_or_insert_default().session;
        kept.loaded = found;
        kept.is_looked_up = true;
        kept.is_token_refused = is_token_refused;
    }

    /// Returns whether the client has sent a text that has the form of a session token, has no valid credential, and
    /// has got no lasting session during this request. A session that lasts only for this request does not count.
    pub(crate) fn is_session_token_refused(&mut self) -> bool {
        let session = self.try_session();
        let kept = &self.extras.get_or_insert_default().session;
        kept.is_token_refused && session.is_none_or(|session| session.is_passing())
    }

    /// Returns whether the client sent a cookie with an id that a login has replaced, and has got no other lasting
    /// session during this request. The login is another request. Its response contains the new cookie.
    pub(crate) fn is_session_replaced(&mut self) -> bool {
        let session = self.try_session();
        let kept = &self.extras.get_or_insert_default().session;
        matches!(kept.loaded, Some((_, Loaded::Renewed)))
            && session.is_none_or(|session| session.is_passing())
    }

    /// Frees the state that the connection does not need after the head of the response was sent. Also limits a
    /// connection that the client opened with a former id.
    pub(super) fn shrink_session(&mut self) {
        if let Some(extras) = &mut self.extras {
            let kept = &mut extras.session;
            kept.ended = Vec::new();
            kept.loaded = None;
            if let Some(fields) = &kept.fields {
                fields.unset();
            }
        }
        self.end_with_former_id();
    }

    /// If the client opened this long-lived connection with a former id of the session, closes the connection as soon
    /// as that id expires. An attacker may know the former id. The client reconnects with the current id.
    fn end_with_former_id(&self) {
        let current = self
            .extras
            .as_ref()
            .and_then(|extras| extras.session.current.as_ref());
        if let Some(session) = current
            && session.is_former()
            && let Some(connection) = &self.connection
        {
            let (entry, id) = (session.entry().clone(), session.id());
            let connection = connection.clone();
            let env = connection.env.clone();
            env.spawn(async move {
                let is_over = async {
                    entry.former_is_over(id).await;
                    true
                };
                let is_closed = async {
                    poll_fn(|cx| connection.poll_until(Until::Closed, cx)).await;
                    false
                };
                let ends = {
                    let (mut is_over, mut is_closed) = (pin!(is_over), pin!(is_closed));
                    poll_fn(|cx| match is_closed.as_mut().poll(cx) {
                        Poll::Ready(ends) => Poll::Ready(ends),
                        Poll::Pending => is_over.as_mut().poll(cx),
                    })
                    .await
                };
                if ends {
                    close_for_new_id(&connection);
                }
            });
        }
    }

    /// Attaches the header fields of the session (such as its cookie) to the response, also after a hook has replaced
    /// the response. If the handler has not answered an accepted handshake yet, also attaches the fields to the
    /// handshake.
    pub(super) fn attach_session(&mut self) {
        let Some(extras) = &self.extras else { return };
        if let Some(fields) = &extras.session.fields
            && self.get_response().session() != Some(fields)
        {
            let fields = fields.clone();
            if let Some(connection) = &self.connection
                && self.stage == Stage::Route
            {
                connection.lock_input().set_session(&fields);
            }
            self.get_mut_response().set_session(Some(fields));
        }
    }

    /// Returns whether the server may have to load a session from the store before the hooks run. Checks only that the
    /// request has a field or parameter for credentials, and does not check the credentials.
    pub(crate) fn may_have_session_to_load(&self) -> bool {
        let sessions = self.program.sessions.as_ref();
        sessions.is_some_and(|sessions| sessions.has_store()) && {
            let headers = self.request.get_headers();
            headers.contains("cookie")
                || headers.contains("authorization")
                || headers.contains("sec-websocket-protocol")
                || self.request.try_get_query("token").is_some()
        }
    }

    /// Loads the client's session from the store. Does nothing without a store. Only credentials with a valid signature
    /// are looked up.
    pub(crate) async fn load_session(&mut self) -> Result<(), RequestError> {
        let sessions = self.sessions();
        if sessions.has_store() {
            let mut found = None;
            let mut at = 0;
            while let Some(credential) = self.session_credentials().nth(at) {
                let loaded = sessions.load(credential.id).await?;
                if keep_best(&mut found, credential, loaded) {
                    break;
                }
                at += 1;
            }
            self.set_found_session(found);
        }
        Ok(())
    }

    /// Returns whether the store has to save changes of a session.
    pub(crate) fn has_session_to_save(&self) -> bool {
        self.extras.as_ref().is_some_and(|extras| {
            let kept = &extras.session;
            let mut used = kept.ended.iter().chain(&kept.current);
            used.any(Session::needs_saving)
        })
    }

    fn loads_page(&self) -> bool {
        let request = self.get_request();
        match request.header("sec-fetch-mode") {
            Some(mode) => mode == "navigate",
            // Over plain HTTP, browsers do not send this field. For a page they request HTML.
            None => request
                .header("accept")
                .is_some_and(|accept| accept.contains("text/html")),
        }
    }

    /// Returns the number of this request if the request loads a page.
    pub(crate) fn page_number(&mut self) -> Option<u32> {
        if !self.loads_page() {
            return None;
        }
        let number = &mut self.extras.get_or_insert_default().session.page_number;
        if *number == 0 {
            // The low half is enough to tell requests apart that are served at about the same time.
            *number = (next_id() as u32).max(1);
        }
        Some(*number)
    }

    /// Returns true if this request loads a page, and this is the first call for `direction` during the request.
    pub(crate) fn begins_page(&mut self, direction: Direction) -> bool {
        if !self.loads_page() {
            return false;
        }
        let [both, to_client] = &mut self.extras.get_or_insert_default().session.page_expected;
        let page_expected = match direction {
            Direction::Both => both,
            Direction::ToClient => to_client,
        };
        !std::mem::replace(page_expected, true)
    }

    /// Saves the changes of all sessions of this request to the store.
    pub(crate) async fn save_session(&mut self) -> Result<(), RequestError> {
        if !self.has_session_to_save() {
            return Ok(());
        }
        let kept = &self.extras.get_or_insert_default().session;
        let used: Vec<Session> = kept.ended.iter().chain(&kept.current).cloned().collect();
        for session in used {
            if let Err(error) = session.save().await {
                tracing::error!(%error, "session not saved");
                session.withdraw();
                self.set_request_error(RequestError::SessionStore);
                return Err(RequestError::SessionStore);
            }
        }
        Ok(())
    }
}

/// Replaces `found`, the best credential so far, if `credential` is better. Returns true if no other credential can be
/// better.
fn keep_best(
    found: &mut Option<(Credential, Loaded)>,
    credential: Credential,
    loaded: Loaded,
) -> bool {
    let is_session = matches!(loaded, Loaded::Session(_));
    // `Renewed` means that a login has replaced the id in the cookie. The client has the new cookie, or is about to get
    // it, so the server must not set another one. A token with a replaced id is simply invalid.
    let is_renewed = matches!(loaded, Loaded::Renewed) && !credential.by_token;
    if is_session || is_renewed && found.is_none() {
        *found = Some((credential, loaded));
    }
    is_session
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_costs_an_idle_connection_little() {
        // This test covers the memory that a session needs in the context: the session's state, the handle, and the
        // slot of the cookie. The memory of a channel is not part of it, and may be another 512 bytes.
        let size = size_of::<super::super::Extras>() + Session::HANDLE + size_of::<SessionFields>();
        assert!(size <= 352, "{size} bytes");
    }
}
