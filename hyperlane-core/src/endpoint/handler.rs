//! The parts of request handling that all endpoints share. At an endpoint, clients connect to a channel of their
//! session.

use std::sync::Arc;

use super::{
    Options,
    plan::{PlannedEndpoint, PlannedRoute},
};
use crate::{
    channel::{
        Channel,
        attach::Attached,
        connection::ChannelConnection,
        end::End,
        log::ResumeId,
        name::{ChannelName, NamePattern},
        settings::{Direction, Settings},
        slots::{of_session, open_named},
        state::{Claim, Kind, Start, Tab},
    },
    conn::link::Link,
    context::{Context, cors::RouteCors, states::States},
    error::{ChannelError, RequestError},
    hook::refuse,
    session::SessionEntry,
    stream::Stream,
};

/// The data by which an endpoint of a server handles its requests.
pub(super) struct ChannelHandler {
    pub(super) options: Options,
    pub(super) settings: Arc<Settings>,
    pub(super) direction: Direction,
    /// The names of the channels. `None` for the channels without a name.
    names: Option<Arc<NamePattern>>,
    pub(super) cors: Arc<RouteCors>,
}

/// Returns the value of `outcome`. On an error, this future never completes: the server then drops the hook that awaits
/// it, and answers the request with the error.
pub(super) async fn refused<T>(outcome: Result<T, RequestError>) -> T {
    match outcome.map_err(refuse) {
        Ok(value) => value,
        Err(refusal) => match refusal.await {},
    }
}

/// Returns an error if the only credential of the client is an invalid token. Without a valid credential, the client
/// would get a new session and miss its messages.
pub(super) fn refuse_token(ctx: &mut Context) -> Result<(), RequestError> {
    match ctx.is_session_token_refused() {
        true => Err(RequestError::SessionToken),
        false => Ok(()),
    }
}

/// A connection that is attached to a channel. A hook that waits for the end of the connection keeps no other state.
pub(super) struct Open {
    pub(super) connection: Arc<Link>,
    pub(super) attached: Attached,
}

impl ChannelHandler {
    pub(super) fn new(
        mut options: Options,
        direction: Direction,
        methods: &'static [&'static str],
    ) -> Arc<Self> {
        let settings = Arc::new(options.settings.clone());
        let origins = std::mem::take(&mut options.origins);
        let names = options.names.take();
        Arc::new(Self {
            options,
            settings,
            direction,
            names,
            cors: Arc::new(RouteCors { origins, methods }),
        })
    }

    /// Creates the plan of this endpoint with `routes`.
    pub(super) fn planned(&self, routes: Vec<PlannedRoute>) -> PlannedEndpoint {
        PlannedEndpoint {
            routes,
            direction: self.direction,
            settings: self.settings.clone(),
            cors: self.cors.clone(),
            names: self.names.clone(),
        }
    }

    /// Reads the claim of a client from its request: the id to resume from, and the client's tab. The id of a plain
    /// WebSocket is ignored.
    pub(super) fn claim(&self, stream: &Stream, ctx: &Context, kind: Kind) -> Claim {
        let request = ctx.get_request();
        let headers = request.get_headers().get_all("last-event-id");
        // `of_client` returns `None` for a text that stands for a missing id, such as `null`. The next value then
        // applies.
        let from = headers
            .chain(request.get_querys().get_all("last_event_id"))
            .find_map(ResumeId::of_client);
        let tab = request
            .get_querys()
            .get_all("tab")
            .find_map(|tab| Tab::from_str_radix(tab.trim(), 16).ok());
        Claim {
            kind,
            from: from.filter(|_| kind != Kind::Plain),
            tab,
            is_from_start: self.options.is_from_start,
            number: stream.exchange.wire.request_number(),
        }
    }

    /// Returns the name of the channel that a request asks for. Returns `None` for the channel without a name.
    pub(super) fn name(&self, ctx: &Context) -> Result<Option<ChannelName>, RequestError> {
        let Some(pattern) = &self.names else {
            return Ok(None);
        };
        let params = ctx.get_route_params();
        Ok(Some(pattern.fill(|name| params.get(name))?))
    }

    /// Returns the channel of a session for a client. Opens the channel if there is none. Returns `None` if the program
    /// has closed the channel of this name, so that the client should not come back.
    pub(super) fn channel(
        &self,
        entry: &Arc<SessionEntry>,
        name: Option<&ChannelName>,
    ) -> Result<Option<Arc<Channel>>, ChannelError> {
        let Some(name) = name else {
            return Ok(Some(of_session(entry, self.direction, &self.settings)));
        };
        let settings = || Settings::clone(&self.settings);
        open_named(entry, self.direction, name, settings, false)
    }

    /// Attaches a connection to a channel of the session. If the channel has just ended, attaches it to the next
    /// channel of the same name. Returns `None` if the session has ended, or if the channel has closed the connection.
    pub(super) fn attach(
        &self,
        entry: &Arc<SessionEntry>,
        (name, channel): (Option<&ChannelName>, Arc<Channel>),
        claim: Claim,
        connection: &Arc<Link>,
        states: impl Fn() -> States,
        begin: impl Fn(&Start, ResumeId) -> ChannelConnection,
    ) -> Result<Option<Attached>, NotAttached> {
        let mut channel = channel;
        loop {
            match channel.attach(claim, connection, &begin) {
                Ok(attached) => {
                    channel.keep(|| entry.keep_alive());
                    if let Some(on_channel) = &self.options.on_channel
                        && channel.start()
                    {
                        let env = &connection.env;
                        env.spawn(on_channel(channel.clone(), states()));
                    }
                    return Ok(attached);
                }
                Err(End::Session) if entry.is_ended() => return Ok(None),
                Err(_) => match self.channel(entry, name) {
                    Ok(Some(next)) => channel = next,
                    Ok(None) => return Err(NotAttached::Over),
                    Err(_) => return Err(NotAttached::NoRoom),
                },
            }
        }
    }
}

/// The reason why a connection was not attached, although its channel was there before the head of the answer.
pub(super) enum NotAttached {
    /// The program has closed the channel meanwhile.
    Over,
    /// The channel has ended meanwhile, and the session cannot open another one.
    NoRoom,
}
