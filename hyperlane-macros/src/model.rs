//! The types that describe a macro: its row in the table of macros, the shape of its arguments, and its use on an item.

use proc_macro2::Ident;
use syn::{Error, Expr, Path, Token, Type};

/// One row of the table of macros (`table::ROWS`): the name of a macro, the shape of its arguments, and its effect.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) name: &'static str,
    pub(crate) shape: Shape,
    pub(crate) role: Role,
}

/// The effect of a macro. The effect also decides the phase in which the macro runs. The generated code calls functions
/// in `__private`, a hidden module of the library. Some variants contain the name of such a function.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// Registers the item below the attribute. The item is a hook type (a struct or an enum). A route may also be a
    /// function.
    Register(Register),
    /// Declares variables at the top of a function.
    Declare,
    /// Wraps a route in the middleware functions of the argument.
    With,
    /// Brings traits into scope.
    Import,
    /// Declines a request that fails the check. Guards run before extractors and reads.
    Guard(Check),
    /// Runs the later phases once per message of the connection: a WebSocket message or an HTTP request. The string
    /// names the function that reads the message.
    Read(&'static str),
    /// Binds the value that the function with this name returns.
    Extract(&'static str),
    /// Binds the `Ok` value of the function with this name. An `Err` refuses the request.
    Require(&'static str),
    /// Sets how the route reads the body of its requests.
    Body(BodyRule),
    /// Opens a WebSocket or an event stream and binds its handle.
    Open(Handle),
    /// Runs the body of the function only if the expression has the value `runs_when`.
    Condition { runs_when: bool },
    /// Sets the response's status code.
    SetStatus,
    /// Sets or adds a response header.
    SetHeader,
    /// Calls the method with this name on the response. If the macro has an argument, the macro passes it to the
    /// method.
    Set(&'static str),
    /// Sends data. If the macro has no argument, the function `bare` sends the response. If the macro has an argument,
    /// the function `value` sends the bytes in the argument.
    Send {
        bare: &'static str,
        value: &'static str,
    },
    /// Flushes the connection by the function with this name.
    Flush(&'static str),
    /// Gives the stream of the request a task of its own, before the body.
    OwnTask,
    /// Closes the connection.
    Close,
    /// Calls the hooks in the argument, before or after the body of the function.
    Hooks(Side),
    /// Runs the macros in the argument, before or after the body of the function.
    Macros(Side),
}

/// A rule about the way in which a route reads the body of its requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BodyRule {
    /// Binds the body as a stream.
    Stream,
    /// Limits the size of the body.
    Max,
}

/// The kind of a handle. The macro `websocket` or `sse` opens the handle and binds it to a variable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Handle {
    WebSocket,
    Events,
}

impl Handle {
    /// Returns the name of the function in `__private` that opens the handle.
    pub(crate) const fn call(self) -> &'static str {
        match self {
            Self::WebSocket => "websocket",
            Self::Events => "sse",
        }
    }
}

/// The side of the function's body on which a list of hooks or macros runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    Before,
    After,
}

/// The way in which an item is registered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Register {
    /// A route with the request methods that it accepts. An empty list means every method.
    Route(&'static [&'static str]),
    /// A hook with an optional order. The string names the variant of the library's `HookKind` for this hook.
    Ordered(&'static str),
    /// A function that wraps routes, with an optional order.
    Middleware,
}

impl Register {
    /// Returns the request methods that the item accepts. An empty list means every method.
    pub(crate) const fn methods(self) -> &'static [&'static str] {
        match self {
            Self::Route(methods) => methods,
            Self::Ordered(_) | Self::Middleware => &[],
        }
    }
}

/// The property of a request that a guard checks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Check {
    Method(&'static [&'static str]),
    /// The request method is one of the macro's arguments.
    Methods,
    Upgrade(&'static str),
    /// The request asks for no upgrade to a known protocol.
    NoUpgrade,
    /// The version of the request. `is` names the method of `HttpVersion` that returns true for accepted versions.
    /// `accepts` lists these versions.
    Version {
        is: &'static str,
        accepts: &'static [&'static str],
    },
    Host {
        accepts: bool,
    },
    Referer {
        accepts: bool,
    },
}

