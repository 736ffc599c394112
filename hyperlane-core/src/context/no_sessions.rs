//! The module that replaces `session` if the feature `sessions` is off: no request has a session.

use crate::{Context, RequestError};

/// The state of the client's session during a request. Without the feature, there is no state.
#[derive(Clone, Default)]
pub(super) struct RequestSession;

impl Context {
    pub(super) fn may_carry_a_cookie_across_sites(&self) -> bool {
        false
    }

    pub(super) fn carries_session_cookie(&self) -> bool {
        false
    }

    pub(super) fn attach_session(&mut self) {}

    pub(super) fn shrink_session(&mut self) {}

    pub(crate) fn may_have_session_to_load(&self) -> bool {
        false
    }

    pub(crate) async fn load_session(&mut self) -> Result<(), RequestError> {
        Ok(())
    }

    pub(crate) fn has_session_to_save(&self) -> bool {
        false
    }

    pub(crate) async fn save_session(&mut self) -> Result<(), RequestError> {
        Ok(())
    }
}
