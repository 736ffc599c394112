//! An error that is no response, and the type that converts any.

use hyperlane::*;

#[get("/number/{text}")]
#[route_param("text" => text)]
async fn number() -> Result<String, std::num::ParseIntError> {
    Ok(text.parse::<u8>()?.to_string())
}

fn main() {}
