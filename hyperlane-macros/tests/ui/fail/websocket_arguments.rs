//! A handle needs one name.

use hyperlane::*;

#[websocket]
pub async fn one(_: &mut Stream, _: &mut Context) {}

#[sse]
pub async fn two(_: &mut Stream, _: &mut Context) {}

#[websocket("socket")]
pub async fn three(_: &mut Stream, _: &mut Context) {}

#[sse(one, two)]
pub async fn four(_: &mut Stream, _: &mut Context) {}

fn main() {}
