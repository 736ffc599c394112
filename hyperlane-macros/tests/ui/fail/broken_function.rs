//! A broken function that returns a value gives one error.

use hyperlane::*;

#[get("/{id}")]
#[route_param(id => id)]
#[request_query("page" => page page)]
async fn handler() -> Result<String, RequestError> { Ok(format!("{id}{page}")) }

fn main() {}
