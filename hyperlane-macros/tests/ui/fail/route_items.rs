use hyperlane::*;

#[route("/generic")]
struct Generic<T>(T);

#[route("/trait")]
trait Other {}

#[route("/sync")]
fn sync() {}

#[route("/more")]
async fn more(count: usize) {
    drop(count)
}

#[request_middleware]
async fn middleware() {}

fn main() {
    drop(Generic(1));
    sync();
}
