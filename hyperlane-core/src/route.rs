//! Routing: from a path to the values registered for it.
//!
//! [`Pattern`] parses a route pattern. [`RouteTable`] finds the values of the best pattern for a path. The table knows
//! no methods, hosts or other guards: several values may share a pattern, and the caller tries the values in turn.

pub(crate) mod pattern;
mod table;

pub use pattern::{Constraint, Pattern, Segment};
pub use table::{Match, Params, Route, RouteTable};

// The crate root is the public path of `RouteError`.
pub(crate) use pattern::RouteError;
