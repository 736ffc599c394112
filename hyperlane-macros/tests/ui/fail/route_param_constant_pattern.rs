//! The same, with a pattern that only the compiler knows.

use hyperlane::*;

const PATH: &str = "/users/:id";

#[get(PATH)]
#[route_param("name" => name)]
async fn handler() -> String {
    name
}

fn main() {}
