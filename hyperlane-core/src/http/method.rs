//! Request methods (RFC 9110 §9; `PATCH`: RFC 5789; `QUERY`: RFC 10008).

use std::{convert::Infallible, fmt, str::FromStr};

/// Another name of [`Method`].
pub type RequestMethod = Method;

/// The method of a request (RFC 9110 §9.3; `PATCH`: RFC 5789; `QUERY`: RFC 10008).
///
/// Methods are case-sensitive: `get` is an unknown method.
///
/// ```
/// use hyperlane_core::Method;
///
/// assert!("GET".parse::<Method>().is_ok_and(|method| method.is_get()));
/// assert_eq!(Method::from("PURGE").as_str(), "PURGE");
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub enum Method {
    /// Fetches a representation.
    #[default]
    Get,
    /// Lets the resource process the body.
    Post,
    /// Replaces the resource by the body.
    Put,
    /// Removes the resource.
    Delete,
    /// Changes a part of the resource.
    Patch,
    /// Fetches the head of the response to `GET`.
    Head,
    /// Asks for the options of the resource.
    Options,
    /// Asks for a tunnel.
    Connect,
    /// Asks for an echo of the request.
    Trace,
    /// Reads by a query in the body. Safe and idempotent like `GET`.
    Query,
    /// Any other method, as sent.
    Unknown(String),
}

impl Method {
    /// Borrows the method as sent on the request line.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Get => "GET",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Delete => "DELETE",
            Self::Patch => "PATCH",
            Self::Head => "HEAD",
            Self::Options => "OPTIONS",
            Self::Connect => "CONNECT",
            Self::Trace => "TRACE",
            Self::Query => "QUERY",
            Self::Unknown(name) => name,
        }
    }

    /// Returns whether this is `GET`.
    pub fn is_get(&self) -> bool {
        matches!(self, Self::Get)
    }

    /// Returns whether this is `POST`.
    pub fn is_post(&self) -> bool {
        matches!(self, Self::Post)
    }

    /// Returns whether this is `PUT`.
    pub fn is_put(&self) -> bool {
        matches!(self, Self::Put)
    }

    /// Returns whether this is `DELETE`.
    pub fn is_delete(&self) -> bool {
        matches!(self, Self::Delete)
    }

    /// Returns whether this is `PATCH`.
    pub fn is_patch(&self) -> bool {
        matches!(self, Self::Patch)
    }

    /// Returns whether this is `HEAD`.
    pub fn is_head(&self) -> bool {
        matches!(self, Self::Head)
    }

    /// Returns whether this is `OPTIONS`.
    pub fn is_options(&self) -> bool {
        matches!(self, Self::Options)
    }

    /// Returns whether this is `CONNECT`.
    pub fn is_connect(&self) -> bool {
        matches!(self, Self::Connect)
    }

    /// Returns whether this is `TRACE`.
    pub fn is_trace(&self) -> bool {
        matches!(self, Self::Trace)
    }

    /// Returns whether this is `QUERY`.
    pub fn is_query(&self) -> bool {
        matches!(self, Self::Query)
    }

    /// Returns whether requests with this method only read (RFC 9110 §9.2.1): `GET`, `HEAD`, `OPTIONS`, `TRACE` and
    /// `QUERY`.
    pub fn is_safe(&self) -> bool {
        matches!(
            self,
            Self::Get | Self::Head | Self::Options | Self::Trace | Self::Query
        )
    }

    /// Returns whether several equal requests with this method have the same effect as one (RFC 9110 §9.2.2): safe
    /// methods, `PUT` and `DELETE`.
    pub fn is_idempotent(&self) -> bool {
        self.is_safe() || matches!(self, Self::Put | Self::Delete)
    }

    /// Returns whether neither RFC 9110, RFC 5789 nor RFC 10008 defines this method.
    pub fn is_unknown(&self) -> bool {
        matches!(self, Self::Unknown(_))
    }
}

