//! POST requests that send a message to a channel.

use std::{future::poll_fn, sync::Arc};

use super::handler::{ChannelHandler, refuse_token, refused};
use crate::{
    channel::{receive::Undelivered, slots::find},
    context::Context,
    env::runtime::within,
    error::{ChannelError, RequestError},
    hook::{HookFuture, Status},
    proto::ws::Message,
};

impl ChannelHandler {
    /// Sends the body of the request to the channel as a message.
    pub(super) fn post(self: Arc<Self>, ctx: &mut Context) -> HookFuture<'_> {
        Box::pin(async move {
            refused(self.take_post(ctx).await).await;
            Status::Continue
        })
    }

    async fn take_post(&self, ctx: &mut Context) -> Result<(), RequestError> {
        ctx.check_origin(&self.cors.origins)?;
        refuse_token(ctx)?;
        let body = ctx.get_request().get_body().clone();
        let is_binary = ctx
            .get_request()
            .header("content-type")
            .is_some_and(|kind| kind.starts_with("application/octet-stream"));
        let message = match is_binary {
            true => Message::Binary(body.into()),
            false => Message::from(
                String::from_utf8(body.to_vec())
                    .map_err(|_| RequestError::refused(400, "the message is not UTF-8 text"))?,
            ),
        };
        let name = self.name(ctx)?;
        let channel = ctx
            .try_session()
            .and_then(|session| find(session.entry(), self.direction, name.as_ref()));
        let Some(channel) = channel.filter(|channel| channel.is_open()) else {
            return Err(RequestError::refused(
                409,
                "there is no open channel: connect first",
            ));
        };
        let mut message = Some(message);
        let mut waiter = channel.waiter();
        let delivery = poll_fn(|cx| channel.poll_deliver(cx, &mut message, Some(&mut waiter)));
        match within(channel.runtime(), self.settings.timeout, delivery).await {
            Some(Ok(())) => {
                ctx.get_mut_response().set_status_code(204);
                Ok(())
            }
            Some(Err(Undelivered::Over)) => Err(RequestError::refused(
                409,
                "the channel is over: connect again",
            )),
            // The status of a POST is 503 as well if the inbox stays full.
            Some(Err(Undelivered::NoMemory)) => Err(ChannelError::Memory.into()),
            None => Err(RequestError::refused(503, "the program does not receive")),
        }
    }
}
