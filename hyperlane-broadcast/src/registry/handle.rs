//! Handles to rooms.

use std::{
    fmt,
    sync::{Arc, LazyLock},
};

use super::RoomRegistry;
use crate::{
    broker::{Published, Publishing},
    config::RoomLimits,
    delivery::core::RoomCore,
    error::PublishError,
    post::Unpublished,
};

/// A reference to a room, which the registry counts. The room stays as long as it exists.
#[derive(Clone)]
pub(crate) struct RoomHandle {
    pub(crate) registry: Arc<RoomRegistry>,
    pub(crate) core: Arc<RoomCore>,
}

impl RoomHandle {
    pub(crate) fn new(registry: &Arc<RoomRegistry>, core: Arc<RoomCore>) -> Self {
        Self {
            registry: registry.clone(),
            core,
        }
    }

    pub(crate) fn name(&self) -> &str {
        &self.core.name
    }

    /// Publishes a message. Waits while the room's queue is full.
    pub(crate) fn publish(
        &self,
        message: Unpublished,
    ) -> impl Future<Output = Result<Published, PublishError>> + Send {
        self.registry.publish_or_wait(&self.core, message, None)
    }

    /// Publishes a message. Does not wait.
    pub(crate) fn try_publish(&self, message: Unpublished) -> Result<Published, PublishError> {
        match self.registry.publish(&self.core, message) {
            Publishing::Done(result) => result.map_err(|refused| refused.error),
            Publishing::Later(publishing) => {
                self.registry
                    .spawn(async { publishing.await.map_err(|refused| refused.error) });
                Err(PublishError::Broker("the result comes later"))
            }
        }
    }
}

impl Drop for RoomHandle {
    fn drop(&mut self) {
        /// Takes the place of the room, so that the handle's own reference can be given back.
        static NONE: LazyLock<Arc<RoomCore>> = LazyLock::new(|| {
            let limits = Arc::new(RoomLimits::default());
            RoomCore::new(
                "".into(),
                0,
                limits,
                &[],
                &Arc::default(),
                &Arc::default(),
                Default::default(),
            )
        });
        let core = std::mem::replace(&mut self.core, NONE.clone());
        self.registry.release(core);
    }
}

impl fmt::Debug for RoomHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("RoomHandle").field(&self.name()).finish()
    }
}
