use hyperlane::*;

file_scope!("api");

mod slash {
    hyperlane::file_scope!("/api/");
}

mod option {
    hyperlane::file_scope!("/api", wiht(log));
}

mod value {
    hyperlane::file_scope!("/api", max_body(64));
}

mod twice {
    hyperlane::file_scope!("/api", max_body = 1, max_body = 2);
}

#[scope("/api")]
async fn function() {}

#[scope("/api")]
struct Type;

fn main() {}
