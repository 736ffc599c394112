//! Errors that do not implement `std::error::Error`, in handlers and their arguments.

use hyperlane::*;

#[derive(Debug)]
pub struct Bare;

fn boxed() -> Result<u8, Box<dyn std::error::Error + Send + Sync>> { Ok(1) }
fn bare() -> Result<u8, Bare> { Ok(1) }

#[get("/boxed")]
async fn takes_boxed() -> Result<String, Error> {
    Ok(boxed()?.to_string())
}

#[get("/bare")]
async fn returns_bare() -> Result<String, Bare> {
    Ok(bare()?.to_string())
}

pub struct User;

impl FromContext for User {
    async fn from_context(_: &mut Context) -> Result<Self, Error> {
        bare()?;
        Ok(Self)
    }
}

fn main() {}
