//! One `crate` per macro.

use hyperlane::*;

#[send(crate = a, crate = b)]
pub async fn one(_: &mut Stream, _: &mut Context) {}

#[send(crate =)]
pub async fn two(_: &mut Stream, _: &mut Context) {}

fn main() {}
