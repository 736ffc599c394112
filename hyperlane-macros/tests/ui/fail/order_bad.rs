use hyperlane::*;

#[request_middleware("first")]
pub struct Text;

#[task_panic(1.5)]
pub struct Fraction;

#[request_error(99999999999999999999)]
pub struct Huge;

fn main() {}
