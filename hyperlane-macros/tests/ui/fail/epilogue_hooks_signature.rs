//! A hook that takes something else.

use hyperlane::*;

async fn audit(_: &mut Context) {}

#[epilogue_hooks(audit)]
pub async fn handler(_: &mut Stream, _: &mut Context) {}

fn main() {}
