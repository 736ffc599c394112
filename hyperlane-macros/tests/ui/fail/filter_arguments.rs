//! One condition.

use hyperlane::*;

#[filter]
pub async fn one(_: &mut Stream, _: &mut Context) {}

#[reject(a, b)]
pub async fn two(_: &mut Stream, _: &mut Context) {}

fn main() {}