/// The methods that this module knows by name, in the order of [`KnownMethod`].
static KNOWN: [Method; 10] = [
    Method::Get,
    Method::Post,
    Method::Put,
    Method::Delete,
    Method::Patch,
    Method::Head,
    Method::Options,
    Method::Connect,
    Method::Trace,
    Method::Query,
];

/// A method in one byte: the position of a method with a name in `KNOWN`, or [`OTHER`](Self::OTHER).
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct KnownMethod(u8);

impl KnownMethod {
    /// The value of a method that is stored elsewhere.
    pub(super) const OTHER: Self = Self(u8::MAX);

    pub(super) fn of(method: &Method) -> Self {
        Self(match method {
            Method::Get => 0,
            Method::Post => 1,
            Method::Put => 2,
            Method::Delete => 3,
            Method::Patch => 4,
            Method::Head => 5,
            Method::Options => 6,
            Method::Connect => 7,
            Method::Trace => 8,
            Method::Query => 9,
            Method::Unknown(_) => return Self::OTHER,
        })
    }

    /// Returns the method; `None` for [`OTHER`](Self::OTHER).
    pub(super) fn get(self) -> Option<&'static Method> {
        KNOWN.get(usize::from(self.0))
    }
}

impl From<&str> for Method {
    fn from(name: &str) -> Self {
        match name {
            "GET" => Self::Get,
            "POST" => Self::Post,
            "PUT" => Self::Put,
            "DELETE" => Self::Delete,
            "PATCH" => Self::Patch,
            "HEAD" => Self::Head,
            "OPTIONS" => Self::Options,
            "CONNECT" => Self::Connect,
            "TRACE" => Self::Trace,
            "QUERY" => Self::Query,
            _ => Self::Unknown(name.to_owned()),
        }
    }
}

impl FromStr for Method {
    type Err = Infallible;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Ok(Self::from(name))
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_known_method_takes_a_byte() {
        for method in &KNOWN {
            assert_eq!(KnownMethod::of(method).get(), Some(method));
        }
        assert_eq!(KnownMethod::of(&Method::from("PURGE")).get(), None);
        assert_eq!(KnownMethod::default().get(), Some(&Method::default()));
    }

    #[test]
    fn every_method_comes_back_from_its_name() {
        type Is = fn(&Method) -> bool;
        let known: [(Method, Is); 10] = [
            (Method::Get, Method::is_get),
            (Method::Post, Method::is_post),
            (Method::Put, Method::is_put),
            (Method::Delete, Method::is_delete),
            (Method::Patch, Method::is_patch),
            (Method::Head, Method::is_head),
            (Method::Options, Method::is_options),
            (Method::Connect, Method::is_connect),
            (Method::Trace, Method::is_trace),
            (Method::Query, Method::is_query),
        ];
        for (method, is) in &known {
            assert_eq!(Method::from(method.as_str()), *method);
            assert_eq!(method.to_string(), method.as_str());
            assert!(is(method) && !method.is_unknown());
            assert_eq!(known.iter().filter(|(other, _)| is(other)).count(), 1);
        }
    }

    #[test]
    fn safe_methods_are_idempotent() {
        for (name, is_safe, is_idempotent) in [
            ("GET", true, true),
            ("HEAD", true, true),
            ("OPTIONS", true, true),
            ("TRACE", true, true),
            ("QUERY", true, true),
            ("PUT", false, true),
            ("DELETE", false, true),
            ("POST", false, false),
            ("PATCH", false, false),
            ("CONNECT", false, false),
            ("PURGE", false, false),
        ] {
            let method = Method::from(name);
            assert_eq!(
                (method.is_safe(), method.is_idempotent()),
                (is_safe, is_idempotent)
            );
        }
    }

    #[test]
    fn case_makes_another_method() {
        let method: Method = "get".parse().unwrap();
        assert_eq!(method, Method::Unknown("get".to_owned()));
        assert!(method.is_unknown() && !method.is_get());
        assert_eq!(method.to_string(), "get");
    }
}
