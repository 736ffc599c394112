use hyperlane::*;

#[host]
pub async fn none(_: &Context) {}

#[is_get_method(1)]
pub async fn one(_: &Context) {}

#[host("x")]
#[referer = "x"]
pub async fn equals(_: &Context) {}

fn main() {}
