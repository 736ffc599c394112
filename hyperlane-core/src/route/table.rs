//! The route table. It finds the most specific pattern that matches a path, and returns the values of this pattern.
//!
//! A hash map contains the patterns without parameters. A trie of whole segments contains all other patterns. If a
//! branch of the trie does not lead to a match, the search goes back and tries the next branch. No path can make a
//! search slow: every edge of the trie consumes exactly one segment, so a search visits each node at most once. The
//! table does not use the crate `matchit`, a radix tree over bytes. `matchit` supports no regex for a parameter, and
//! does not support both `{id}` and `{*rest}` after the same prefix.

use std::{
    cmp::Ordering,
    collections::HashMap,
    fmt,
    hash::{BuildHasherDefault, Hasher},
};

use super::pattern::{Constraint, Pattern, RouteError, Segment};

/// Maximum number of parameters that a match stores without an allocation.
const INLINE_PARAMS: usize = 8;

/// A value and the pattern under which the program inserted the value.
#[derive(Clone, Debug)]
pub struct Route<T> {
    pattern: Pattern,
    value: T,
}

impl<T> Route<T> {
    /// Returns the pattern under which the program inserted this value. A [`Match`] may have several values with
    /// different patterns: `/u/{id}` and `/u/{name}` match the same paths.
    pub const fn pattern(&self) -> &Pattern {
        &self.pattern
    }

    /// Returns the value.
    pub const fn value(&self) -> &T {
        &self.value
    }
}

/// A table that finds the values registered for a path.
///
/// A search matches the segments of the path from left to right. For each segment of the path, the search tries the
/// patterns with a matching part at this position. It tries the parts in this order:
/// 1. the text of the segment,
/// 2. a parameter with a regex, in insertion order,
/// 3. a plain parameter,
/// 4. a last parameter with a regex that matches the whole rest of the path,
/// 5. `{*rest}`.
///
/// If the rest of the path does not match, the search goes back and tries the next pattern in this order. A specific
/// pattern that matches only the beginning of the path therefore does not hide another pattern that matches the whole
/// path. Patterns that differ only in the names of their parameters share one *place*, a list of values in insertion
/// order.
///
/// The table does not decode or normalize paths: `/a`, `/a/` and `//a` are three paths.
///
/// ```
/// use hyperlane_core::route::RouteTable;
///
/// let mut table = RouteTable::new();
/// table.insert("/users/me", 1)?;
/// table.insert(r"/users/{id:\d+}", 2)?;
/// table.insert("/users/{name}", 3)?;
///
/// let found = table.find("/users/42").unwrap();
/// let (route, params) = found.iter().next().unwrap();
/// assert_eq!(*route.value(), 2);
/// assert_eq!(params.get("id"), Some("42"));
/// # Ok::<(), hyperlane_core::RouteError>(())
/// ```
#[derive(Clone, Debug)]
pub struct RouteTable<T> {
    fixed: HashMap<Box<str>, Place, BuildHasherDefault<PathHasher>>,
    root: Node,
    places: Vec<Vec<Route<T>>>,
}

/// The index of a pattern's values in [`RouteTable::places`].
#[derive(Clone, Copy, Debug)]
struct Place(usize);

/// The branch for a literal segment.
#[derive(Clone, Debug)]
struct Literal {
    key: u64,
    text: Box<str>,
    node: Node,
}

impl Literal {
    /// Compares the keys (the hashes of the texts) first, and the texts only if the keys are equal. A comparison of
    /// numbers is faster.
    fn compare(&self, key: u64, text: &str) -> Ordering {
        self.key
            .cmp(&key)
            .then_with(|| self.text.as_ref().cmp(text))
    }
}

/// A node of the trie. Each branch is for one more segment of the path.
#[derive(Clone, Debug, Default)]
struct Node {
    /// The branches for literal segments, sorted by [`key`] and then by text.
    literals: Vec<Literal>,
    /// The branches for constrained parameters, in insertion order.
    constrained: Vec<(Constraint, Self)>,
    param: Option<Box<Self>>,
    /// The places of patterns whose last segment is a constrained parameter. The regex may also match the whole rest of
    /// the path.
    tails: Vec<(Constraint, Place)>,
    catch_all: Option<Place>,
    /// The place of the patterns that end at this node.
    place: Option<Place>,
}

impl<T> RouteTable<T> {
    /// Creates an empty table.
    pub fn new() -> Self {
        Self {
            fixed: HashMap::default(),
            root: Node::default(),
            places: Vec::new(),
        }
    }

    /// Adds a value under a pattern, after the earlier values of the pattern's place.
    ///
    /// # Errors
    ///
    /// Returns a [`RouteError`] if the pattern is invalid. The table is then unchanged.
    pub fn insert(&mut self, pattern: &str, value: T) -> Result<(), RouteError> {
        let pattern = Pattern::parse(pattern)?;
        let fresh = Place(self.places.len());
        let place = if pattern.is_static() {
            *self
                .fixed
                .entry(pattern.to_string().into())
                .or_insert(fresh)
        } else {
            self.root.insert(pattern.segments(), fresh)
        };
        let route = Route { pattern, value };
        match self.places.get_mut(place.0) {
            Some(routes) => routes.push(route),
            None => self.places.push(vec![route]),
        }
        Ok(())
    }

