//! The function that renders errors.

use std::{fmt, sync::Arc};

use crate::{Context, IntoResponse, error::ErrorInfo};

/// A function that writes the body of error responses: `Fn(&ErrorInfo, &mut Context) -> impl IntoResponse`.
///
/// [`Server::errors`](crate::Server::errors) has an example.
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not render errors: write `fn name(error: &ErrorInfo, ctx: &mut Context) -> impl IntoResponse`",
    label = "not a function of `&ErrorInfo` and `&mut Context` whose value becomes a response"
)]
pub trait RenderError: Send + Sync + 'static {
    /// Writes the error into the response of the context.
    #[doc(hidden)]
    fn render(&self, error: &ErrorInfo, ctx: &mut Context);
}

impl<F, R> RenderError for F
where
    F: Fn(&ErrorInfo, &mut Context) -> R + Send + Sync + 'static,
    R: IntoResponse,
{
    fn render(&self, error: &ErrorInfo, ctx: &mut Context) {
        let answer = self(error, ctx);
        answer.into_response(ctx.get_mut_response());
    }
}

/// A function that renders errors, declared or registered.
#[derive(Clone)]
pub(crate) enum Renderer {
    Static(&'static dyn RenderError),
    Shared(Arc<dyn RenderError>),
}

impl Renderer {
    pub(crate) fn get(&self) -> &dyn RenderError {
        match self {
            Self::Static(renderer) => *renderer,
            Self::Shared(renderer) => &**renderer,
        }
    }
}

impl fmt::Debug for Renderer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Renderer")
    }
}
