//! Parameters in the syntax of other libraries, and invalid regexes.

use hyperlane::*;

#[get("/a/<id>")]
async fn angle() {}

#[get("/a/<path:rest>")]
async fn rest() {}

#[get("/a/[id]")]
async fn square() {}

#[get("/a/{id:[0-9}")]
async fn class() {}

#[get("/a/{id:(\\d+}")]
async fn group() {}

#[route("/a/{id:\\d{4,2}}")]
struct Count;

fn main() {}
