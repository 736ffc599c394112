//! Names that no header field can have.

use hyperlane::*;

#[request_header("x y" => value)]
pub async fn one(_: &mut Stream, _: &mut Context) {}

#[try_get_request_header("x:" => value)]
pub async fn two(_: &mut Stream, _: &mut Context) {}

fn main() {}
