//! A name that no pattern has.

use hyperlane::*;

#[get("/users/{id}")]
#[put("/users")]
#[try_get_route_param("name" => name)]
async fn handler() -> String { name.unwrap_or_default() }

fn main() {}
