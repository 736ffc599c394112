//! One value, or none.

use hyperlane::*;

#[try_send(a b)]
pub async fn one(_: &mut Stream, _: &mut Context) {}

#[send(1, 2)]
pub async fn two(_: &mut Stream, _: &mut Context) {}

#[try_flush(now)]
pub async fn three(_: &mut Stream, _: &mut Context) {}

#[flush(now)]
pub async fn four(_: &mut Stream, _: &mut Context) {}

#[closed(true)]
pub async fn five(_: &mut Stream, _: &mut Context) {}

#[spawned(now)]
pub async fn six(_: &mut Stream, _: &mut Context) {}

fn main() {}
