//! The pipeline of a request: it finds the route, calls the program's functions (hooks) and sends the response.

pub(crate) mod app;
pub(crate) mod chain;
mod hand_over;
mod proxy_header;
pub(crate) mod refusal;
pub(crate) mod render;
mod report;
pub(crate) mod serve;
mod unrouted;
