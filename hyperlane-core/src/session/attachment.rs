//! Attachments of sessions: values of a layer above, which sessions do not know.

use std::{
    any::Any,
    sync::{Arc, OnceLock},
};

/// A value that a layer above keeps with a session, or with the table. Its locks are taken before the locks of the
/// table and of a session.
pub(crate) trait Attachment: Any + Send + Sync {
    /// Ends the value with its session. Called outside of all locks.
    fn end(&self);
}

/// A place for one value of the layer above. It allocates nothing before the value is first requested.
#[derive(Default)]
pub(crate) struct AttachmentSlot(OnceLock<Arc<dyn Attachment>>);

impl AttachmentSlot {
    /// Returns the value; the first call makes it by default. All callers request one type: there is one layer above.
    pub(crate) fn of<A: Attachment + Default>(&self) -> Arc<A> {
        let known = self.0.get_or_init(|| Arc::new(A::default()));
        let known: Arc<dyn Any + Send + Sync> = known.clone();
        known.downcast().unwrap_or_default()
    }

    /// Ends the value, if there is one. Call this outside of all locks.
    pub(super) fn end(&self) {
        if let Some(value) = self.0.get() {
            value.end();
        }
    }
}
