//! Guards on the upgrade take no arguments.

use hyperlane::*;

#[is_ws_upgrade_type(self)]
pub async fn one(_: &mut Stream, _: &mut Context) {}

#[is_h2c_upgrade_type(self)]
pub async fn two(_: &mut Stream, _: &mut Context) {}

#[is_tls_upgrade_type(self)]
pub async fn three(_: &mut Stream, _: &mut Context) {}

#[is_unknown_upgrade_type(self)]
pub async fn four(_: &mut Stream, _: &mut Context) {}

fn main() {}
