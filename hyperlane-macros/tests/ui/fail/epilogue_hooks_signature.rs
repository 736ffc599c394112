//! A hook with other parameters.

use hyperlane::*;

async fn audit(_: &mut Context) {}

#[epilogue_hooks(audit)]
pub async fn handler(_: &mut Stream, _: &mut Context) {}

fn main() {}
