use hyperlane::*;

#[methods(gett)]
pub async fn near(_: &Context) {}

#[methods(GET)]
pub async fn loud(_: &Context) {}

#[methods(get, get)]
pub async fn twice(_: &Context) {}

fn main() {}
