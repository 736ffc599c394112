//! Routing: from a path to the values registered for it.
//!
//! [`Pattern`] parses a route pattern; [`RouteTable`] finds the values of the best pattern for a path. Methods, hosts
//! and other guards are not part of it: several values may share a pattern, and the caller tries them in turn.

pub(crate) mod pattern;
mod table;

pub use pattern::{Constraint, Pattern, Segment};
pub use table::{Match, Params, Route, RouteTable};

// The root of the crate is its public path.
pub(crate) use pattern::RouteError;
