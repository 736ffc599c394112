//! Every form in which arguments may be written.
#![deny(warnings)]

use hyperlane::*;

const ORDER: isize = -2;
const STATUS: usize = 201;
const NAME: &str = "x-name";

#[request_middleware("3",)]
#[request_middleware("-3")]
#[response_middleware(ORDER)]
#[response_middleware(-1)]
#[task_panic(0x10)]
#[request_error(1isize)]
#[route("/struct",)]
struct Hook {
    status: usize,
}

impl ServerHook for Hook {
    async fn new(_: &mut Stream, _: &mut Context) -> Self {
        Self { status: STATUS }
    }

    #[methods(get, post,)]
    #[host("a.example", format!("{}.example", "b"),)]
    #[reject_host("c.example")]
    #[referer("https://a.example/")]
    #[reject_referer("https://b.example/")]
    #[response_status_code(self.status)]
    #[response_status_code(HttpStatus::Ok)]
    #[response_header(NAME => format!("{}", self.status),)]
    #[response_header("vary", "origin")]
    #[response_header(NAME, "once more")]
    #[response_body(ctx.get_request().get_path().to_owned())]
    #[response_body(format!("{}", ctx.get_request().get_path()))]
    #[response_version(HttpVersion::Http1_1)]
    #[reject(self.status == 0)]
    #[try_send(b"raw")]
    async fn handle(self, _: &mut Stream, ctx: &mut Context) -> Status {
        Status::Continue
    }
}

#[request_query("a" => a, NAME => b)]
#[request_query("c" => c,)]
#[cfg(any())]
async fn configured_away() {}

#[cfg_attr(all(), send)]
#[cfg_attr(any(), flush)]
#[response_body("x")]
pub async fn conditional(_: &mut Stream, ctx: &mut Context) {
    let _ = ctx;
}

macro_rules! page {
    ($name:ident, $path:literal, $text:expr) => {
        #[get($path)]
        #[response_body($text)]
        async fn $name() {}
    };
}

page!(first, "/first", "one");
page!(second, "/second/{id}", concat!("t", "wo"));

#[import(std::fmt::Write, std::io::Read)]
pub fn written(text: &mut String) -> std::fmt::Result {
    write!(text, "x")
}

#[prologue_macros(
    is_get_method,
    request_path(path),
    filter(path.len() > 1),
    reject(path.len() > 99),
    response_status_code(202),
    response_header("a" => "b"),
    clear_response_headers,
    response_reason_phrase("Fine"),
    response_body(path),
    prologue_hooks(hook),
    try_flush,
    try_send,
)]
#[epilogue_macros(flush, send("x"), epilogue_hooks(hook, hook), response_body("y"), closed)]
pub async fn listed(_: &mut Stream, _: &mut Context) {}

async fn hook(_: &mut Stream, _: &mut Context) -> Status {
    Status::Continue
}

fn main() {}
