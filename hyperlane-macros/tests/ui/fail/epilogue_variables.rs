use hyperlane::*;

#[get("/late")]
#[epilogue_macros(response_header("x" => "1"), send, response_body(&text))]
pub async fn after_the_send() -> String {
    let text = String::new();
    text.clone()
}

#[epilogue_macros(response_body(&text))]
pub async fn moved_away(_: &mut Context) {
    let text = String::new();
    drop(text);
}

fn main() {}
