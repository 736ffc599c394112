//! Patterns and orders of every registration.

use hyperlane::*;

#[any("x")]
struct Any;

#[get("x")]
struct Get;

#[post("x")]
struct Post;

#[put("x")]
struct Put;

#[delete("x")]
struct Delete;

#[patch("x")]
struct Patch;

#[head("x")]
struct Head;

#[options("x")]
struct Options;

#[query("x")]
struct Query;

#[request_middleware("x")]
struct RequestMiddleware;

#[response_middleware("x")]
struct ResponseMiddleware;

#[task_panic("x")]
struct TaskPanic;

#[request_error("x")]
struct RequestError;

fn main() {}
