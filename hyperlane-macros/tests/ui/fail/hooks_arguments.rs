//! Paths of functions in lists of hooks, names of macros in lists of macros.

use hyperlane::*;

#[prologue_hooks(|s, c| s)]
pub async fn one(_: &mut Stream, _: &mut Context) {}

#[epilogue_hooks("audit")]
pub async fn two(_: &mut Stream, _: &mut Context) {}

#[prologue_macros()]
pub async fn three(_: &mut Stream, _: &mut Context) {}

#[epilogue_macros(sned)]
pub async fn four(_: &mut Stream, _: &mut Context) {}

#[prologue_macros(hyperlane(server: Server))]
pub async fn five(_: &mut Stream, _: &mut Context) {}

fn main() {}
