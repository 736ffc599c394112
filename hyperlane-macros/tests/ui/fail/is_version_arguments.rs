//! Guards on the version take no arguments.

use hyperlane::*;

#[is_http0_9_version("1.1")]
pub async fn one(_: &mut Stream, _: &mut Context) {}

#[is_http1_0_version("1.1")]
pub async fn two(_: &mut Stream, _: &mut Context) {}

#[is_http1_1_version("1.1")]
pub async fn three(_: &mut Stream, _: &mut Context) {}

#[is_http2_version("1.1")]
pub async fn four(_: &mut Stream, _: &mut Context) {}

#[is_http3_version("1.1")]
pub async fn five(_: &mut Stream, _: &mut Context) {}

#[is_http1_1_or_higher_version("1.1")]
pub async fn six(_: &mut Stream, _: &mut Context) {}

#[is_http_version("1.1")]
pub async fn seven(_: &mut Stream, _: &mut Context) {}

#[is_unknown_version("1.1")]
pub async fn eight(_: &mut Stream, _: &mut Context) {}

fn main() {}
