//! Guards on the method take no arguments.

use hyperlane::*;

#[is_get_method(1)]
pub async fn one(_: &mut Stream, _: &mut Context) {}

#[is_post_method(1)]
pub async fn two(_: &mut Stream, _: &mut Context) {}

#[is_put_method(1)]
pub async fn three(_: &mut Stream, _: &mut Context) {}

#[is_delete_method(1)]
pub async fn four(_: &mut Stream, _: &mut Context) {}

#[is_patch_method(1)]
pub async fn five(_: &mut Stream, _: &mut Context) {}

#[is_head_method(1)]
pub async fn six(_: &mut Stream, _: &mut Context) {}

#[is_options_method(1)]
pub async fn seven(_: &mut Stream, _: &mut Context) {}

#[is_connect_method(1)]
pub async fn eight(_: &mut Stream, _: &mut Context) {}

#[is_trace_method(1)]
pub async fn nine(_: &mut Stream, _: &mut Context) {}

#[is_unknown_method(1)]
pub async fn ten(_: &mut Stream, _: &mut Context) {}

#[is_query_method(1)]
pub async fn eleven(_: &mut Stream, _: &mut Context) {}

fn main() {}
