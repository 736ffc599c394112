//! What the other modules work on: a row of the table, the shape of its arguments, and a macro applied to an item.

use proc_macro2::Ident;
use syn::{Error, Expr, Token, Type};

/// One macro: its name, what its arguments look like and what it does.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) name: &'static str,
    pub(crate) shape: Shape,
    pub(crate) role: Role,
}

/// What a macro does, which also decides the phase it runs in.
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
    /// Runs the rest once per message that this `__private` function reads.
    Read(&'static str),
    /// Binds what this `__private` function returns.
    Extract(&'static str),
    /// Binds the `Ok` value of this `__private` function; an error refuses the request.
    Require(&'static str),
    /// Says how the route takes the body of its requests.
    Body(BodyRule),
    /// Turns the connection into something else and binds its handle.
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
    /// As a stream, which is bound.
    Stream,
    /// Up to a limit.
    Max,
}

/// What a connection becomes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Handle {
    WebSocket,
    Events,
}

impl Handle {
    /// The `__private` function that opens it.
    pub(crate) const fn call(self) -> &'static str {
        match self {
            Self::WebSocket => "websocket",
            Self::Events => "sse",
        }
    }
}

/// Which side of the body a list stands on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    Before,
    After,
}

/// What an item is registered as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Register {
    /// A route, with the methods it takes; none means every method.
    Route(&'static [&'static str]),
    /// This variant of `HookKind`, which takes an order.
    Ordered(&'static str),
}

impl Register {
    /// Returns the methods that a registration is limited to; none means every method.
    pub(crate) const fn methods(self) -> &'static [&'static str] {
        match self {
            Self::Route(methods) => methods,
            Self::Ordered(_) => &[],
        }
    }
}

/// What a guard compares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Check {
    Method(&'static [&'static str]),
    /// The methods named by the arguments.
    Methods,
    Upgrade(&'static str),
    /// That no known protocol is asked for.
    NoUpgrade,
    /// The method of `HttpVersion` that accepts these versions.
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

/// What a macro's arguments look like.
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
    /// Returns whether the macro may stand without arguments.
    pub(crate) const fn is_optional(self) -> bool {
        matches!(
            self,
            Self::Nothing | Self::MaybeName | Self::MaybeValue | Self::Order
        )
    }

    /// Shows a right way to write the macro.
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

/// A name to bind, with the key to look up and the type to read where the macro has them.
pub(crate) struct Binding {
    pub(crate) key: Option<Expr>,
    pub(crate) mutability: Option<Token![mut]>,
    pub(crate) name: Ident,
    pub(crate) ty: Option<Type>,
}

/// A macro with its arguments, as it stands on an item or in a list.
pub(crate) struct Applied {
    pub(crate) row: &'static Row,
    /// The name as the user wrote it: where errors about the whole macro point.
    pub(crate) name: Ident,
    pub(crate) args: Args,
}

impl Applied {
    /// Makes an error that points at the macro's name.
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

    /// Returns the names to bind among the arguments.
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
