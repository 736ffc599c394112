//! Names and values that no header field can have.

use hyperlane::*;

#[response_header("" => "x")]
pub async fn one(_: &mut Stream, _: &mut Context) {}

#[response_header("x y" => "x")]
pub async fn two(_: &mut Stream, _: &mut Context) {}

#[response_header("naïve", "x")]
pub async fn three(_: &mut Stream, _: &mut Context) {}

#[response_header("x" => "a\r\nset-cookie: b")]
pub async fn four(_: &mut Stream, _: &mut Context) {}

fn main() {}
