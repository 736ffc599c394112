//! Macros of a library that names hyperlane by a path of its own, in programs without a dependency on hyperlane.

extern crate self as library;

pub use hyperlane;

#[macro_export]
macro_rules! handler {
    ($name:ident $path:literal $query:ident $body:block) => {
        #[$crate::hyperlane::get($path, crate = $crate::hyperlane)]
        #[$crate::hyperlane::response_status_code(201)]
        #[$crate::hyperlane::request_query("q" => $query)]
        async fn $name(_: &mut $crate::hyperlane::Stream, _: &mut $crate::hyperlane::Context) -> String $body
    };
}

handler! { asked "/asked" query { query } }

fn main() {
    let _ = asked;
}
