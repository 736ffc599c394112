//! The values that functions of a program may return to the server.

use crate::{Context, IntoResponse, Status};

/// A return type of function handlers.
#[diagnostic::on_unimplemented(
    message = "a handler returns `Status` or something that implements `IntoResponse`; `{Self}` is neither",
    note = "return a string, bytes, `Json(..)`, `Html(..)`, an `HttpStatus`, a tuple of status and body, or a `Result` or `Option` of these",
    note = "where `?` meets errors of other libraries, return `Result<T, hyperlane::Error>`; what does not implement `std::error::Error`, as \
            `anyhow::Error` and `Box<dyn Error + Send + Sync>`, needs `.map_err(Error::internal)?`"
)]
pub trait HandlerReturn {
    /// Writes the value into the response. Returns the decision whether the next hooks run.
    fn apply(self, ctx: &mut Context) -> Status;
}

impl HandlerReturn for Status {
    fn apply(self, _: &mut Context) -> Status {
        self
    }
}

impl<T: IntoResponse> HandlerReturn for T {
    fn apply(self, ctx: &mut Context) -> Status {
        self.into_response(ctx.get_mut_response());
        Status::Continue
    }
}

impl<E: IntoResponse> HandlerReturn for Result<Status, E> {
    fn apply(self, ctx: &mut Context) -> Status {
        match self {
            Ok(status) => status,
            Err(error) => {
                let status = error.apply(ctx);
                ctx.get_mut_response().fail_as_shown();
                status
            }
        }
    }
}
