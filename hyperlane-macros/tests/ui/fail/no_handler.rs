//! Values that are neither handlers nor endpoints.

use hyperlane::*;

fn not_async() -> &'static str { "page" }

async fn unknown_argument(_: u32) {}

fn main() {
    let mut server = Server::new();
    server.at("/function").get(not_async);
    server.at("/argument").get(unknown_argument);
    server.at("/text").post("text");
}
