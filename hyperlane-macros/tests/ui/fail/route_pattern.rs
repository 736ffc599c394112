use hyperlane::*;

#[route("")]
async fn empty() {}

#[route("users")]
async fn no_slash() {}

#[get("/{id}/{id}")]
async fn twice() {}

#[get("/{id")]
async fn open() {}

#[get("/{*rest}/more")]
async fn catch_all_inside() {}

fn main() {}
