mod twice {
    hyperlane::file_scope!("/api");

    hyperlane::file_scope!("/v2");
}

fn main() {}
