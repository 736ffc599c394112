//! A route attribute on an associated function, with and without a sign of its `impl`.

use hyperlane::*;

pub struct Page;

impl Page {
    const TITLE: &'static str = "page";

    #[get("/by-self")]
    async fn by_self() -> &'static str {
        Self::TITLE
    }

    #[get("/returns")]
    async fn returns() -> Result<String, Box<Self>> {
        Ok(String::new())
    }

    #[get("/method")]
    async fn method(&self) {}

    #[get("/plain")]
    async fn plain() -> &'static str {
        "plain"
    }

    #[post("/same")]
    async fn same(_: Path<()>) -> &'static str {
        "associated"
    }
}

pub trait Pages {
    #[get("/provided")]
    async fn provided() -> &'static str {
        "provided"
    }
}

/// Must not be mistaken for the associated function.
pub async fn same(_: Path<()>) -> &'static str {
    "free"
}

#[get("/free")]
async fn free() -> &'static str {
    struct Inner;
    impl Inner {
        fn new() -> Self { Self }
    }
    let _ = Inner::new();
    "free"
}

fn main() {}
