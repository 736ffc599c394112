//! A condition is a `bool`.

use hyperlane::*;

#[get("/filter")]
#[request_query("q" => q)]
#[filter(q)]
async fn filtered() {}

#[get("/reject")]
#[request_query("q" => q)]
#[reject(q.len())]
async fn rejected() {}

fn main() {}
