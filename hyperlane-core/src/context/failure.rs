//! Failures of a request: the response that they set, and the way back to an earlier response.

use bytes::Bytes;

use super::{Caught, Context};
use crate::{
    IntoResponse, Response,
    error::{FAILURE, PanicData, RequestError},
    http::describe,
};

impl Context {
    /// Saves the response that request middleware has prepared. If the route refuses the request or panics,
    /// [`roll_back`](Self::roll_back) restores the saved header fields.
    #[inline]
    pub(crate) fn save_response(&mut self) {
        self.can_roll_back = true;
        match &self.response {
            Some(response) if !response.get_headers().is_empty() => self.save_fields(),
            _ => {
                if let Some(extras) = &mut self.extras {
                    extras.saved_response = None;
                }
            }
        }
    }

    fn save_fields(&mut self) {
        let saved = self.response.clone();
        self.extras.get_or_insert_default().saved_response = saved;
    }

    /// Returns a copy of the response, for [`return_to`](Self::return_to). Returns `None` for a response without header
    /// fields.
    pub(crate) fn response_so_far(&self) -> Option<Box<Response>> {
        let response = self.response.as_ref()?;
        (!response.get_headers().is_empty()).then(|| response.clone())
    }

    /// Puts the response back into an earlier state. Does nothing if the saved response was discarded: the head was
    /// sent, or response middleware has run, and its fields must stay.
    pub(crate) fn return_to(&mut self, earlier: Option<Box<Response>>) {
        if !self.can_roll_back {
            return;
        }
        match (earlier, &mut self.response) {
            (Some(earlier), response) => *response = Some(earlier),
            (None, Some(response)) => _ = response.reset(),
            (None, None) => {}
        }
    }

    /// Refuses the request, and keeps the header fields of the response. The saved response stays for a later failure.
    pub(crate) fn refuse_here(&mut self, error: RequestError) {
        let can_roll_back = std::mem::take(&mut self.can_roll_back);
        self.refuse(error);
        self.can_roll_back = can_roll_back;
    }

    /// Sets the response for a panic like [`fail_by_panic`](Self::fail_by_panic), and keeps the header fields.
    pub(crate) fn fail_here_by_panic(&mut self, data: PanicData) {
        let can_roll_back = std::mem::take(&mut self.can_roll_back);
        self.fail_by_panic(data);
        self.can_roll_back = can_roll_back;
    }

    /// Discards the saved response. A later [`roll_back`](Self::roll_back) then keeps the header fields of the current
    /// response. Called after a hook has returned, because it may have set header fields that must stay.
    pub(crate) fn discard_saved_response(&mut self) {
        self.can_roll_back = false;
        if let Some(extras) = &mut self.extras {
            extras.saved_response = None;
        }
    }

    /// Puts the header fields of the response back into their state before the route, if
    /// [`save_response`](Self::save_response) was called and the saved state was not discarded. Always clears the
    /// reason phrase and the body. The caller sets the status afterwards.
    pub(crate) fn roll_back(&mut self) {
        if std::mem::take(&mut self.can_roll_back) {
            let kept = self.extras.as_mut();
            match kept.and_then(|extras| extras.saved_response.take()) {
                Some(response) => self.response = Some(response),
                None => {
                    self.get_mut_response().reset();
                }
            }
        }
        let response = self.get_mut_response();
        response.set_reason_phrase("");
        response.set_body_bytes(Bytes::new());
    }

    /// Replaces a response with an interim status (1xx) by a 500. An interim response is not final (RFC 9110 §15.2):
    /// the client would take the response to its next request for the final response to this request.
    pub(crate) fn refuse_interim(&mut self) {
        let status = self.get_response().get_status_code();
        if matches!(status, 100..=199) {
            let response = self.get_mut_response();
            describe(response, 500);
            // The field `upgrade`, and the token `upgrade` in the field `connection`, belong to a 101.
            response.remove_header("upgrade");
            if !response.get_headers().has_token("connection", "close") {
                response.remove_header("connection");
            }
            response.fail_because(format!(
                "{status} is an interim status and no answer (RFC 9110 15.2)"
            ));
        }
    }

