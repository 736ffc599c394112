//! A key and a variable.

use hyperlane::*;

#[request_query(page)]
pub async fn one(_: &mut Stream, _: &mut Context) {}

#[try_get_request_query("page")]
pub async fn two(_: &mut Stream, _: &mut Context) {}

#[request_cookie("a" -> a)]
pub async fn three(_: &mut Stream, _: &mut Context) {}

#[try_get_request_cookie("a", a)]
pub async fn four(_: &mut Stream, _: &mut Context) {}

#[attribute("a" => a)]
pub async fn five(_: &mut Stream, _: &mut Context) {}

#[try_get_attribute("a" => a, "b" => b: u8)]
pub async fn six(_: &mut Stream, _: &mut Context) {}

#[try_get_route_param(id)]
pub async fn seven(_: &mut Stream, _: &mut Context) {}

#[route_param("id" => "id")]
pub async fn eight(_: &mut Stream, _: &mut Context) {}

fn main() {}
