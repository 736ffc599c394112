//! A missing bound of an extractor's type gives one error.

use hyperlane::*;

struct Plain;

struct Local(std::cell::Cell<u8>);

#[post("/json")]
async fn json(Json(_): Json<Plain>) {}

#[get("/state")]
async fn state(State(_): State<Local>) {}

fn main() {}
