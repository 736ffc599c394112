//! Event streams as the response to a request.

use super::{Middleware, Stream};
use crate::{Context, ServerSentEvents, error::ResponseError};

/// A guard for the opening of an event stream by a hook (a function of the program that handles the request). If the
/// opening fails, or if the hook stops waiting for it, the guard cancels the opening. The hook can then send another
/// response.
struct Opening<'a>(&'a mut Stream);

impl Drop for Opening<'_> {
    fn drop(&mut self) {
        self.0.exchange.cancel_opening();
    }
}

impl Context {
    /// Starts an event stream as the response and returns its handle.
    ///
    /// The stream ends when the hook returns, unless the hook has called [`ServerSentEvents::keep_open`]. If other
    /// tasks send the events, the hook must therefore call `keep_open` before it returns, or wait with
    /// [`ServerSentEvents::closed`]. A shutdown wakes a hook that waits in [`ServerSentEvents::closed`], and ends the
    /// stream at the hook's next await.
    ///
    /// Response middleware runs before the head is sent. The head thus contains the fields of the middleware. The
    /// middleware does not run again when the hook ends.
    ///
    /// # Errors
    /// [`ResponseError`] if the request was already answered, if the client has disconnected, or if the status of the
    /// response allows no content.
    pub async fn event_stream(
        &mut self,
        stream: &mut Stream,
    ) -> Result<ServerSentEvents, ResponseError> {
        // An error needs no handling here: `save_session` has logged it, and has removed the cookie of a new session
        // from the response.
        let _ = self.save_session_before_head().await;
        stream.exchange.open_events(self.get_response())?;
        set_type(self);
        let opening = Opening(stream);
        let early_middleware = self.program.early_middleware.get(usize::from(self.chain));
        let early_middleware = early_middleware.cloned().flatten();
        if let Some(middleware) = early_middleware
            .as_ref()
            .and_then(|early| early.downcast_ref())
        {
            let middleware: &Middleware = middleware;
            self.discard_saved_response();
            middleware(opening.0, self).await;
        }
        // The middleware may have sent the head already.
        if !opening.0.exchange.answer().is_typed_events() {
            opening.0.send_events_head(self)?;
        }
        Ok(ServerSentEvents::new(opening.0.connection().clone()))
    }
}

impl Stream {
    /// Sends the head of an event stream.
    pub(super) fn send_events_head(&mut self, ctx: &mut Context) -> Result<(), ResponseError> {
        set_type(ctx);
        self.exchange.begin_events(ctx.head())?;
        ctx.shrink();
        Ok(())
    }
}

fn set_type(ctx: &mut Context) {
    ctx.get_mut_response()
        .set_header("content-type", "text/event-stream");
}
