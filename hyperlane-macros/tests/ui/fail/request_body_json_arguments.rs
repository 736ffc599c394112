//! A variable and its type.

use hyperlane::*;

#[request_body_json(user)]
pub async fn one(_: &mut Stream, _: &mut Context) {}

#[request_body_json_result("user": User)]
pub async fn two(_: &mut Stream, _: &mut Context) {}

fn main() {}
