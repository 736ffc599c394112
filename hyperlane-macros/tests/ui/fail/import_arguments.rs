//! Paths of traits.

use hyperlane::*;

#[import]
pub async fn one(_: &mut Stream, _: &mut Context) {}

#[import("std::fmt")]
pub async fn two(_: &mut Stream, _: &mut Context) {}

fn main() {}
