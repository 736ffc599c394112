//! Temporary.
#![allow(missing_docs)]
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("x")]
pub struct RouteError;
pub struct RouteTable<T> {
    map: std::collections::HashMap<String, Vec<T>>,
}
impl<T> Default for RouteTable<T> {
    fn default() -> Self {
        Self {
            map: Default::default(),
        }
    }
}
pub struct Match<'t, T> {
    values: &'t [T],
}
impl<'t, T> Match<'t, T> {
    pub fn iter(&self) -> impl Iterator<Item = (&'t T, std::iter::Empty<(&'t str, &'t str)>)> {
        self.values.iter().map(|v| (v, std::iter::empty()))
    }
}
impl<T> RouteTable<T> {
    pub fn insert(&mut self, p: &str, v: T) -> Result<(), RouteError> {
        self.map.entry(p.into()).or_default().push(v);
        Ok(())
    }
    pub fn find<'t>(&'t self, p: &str) -> Option<Match<'t, T>> {
        self.map.get(p).map(|v| Match { values: v })
    }
    pub fn values(&self, p: &str) -> &[T] {
        self.map.get(p).map(|v| v.as_slice()).unwrap_or(&[])
    }
}
