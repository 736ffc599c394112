//! A value that cannot be a body.

use hyperlane::*;

#[response_body(1)]
pub async fn handler(_: &mut Context) {}

fn main() {}
