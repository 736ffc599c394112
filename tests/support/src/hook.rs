//! Hooks in short form.

use hyperlane::Status;

/// Makes a [`ServerHook`](hyperlane::ServerHook) of a body, which ends with a [`Status`] or with nothing.
#[macro_export]
macro_rules! hook {
    ($($(@$mode:ident)? $name:ident |$stream:pat_param, $ctx:pat_param| $body:block)*) => {$(
        struct $name;

        impl ServerHook for $name {
            $(const BODY: BodyMode = BodyMode::$mode;)?

            async fn new(_: &mut Stream, _: &mut Context) -> Self {
                Self
            }

            #[allow(unreachable_code, reason = "a body may not come to its end")]
            async fn handle(self, $stream: &mut Stream, $ctx: &mut Context) -> Status {
                $crate::Outcome::status($body)
            }
        }
    )*};
}

/// Makes one hook, as `hook!` does, in a form that rustfmt reads. The hook goes on unless its body returns early.
#[macro_export]
macro_rules! handler {
    ($name:ident, |$stream:ident, $ctx:ident| $body:block) => {
        struct $name;

        impl ServerHook for $name {
            async fn new(_: &mut Stream, _: &mut Context) -> Self {
                Self
            }

            async fn handle(self, $stream: &mut Stream, $ctx: &mut Context) -> Status {
                $body
                Status::Continue
            }
        }
    };
}

/// Value that the body of a `hook!` may end with.
pub trait Outcome {
    /// Returns the status of the hook.
    fn status(self) -> Status;
}

impl Outcome for () {
    fn status(self) -> Status {
        Status::Continue
    }
}

impl Outcome for Status {
    fn status(self) -> Status {
        self
    }
}
