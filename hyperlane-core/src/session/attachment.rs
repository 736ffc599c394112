//! What a layer above keeps with sessions, which do not know it.

use std::{
    any::Any,
    sync::{Arc, OnceLock},
};

/// A value that a layer above keeps with a session, or with all of them. Its locks are taken before the table's and a
/// session's.
pub(crate) trait Attachment: Any + Send + Sync {
    /// Ends with its session. Called where nothing is locked.
    fn end(&self);
}

/// A place for one value of the layer above. It allocates nothing until the value is first asked for.
#[derive(Default)]
pub(crate) struct AttachmentSlot(OnceLock<Arc<dyn Attachment>>);

impl AttachmentSlot {
    /// Gives the value, made by its default at first. All callers ask for one type: there is one layer above.
    pub(crate) fn of<A: Attachment + Default>(&self) -> Arc<A> {
        let known = self.0.get_or_init(|| Arc::new(A::default()));
        let known: Arc<dyn Any + Send + Sync> = known.clone();
        known.downcast().unwrap_or_default()
    }

    /// Ends the value, if there is one. Not to be called with anything locked.
    pub(super) fn end(&self) {
        if let Some(value) = self.0.get() {
            value.end();
        }
    }
}