    /// Sets the response to a request that failed with `error`, and stores the error for the error hooks.
    pub(crate) fn refuse(&mut self, error: RequestError) {
        self.roll_back();
        error.clone().into_response(self.get_mut_response());
        self.set_request_error(error);
    }

    /// Sets the response to a request whose hook has panicked, and stores the panic for the panic hooks.
    pub(crate) fn fail_by_panic(&mut self, data: PanicData) {
        self.roll_back();
        describe(self.get_mut_response(), 500);
        self.set_task_panic(data);
    }

    pub(crate) fn set_caught(&mut self, caught: Caught) {
        self.extras.get_or_insert_default().caught = Some(caught);
    }

    pub(crate) fn take_caught(&mut self) -> Option<Caught> {
        self.extras.as_mut()?.caught.take()
    }

    /// Forgets the failure that [`Next::run`](crate::Next::run) has caught: the response is now the middleware's, and
    /// the error hooks do not run. Returns whether there was a failure.
    ///
    /// ```
    /// use hyperlane_core::{Context, Next, Status};
    ///
    /// async fn fallback(ctx: &mut Context, next: Next<'_>) -> Status {
    ///     let status = next.run(ctx).await;
    ///     if ctx.get_response().get_status_code() == 500 && ctx.recover() {
    ///         ctx.get_mut_response().set_status_code(503).set_body("please try again");
    ///     }
    ///     status
    /// }
    /// ```
    pub fn recover(&mut self) -> bool {
        if self.take_caught().is_none() {
            return false;
        }
        // The pipeline does not see the failure any more, so its cause is logged here.
        if let Some(cause) = self.take_failure().and_then(|failure| failure.cause) {
            tracing::error!(error = cause, "middleware has recovered from a failed hook");
        }
        if let Some(extras) = &mut self.extras {
            extras.error = None;
            extras.panic = None;
        }
        true
    }

    /// Returns whether no hook has set a response: the status is 200, and there is no body. Header fields do not count,
    /// because middleware sets fields for all responses.
    pub(crate) fn is_response_unset(&self) -> bool {
        let response = self.get_response();
        response.get_status_code() == 200
            && response.body().is_empty()
            && !response.is_body_streamed()
    }

    /// Returns whether the response may name resources that the client will need.
    pub(crate) fn has_link(&self) -> bool {
        let headers = self.get_response().get_headers();
        !headers.is_empty() && headers.contains("link")
    }

    /// Returns the description of a panic in a hook of this request, for `task_panic` hooks.
    pub fn try_get_task_panic_data(&self) -> Option<PanicData> {
        self.extras.as_ref()?.panic.as_deref().cloned()
    }

    /// Returns the description of a panic in a hook of this request, for `task_panic` hooks.
    ///
    /// # Errors
    /// [`RequestError::Missing`] if no hook has panicked.
    pub fn get_task_panic_data(&self) -> Result<PanicData, RequestError> {
        self.try_get_task_panic_data()
            .ok_or_else(|| RequestError::missing(FAILURE, "task panic"))
    }

    pub(crate) fn set_task_panic(&mut self, data: PanicData) {
        self.extras.get_or_insert_default().panic = Some(Box::new(data));
    }

    /// Returns the error for which the server or a hook refused the request, for `request_error` hooks.
    pub fn try_get_request_error_data(&self) -> Option<RequestError> {
        self.extras.as_ref()?.error.as_deref().cloned()
    }

    /// Returns the error for which the server or a hook refused the request, for `request_error` hooks.
    ///
    /// # Errors
    /// [`RequestError::Missing`] if the request was not refused for a [`RequestError`].
    pub fn get_request_error_data(&self) -> Result<RequestError, RequestError> {
        self.try_get_request_error_data()
            .ok_or_else(|| RequestError::missing(FAILURE, "request error"))
    }

    pub(crate) fn set_request_error(&mut self, error: RequestError) {
        self.extras.get_or_insert_default().error = Some(Box::new(error));
    }
}
