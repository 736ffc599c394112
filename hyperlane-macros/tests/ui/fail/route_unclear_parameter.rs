use hyperlane::*;

type Alias = Vec<u8>;

#[route("/unclear")]
async fn unclear(it: &mut Alias) {
    it.clear();
}

fn main() {}
