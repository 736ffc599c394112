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

    pub(crate) fn clear(&mut self) {
        self.values.clear();
    }

    /// Sets the value of a parameter and returns its previous value. Adds the parameter if it is absent.
    pub fn insert(&mut self, name: impl Into<String>, value: impl Into<String>) -> Option<String> {
        let (name, value) = (name.into(), value.into());
        let mut values = self.values.iter_mut();
        match values.find(|(known, _)| *known == name) {
            Some((_, known)) => Some(std::mem::replace(known, value)),
            None => {
                self.values.push((name, value));
                None
            }
        }
    }

    /// Adds a parameter.
    pub fn push(&mut self, name: impl Into<String>, value: impl Into<String>) {
        self.values.push((name.into(), value.into()));
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
