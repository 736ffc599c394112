//! A route on a method.

use hyperlane::*;

pub struct Hook;

impl Hook {
    #[get("/")]
    pub async fn index(&self) {}
}

fn main() {}
