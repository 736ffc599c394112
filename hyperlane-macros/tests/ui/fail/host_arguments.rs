//! At least one value.

use hyperlane::*;

#[host]
pub async fn one(_: &mut Stream, _: &mut Context) {}

#[reject_host]
pub async fn two(_: &mut Stream, _: &mut Context) {}

#[referer()]
pub async fn three(_: &mut Stream, _: &mut Context) {}

#[reject_referer(1 2)]
pub async fn four(_: &mut Stream, _: &mut Context) {}

fn main() {}
