//! A function that a condition may skip returns no value.

use hyperlane::*;

#[filter(true)]
pub async fn handler(ctx: &mut Context) -> usize { let _ = ctx; 1 }

fn main() {}
