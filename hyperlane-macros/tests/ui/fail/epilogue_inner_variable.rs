use hyperlane::*;

#[epilogue_macros(response_body(&text), send)]
pub async fn in_an_inner_block(_: &mut Stream, _: &mut Context) {
    {
        let text = String::new();
        drop(text);
    }
}

fn main() {}
