//! Attributes of other crates stay, in any place.
#![deny(warnings)]
#![deny(missing_docs)]

use hyperlane::*;

/// Documented.
#[deprecated]
#[send]
#[allow(clippy::all)]
#[response_body(SECRET)]
#[must_use]
#[doc(hidden)]
#[inline]
#[rustfmt::skip]
#[cfg(all())]
pub async fn handler(_: &mut Stream, _: &mut Context) -> usize {
    #![allow(unused)]
    let unused = 1;
    1
}

const SECRET: &str = "x";

fn main() {}
