//! A value that is no body.

use hyperlane::*;

#[response_body(1)]
pub async fn handler(_: &mut Context) {}

fn main() {}
