//! WebSocket handshakes: what they must be, and their answer.

use super::Stream;
use crate::{
    Context, Upgrade, WebSocket,
    conn::{extensions::Extensions, handshake::Handshake},
    error::RequestError,
    exchange::switch::Upgradable,
    http::Headers,
    proto::ws::handshake::{self, HandshakeRequest},
};

impl Context {
    /// Makes this connection a WebSocket and returns its handle; again the same if it is one already.
    ///
    /// Checks the handshake (RFC 6455 §4.2.1) and the page's origin, unless a guard (`#[is_ws_upgrade_type]`) has, and sends
    /// the 101 with the fields that are set by now.
    ///
    /// The end of the handler decides what the Close says: 1000 where it returns, 1008 for
    /// [`Status::Reject`](crate::Status::Reject), 1011 with its public text (at most 123 bytes) for an error, 1011 for a panic.
    ///
    /// The connection belongs to its handler: when the handler returns, the WebSocket is closed, also where a handle was
    /// given to a task. After [`WebSocket::keep_open`] it stays until it is closed or the last handle is dropped.
    ///
    /// # Errors
    /// The rule that the request breaks. A hook that then returns [`Status::Reject`](crate::Status::Reject) without an answer
    /// of its own refuses the client with the status of that rule, and so does a function that returns the error.
    pub async fn upgrade(&mut self, stream: &mut Stream) -> Result<WebSocket, RequestError> {
        self.save_session_before_head().await?;
        upgrade(self, stream, Upgrade::new())
    }

    /// Upgrades as [`upgrade`](Self::upgrade), with a subprotocol, header fields or origins of this route. On a
    /// connection that is a WebSocket already they come too late and have no effect; so do origins behind a guard, which
    /// has judged them.
    ///
    /// # Errors
    /// As there, and [`RequestError::Header`] or [`RequestError::Subprotocol`] for what may not be
    /// sent; nothing was sent then, so that the hook can still answer.
    pub async fn upgrade_with(
        &mut self,
        stream: &mut Stream,
        upgrade_as: Upgrade,
    ) -> Result<WebSocket, RequestError> {
        self.save_session_before_head().await?;
        upgrade(self, stream, upgrade_as)
    }

    /// Small: most requests have no session to save, and a WebSocket's handler keeps this room for good.
    pub(crate) async fn save_session_before_head(&mut self) -> Result<(), RequestError> {
        match self.has_session_to_save() {
            true => Box::pin(self.save_session()).await,
            false => Ok(()),
        }
    }
}

fn upgrade(
    ctx: &mut Context,
    stream: &mut Stream,
    upgrade: Upgrade,
) -> Result<WebSocket, RequestError> {
    stream
        .switch(ctx, upgrade)
        .inspect_err(|error| ctx.set_request_error(error.clone()))?;
    Ok(WebSocket::new(stream.connection().clone()))
}

impl Stream {
    /// Makes the connection a WebSocket as the program says.
    fn switch(&mut self, ctx: &mut Context, upgrade: Upgrade) -> Result<(), RequestError> {
        match self.exchange.upgradable()? {
            Upgradable::Switched => {
                if self.exchange.switch_raw() {
                    ctx.shrink();
                }
                Ok(())
            }
            Upgradable::Accepted => self.send_handshake(ctx, upgrade),
            Upgradable::Request => {
                let accepted = self.check_handshake(ctx, &upgrade)?;
                self.exchange.accept_handshake(accepted);
                self.send_handshake(ctx, upgrade).inspect_err(|_| {
                    // The hook can still answer.
                    self.exchange.withdraw_handshake();
                })
            }
        }
    }

    /// Refuses what an upgrade would refuse, before anything begins for it.
    pub(crate) fn check_upgrade(
        &self,
        ctx: &Context,
        upgrade: &Upgrade,
    ) -> Result<(), RequestError> {
        match self.exchange.upgradable()? {
            Upgradable::Request => self.check_handshake(ctx, upgrade).map(drop),
            Upgradable::Accepted | Upgradable::Switched => Ok(()),
        }
    }

