use hyperlane::*;

pub struct Hook;

impl Hook {
    #[is_get_method]
    #[filter(true)]
    pub async fn new(_: &mut Stream, _: &mut Context) -> Self {
        Self
    }
}

fn main() {}
