//! The pipeline of a request: route, hooks, answer.

pub(crate) mod app;
mod proxy_header;
pub(crate) mod refusal;
mod report;
pub(crate) mod serve;
