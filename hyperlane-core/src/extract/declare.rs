//! Macros that declare the extractors of this crate: the types that implement `FromContext`.

/// Declares tuple structs that dereference to their value.
macro_rules! wrappers {
    ($($(#[$attr:meta])+ $name:ident;)+) => {$(
        $(#[$attr])+
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct $name<T>(pub T);

        impl<T> Deref for $name<T> {
            type Target = T;

            fn deref(&self) -> &T {
                &self.0
            }
        }
    )+};
}

/// Implements `FromContext` for each type of a list. An expression of type `Result` extracts the value, and an optional
/// second expression is the body of `check`.
macro_rules! from_context {
    ($(
        $(#[$attr:meta])*
        impl [$($generics:tt)*] $ty:ty $(where $body:expr)? => |$ctx:ident| $value:expr
            $(, |$setup:ident| $check:expr)?;
    )+) => {$(
        $(#[$attr])*
        impl<$($generics)*> FromContext for $ty {
            $(const BODY: Option<BodyMode> = Some($body);)?

            $(fn check($setup: &RouteSetup<'_>) -> Result<(), SetupError> {
                $check
            })?

            async fn from_context($ctx: &mut Context) -> Result<Self, Error> {
                let made: Result<Self, RequestError> = $value;
                Ok(made?)
            }
        }
    )+};
}

pub(super) use {from_context, wrappers};
