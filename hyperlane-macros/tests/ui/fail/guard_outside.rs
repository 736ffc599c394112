//! A guard on a `handle` outside `impl ServerHook`.

use hyperlane::*;

pub struct Hook;

impl Hook {
    #[is_get_method]
    pub async fn handle(self, _: &mut Stream, _: &mut Context) -> Status {
        Status::Continue
    }
}

fn main() {}
