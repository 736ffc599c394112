//! Further requests of a connection, which a hook (a function of the program) reads itself.

use std::{mem, sync::Arc};

use super::Stream;
use crate::{
    context::{Context, Program},
    error::RequestError,
    exchange::{
        answer::Refused,
        body::{BodyMode, BodyPlan},
    },
    http::Request,
};

impl Stream {
    /// Reads the next request of this connection, body included.
    ///
    /// The context of the hook stays that of its own request, with the values that middleware has stored in it.
    /// [`Context::next_request`] is the better choice in a hook: it puts the next request into the context and removes
    /// the values.
    ///
    /// Answer the current request before this call, because afterwards it can no longer be answered. If the current
    /// request remains without an answer, the client takes the answer to the next request for the missing one. In this
    /// case, the server therefore closes the connection after the answer to the next request.
    ///
    /// The request passes no route and no middleware. The rules of the route whose hook calls this function apply to
    /// it: the check for [requests of other sites](crate::Csrf), the maximum length of the body, and
    /// [`RateLimit`](crate::RateLimit) and [`Timeout`](crate::Timeout) of the route and its scopes.
    ///
    /// # Errors
    /// Returns [`RequestError::ConnectionClosed`] if there is no further request, or if the client or the last response
    /// has announced that the connection closes (RFC 9112 §9.6). Otherwise returns the reason why the server refuses the
    /// request. After a refusal no further request can be read. If the hook then sends no answer, the server answers the
    /// refused request like any other, and the error hooks run.
    ///
    /// # Cancel safety
    /// If the future is dropped before the head has arrived, nothing is lost. If the future is dropped later, the
    /// request is lost and remains without an answer.
    pub async fn try_get_http_request(&mut self) -> Result<Request, RequestError> {
        let mut request = Request::default();
        self.try_fill_http_request(&mut request).await?;
        Ok(request)
    }

    /// Reads the next request into `request`, like [`try_get_http_request`](Self::try_get_http_request).
    ///
    /// # Errors
    /// Returns the errors of [`try_get_http_request`](Self::try_get_http_request).
    pub async fn try_fill_http_request(
        &mut self,
        request: &mut Request,
    ) -> Result<(), RequestError> {
        let head = self.exchange.next_head(request).await;
        let read = match head {
            Ok(head) => match self.check_further(request) {
                Ok(plan) => match self.exchange.start_body(request, head, plan) {
                    Ok(false) => Box::pin(self.exchange.read_rest(request)).await,
                    started => started.map(|_| ()),
                },
                Err(refused) => {
                    let unread = BodyPlan {
                        mode: BodyMode::Stream,
                        max: None,
                    };
                    let started = self.exchange.start_body(request, head, unread);
                    started.and(Err(refused))
                }
            },
            Err(error) => Err(*error),
        };
        match &read {
            Ok(()) => self.connection().driver.count_further_request(),
            Err(error) => Refused::record(&mut self.exchange, request, error),
        }
        read
    }

    /// Checks a request whose head was read by the rules of the route. Returns how the server reads its body.
    fn check_further(&self, request: &mut Request) -> Result<BodyPlan, RequestError> {
        self.exchange.check_host(request)?;
        let link = self.connection();
        let Some(program) = link.env.program.get() else {
            // The stream is not a server's.
            return Ok(BodyPlan::default());
        };
        let program = program.upgrade();
        let program: Option<Arc<Program>> = program.and_then(|program| program.downcast().ok());
        let program = program.ok_or(RequestError::ShuttingDown)?;
        let rules = program.rules(link.driver.rules());
        let rules = rules.ok_or(RequestError::ShuttingDown)?;
        let mut ctx = Context::new(program.clone(), link.clone());
        mem::swap(ctx.get_mut_request(), request);
        let checked = rules.check(&mut ctx);
        mem::swap(ctx.get_mut_request(), request);
        checked.map(|()| BodyPlan {
            mode: BodyMode::Whole,
            max: rules.max_body,
        })
    }
}

impl Context {
    /// Reads the next request of the connection into this context, body included.
    ///
    /// The context is then that of the new request. The response, the values that hooks have stored, the parameters of
    /// the route and the session are no longer those of the previous request; there are no parameters. The scope stays.
    /// [`Stream::try_get_http_request`] has the rules for the request.
    ///
    /// ```
    /// use hyperlane_core::{Context, Status, Stream};
    ///
    /// async fn each(stream: &mut Stream, ctx: &mut Context) -> Status {
    ///     loop {
    ///         let path = ctx.get_request().get_path().to_owned();
    ///         let answer = ctx.get_mut_response().set_body(path).build();
    ///         stream.send(answer).await;
    ///         if ctx.next_request(stream).await.is_err() {
    ///             return Status::Continue;
    ///         }
    ///     }
    /// }
    /// ```
    ///
    /// # Errors
    /// Returns the errors of [`Stream::try_get_http_request`], and [`RequestError::SessionStore`] if the store of the
    /// sessions fails. After `SessionStore` the context has the new request, without its session. After any other error
    /// it stays that of the previous request.
    ///
    /// # Cancel safety
    /// As [`Stream::try_get_http_request`].
    pub async fn next_request(&mut self, stream: &mut Stream) -> Result<(), RequestError> {
        if self.has_session_to_save() {
            let saved = Box::pin(self.save_session()).await;
            saved.inspect_err(|error| {
                Refused::record(&mut stream.exchange, self.get_request(), error)
            })?;
        }
        let mut request = Request::default();
        stream.try_fill_http_request(&mut request).await?;
        self.begin_further(request);
        if self.may_have_session_to_load() {
            let loaded = Box::pin(self.load_session()).await;
            loaded.inspect_err(|error| {
                Refused::record(&mut stream.exchange, self.get_request(), error)
            })?;
        }
        Ok(())
    }
}
