//! WebSocket handshakes: the checks, and the 101 response.

use super::Stream;
use crate::{
    Context, Upgrade, WebSocket,
    conn::{extensions::Extensions, handshake::Handshake, link::Link},
    error::RequestError,
    exchange::switch::Upgradable,
    http::Headers,
    proto::ws::handshake::{self, HandshakeRequest},
};

impl Context {
    /// Makes this connection a WebSocket and returns a handle to it. If the connection is already a WebSocket, returns
    /// another handle.
    ///
    /// Checks the handshake (RFC 6455 §4.2.1) and the origin of the page that opens the WebSocket. If the guard
    /// `#[is_ws_upgrade_type]` of the route has already checked both, the method does not check them again. After the
    /// checks, the method sends the 101 with the header fields that the program has set so far.
    ///
    /// When the handler returns, the server closes the WebSocket, even if other tasks have handles. After
    /// [`WebSocket::keep_open`], the WebSocket stays open until it is closed or its last handle is dropped.
    ///
    /// The end of the handler determines the code of the Close frame:
    /// - 1000 if the handler returns,
    /// - 1008 if it returns [`Status::Reject`](crate::Status::Reject),
    /// - 1011 if it panics,
    /// - 1011 with the public text (at most 123 bytes) if it returns an error.
    ///
    /// # Errors
    /// Returns an error for the rule that the request violates, or if the session cannot be saved. The client gets the
    /// status of this error if the handler returns the error. The client also gets it if the handler returns
    /// [`Status::Reject`](crate::Status::Reject) without an answer of its own.
    pub async fn upgrade(&mut self, stream: &mut Stream) -> Result<WebSocket, RequestError> {
        self.save_session_before_head().await?;
        upgrade(self, stream, Upgrade::new())
    }

    /// Upgrades like [`upgrade`](Self::upgrade), with a subprotocol, header fields or allowed origins for this route.
    /// These options have no effect on a connection that is already a WebSocket. The allowed origins have no effect
    /// after a guard, because the guard has already checked the origin.
    ///
    /// # Errors
    /// Returns the errors of [`upgrade`](Self::upgrade), and [`RequestError::Header`] or [`RequestError::Subprotocol`]
    /// for an option that may not be sent. After such an error nothing was sent, so the handler can still answer.
    pub async fn upgrade_with(
        &mut self,
        stream: &mut Stream,
        upgrade_as: Upgrade,
    ) -> Result<WebSocket, RequestError> {
        self.save_session_before_head().await?;
        upgrade(self, stream, upgrade_as)
    }

    /// Saves the session if it has changes to save. The future of the save is boxed. Unboxed, it would take space in
    /// the future of every WebSocket handler.
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
    /// Makes the connection a WebSocket with the program's options.
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
                    // The hook can still send another answer.
                    self.exchange.withdraw_handshake();
                })
            }
        }
    }

    /// Checks the handshake without accepting it.
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

    /// Accepts the handshake of a request. The 101 is sent later, by the first read, send or `upgrade`.
    pub(crate) fn accept_handshake(&mut self, ctx: &mut Context) -> Result<(), RequestError> {
        if let Upgradable::Request = self.exchange.upgradable()? {
            let mut upgrade = Upgrade::new();
            let mut accepted = self.check_handshake(ctx, &upgrade)?;
            choose_subprotocol(self.connection(), ctx, &mut upgrade, &mut accepted)?;
            let response = ctx.head().response;
            accepted.headers = response.get_headers().clone();
            accepted.session = response.session().cloned();
            self.exchange.accept_handshake(accepted);
        }
        Ok(())
    }

    /// Checks the handshake (RFC 6455 §4.2.1) and the page's origin.
    fn check_handshake(
        &self,
        ctx: &Context,
        upgrade: &Upgrade,
    ) -> Result<Box<Handshake>, RequestError> {
        let request = ctx.get_request();
        let headers = request.get_headers();
        let wire = &self.exchange.wire;
        let accepted = handshake::validate(HandshakeRequest {
            method: request.get_method().as_str(),
            version: match wire.facts.is_1_0 {
                _ if wire.is_http2() => (2, 0),
                true => (1, 0),
                false => (1, 1),
            },
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
            path: request.path().into(),
            since: connection.now(),
        }))
    }

    /// Sends the 101 of an accepted handshake, with the fields and options of the program. If the function returns an
    /// error, nothing was sent.
    pub(super) fn send_handshake(
        &mut self,
        ctx: &mut Context,
        mut upgrade: Upgrade,
    ) -> Result<(), RequestError> {
        let handshake = self.connection().lock_input().take_handshake();
        match handshake {
            Some(mut handshake) => {
                let chosen =
                    choose_subprotocol(self.connection(), ctx, &mut upgrade, &mut handshake);
                // The page's origin was checked when the handshake was accepted. This call only reports an invalid text
                // among the origins that `upgrade` allows.
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
                self.exchange.send_handshake(handshake, added);
            }
            None => self.exchange.set_switched(),
        }
        // The context keeps the body of the response, because `send_bare` may send it as a message.
        let body = ctx.get_response().body_bytes().clone();
        ctx.shrink();
        if !body.is_empty() {
            ctx.get_mut_response().set_body_bytes(body);
        }
        Ok(())
    }

    /// Ends an accepted handshake whose 101 was not sent before the route ended. If `is_answered` is true, the response
    /// of the hook is the answer. Otherwise the server sends the 101.
    pub(crate) fn settle_handshake(&mut self, ctx: &mut Context, is_answered: bool) {
        if !self.exchange.answer().is_accepted()
            || is_answered && self.exchange.withdraw_handshake()
        {
            return;
        }
        // The 101 replaces the hook's response, but the failure of the response determines the code of the Close frame.
        let failure = ctx.take_failure();
        // The subprotocol was checked when the handshake was accepted, and `send_handshake` checks it again. If this
        // check fails, the hook's response is the answer.
        if self.send_handshake(ctx, Upgrade::new()).is_err() {
            self.exchange.withdraw_handshake();
        }
        if let Some(failure) = failure {
            ctx.get_mut_response().fail(*failure);
        }
    }
}

fn choose_subprotocol(
    connection: &Link,
    ctx: &Context,
    upgrade: &mut Upgrade,
    handshake: &mut Handshake,
) -> Result<(), RequestError> {
    let offered = ctx.get_request().get_headers();
    let wanted = ctx.get_response().get_headers();
    handshake.subprotocol = upgrade.choose(
        offered.get_all("sec-websocket-protocol"),
        wanted.get("sec-websocket-protocol"),
        &connection.env.config,
    )?;
    Ok(())
}
