use hyperlane::*;

#[is_get_method]
#[send]
pub struct Hook;

#[hyperlane(server: Server)]
pub struct Main;

fn main() {}
