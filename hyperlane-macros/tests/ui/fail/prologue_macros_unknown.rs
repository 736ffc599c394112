use hyperlane::*;

#[prologue_macros(respons_body("x"))]
pub async fn near(_: &mut Context) {}

#[prologue_macros(frobnicate)]
pub async fn far(_: &mut Context) {}

#[prologue_macros(route("/"))]
pub async fn registration(_: &mut Context) {}

#[epilogue_macros(try_get_http_request)]
pub async fn late(_: &mut Stream, _: &mut Context) {}

#[prologue_hooks(hook())]
pub async fn called(_: &mut Stream, _: &mut Context) {}

pub async fn hook() {}

fn main() {}
