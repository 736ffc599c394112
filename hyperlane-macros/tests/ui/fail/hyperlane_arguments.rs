use hyperlane::*;

#[hyperlane(server)]
fn untyped() {}

#[hyperlane(a: u8, a: u8)]
fn twice() {}

fn main() {
    untyped();
    twice();
}
