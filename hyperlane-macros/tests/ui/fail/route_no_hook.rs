//! A struct that is no hook.

use hyperlane::*;

#[route("/")]
struct Hook;

fn main() {}
