//! Query parameters in the encoding of HTML forms (`application/x-www-form-urlencoded`).

use std::{fmt, slice};

use percent_encoding::percent_decode_str;

/// The query parameters of a request.
pub type RequestQuerys = Querys;
/// One value of a query parameter.
pub type RequestQuerysValue = String;

/// Query parameters in the order of the query, including repetitions.
///
/// Names and values are decoded: `%41` is `A`, `+` is a space, and invalid UTF-8 becomes U+FFFD. Names are
/// case-sensitive.
///
/// ```
/// use hyperlane_core::Querys;
///
/// let querys = Querys::parse("q=to+be&tag=a&tag=b%2Fc&debug");
/// assert_eq!(querys.get("q").map(String::as_str), Some("to be"));
/// assert_eq!(querys.get_all("tag").collect::<Vec<_>>(), ["a", "b/c"]);
/// assert!(querys.contains("debug"));
/// ```
#[derive(Clone, Default)]
pub struct Querys {
    pairs: Vec<(String, String)>,
}

impl Querys {
    /// Creates an empty list of parameters, without an allocation.
    pub const fn new() -> Self {
        Self { pairs: Vec::new() }
    }

    /// Parses the part of a request target after the `?`. Skips empty parameters (`a&&b`).
    pub fn parse(query: &str) -> Self {
        let mut querys = Self::new();
        for part in query.split('&').filter(|part| !part.is_empty()) {
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            querys.pairs.push((decode(name), decode(value)));
        }
        querys
    }

    /// Adds a parameter. Pass its name and value without percent-encoding.
    pub fn add(&mut self, name: impl AsRef<str>, value: impl AsRef<str>) -> &mut Self {
        let (name, value) = (name.as_ref().to_owned(), value.as_ref().to_owned());
        self.pairs.push((name, value));
        self
    }

    /// Returns the first value of a parameter. The type is the one of published Hyperlane versions;
    /// [`Request::query`](crate::Request::query) returns a `&str`.
    pub fn get(&self, name: impl AsRef<str>) -> Option<&String> {
        let name = name.as_ref();
        let mut pairs = self.pairs.iter();
        pairs.find(|(held, _)| held == name).map(|(_, value)| value)
    }

    /// Returns the last value of a parameter.
    pub fn get_last(&self, name: &str) -> Option<&str> {
        self.iter()
            .rfind(|(held, _)| *held == name)
            .map(|(_, value)| value)
    }

    /// Returns an iterator over the values of a parameter, in the order of the query.
    pub fn get_all(&self, name: &str) -> impl Iterator<Item = &str> {
        self.iter()
            .filter(move |(held, _)| *held == name)
            .map(|(_, value)| value)
    }

    /// Returns whether a parameter is present.
    pub fn contains(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    /// Returns the number of parameters. Each repetition of a name counts.
    pub fn len(&self) -> usize {
        self.pairs.len()
    }

    /// Returns whether there are no parameters.
    pub fn is_empty(&self) -> bool {
        self.pairs.is_empty()
    }

    /// Returns an iterator over all parameters as (name, value), in order.
    pub fn iter(&self) -> QuerysIter<'_> {
        QuerysIter(self.pairs.iter())
    }
}

impl<'a> IntoIterator for &'a Querys {
    type Item = (&'a str, &'a str);
    type IntoIter = QuerysIter<'a>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl PartialEq for Querys {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl Eq for Querys {}

impl fmt::Debug for Querys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self).finish()
    }
}

/// An iterator over the parameters of a [`Querys`], created by [`Querys::iter`].
#[derive(Debug, Clone)]
pub struct QuerysIter<'a>(slice::Iter<'a, (String, String)>);

impl<'a> Iterator for QuerysIter<'a> {
    type Item = (&'a str, &'a str);

    fn next(&mut self) -> Option<Self::Item> {
        let (name, value) = self.0.next()?;
        Some((name, value))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.0.size_hint()
    }
}

impl DoubleEndedIterator for QuerysIter<'_> {
    fn next_back(&mut self) -> Option<Self::Item> {
        let (name, value) = self.0.next_back()?;
        Some((name, value))
    }
}

impl ExactSizeIterator for QuerysIter<'_> {}

/// Decodes a name or a value. Each `+` becomes a space. The pieces between the `+` signs can be decoded separately, because
/// a `+` is never inside a percent sequence such as `%2B`.
fn decode(encoded: &str) -> String {
    let mut text = String::with_capacity(encoded.len());
    for (at, piece) in encoded.split('+').enumerate() {
        if at > 0 {
            text.push(' ');
        }
        text.push_str(&percent_decode_str(piece).decode_utf8_lossy());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_values_are_decoded() {
        for (query, expected) in [
            ("a=1&b=2", &[("a", "1"), ("b", "2")] as &[_]),
            ("a+b=c+%2B+d", &[("a b", "c + d")]),
            ("%C3%A4=%26%3D", &[("ä", "&=")]),
            ("x=%zz&y=%", &[("x", "%zz"), ("y", "%")]),
            ("x=%ff", &[("x", "\u{FFFD}")]),
            ("&&a&=v&b==", &[("a", ""), ("", "v"), ("b", "=")]),
            ("", &[]),
        ] {
            assert_eq!(
                Querys::parse(query).iter().collect::<Vec<_>>(),
                expected,
                "{query}"
            );
        }
    }

    #[test]
    fn repeated_names_keep_their_order() {
        let mut querys = Querys::parse("a=1&b=2&a=3");
        assert_eq!(
            (querys.get("a"), querys.get_last("a"), querys.len()),
            (Some(&"1".to_owned()), Some("3"), 3)
        );
        querys.add("a", "4+");
        assert_eq!(querys.get_all("a").collect::<Vec<_>>(), ["1", "3", "4+"]);
        assert!(querys.contains("b") && !querys.contains("B"));
        assert_eq!(querys.iter().next_back(), Some(("a", "4+")));
    }

    #[test]
    fn equality_is_about_parameters() {
        let mut built = Querys::new();
        assert!(built.is_empty());
        built.add("a b", "c");
        assert_eq!(built, Querys::parse("a%20b=c"));
        assert_ne!(built, Querys::parse("a=bc"));
        assert_eq!(format!("{built:?}"), r#"{"a b": "c"}"#);
    }
}
