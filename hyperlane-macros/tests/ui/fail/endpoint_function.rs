//! Functions and closures where an endpoint is expected.

use hyperlane::*;

async fn page() -> &'static str { "page" }

fn main() {
    let mut server = Server::new();
    server.at("/function").get(page);
    server.at("/closure").get(|| async { "page" });
}