    /// Finds the values of the most specific pattern that matches a path. Returns `None` if no pattern matches.
    ///
    /// Allocates only for patterns with more than 8 parameters.
    #[inline]
    pub fn find<'t, 'p>(&'t self, path: &'p str) -> Option<Match<'t, 'p, T>> {
        if let Some(place) = self.fixed.get(path) {
            return self.found(*place, None);
        }
        self.find_with_params(path)
    }

    #[inline(never)]
    fn find_with_params<'t, 'p>(&'t self, path: &'p str) -> Option<Match<'t, 'p, T>> {
        let rest = path.strip_prefix('/')?;
        let mut captures = Captures::default();
        let place = self.root.find(rest, &mut captures)?;
        self.found(place, Some(captures))
    }

    /// Returns an iterator over the places of the table. Each item has the values of one place in insertion order.
    pub fn places(&self) -> impl Iterator<Item = &[Route<T>]> {
        self.places.iter().map(Vec::as_slice)
    }

    /// Returns an iterator over all routes, place by place. The places are in the order in which the program inserted
    /// the first value of each place.
    pub fn iter(&self) -> impl Iterator<Item = &Route<T>> {
        self.places.iter().flatten()
    }

    /// Returns whether the table is empty.
    pub const fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    fn found<'t, 'p>(
        &'t self,
        place: Place,
        captures: Option<Captures<'p>>,
    ) -> Option<Match<'t, 'p, T>> {
        let routes = self.places.get(place.0)?;
        Some(Match { routes, captures })
    }
}

impl<T> Default for RouteTable<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl Node {
    /// Returns the place of a pattern. If the pattern has no place yet, `fresh` becomes its place.
    fn insert(&mut self, segments: &[Segment], fresh: Place) -> Place {
        let Some((segment, rest)) = segments.split_first() else {
            return *self.place.get_or_insert(fresh);
        };
        match segment {
            Segment::Literal(text) => {
                let key = key(text);
                let known = self.literals.binary_search_by(|own| own.compare(key, text));
                let at = known.unwrap_or_else(|at| {
                    let literal = Literal {
                        key,
                        text: text.clone(),
                        node: Self::default(),
                    };
                    self.literals.insert(at, literal);
                    at
                });
                match self.literals.get_mut(at) {
                    Some(literal) => literal.node.insert(rest, fresh),
                    None => fresh,
                }
            }
            Segment::Param(_) => self.param.get_or_insert_default().insert(rest, fresh),
            Segment::CatchAll(_) => *self.catch_all.get_or_insert(fresh),
            Segment::Constrained { constraint, .. } => {
                let known = self
                    .constrained
                    .iter()
                    .position(|(own, _)| own == constraint);
                let at = known.unwrap_or_else(|| {
                    self.constrained.push((constraint.clone(), Self::default()));
                    self.constrained.len() - 1
                });
                let place = match self.constrained.get_mut(at) {
                    Some((_, node)) => node.insert(rest, fresh),
                    None => fresh,
                };
                if rest.is_empty() && !self.tails.iter().any(|(own, _)| own == constraint) {
                    self.tails.push((constraint.clone(), place));
                }
                place
            }
        }
    }

    /// Finds the place of the most specific pattern for the rest of a path. `rest` begins after a slash of the path.
    fn find<'p>(&self, rest: &'p str, captures: &mut Captures<'p>) -> Option<Place> {
        let (segment, after) =
            match memchr::memchr(b'/', rest.as_bytes()).and_then(|at| rest.split_at_checked(at)) {
                Some((segment, after)) => (segment, after.get(1..)),
                None => (rest, None),
            };
        if let Some(node) = self.literal(segment)
            && let Some(place) = node.continue_after(after, captures)
        {
            return Some(place);
        }
        for (constraint, node) in &self.constrained {
            if constraint.matches(segment)
                && let Some(place) =
                    captures.with(segment, |captures| node.continue_after(after, captures))
            {
                return Some(place);
            }
        }
        if let Some(node) = &self.param
            && !segment.is_empty()
            && let Some(place) =
                captures.with(segment, |captures| node.continue_after(after, captures))
        {
            return Some(place);
        }
        // If the rest is a single segment, the loop over `constrained` has already tried the same regexes.
        let tail = self
            .tails
            .iter()
            .filter(|_| after.is_some())
            .find(|(constraint, _)| constraint.matches(rest));
        let place = match tail {
            Some((_, place)) => Some(*place),
            None => self.catch_all.filter(|_| !rest.is_empty()),
        };
        captures.with(rest, |_| place)
    }

    fn literal(&self, segment: &str) -> Option<&Self> {
        if self.literals.is_empty() {
            return None;
        }
        let key = key(segment);
        let at = self
            .literals
            .binary_search_by(|own| own.compare(key, segment))
            .ok()?;
        self.literals.get(at).map(|literal| &literal.node)
    }

    /// Continues the search with the text after a segment. If `after` is `None`, returns the place of the patterns that
    /// end at this node.
    fn continue_after<'p>(
        &self,
        after: Option<&'p str>,
        captures: &mut Captures<'p>,
    ) -> Option<Place> {
        match after {
            Some(rest) => self.find(rest, captures),
            None => self.place,
        }
    }
}

