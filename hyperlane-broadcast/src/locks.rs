//! Locks of rooms, and the rule that no code wakes a hub, calls a connection or drops a message under one of them.

use std::{
    ops::{Deref, DerefMut},
    sync::{Mutex, MutexGuard, PoisonError},
};

/// A lock that a thread holds. Debug builds count the locks of each thread, so that
/// [`assert_unlocked`] finds a breach of the rule.
pub(crate) struct Locked<'a, T> {
    guard: MutexGuard<'a, T>,
    #[cfg(debug_assertions)]
    _held: Held,
}

/// Takes a lock of a room, of the tables or of a membership.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> Locked<'_, T> {
    Locked {
        guard: mutex.lock().unwrap_or_else(PoisonError::into_inner),
        #[cfg(debug_assertions)]
        _held: Held::new(),
    }
}

impl<T> Deref for Locked<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.guard
    }
}

impl<T> DerefMut for Locked<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.guard
    }
}

#[cfg(debug_assertions)]
std::thread_local! {
    static HELD: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
}

#[cfg(debug_assertions)]
struct Held;

#[cfg(debug_assertions)]
impl Held {
    fn new() -> Self {
        HELD.set(HELD.get() + 1);
        Self
    }
}

#[cfg(debug_assertions)]
impl Drop for Held {
    fn drop(&mut self) {
        HELD.set(HELD.get() - 1);
    }
}

/// Checks that the thread holds none of these locks. Does nothing in release builds.
#[inline]
pub(crate) fn assert_unlocked() {
    #[cfg(debug_assertions)]
    assert!(
        std::thread::panicking() || HELD.get() == 0,
        "a lock of a room is held"
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(debug_assertions)]
    #[should_panic(expected = "a lock of a room is held")]
    fn a_lock_that_is_held_is_found() {
        let (first, second) = (Mutex::new(1), Mutex::new(2));
        {
            let (one, mut two) = (lock(&first), lock(&second));
            *two += *one;
        }
        assert_unlocked();
        let _held = lock(&first);
        assert_unlocked();
    }
}
