use hyperlane::*;

#[request_body("x")]
#[request_body_json(user)]
#[route_param("id", id)]
#[attribute("id" => id)]
#[request_header(a => b, c => b)]
pub async fn all(_: &Context) {}

fn main() {}