/// Hashes text into a number.
fn key(text: &str) -> u64 {
    let mut hasher = PathHasher::default();
    hasher.write(text.as_bytes());
    hasher.finish()
}

/// Hashes bytes, eight at a time.
///
/// The hash needs no random seed. Only the program's patterns are stored in the table, so clients cannot fill it with
/// colliding hashes.
#[derive(Clone, Copy, Debug, Default)]
struct PathHasher(u64);

impl PathHasher {
    fn mix(&mut self, word: u64) {
        const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;
        self.0 = (self.0.rotate_left(5) ^ word).wrapping_mul(SPREAD);
    }
}

impl Hasher for PathHasher {
    #[inline]
    fn write(&mut self, bytes: &[u8]) {
        let (words, tail) = bytes.as_chunks::<8>();
        for word in words {
            self.mix(u64::from_le_bytes(*word));
        }
        let tail = tail.iter().fold(bytes.len() as u64, |word, byte| {
            (word << 8) | u64::from(*byte)
        });
        self.mix(tail);
    }

    /// Called for the end of a text. The length of the text is in the hash already.
    fn write_u8(&mut self, _: u8) {}

    fn finish(&self) -> u64 {
        // The map uses the highest and the lowest bits of the hash. The multiplication leaves the lowest bits weak, so
        // the high bits are mixed into them.
        self.0 ^ (self.0 >> 32)
    }
}

/// The captured parameter values, from left to right.
#[derive(Clone, Debug)]
struct Captures<'p> {
    inline: [&'p str; INLINE_PARAMS],
    /// The number of values in `inline` and `spill` together.
    count: usize,
    spill: Vec<&'p str>,
}

impl Default for Captures<'_> {
    fn default() -> Self {
        Self {
            inline: [""; INLINE_PARAMS],
            count: 0,
            spill: Vec::new(),
        }
    }
}

impl<'p> Captures<'p> {
    /// Adds a value and calls `attempt`. Removes the value again if `attempt` finds no place.
    fn with(
        &mut self,
        value: &'p str,
        attempt: impl FnOnce(&mut Self) -> Option<Place>,
    ) -> Option<Place> {
        match self.inline.get_mut(self.count) {
            Some(slot) => *slot = value,
            None => self.spill.push(value),
        }
        self.count += 1;
        let place = attempt(self);
        if place.is_none() {
            self.count -= 1;
            self.spill
                .truncate(self.count.saturating_sub(INLINE_PARAMS));
        }
        place
    }

    fn iter(&self) -> impl Iterator<Item = &'p str> {
        self.inline
            .iter()
            .chain(&self.spill)
            .take(self.count)
            .copied()
    }
}

/// The values that [`RouteTable::find`] has found for a path, with the parameters of the path.
#[derive(Clone, Debug)]
pub struct Match<'t, 'p, T> {
    routes: &'t [Route<T>],
    /// The captured values; `None` for a pattern without parameters.
    captures: Option<Captures<'p>>,
}

impl<'t, 'p, T> Match<'t, 'p, T> {
    /// Returns the routes in insertion order. There is always at least one route.
    pub const fn routes(&self) -> &'t [Route<T>] {
        self.routes
    }

    /// Returns an iterator over pairs of a route and its parameters.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&'t Route<T>, Params<'_, 'p>)> {
        self.routes.iter().map(|route| (route, self.params(route)))
    }

    /// Returns the parameters under the names that `route` uses.
    pub fn params<'m>(&'m self, route: &'m Route<T>) -> Params<'m, 'p> {
        Params {
            pattern: &route.pattern,
            captures: self.captures.as_ref(),
        }
    }
}

/// The parameters of one route. The names come from the route's pattern, and the values come from the path.
#[derive(Clone, Copy)]
pub struct Params<'m, 'p> {
    pattern: &'m Pattern,
    captures: Option<&'m Captures<'p>>,
}

impl<'m, 'p> Params<'m, 'p> {
    /// Returns an iterator over names and values, from left to right.
    pub fn iter(&self) -> impl Iterator<Item = (&'m str, &'p str)> + use<'m, 'p> {
        let captures = self.captures.into_iter().flat_map(Captures::iter);
        self.pattern.params().zip(captures)
    }

    /// Returns the value of a parameter.
    pub fn get(&self, name: &str) -> Option<&'p str> {
        self.iter()
            .find(|(own, _)| *own == name)
            .map(|(_, value)| value)
    }

    /// Returns the number of parameters.
    pub fn len(&self) -> usize {
        self.captures.map_or(0, |captures| captures.count)
    }

    /// Returns whether there are no parameters.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl fmt::Debug for Params<'_, '_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests;
