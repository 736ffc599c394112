//! A name that the pattern lacks.

use hyperlane::*;

#[get("/users/{id}")]
#[route_param("name" => name)]
async fn handler() -> String { name }

fn main() {}
