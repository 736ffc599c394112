//! Setters, output and lists, with expressions that borrow.
#![deny(warnings)]

use hyperlane::*;

async fn note(_: &mut Stream, _: &mut Context) -> Status {
    Status::Continue
}

#[epilogue_macros(response_body("bye"), try_send, try_flush, closed)]
#[epilogue_hooks(note)]
#[prologue_hooks(note, self::note)]
#[prologue_macros(response_header("a" => "b"), filter(true))]
#[response_body(&format!("{id:?}"))]
#[response_header(CONTENT_TYPE => "text/plain")]
#[response_header("vary", format!("x-{}", 1))]
#[response_reason_phrase("Fine")]
#[response_status_code(200)]
#[clear_response_headers]
#[try_get_route_param("id" => id)]
#[send("more")]
#[try_flush]
pub async fn everything(stream: &mut Stream, ctx: &mut Context) -> Status {
    if id.is_some() {
        return Status::Reject;
    }
    let _ = (stream, ctx);
    Status::Continue
}

fn main() {}
