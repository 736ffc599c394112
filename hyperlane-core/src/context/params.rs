//! The parameters of a route, with their values.

use std::fmt;

/// The values of a route's parameters, in the order of its pattern.
#[derive(Clone, Default)]
#[expect(
    clippy::box_collection,
    reason = "every connection has one of these, most are empty, and a `Vec` takes three words"
)]
pub struct RouteParams {
    values: Option<Box<Vec<(String, String)>>>,
}

impl RouteParams {
    /// Returns the decoded value of a parameter.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.iter()
            .find(|(known, _)| *known == name)
            .map(|(_, value)| value)
    }

    /// Iterates over all names and values.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        let values = self.values.iter().flat_map(|values| values.iter());
        values.map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// Returns the number of parameters.
    pub fn len(&self) -> usize {
        self.values.as_ref().map_or(0, |values| values.len())
    }

    /// Returns whether the route has no parameters.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Decodes the parameters of a route from a path.
    pub(crate) fn decoded<'a>(params: impl Iterator<Item = (&'a str, &'a str)>) -> Self {
        let mut values = Self::default();
        for (name, value) in params {
            values.push(name, crate::http::decode_param(value));
        }
        values
    }

    pub(crate) fn clear(&mut self) {
        if let Some(values) = &mut self.values {
            values.clear();
        }
    }

    /// Sets the value of a parameter and returns its previous value. Adds the parameter if it is absent.
    pub fn insert(&mut self, name: impl Into<String>, value: impl Into<String>) -> Option<String> {
        let (name, value) = (name.into(), value.into());
        let values = self.values.get_or_insert_default();
        match values.iter_mut().find(|(known, _)| *known == name) {
            Some((_, known)) => Some(std::mem::replace(known, value)),
            None => {
                values.push((name, value));
                None
            }
        }
    }

    /// Adds a parameter.
    pub fn push(&mut self, name: impl Into<String>, value: impl Into<String>) {
        let values = self.values.get_or_insert_default();
        values.push((name.into(), value.into()));
    }
}

impl PartialEq for RouteParams {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl Eq for RouteParams {}

impl fmt::Debug for RouteParams {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_inserted_parameter_replaces_the_one_of_its_name() {
        let mut params = RouteParams::default();
        assert_eq!(params.insert("a", "1"), None);
        assert_eq!(params.insert("b", "2"), None);
        assert_eq!(params.insert("a", "3"), Some("1".to_owned()));
        assert_eq!(params.iter().collect::<Vec<_>>(), [("a", "3"), ("b", "2")]);
    }
}
