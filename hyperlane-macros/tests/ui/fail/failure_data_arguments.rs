//! One name per value.

use hyperlane::*;

#[task_panic_data]
pub async fn one(_: &mut Stream, _: &mut Context) {}

#[try_get_task_panic_data("x")]
pub async fn two(_: &mut Stream, _: &mut Context) {}

#[request_error_data(a: B)]
pub async fn three(_: &mut Stream, _: &mut Context) {}

#[try_get_request_error_data(1)]
pub async fn four(_: &mut Stream, _: &mut Context) {}

fn main() {}
