//! Routing: which values belong to a path.
//!
//! [`Pattern`] reads one route pattern; [`RouteTable`] finds the values of the best pattern for a path. Methods, hosts and
//! other guards are not part of it: several values may share one pattern, and whoever asks tries them in turn.

mod pattern;
mod table;

pub use pattern::{Constraint, Pattern, RouteError, Segment};
pub use table::{Match, Params, Route, RouteTable};
