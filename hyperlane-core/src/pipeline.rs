//! The pipeline of a request: it finds the route, calls the program's functions (hooks) and sends the response.

pub(crate) mod app;
mod proxy_header;
pub(crate) mod refusal;
mod report;
pub(crate) mod serve;
