//! Values that the hooks of a request store for each other: by name (attributes) or by type.

use std::{
    any::Any,
    sync::{Arc, LazyLock},
};

use super::{Attributes, Context, Stored};
use crate::error::{ATTRIBUTE, RequestError};

impl Context {
    /// Stores a value for the functions that run later for this request, one value per type. Returns the value that
    /// this one replaces.
    ///
    /// A handler takes the value as an argument of type [`Extension`](crate::Extension).
    ///
    /// ```
    /// use hyperlane_core::{Context, Extension, Next, Status};
    ///
    /// #[derive(Clone)]
    /// struct User(String);
    ///
    /// async fn auth(ctx: &mut Context, next: Next<'_>) -> Status {
    ///     ctx.insert(User("ann".to_owned()));
    ///     next.run(ctx).await
    /// }
    ///
    /// // #[get("/me")]
    /// // #[with(auth)]
    /// async fn me(Extension(User(name)): Extension<User>) -> String {
    ///     name
    /// }
    /// ```
    pub fn insert<T: Any + Send + Sync>(&mut self, value: T) -> Option<T> {
        let values = &mut self.stored_mut().by_type;
        let old = values.iter().position(|value| value.is::<T>());
        let old = old.map(|at| values.swap_remove(at));
        values.push(Box::new(value));
        old.and_then(|old| old.downcast().ok()).map(|old| *old)
    }

    /// Returns the value of type `T` that [`insert`](Self::insert) has stored for this request.
    pub fn get<T: Any + Send + Sync>(&self) -> Option<&T> {
        let mut values = self.stored()?.by_type.iter();
        values.find_map(|value| value.downcast_ref())
    }

    /// Returns the value of type `T` for changes.
    pub fn get_mut<T: Any + Send + Sync>(&mut self) -> Option<&mut T> {
        let stored = self.extras.as_mut()?.stored.as_mut()?;
        let mut values = stored.by_type.iter_mut();
        values.find_map(|value| value.downcast_mut())
    }

    /// Removes and returns the value of type `T`.
    pub fn remove<T: Any + Send + Sync>(&mut self) -> Option<T> {
        let values = &mut self.extras.as_mut()?.stored.as_mut()?.by_type;
        let at = values.iter().position(|value| value.is::<T>())?;
        values.swap_remove(at).downcast().ok().map(|value| *value)
    }

    /// Returns all attributes: the values that hooks store for later hooks.
    pub fn get_attributes(&self) -> &Attributes {
        static NONE: LazyLock<Attributes> = LazyLock::new(Attributes::new);
        self.stored().map_or(&NONE, |stored| &stored.attributes)
    }

    /// Returns all attributes for changes.
    pub fn get_mut_attributes(&mut self) -> &mut Attributes {
        &mut self.stored_mut().attributes
    }

    /// Replaces all attributes.
    pub fn set_attributes(&mut self, attributes: Attributes) -> &mut Self {
        *self.get_mut_attributes() = attributes;
        self
    }

    /// Stores an attribute, a value for later hooks of this request.
    pub fn set_attribute<V>(&mut self, key: impl AsRef<str>, value: V) -> &mut Self
    where
        V: Any + Send + Sync + Clone,
    {
        self.stored_mut()
            .attributes
            .insert(key.as_ref().to_owned(), Arc::new(value));
        self
    }

    /// Returns the attribute of this name. Returns `None` also if the value has another type.
    pub fn try_get_attribute<V>(&self, key: impl AsRef<str>) -> Option<V>
    where
        V: Any + Send + Sync + Clone,
    {
        self.stored()?
            .attributes
            .get(key.as_ref())?
            .downcast_ref::<V>()
            .cloned()
    }

    /// Returns the attribute of this name.
    ///
    /// # Errors
    /// [`RequestError::Missing`] if no hook stored a value of this name and type.
    pub fn get_attribute<V>(&self, key: impl AsRef<str>) -> Result<V, RequestError>
    where
        V: Any + Send + Sync + Clone,
    {
        let key = key.as_ref();
        self.try_get_attribute(key)
            .ok_or_else(|| RequestError::missing(ATTRIBUTE, key))
    }

    /// Removes the attribute of this name.
    pub fn remove_attribute(&mut self, key: impl AsRef<str>) -> &mut Self {
        self.get_mut_attributes().remove(key.as_ref());
        self
    }

    /// Removes all attributes.
    pub fn clear_attribute(&mut self) -> &mut Self {
        self.get_mut_attributes().clear();
        self
    }

    fn stored(&self) -> Option<&Stored> {
        self.extras.as_ref()?.stored.as_deref()
    }

    fn stored_mut(&mut self) -> &mut Stored {
        let extras = self.extras.get_or_insert_default();
        extras.stored.get_or_insert_default()
    }
}
