use hyperlane::prelude::*;

struct Mine;

#[get("/unknown")]
pub async fn unknown(_: Mine) {}

#[get("/borrowed")]
pub async fn borrowed(_: &str) {}

#[get("/unnamed")]
pub async fn unnamed(_: impl FromContext) {}

#[post("/twice")]
pub async fn twice(_: Json<u8>, _: BodyStream) {}

#[get("/returns")]
pub async fn returns() -> Result<u8, Error> {
    Ok(1)
}

fn main() {}
