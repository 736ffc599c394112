//! Routing: from a path to the values registered for it.
//!
//! [`Pattern`] parses a route pattern. [`RouteTable`] finds the most specific pattern that matches a path, and returns
//! the values of this pattern. The table does not check methods, hosts or other conditions of a route. Several values
//! may therefore share a pattern, and the caller of [`RouteTable::find`] tries these values in turn.

pub(crate) mod pattern;
mod table;

pub use pattern::{Constraint, Pattern, Segment};
pub use table::{Match, Params, Route, RouteTable};

// The crate root is the public path of `RouteError`.
pub(crate) use pattern::RouteError;