    /// Accepts the handshake of a request. Its 101 waits for the first read, send or `upgrade`.
    pub(crate) fn accept_handshake(&mut self, ctx: &mut Context) -> Result<(), RequestError> {
        if let Upgradable::Request = self.exchange.upgradable()? {
            let mut upgrade = Upgrade::new();
            let mut accepted = self.check_handshake(ctx, &upgrade)?;
            self.choose_subprotocol(ctx, &mut upgrade, &mut accepted)?;
            let response = ctx.head().response;
            accepted.headers = response.get_headers().clone();
            accepted.session = response.session().cloned();
            self.exchange.accept_handshake(accepted);
        }
        Ok(())
    }

    /// Checks what a handshake must be, and the page's origin.
    fn check_handshake(
        &self,
        ctx: &Context,
        upgrade: &Upgrade,
    ) -> Result<Box<Handshake>, RequestError> {
        let request = ctx.get_request();
        let headers = request.get_headers();
        let is_1_0 = self.exchange.wire.facts.is_1_0;
        let accepted = handshake::validate(HandshakeRequest {
            method: request.get_method().as_str(),
            version: if is_1_0 { (1, 0) } else { (1, 1) },
            headers: headers.iter(),
        })?;
        ctx.check_origin(upgrade.origins()?)?;
        let offered = headers.get_all("sec-websocket-extensions");
        let connection = self.connection();
        Ok(Box::new(Handshake {
            accept_key: accepted.accept_key,
            extensions: Extensions::negotiate(offered, &connection.env.config)?,
            subprotocol: None,
            headers: Headers::new(),
            session: None,
            path: request.get_path().into(),
            since: connection.now(),
        }))
    }

    fn choose_subprotocol(
        &self,
        ctx: &Context,
        upgrade: &mut Upgrade,
        handshake: &mut Handshake,
    ) -> Result<(), RequestError> {
        let offered = ctx.get_request().get_headers();
        let wanted = ctx.get_response().get_headers();
        handshake.subprotocol = upgrade.choose(
            offered.get_all("sec-websocket-protocol"),
            wanted.get("sec-websocket-protocol"),
            &self.connection().env.config,
        )?;
        Ok(())
    }

    /// Sends the 101 of an accepted handshake, with what the program has set by now. After an error nothing was sent.
    pub(super) fn send_handshake(
        &mut self,
        ctx: &mut Context,
        mut upgrade: Upgrade,
    ) -> Result<(), RequestError> {
        let handshake = self.connection().lock_input().take_handshake();
        match handshake {
            Some(mut handshake) => {
                let chosen = self.choose_subprotocol(ctx, &mut upgrade, &mut handshake);
                // Too late to let a page in, but not to tell of a text that is no origin.
                let checked = chosen.and_then(|()| upgrade.origins().map(|_| ()));
                let added = match checked.and_then(|()| upgrade.headers()) {
                    Ok(added) => added,
                    Err(error) => {
                        self.exchange.accept_handshake(handshake);
                        return Err(error);
                    }
                };
                handshake.session = ctx.head().response.session().cloned();
                handshake.headers = std::mem::take(ctx.get_mut_response().get_mut_headers());
                self.exchange.send_handshake(*handshake, added);
            }
            None => self.exchange.set_switched(),
        }
        // A bare send makes it a message.
        let body = ctx.get_response().body_bytes().clone();
        ctx.shrink();
        if !body.is_empty() {
            ctx.get_mut_response().set_body_bytes(body);
        }
        Ok(())
    }

    /// Settles a handshake that the route has accepted and neither answered nor used. `is_answered`: the response is an
    /// answer.
    pub(crate) fn settle_handshake(&mut self, ctx: &mut Context, is_answered: bool) {
        if !self.exchange.answer().is_accepted()
            || is_answered && self.exchange.withdraw_handshake()
        {
            return;
        }
        // The response goes, but not what its Close has to tell.
        let failure = ctx.take_failure();
        // The check of its protocol has passed before; if it fails now, the answer is the response.
        if self.send_handshake(ctx, Upgrade::new()).is_err() {
            self.exchange.withdraw_handshake();
        }
        if let Some(failure) = failure {
            ctx.get_mut_response().fail(*failure);
        }
    }
}
