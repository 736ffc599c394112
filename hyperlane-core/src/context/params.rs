//! The parameters of a route, with their values.

/// The values of a route's parameters, in the order of its pattern.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RouteParams {
    values: Vec<(String, String)>,
}

impl RouteParams {
    /// Returns the decoded value of a parameter.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.values
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, value)| value.as_str())
    }

    /// Iterates over all names and values.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.values
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// Returns the number of parameters.
    pub fn len(&self) -> usize {
        self.values.len()
    }

    /// Returns whether the route has no parameters.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
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
        self.values.clear();
    }

    /// Adds a parameter.
    pub fn push(&mut self, name: impl Into<String>, value: impl Into<String>) {
        self.values.push((name.into(), value.into()));
    }
}
