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
        settings::{Direction, Settings},
        slots::of_session,
        state::{Claim, Kind, Start, Tab},
    },
    conn::link::Link,
    context::{Context, cors::RouteCors, states::States},
    error::RequestError,
    hook::refuse,
    session::SessionEntry,
    stream::Stream,
};

/// The data by which an endpoint of a server handles its requests.
pub(super) struct ChannelHandler {
    pub(super) options: Options,
    pub(super) settings: Arc<Settings>,
    pub(super) direction: Direction,
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
        Arc::new(Self {
            options,
            settings,
            direction,
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
            number: stream.exchange.wire.request_number(),
        }
    }

    pub(super) fn channel(&self, entry: &Arc<SessionEntry>) -> Arc<Channel> {
        of_session(entry, self.direction, &self.settings)
    }

    /// Attaches a connection to the session's channel. If the channel has just ended, creates a new channel. Returns
    /// `None` if the session has ended, or if the channel has closed the connection.
    pub(super) fn attach(
        &self,
        entry: &Arc<SessionEntry>,
        claim: Claim,
        connection: &Arc<Link>,
        states: impl Fn() -> States,
        begin: impl Fn(&Start, ResumeId) -> ChannelConnection,
    ) -> Option<Attached> {
        loop {
            let channel = self.channel(entry);
            match channel.attach(claim, connection, &begin) {
                Ok(attached) => {
                    channel.keep(|| entry.keep_alive());
                    if let Some(on_channel) = &self.options.on_channel
                        && channel.start()
                    {
                        let env = &connection.env;
                        env.spawn(on_channel(channel.clone(), states()));
                    }
                    return attached;
                }
                Err(End::Session) if entry.is_ended() => return None,
                Err(_) => {}
            }
        }
    }
}
