//! The rules for further requests of a connection that a hook reads itself: those of the route whose hook reads.

use std::sync::Arc;

use super::{Context, Program, Stage};
use crate::{
    error::RequestError,
    http::{Csrf, Request},
};

/// A check of a request by the limits among the middleware of a chain.
pub(crate) type Limits = Arc<dyn Fn(&Context) -> Result<(), RequestError> + Send + Sync>;

/// The rules of a route, or of a chain, for requests that its hook reads itself.
#[derive(Clone, Default)]
pub(crate) struct Rules {
    pub(crate) chain: u16,
    pub(crate) csrf: Csrf,
    /// The maximum length of a body, in bytes; `None` for that of the server.
    pub(crate) max_body: Option<usize>,
    /// The limits of the chain's middleware; `None` for a chain without middleware.
    pub(crate) limits: Option<Limits>,
}

impl Program {
    pub(crate) fn rules(&self, index: u16) -> Option<&Rules> {
        self.rules.get(usize::from(index))
    }
}

impl Rules {
    /// Checks the request in `ctx`, a context that has only this request.
    ///
    /// # Errors
    /// Returns the reason why the server refuses the request.
    pub(crate) fn check(&self, ctx: &mut Context) -> Result<(), RequestError> {
        ctx.chain = self.chain;
        if !ctx.get_request().get_method().is_safe() {
            ctx.check_csrf(self.csrf)?;
        }
        match &self.limits {
            Some(limits) => limits(ctx),
            None => Ok(()),
        }
    }
}

impl Context {
    /// Returns whether a hook has read the present request itself.
    pub(crate) fn is_further(&self) -> bool {
        self.extras.as_ref().is_some_and(|extras| extras.is_further)
    }

    /// Begins a further request that a hook has read itself. Nothing of the previous request remains, except the scope.
    pub(crate) fn begin_further(&mut self, request: Request) {
        let Self {
            chain,
            stage,
            response_middleware_at,
            ..
        } = *self;
        self.reset();
        (self.chain, self.stage, self.request) = (chain, stage, request);
        self.extras.get_or_insert_default().is_further = true;
        match stage {
            Stage::Route => self.save_response(),
            // Middleware reads the request, so its index must stay.
            Stage::Middleware => self.response_middleware_at = response_middleware_at,
        }
        self.decide_cors(None);
    }
}
