//! Connections to a session's channels by an event stream.

use std::{future::poll_fn, sync::Arc, time::Duration};

use super::handler::{ChannelHandler, Open, refuse_token, refused};
use crate::{
    channel::{
        connection::{ChannelConnection, close_for_new_id, position_event},
        log::ResumeId,
        slots::{random, was_closed},
        state::{Kind, Start},
    },
    conn::{
        lifecycle::Until,
        send::{Limit, Order, Payload},
    },
    context::Context,
    error::RequestError,
    hook::{HookFuture, Status},
    proto::{http::fetch::Purpose, sse::event::POSITION},
    stream::Stream,
};

impl ChannelHandler {
    /// Connects the client to the channel by an event stream, and waits until the stream closes.
    pub(super) fn follow<'a>(
        self: Arc<Self>,
        stream: &'a mut Stream,
        ctx: &'a mut Context,
    ) -> HookFuture<'a> {
        Box::pin(async move {
            let opened = refused(Box::pin(self.open_events(stream, ctx)).await).await;
            if let Some(open) = opened {
                poll_fn(|cx| open.connection.poll_until(Until::Closed, cx)).await;
            }
            Status::Continue
        })
    }

    async fn open_events(
        self: Arc<Self>,
        stream: &mut Stream,
        ctx: &mut Context,
    ) -> Result<Option<Open>, RequestError> {
        ctx.check_page(&self.cors.origins, Purpose::Stream)?;
        refuse_token(ctx)?;
        if ctx.get_request().get_method().is_head() {
            // A response to HEAD has no events. So the client gets the header fields, but no position in the channel.
            ctx.get_mut_response()
                .set_header("content-type", "text/event-stream")
                .set_header("cache-control", "no-cache");
            return Ok(None);
        }
        let name = self.name(ctx)?;
        let claim = self.claim(stream, ctx, Kind::Events);
        let is_replaced = ctx.is_session_replaced();
        let entry = ctx.session().entry().clone();
        let is_closed = matches!(claim.from, Some(Ok(id))
            if was_closed(&entry, self.direction, name.as_ref(), id.epoch));
        let channel = match is_closed || is_replaced {
            true => None,
            false => self.channel(&entry, name.as_ref())?,
        };
        if channel.is_none() && !is_replaced {
            // The client wants to resume a channel that the program has closed, or to connect to a name whose channel
            // the program has closed. After a 204, a browser does not reconnect.
            ctx.get_mut_response().set_status_code(204);
            return Ok(None);
        }
        if ctx.event_stream(stream).await.is_err() {
            return Ok(None);
        }
        let connection = stream.connection().clone();
        let Some(channel) = channel else {
            // The client sent a session id that a login has replaced, so `ctx.session()` has begun a new session. No
            // messages would arrive on a channel of the new session. The server therefore closes the connection, and
            // the browser reconnects with the cookie of the login.
            close_for_new_id(&connection);
            return Ok(None);
        };
        if let Some(every) = self.options.heartbeat {
            connection.set_heartbeat(every);
        }
        let retry = self.options.retry.unwrap_or(Duration::from_secs(1));
        let begin = |start: &Start, id: ResumeId| {
            let first = first_event(id, retry, start.is_reset);
            let first = connection.lane.format().frame(&first);
            let _ = connection
                .lane()
                .send(Payload::Shared(&first), Order::Own, Limit::Mark);
            ChannelConnection::new(connection.clone(), None, claim.number)
        };
        let channel = (name.as_ref(), channel);
        let attached = self.attach(&entry, channel, claim, &connection, || ctx.states(), begin);
        // If the connection is not attached, the stream ends. The client comes back, and then gets the answer.
        Ok(attached.unwrap_or(None).map(|attached| Open {
            connection: connection.clone(),
            attached,
        }))
    }
}

/// Encodes the first event of a stream. The event names the position of the client, so a client that disconnects before
/// the first message can resume. If `is_reset` is true, the event tells the client that it has missed messages.
fn first_event(id: ResumeId, retry: Duration, is_reset: bool) -> Vec<u8> {
    // The client reconnects after a random delay between `retry` and twice `retry`, so clients do not all reconnect at
    // once.
    let jitter = random() % (retry.as_millis().max(1) as u64);
    let name = if is_reset { "reset" } else { POSITION };
    let event = position_event(name, id).retry(retry + Duration::from_millis(jitter));
    let mut bytes = Vec::new();
    // The parts contain no characters that the encoder refuses, so encoding cannot fail.
    let _ = event.encode(&mut bytes);
    bytes
}
