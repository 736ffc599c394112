//! `context!` in the forms that programs write.
#![deny(warnings)]

use hyperlane::*;

fn read(ctx: &Context) -> usize {
    ctx.get_request().get_path().len()
}

pub async fn handle(ctx: &mut Context) -> usize {
    let length = read(context!(ctx));
    let lent: &mut Context = context!(ctx: &mut Context);
    lent.get_mut_response().set_body("x");
    length + read(context!(ctx: &Context))
}

fn main() {}
