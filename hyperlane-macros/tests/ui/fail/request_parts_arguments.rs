//! One name per value.

use hyperlane::*;

#[request_version]
pub async fn one(_: &mut Stream, _: &mut Context) {}

#[request_path(1)]
pub async fn two(_: &mut Stream, _: &mut Context) {}

#[request_querys(a b)]
pub async fn three(_: &mut Stream, _: &mut Context) {}

#[request_headers("x")]
pub async fn four(_: &mut Stream, _: &mut Context) {}

#[request_cookies(a: B)]
pub async fn five(_: &mut Stream, _: &mut Context) {}

#[route_params("id" => id)]
pub async fn six(_: &mut Stream, _: &mut Context) {}

#[attributes(self.a)]
pub async fn seven(_: &mut Stream, _: &mut Context) {}

#[request_body("x")]
pub async fn eight(_: &mut Stream, _: &mut Context) {}

#[body_stream()]
pub async fn nine(_: &mut Stream, _: &mut Context) {}

fn main() {}
