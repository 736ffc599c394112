//! Attachments of sessions. An attachment is a value of a higher layer (the channels). A session stores the value
//! without knowing its type.

use std::{
    any::Any,
    sync::{Arc, OnceLock},
};

/// A value that a higher layer stores in a session or in the table of sessions. Lock order: the locks of the value come
/// before the locks of the table and of a session.
pub(crate) trait Attachment: Any + Send + Sync {
    /// Ends the value when its session ends. Called outside of all locks.
    fn end(&self);
}

/// A slot for one value of the higher layer. It allocates nothing before the value is first requested.
#[derive(Default)]
pub(crate) struct AttachmentSlot(OnceLock<Arc<dyn Attachment>>);

impl AttachmentSlot {
    /// Returns the value. The first call makes the value by `Default`. All callers must request the same type.
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
