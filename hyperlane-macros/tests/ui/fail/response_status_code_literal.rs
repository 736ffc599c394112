//! Literals that are no status codes.

use hyperlane::*;

#[response_status_code(99)]
pub async fn one(_: &mut Stream, _: &mut Context) {}

#[response_status_code(1000u16)]
pub async fn two(_: &mut Stream, _: &mut Context) {}

#[response_status_code(-200)]
pub async fn three(_: &mut Stream, _: &mut Context) {}

#[response_status_code("200")]
pub async fn four(_: &mut Stream, _: &mut Context) {}

fn main() {}
