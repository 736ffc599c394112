//! The methods by which a server and its scopes register hooks: the same ones, with other documentation.

/// Writes the methods into an `impl` block whose type has the method `add`, for a [`ServerHook`](crate::ServerHook) and
/// its kind. Each method takes its documentation from the place of use.
macro_rules! hook_methods {
    (
        $(#[$route:meta])* route;
        $(#[$request_middleware:meta])* request_middleware;
        $(#[$response_middleware:meta])* response_middleware;
        $(#[$task_panic:meta])* task_panic;
        $(#[$request_error:meta])* request_error;
    ) => {
        $(#[$route])*
        #[track_caller]
        pub fn route<S: ServerHook>(&mut self, pattern: impl AsRef<str>) -> &mut Self {
            self.add::<S>(PlannedKind::Route(pattern.as_ref().to_owned()))
        }

        $(#[$request_middleware])*
        #[track_caller]
        pub fn request_middleware<S: ServerHook>(&mut self) -> &mut Self {
            self.add::<S>(PlannedKind::RequestMiddleware(None))
        }

        $(#[$response_middleware])*
        #[track_caller]
        pub fn response_middleware<S: ServerHook>(&mut self) -> &mut Self {
            self.add::<S>(PlannedKind::ResponseMiddleware(None))
        }

        $(#[$task_panic])*
        #[track_caller]
        pub fn task_panic<S: ServerHook>(&mut self) -> &mut Self {
            self.add::<S>(PlannedKind::TaskPanic(None))
        }

        $(#[$request_error])*
        #[track_caller]
        pub fn request_error<S: ServerHook>(&mut self) -> &mut Self {
            self.add::<S>(PlannedKind::RequestError(None))
        }
    };
}
