//! Values that a server shares with its hooks (the program's functions that handle requests).

use std::{
    any::{Any, TypeId},
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, OnceLock, PoisonError},
};

/// The values that a server shares with its hooks, one per type. [`Server::state`](crate::Server::state) sets them.
/// Clones are cheap and share the values.
///
/// ```
/// use hyperlane_core::{Server, WebSocket, ws_with};
///
/// struct Motd(String);
///
/// let mut server = Server::new();
/// server.state(Motd("welcome".to_owned()));
/// server.at("/ws").get(ws_with(async |ws: WebSocket, state| {
///     if let Some(motd) = state.get::<Motd>() {
///         let _ = ws.send(motd.0.clone()).await;
///     }
/// }));
/// ```
#[derive(Clone, Default)]
pub struct States {
    shared: Arc<SharedStates>,
}

#[derive(Clone, Default)]
struct SharedStates {
    values: HashMap<TypeId, Arc<dyn Any + Send + Sync>>,
    /// Default values, created when a hook first requests them. Each value has its own cell. Only the cell is locked
    /// while the value is created: the creation may take long and may request other values.
    defaults: Arc<Mutex<HashMap<TypeId, DefaultState>>>,
}

type DefaultState = Arc<OnceLock<Arc<dyn Any + Send + Sync>>>;

impl States {
    pub(crate) fn insert<T: Any + Send + Sync>(&mut self, value: T) {
        let shared = Arc::make_mut(&mut self.shared);
        shared.values.insert(TypeId::of::<T>(), Arc::new(value));
    }

    /// Returns the value of type `T`. If the program has not set one, creates the value by [`Default`], once per
    /// server.
    pub fn get_or_default<T: Any + Send + Sync + Default>(&self) -> Arc<T> {
        if let Some(value) = self.get() {
            return value;
        }
        let place = {
            let defaults = &self.shared.defaults;
            let mut defaults = defaults.lock().unwrap_or_else(PoisonError::into_inner);
            defaults.entry(TypeId::of::<T>()).or_default().clone()
        };
        let value = place.get_or_init(|| Arc::new(T::default())).clone();
        // The key is the id of the type, so the downcast cannot fail.
        value.downcast().unwrap_or_default()
    }

    /// Returns whether the program has set a value of type `T`.
    pub(crate) fn has<T: Any + Send + Sync>(&self) -> bool {
        self.shared.values.contains_key(&TypeId::of::<T>())
    }

    /// Returns the value of type `T` that the program has set. Returns `None` if the program has not set one, even if
    /// [`get_or_default`](Self::get_or_default) has created one.
    pub fn get<T: Any + Send + Sync>(&self) -> Option<Arc<T>> {
        self.shared
            .values
            .get(&TypeId::of::<T>())
            .and_then(|value| value.clone().downcast().ok())
    }
}

impl fmt::Debug for States {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("States")
            .field("types", &self.shared.values.len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use super::*;

    /// The values of the test's server. `Outer::default` requests an `Inner` from them.
    static STATES: LazyLock<States> = LazyLock::new(States::default);

    #[derive(Default)]
    struct Inner(u8);

    struct Outer(Arc<Inner>);

    impl Default for Outer {
        fn default() -> Self {
            Self(STATES.get_or_default())
        }
    }

    #[test]
    fn a_default_may_ask_for_other_values() {
        let outer = STATES.get_or_default::<Outer>();
        assert_eq!(outer.0.0, 0);
        assert!(Arc::ptr_eq(&outer.0, &STATES.get_or_default()));
        assert!(Arc::ptr_eq(&outer, &STATES.get_or_default()));
    }
}
