//! Channels of sessions.

/// The channels of one session.
#[derive(Default)]
pub(crate) struct Channels;

impl Channels {
    /// Ends them: their session is over.
    pub(crate) fn end(&mut self) {}
}
