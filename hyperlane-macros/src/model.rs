//! The types that all other modules work on: a row of the table, the shape of its arguments, and a macro applied to an
//! item.

use proc_macro2::Ident;
use syn::{Error, Expr, Token, Type};

/// One macro: its name, the shape of its arguments and its effect.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) name: &'static str,
    pub(crate) shape: Shape,
    pub(crate) role: Role,
}

/// The effect of a macro, which also decides the phase it runs in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// Registers the item: a hook struct, or a plain function where it is a route.
    Register(Register),
    /// Declares variables at the top of a function.
    Declare,
    /// Brings traits into scope.
    Import,
    /// Declines the hook before anything is read.
    Guard(Check),
    /// Runs the later phases once per message; this `__private` function reads it.
    Read(&'static str),
    /// Binds the value that this `__private` function returns.
    Extract(&'static str),
    /// Binds the `Ok` value of this `__private` function; an error refuses the request.
    Require(&'static str),
    /// Sets how the route takes the body of its requests.
    Body(BodyRule),
    /// Opens a WebSocket or an event stream and binds its handle.
    Open(Handle),
    /// Runs the body only if the expression has this value.
    Condition { runs_when: bool },
    /// Sets the response's status code.
    SetStatus,
    /// Sets or adds a response header.
    SetHeader,
    /// Calls this method of the response, with the value if the shape has one.
    Set(&'static str),
    /// Sends the response through `bare`, or the given bytes through `value`.
    Send {
        bare: &'static str,
        value: &'static str,
    },
    /// Flushes through this `__private` function.
    Flush(&'static str),
    /// Closes the connection.
    Close,
    /// Calls other hooks.
    Hooks(Side),
    /// Runs other macros of this table.
    Macros(Side),
}

/// How a route takes the body of its requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BodyRule {
    /// Binds the body as a stream.
    Stream,
    /// Bounds the body.
    Max,
}

/// The handle that a macro opens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Handle {
    WebSocket,
    Events,
}

impl Handle {
    /// Returns the `__private` function that opens it.
    pub(crate) const fn call(self) -> &'static str {
        match self {
            Self::WebSocket => "websocket",
            Self::Events => "sse",
        }
    }
}

/// The side of the body that a list runs on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    Before,
    After,
}

/// The way in which an item is registered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Register {
    /// A route with the methods it takes; an empty list means every method.
    Route(&'static [&'static str]),
    /// A hook that takes an order, by its variant of `HookKind`.
    Ordered(&'static str),
}

impl Register {
    /// Returns the methods that the item is limited to; an empty list means every method.
    pub(crate) const fn methods(self) -> &'static [&'static str] {
        match self {
            Self::Route(methods) => methods,
            Self::Ordered(_) => &[],
        }
    }
}

/// The property of a request that a guard checks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Check {
    Method(&'static [&'static str]),
    /// The methods that the arguments name.
    Methods,
    Upgrade(&'static str),
    /// The absence of an upgrade to a known protocol.
    NoUpgrade,
    /// The versions for which this method of `HttpVersion` returns true.
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
    /// Nothing, or one name.
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
    /// Nothing, or one expression.
    MaybeValue,
    /// Expressions, at least one.
    Values,
    /// `key => value` or `key, value`.
    Header,
    /// `macro, macro(arguments)`.
    Macros,
    /// A route pattern.
    Pattern,
    /// Nothing, or a number.
    Order,
    /// `variable: Type`.
    Declarations,
}

impl Shape {
    /// Returns whether the arguments may be left out.
    pub(crate) const fn is_optional(self) -> bool {
        matches!(
            self,
            Self::Nothing | Self::MaybeName | Self::MaybeValue | Self::Order
        )
    }

    /// Returns an example of the macro with arguments.
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

/// Parsed arguments.
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

/// A variable to bind, with the key and the type where the shape has them.
pub(crate) struct Binding {
    pub(crate) key: Option<Expr>,
    pub(crate) mutability: Option<Token![mut]>,
    pub(crate) name: Ident,
    pub(crate) ty: Option<Type>,
}

/// A macro with its arguments, as it stands on an item or in a list.
pub(crate) struct Applied {
    pub(crate) row: &'static Row,
    /// The name as the user wrote it. Errors about the whole macro point at it.
    pub(crate) name: Ident,
    pub(crate) args: Args,
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
