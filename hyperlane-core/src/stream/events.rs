//! Event streams as the answer to a request.

use super::{Middleware, Stream};
use crate::{Context, ServerSentEvents, error::ResponseError};

/// A guard while an event stream is opened. If the hook drops its wait, the opening is cancelled, so that the hook can
/// send another answer.
struct Opening<'a>(&'a mut Stream);

impl Drop for Opening<'_> {
    fn drop(&mut self) {
        self.0.exchange.cancel_opening();
    }
}

impl Context {
    /// Starts an event stream as the response and returns its handle.
    ///
    /// The stream ends when the hook ends. A hook whose events come from other tasks waits with
    /// [`ServerSentEvents::closed`], or returns after [`ServerSentEvents::keep_open`]. A shutdown wakes the hook
    /// from [`ServerSentEvents::closed`] and ends the stream at the hook's next await.
    ///
    /// Response middleware runs before the head is sent, so that the head has its fields. It does not run again at
    /// the end.
    ///
    /// # Errors
    /// [`ResponseError`] if the request was answered already, the client has left, or the response's status allows no
    /// content.
    pub async fn event_stream(
        &mut self,
        stream: &mut Stream,
    ) -> Result<ServerSentEvents, ResponseError> {
        // An error was logged; the client gets no cookie.
        let _ = self.save_session_before_head().await;
        stream.exchange.open_events(self.get_response())?;
        set_type(self);
        let opening = Opening(stream);
        let early_middleware = self.program.early_middleware.clone();
        if let Some(middleware) = early_middleware
            .as_ref()
            .and_then(|early| early.downcast_ref())
        {
            let middleware: &Middleware = middleware;
            self.discard_saved_response();
            middleware(opening.0, self).await;
        }
        // Middleware may have sent the head.
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
