use hyperlane::*;

#[response_header("a")]
pub async fn one(_: &mut Context) {}

#[response_header("a" => "b", "c")]
pub async fn three(_: &mut Context) {}

fn main() {}
