//! A route cannot return a value that borrows from the context.

use hyperlane::*;

#[get("/path")]
async fn path(ctx: &mut Context) -> &str {
    ctx.get_request().get_path()
}

#[get("/status")]
async fn status<'a>(ctx: &'a mut Context) -> Result<(HttpStatus, &'a str), RequestError> {
    Ok((HttpStatus::Ok, ctx.get_request().get_path()))
}

#[get("/static")]
async fn owned() -> Result<&'static str, Option<&'static [u8]>> {
    Ok("text")
}

fn main() {}
