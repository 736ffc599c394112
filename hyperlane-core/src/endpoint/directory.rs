//! The program's access to the channels of sessions, within a request and outside of one.
//!
//! A channel carries messages between the program and the clients of a session, across lost connections.

use std::{fmt, sync::Arc};

use crate::{
    channel::{
        Channel,
        settings::{ChannelSettings, Direction, Settings},
        slots::of_session,
    },
    context::Context,
    session::{SessionEntry, SessionId, Table},
    sse::ServerSentEvents,
    websocket::WebSocket,
};

/// The channels of all sessions of a server, by session or by user. A clone is cheap, and tasks of the program can
/// store it.
///
/// ```
/// use hyperlane_core::Channels;
///
/// /// Tells all open tabs of a user, in whatever browser.
/// async fn notify(channels: &Channels, user: &str, text: &str) -> usize {
///     let mut told = 0;
///     for session in channels.user(user) {
///         told += usize::from(session.sse().send(text).await.is_ok());
///     }
///     told
/// }
/// ```
#[derive(Clone)]
pub struct Channels {
    table: Arc<Table>,
}

impl Channels {
    pub(crate) fn new(table: &Arc<Table>) -> Self {
        Self {
            table: table.clone(),
        }
    }

    fn settings(&self) -> Arc<ChannelSettings> {
        self.table.attachment().of()
    }

    /// Suggests the settings of an endpoint for channels that the program uses before a client has connected to them.
    /// If a server has several endpoints for one direction, the settings of the first endpoint apply.
    pub(crate) fn suggest(&self, direction: Direction, settings: &Arc<Settings>) {
        self.settings().suggest(direction, settings);
    }

    fn of(&self, entry: Arc<SessionEntry>) -> SessionChannels {
        SessionChannels {
            entry,
            settings: self.settings(),
        }
    }

    /// Returns the channels of a session. Returns `None` if this process has no valid session with this id.
    pub fn session(&self, id: &SessionId) -> Option<SessionChannels> {
        Some(self.of(self.table.find(id)?))
    }

    /// Returns the channels of all sessions that [`Session::set_user`](crate::Session::set_user) bound to a user.
    pub fn user(&self, user: impl AsRef<str>) -> Vec<SessionChannels> {
        let entries = self.table.of_user(user.as_ref());
        entries.into_iter().map(|entry| self.of(entry)).collect()
    }

    /// Returns the channels of all sessions in this process.
    pub fn all(&self) -> Vec<SessionChannels> {
        let entries = self.table.all();
        entries.into_iter().map(|entry| self.of(entry)).collect()
    }
}

impl fmt::Debug for Channels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Channels").finish_non_exhaustive()
    }
}

/// The channels of one session.
#[derive(Clone)]
pub struct SessionChannels {
    entry: Arc<SessionEntry>,
    settings: Arc<ChannelSettings>,
}

impl SessionChannels {
    /// Returns the session's current id.
    pub fn id(&self) -> SessionId {
        self.entry.id()
    }

    /// Returns the user of the session, as [`Session::set_user`](crate::Session::set_user) has set it.
    pub fn user(&self) -> Option<String> {
        self.entry.user().as_deref().map(str::to_owned)
    }

    /// Returns the WebSocket channel, like [`Context::ws`] in a request of this session.
    pub fn ws(&self) -> WebSocket {
        let settings = self.settings.of(Direction::Both);
        WebSocket::of_channel(of_session(&self.entry, Direction::Both, settings))
    }

    /// Returns the event-stream channel, like [`Context::sse`] in a request of this session.
    pub fn sse(&self) -> ServerSentEvents {
        let settings = self.settings.of(Direction::ToClient);
        ServerSentEvents::of_channel(of_session(&self.entry, Direction::ToClient, settings))
    }
}

impl fmt::Debug for SessionChannels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SessionChannels")
            .field(&self.entry.id())
            .finish()
    }
}

impl Context {
    /// Returns the WebSocket channel of the client's session. The client need not be connected: messages wait for the
    /// client, and reach all of its tabs. Clients connect at an endpoint: `server.at("/ws").get(ws())`.
    ///
    /// A hook that answers the request for a page can already send messages to the page, although the page connects
    /// only later. This also works while the previous page is still connected. The channel recognizes the new page
    /// within 30 s, by two signs: its request has no resume id (the position of an earlier connection), and no id of a
    /// tab. The next connection with these signs gets the messages.
    ///
    /// If the client has no session, this method creates one.
    ///
    /// ```
    /// use hyperlane_core::{Context, Error};
    ///
    /// // #[get("/")]
    /// async fn index(ctx: &mut Context) -> Result<&'static str, Error> {
    ///     let socket = ctx.ws();
    ///     socket.send("hello chashu").await?;
    ///     let message = socket.recv().await?;
    ///     println!("message received: {message}");
    ///     Ok("done")
    /// }
    /// ```
    pub fn ws(&mut self) -> WebSocket {
        WebSocket::of_channel(self.session_channel(Direction::Both))
    }

    /// Returns the event-stream channel of the client's session. The client need not be connected: messages wait for
    /// the client, and reach all of its tabs. Clients connect at an endpoint: `server.at("/sse").get(sse())`.
    ///
    /// A hook that answers the request for a page can already send messages to the page, as with [`ws`](Self::ws).
    ///
    /// If the client has no session, this method creates one.
    ///
    /// ```
    /// use hyperlane_core::{Context, Error};
    ///
    /// // #[get("/")]
    /// async fn index(ctx: &mut Context) -> Result<&'static str, Error> {
    ///     let sse = ctx.sse();
    ///     if sse.is_open() {
    ///         sse.send("hello Nori").await?;
    ///     }
    ///     Ok("done")
    /// }
    /// ```
    pub fn sse(&mut self) -> ServerSentEvents {
        ServerSentEvents::of_channel(self.session_channel(Direction::ToClient))
    }

    fn session_channel(&mut self, direction: Direction) -> Arc<Channel> {
        let session = self.session();
        let settings = self.channels().settings();
        let channel = of_session(session.entry(), direction, settings.of(direction));
        if self.begins_page(direction) {
            channel.expect_page();
        }
        channel
    }

    /// Returns the channels of all sessions of this server.
    pub fn channels(&self) -> Channels {
        Channels::new(&self.sessions().table)
    }
}
