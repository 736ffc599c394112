//! Connections to channels by a WebSocket.
//!
//! A channel carries messages between the program and the clients of a session, across lost connections.

use std::{future::poll_fn, sync::Arc, task::Poll};

use super::handler::{ChannelHandler, NotAttached, Open, refused};
use crate::{
    channel::{
        Channel,
        connection::{ChannelConnection, close_for_new_id},
        log::ResumeId,
        name::ChannelName,
        slots::random,
        state::{Claim, Kind, Start, Tab},
    },
    conn::{
        acks::Acks,
        link::Link,
        send::{Limit, Order, Payload},
    },
    context::{Context, states::States},
    error::RequestError,
    hook::{HookFuture, Status},
    proto::ws::{CloseCode, Message},
    session::SessionEntry,
    stream::Stream,
    upgrade::Upgrade,
};

impl ChannelHandler {
    pub(super) fn connect<'a>(
        self: Arc<Self>,
        stream: &'a mut Stream,
        ctx: &'a mut Context,
    ) -> HookFuture<'a> {
        let headers = ctx.get_request().get_headers();
        let accepts_events = headers
            .get_all("accept")
            .any(|accept| accept.contains("text/event-stream"));
        if !headers.has_token("upgrade", "websocket") && accepts_events {
            return self.follow(stream, ctx);
        }
        Box::pin(async move {
            // The future of `open_socket` has a box of its own. This box is freed before the long wait in `receive`
            // begins.
            let opened = refused(Box::pin(self.open_socket(stream, ctx)).await).await;
            if let Some((open, acks)) = opened {
                receive(open.attached.channel(), &open.connection, &acks).await;
                let is_closed_by_peer = open
                    .connection
                    .lock_input()
                    .websocket()
                    .is_some_and(|websocket| websocket.is_closed_by_peer());
                if is_closed_by_peer && !open.connection.env.is_shutting_down() {
                    open.attached.closed();
                }
            }
            Status::Continue
        })
    }

    async fn open_socket(
        self: Arc<Self>,
        stream: &mut Stream,
        ctx: &mut Context,
    ) -> Result<Option<(Open, Arc<Acks>)>, RequestError> {
        let kind = match self.options.resume_ids {
            true => Kind::Counted,
            false => Kind::Plain,
        };
        let mut claim = self.claim(stream, ctx, kind);
        if kind == Kind::Counted && claim.tab.is_none() {
            claim.tab = Some(random());
        }
        let name = self.name(ctx)?;
        let upgrade = Upgrade::new().with_origins(self.cors.origins.clone());
        // This check comes before `ctx.session()`, so a refused handshake creates no session and sets no cookie. A new
        // cookie could do harm: it would replace the browser's session cookie, which the browser may not have sent
        // because the page belongs to another site.
        stream.check_upgrade(ctx, &upgrade)?;
        // A page cannot read the status of a failed handshake, but it can read the code of a Close frame. So the server
        // completes the handshake, and reports by a Close frame that the session's token is refused, or that the id of
        // the session was replaced.
        let is_refused = ctx.is_session_token_refused();
        let is_replaced = ctx.is_session_replaced();
        // The session is created before the 101, because the 101 sets the cookie.
        let entry = ctx.session().entry().clone();
        let channel = match is_refused || is_replaced {
            true => None,
            // A session with too many channels refuses the handshake.
            false => self.channel(&entry, name.as_ref())?,
        };
        ctx.upgrade_with(stream, upgrade).await?;
        let connection = stream.connection().clone();
        if is_refused {
            // The call fails only if the connection has already ended. Such a connection needs no Close frame.
            let _ = connection.close_websocket(CloseCode::POLICY_VIOLATION, "token expired", false);
            return Ok(None);
        }
        if is_replaced {
            close_for_new_id(&connection);
            return Ok(None);
        }
        let Some(channel) = channel else {
            // A page cannot read the status of a failed handshake, so the Close frame says that the program has closed
            // the channel of this name.
            close_over(&connection);
            return Ok(None);
        };
        if let Some(every) = self.options.heartbeat {
            connection.set_heartbeat(every);
        }
        let channel = (name.as_ref(), channel);
        Ok(self.attach_socket(&entry, channel, claim, &connection, || ctx.states()))
    }

    /// Attaches a WebSocket to a channel. Returns `None` if the channel or this function has closed the WebSocket.
    fn attach_socket(
        &self,
        entry: &Arc<SessionEntry>,
        channel: (Option<&ChannelName>, Arc<Channel>),
        claim: Claim,
        connection: &Arc<Link>,
        states: impl Fn() -> States,
    ) -> Option<(Open, Arc<Acks>)> {
        let acks = Acks::new();
        let begin = |start: &Start, id: ResumeId| {
            acks.begin(id.offset);
            if let Some(websocket) = connection.lock_input().websocket() {
                websocket.set_acks(acks.clone());
            }
            if let Some(tab) = claim.tab.filter(|_| claim.kind == Kind::Counted) {
                let text = first_message(id, tab, start.is_reset);
                // The send fails if the connection has ended. The channel then detaches the connection soon.
                let message = Message::from(text);
                let _ = connection
                    .lane()
                    .send(Payload::Message(&message), Order::Own, Limit::Mark);
            }
            ChannelConnection::new(connection.clone(), Some(acks.clone()), claim.number)
        };
        match self.attach(entry, channel, claim, connection, states, begin) {
            Ok(attached) => {
                let connection = connection.clone();
                let open = |attached| Open {
                    connection,
                    attached,
                };
                return Some((open(attached?), acks));
            }
            Err(NotAttached::Over) => close_over(connection),
            Err(NotAttached::NoRoom) => {
                let code = CloseCode::TRY_AGAIN_LATER;
                // The call fails only if the connection has already ended.
                let _ = connection.close_websocket(code, "too many channels", false);
            }
        }
        None
    }
}

/// Closes the connection of a client that asks for a named channel that the program has closed.
fn close_over(connection: &Arc<Link>) {
    // The call fails only if the connection has already ended.
    let _ = connection.close_websocket(CloseCode::NORMAL, "the channel is over", false);
}

/// Passes messages of the client to the channel until the channel or the connection ends.
async fn receive(channel: &Arc<Channel>, connection: &Arc<Link>, acks: &Acks) {
    let mut taken = None;
    poll_fn(|cx| {
        loop {
            if acks.take_change() {
                channel.acknowledged();
            }
            if taken.is_some() {
                match channel.poll_deliver(cx, &mut taken, None) {
                    Poll::Ready(Ok(())) => {}
                    Poll::Ready(Err(_)) => return Poll::Ready(()),
                    Poll::Pending => return Poll::Pending,
                }
            }
            match connection.poll_message(cx) {
                Poll::Ready(Ok(message)) => taken = Some(message),
                // Closed, a violation of the protocol, or lost.
                Poll::Ready(Err(_)) => return Poll::Ready(()),
                Poll::Pending if acks.has_changed() => {}
                Poll::Pending => return Poll::Pending,
            }
        }
    })
    .await;
}

/// Encodes the first message to a client with resume ids. Such a client counts the messages from this position on, and
/// sends its position when it connects again.
fn first_message(id: ResumeId, tab: Tab, is_reset: bool) -> String {
    let ResumeId { epoch, offset } = id;
    format!(
        r#"{{"id":"{id}","epoch":"{epoch:016x}","offset":{offset},"tab":"{tab:016x}","reset":{is_reset}}}"#
    )
}
