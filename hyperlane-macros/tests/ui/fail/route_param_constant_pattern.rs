//! A name that the pattern lacks, where the pattern is a constant.

use hyperlane::*;

const PATH: &str = "/users/:id";

#[get(PATH)]
#[route_param("name" => name)]
async fn handler() -> String {
    name
}

fn main() {}
