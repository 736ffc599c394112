//! The program's access to the channels of sessions, within a request and outside of one.
//!
//! A channel carries messages between the program and the clients of a session, across lost connections.

use std::{fmt, sync::Arc};

use crate::{
    channel::{
        Channel,
        name::{ChannelName, NamePattern},
        settings::{ChannelSettings, Direction, Settings},
        slots::{close_named, expects_page, of_session, open_named},
    },
    context::Context,
    error::ChannelError,
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
    /// If a server has several endpoints for one direction, the settings of the first endpoint apply. For a named
    /// channel, they are the settings of the first endpoint whose names fit.
    pub(crate) fn suggest(
        &self,
        direction: Direction,
        names: Option<&Arc<NamePattern>>,
        settings: &Arc<Settings>,
    ) {
        match names {
            None => self.settings().suggest(direction, settings),
            Some(pattern) => self.settings().suggest_named(direction, pattern, settings),
        }
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

    /// Returns the channels of a name, like [`Context::channel`] in a request of this session.
    pub fn channel(&self, name: impl AsRef<str>) -> NamedChannel {
        NamedChannel {
            entry: self.entry.clone(),
            settings: self.settings.clone(),
            name: ChannelName::new(name.as_ref()),
            page: None,
        }
    }
}

impl fmt::Debug for SessionChannels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SessionChannels")
            .field(&self.entry.id())
            .finish()
    }
}

/// The channels of one name in a session. [`Context::channel`] and [`SessionChannels::channel`] return it.
///
/// A named channel is a channel of its own, with its own messages. So a page can follow several at the same time, for
/// example the answers to two questions. Clients connect at an endpoint whose
/// [`named`](crate::ServerSentEventsEndpoint::named) forms the name.
///
/// A session has up to 16 named channels. The WebSocket channel and the event-stream channel of a name count as two. A
/// channel counts from the first call of [`ws`](Self::ws) or [`sse`](Self::sse), or from the first connection, until it
/// ends: when the program closes it, with its session, or when no client has been connected for the endpoint's
/// [`grace`](crate::ServerSentEventsEndpoint::grace). Each channel counts towards
/// [`ServerConfig::session_memory`](crate::ServerConfig), with about 1.2 kB and its messages for absent clients.
///
/// After the program has closed a channel, its clients no longer get one of this name: the server answers an event
/// stream with 204, and closes a WebSocket with 1000. The session remembers the last 64 names that were closed. The
/// program can open the name again, by [`ws`](Self::ws) or [`sse`](Self::sse).
#[derive(Clone)]
pub struct NamedChannel {
    entry: Arc<SessionEntry>,
    settings: Arc<ChannelSettings>,
    name: Result<ChannelName, ChannelError>,
    /// The number of the current request, if the request loads a page.
    page: Option<u32>,
}

impl NamedChannel {
    /// Returns the WebSocket channel of this name, like [`Context::ws`] without a name. Opens it if there is none.
    ///
    /// # Errors
    /// - [`ChannelError::InvalidName`] if the name is not 1 to 64 visible ASCII characters.
    /// - [`ChannelError::TooMany`] if the session has 16 other named channels.
    /// - [`ChannelError::Memory`] if [`ServerConfig::session_memory`](crate::ServerConfig) has no room.
    pub fn ws(&self) -> Result<WebSocket, ChannelError> {
        Ok(WebSocket::of_channel(self.open(Direction::Both)?))
    }

    /// Returns the event-stream channel of this name, like [`Context::sse`] without a name. Opens it if there is none.
    ///
    /// # Errors
    /// The errors of [`ws`](Self::ws).
    pub fn sse(&self) -> Result<ServerSentEvents, ChannelError> {
        let channel = self.open(Direction::ToClient)?;
        Ok(ServerSentEvents::of_channel(channel))
    }

    /// Ends the channels of this name, if there are any, and opens none. The connections of all tabs close, WebSockets
    /// with 1000.
    pub fn close(&self) {
        if let Ok(name) = &self.name {
            close_named(&self.entry, name);
        }
    }

    fn open(&self, direction: Direction) -> Result<Arc<Channel>, ChannelError> {
        let name = self.name.as_ref().map_err(|error| *error)?;
        let settings = || Settings::clone(&self.settings.of_name(direction, name));
        let channel = loop {
            // The first call returns a channel, because it opens a closed name again.
            if let Some(channel) = open_named(&self.entry, direction, name, settings, true)? {
                break channel;
            }
        };
        if let Some(page) = self.page
            && expects_page(&self.entry, direction, name, page)
        {
            channel.expect_page();
        }
        Ok(channel)
    }
}

impl fmt::Debug for NamedChannel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NamedChannel")
            .field("session", &self.entry.id())
            .field("name", &self.name.as_ref().map(ChannelName::as_str))
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

    /// Returns the channels of a name in the client's session. Each name is a channel of its own, for example for one
    /// answer of a language model. Clients connect at an endpoint that forms the same name from its path:
    /// `server.at("/runs/{id}").get(sse().named("run-{id}"))`.
    ///
    /// A name has 1 to 64 visible ASCII characters: letters, digits and punctuation, but no spaces.
    ///
    /// If the client has no session, this method creates one. It opens no channel: [`NamedChannel::ws`] and
    /// [`NamedChannel::sse`] do.
    ///
    /// ```
    /// use hyperlane_core::{Context, Error};
    ///
    /// // #[post("/runs/{id}")]
    /// async fn start(ctx: &mut Context) -> Result<&'static str, Error> {
    ///     // A client with 16 runs gets 429.
    ///     let run = ctx.channel("run-7").sse()?;
    ///     tokio::spawn(async move {
    ///         let _ = run.send("the first token").await;
    ///         run.close();
    ///     });
    ///     Ok("started")
    /// }
    /// ```
    pub fn channel(&mut self, name: impl AsRef<str>) -> NamedChannel {
        let session = self.session();
        NamedChannel {
            entry: session.entry().clone(),
            settings: self.channels().settings(),
            name: ChannelName::new(name.as_ref()),
            page: self.page_number(),
        }
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
