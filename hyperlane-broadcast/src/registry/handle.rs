//! Handles to rooms.

use std::{
    fmt,
    sync::{Arc, LazyLock},
};

use super::RoomRegistry;
use crate::{config::RoomLimits, delivery::core::RoomCore};

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