/// The shape of a macro's arguments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    /// No arguments.
    Nothing,
    /// `get, post`.
    Methods,
    /// No arguments, or one name.
    MaybeName,
    /// `a`.
    Name,
    /// `a, b`.
    Names,
    /// `a: A, b: B`.
    TypedNames,
    /// `"key" => a, KEY => b`.
    KeyedNames,
    /// `"key" => a: A`.
    KeyedTypedNames,
    /// One expression.
    Value,
    /// No arguments, or one expression.
    MaybeValue,
    /// One or more expressions.
    Values,
    /// `key => value` or `key, value`.
    Header,
    /// `macro, macro(arguments)`.
    Macros,
    /// A route pattern.
    Pattern,
    /// No arguments, or a number.
    Order,
    /// `variable: Type`.
    Declarations,
}

impl Shape {
    /// Returns whether the macro may be written without arguments.
    pub(crate) const fn is_optional(self) -> bool {
        matches!(
            self,
            Self::Nothing | Self::MaybeName | Self::MaybeValue | Self::Order
        )
    }

    /// Returns an example of the macro `name` with arguments of this shape, for an error text.
    pub(crate) fn example(self, name: &str) -> String {
        match self {
            Self::Nothing => format!("#[{name}]"),
            Self::Methods => format!("#[{name}(get, post)]"),
            Self::MaybeName => format!("#[{name}]` or `#[{name}(message)]"),
            Self::Name => format!("#[{name}(handle)]"),
            Self::Names => format!("#[{name}(value)]"),
            Self::TypedNames => format!("#[{name}(value: Type)]"),
            Self::KeyedNames => format!("#[{name}(\"key\" => value)]"),
            Self::KeyedTypedNames => format!("#[{name}(\"key\" => value: Type)]"),
            Self::Value => format!("#[{name}(value)]"),
            Self::MaybeValue => format!("#[{name}]` or `#[{name}(value)]"),
            Self::Values => format!("#[{name}(first, second)]"),
            Self::Header => format!("#[{name}(\"name\" => \"value\")]"),
            Self::Macros => format!("#[{name}(response_body(\"hi\"), try_flush)]"),
            Self::Pattern => format!("#[{name}(\"/path\")]"),
            Self::Order => format!("#[{name}]` or `#[{name}(1)]"),
            Self::Declarations => format!("#[{name}(server: Server)]"),
        }
    }
}

/// The parsed arguments of a macro.
pub(crate) enum Args {
    Nothing,
    Methods(Vec<String>),
    Bindings(Vec<Binding>),
    Values(Vec<Expr>),
    Header {
        key: Box<Expr>,
        value: Box<Expr>,
        replaces: bool,
    },
    Macros(Vec<Applied>),
    Declarations(Vec<(Ident, Type)>),
}

/// A variable that a macro binds. It has a key if the macro's arguments have keys, and a type if they have types.
pub(crate) struct Binding {
    pub(crate) key: Option<Expr>,
    pub(crate) mutability: Option<Token![mut]>,
    pub(crate) name: Ident,
    pub(crate) ty: Option<Type>,
}

/// A macro with its arguments, written as an attribute of an item or as an entry of a list such as `prologue_macros`.
pub(crate) struct Applied {
    pub(crate) row: &'static Row,
    /// The name as the user wrote it. An error about the whole macro points at the name.
    pub(crate) name: Ident,
    pub(crate) args: Args,
    /// The scope of a registration: the argument `scope = NAME`.
    pub(crate) scope: Option<Path>,
}

impl Applied {
    /// Returns an error that points at the macro's name.
    pub(crate) fn error(&self, message: impl std::fmt::Display) -> Error {
        Error::new(self.name.span(), message)
    }

    /// Returns the expressions among the arguments.
    pub(crate) fn values(&self) -> &[Expr] {
        match &self.args {
            Args::Values(values) => values,
            _ => &[],
        }
    }

    /// Returns the variables to bind among the arguments.
    pub(crate) fn bindings(&self) -> &[Binding] {
        match &self.args {
            Args::Bindings(bindings) => bindings,
            _ => &[],
        }
    }

    /// Returns the methods among the arguments.
    pub(crate) fn methods(&self) -> &[String] {
        match &self.args {
            Args::Methods(methods) => methods,
            _ => &[],
        }
    }
}
