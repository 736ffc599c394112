//! One value.

use hyperlane::*;

#[response_status_code]
pub async fn one(_: &mut Stream, _: &mut Context) {}

#[response_reason_phrase()]
pub async fn two(_: &mut Stream, _: &mut Context) {}

#[response_version(a b)]
pub async fn three(_: &mut Stream, _: &mut Context) {}

#[response_body(1, 2)]
pub async fn four(_: &mut Stream, _: &mut Context) {}

#[clear_response_headers(all)]
pub async fn five(_: &mut Stream, _: &mut Context) {}

fn main() {}
