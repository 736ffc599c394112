//! A struct without `impl ServerHook`.

use hyperlane::*;

#[route("/")]
struct Hook;

fn main() {}
