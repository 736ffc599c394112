//! The options that a program sets for one WebSocket handshake.

use std::{borrow::Cow, fmt};

use crate::{
    Headers, RequestError,
    config::ServerConfig,
    conn::handshake::Subprotocol,
    http::{HeaderError, is_handshake_field, is_session_token, is_token, list_items},
    proto::http::origin::AllowedOrigins,
};

/// A function that chooses one of the subprotocols that the client offers.
type Choice = Box<dyn for<'a> FnOnce(&[&'a str]) -> Option<&'a str> + Send>;

/// Options of [`Context::upgrade_with`](crate::Context::upgrade_with): subprotocols, header fields, origins.
///
/// ```
/// use hyperlane_core::{Context, Stream, Upgrade, WebSocket, RequestError};
///
/// async fn open(ctx: &mut Context, stream: &mut Stream) -> Result<WebSocket, RequestError> {
///     let upgrade = Upgrade::new()
///         .protocols(["v2.chat", "chat"])
///         .header("x-region", "north");
///     let socket = ctx.upgrade_with(stream, upgrade).await?;
///     println!("speaks {}", socket.protocol().unwrap_or("anything"));
///     Ok(socket)
/// }
/// ```
#[derive(Default)]
pub struct Upgrade {
    protocols: Protocols,
    headers: Headers,
    /// The error of the first header field that the program may not add.
    refused: Option<HeaderError>,
    origins: AllowedOrigins,
}

#[derive(Default)]
enum Protocols {
    /// The field `Sec-WebSocket-Protocol` of the context's response, or, without such a field, the names in the
    /// configuration. If the response has none, the names in [`ServerConfig::subprotocols`].
    #[default]
    Configured,
    Listed(Vec<Cow<'static, str>>),
    Chosen(Choice),
}

impl Upgrade {
    /// Creates options that leave the server's configuration as it is.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the subprotocols in order of preference. The server uses the first one that the client offers. If the
    /// client offers none of them, the WebSocket has no subprotocol (RFC 6455 §4.2.2). Default: the value of
    /// `Sec-WebSocket-Protocol` in the context's response. If the response has no such field:
    /// [`ServerConfig::subprotocols`].
    #[must_use]
    pub fn protocols<P: Into<Cow<'static, str>>>(
        mut self,
        protocols: impl IntoIterator<Item = P>,
    ) -> Self {
        self.protocols = Protocols::Listed(protocols.into_iter().map(Into::into).collect());
        self
    }

    /// Sets a function that chooses the subprotocol. The function's argument is the list of the client's offers, in the
    /// client's order of preference.
    ///
    /// If the function returns `None`, the WebSocket has no subprotocol. If the function returns a name that the client
    /// did not offer, the upgrade fails with [`RequestError::Subprotocol`](crate::RequestError::Subprotocol), because a
    /// client must refuse such a subprotocol (RFC 6455 §4.1).
    #[must_use]
    pub fn choose_protocol(
        mut self,
        choose: impl for<'a> FnOnce(&[&'a str]) -> Option<&'a str> + Send + 'static,
    ) -> Self {
        self.protocols = Protocols::Chosen(Box::new(choose));
        self
    }

    /// Adds a header field to the 101 response. The 101 also has the header fields of the context's response.
    ///
    /// The upgrade fails with [`RequestError::Header`](crate::RequestError::Header) if the name is invalid or the value
    /// has control characters. The upgrade also fails for fields of the handshake, for `Content-Length`, and for
    /// `Transfer-Encoding`.
    #[must_use]
    pub fn header(mut self, name: impl AsRef<str>, value: impl AsRef<str>) -> Self {
        if let Err(error) = self.add_header(name.as_ref(), value.as_ref()) {
            self.refused.get_or_insert(error);
        }
        self
    }

    fn add_header(&mut self, name: &str, value: &str) -> Result<(), HeaderError> {
        if is_handshake_field(name) {
            return Err(HeaderError::Handshake);
        }
        if name.eq_ignore_ascii_case("content-length")
            || name.eq_ignore_ascii_case("transfer-encoding")
        {
            return Err(HeaderError::Framing);
        }
        self.headers.try_add(name, value)
    }

    /// Accepts pages of these origins (`https://example.com`, `https://*.example.com`), in addition to
    /// [`ServerConfig::allowed_origins`] and the server's own origin. The comparison ignores case and a default port.
    /// Every scheme is possible (`capacitor://localhost`, `file://`).
    ///
    /// A text without a scheme (`app.example:8443`) accepts pages of this host with any scheme. The upgrade fails with
    /// [`RequestError::AllowedOrigin`](crate::RequestError::AllowedOrigin) if one of the texts is `null` or is neither
    /// an origin nor a host.
    #[must_use]
    pub fn allowed_origins<O: Into<String>>(
        mut self,
        origins: impl IntoIterator<Item = O>,
    ) -> Self {
        for origin in origins {
            self.origins.add(&origin.into());
        }
        self
    }

    /// Accepts pages of any origin for this handshake. [`ServerConfig::dangerous_allow_any_origin`] does the same for
    /// all WebSockets.
    #[must_use]
    pub fn dangerous_allow_any_origin(mut self) -> Self {
        self.origins.any = true;
        self
    }

    /// Accepts pages of the origin `null` for this handshake. [`ServerConfig::dangerous_allow_null_origin`] does the
    /// same for all WebSockets. Any site can create a page with this origin in a sandboxed frame.
    #[must_use]
    pub fn dangerous_allow_null_origin(mut self) -> Self {
        self.origins.null = true;
        self
    }

    /// Replaces the accepted origins by the origins that a channel's endpoint allows.
    pub(crate) fn with_origins(mut self, origins: AllowedOrigins) -> Self {
        self.origins = origins;
        self
    }

    /// Returns the header fields to add, or the error of the first invalid field.
    pub(crate) fn headers(&self) -> Result<&Headers, RequestError> {
        match self.refused {
            Some(error) => Err(error.into()),
            None => Ok(&self.headers),
        }
    }

    /// Returns the origins to accept, or the error of an invalid origin.
    pub(crate) fn origins(&self) -> Result<&AllowedOrigins, RequestError> {
        match self.origins.refused() {
            Some(error) => Err(error.clone().into()),
            None => Ok(&self.origins),
        }
    }

    /// Chooses one of the subprotocols that the client offers. `offered` has the values of all `Sec-WebSocket-Protocol`
    /// fields of the request.
    ///
    /// `wanted` is the value of `Sec-WebSocket-Protocol` in the program's response.
    pub(crate) fn choose<'a>(
        &mut self,
        offered: impl Iterator<Item = &'a str>,
        wanted: Option<&str>,
        config: &ServerConfig,
    ) -> Result<Option<Subprotocol>, RequestError> {
        // Invalid names are left out. A client may also send a session token among the names. The token is left out
        // too, because it is a credential.
        let offered: Vec<&str> = offered
            .flat_map(list_items)
            .filter(|name| is_token(name) && !is_session_token(name))
            .collect();
        let chosen = match std::mem::take(&mut self.protocols) {
            Protocols::Configured => match wanted {
                Some(wanted) if offered.contains(&wanted) => {
                    Some(Subprotocol::Named(wanted.to_owned().into()))
                }
                Some(wanted) => {
                    // A program may echo all offers of the client, and a session token may be among them. A token must
                    // not be logged.
                    let shown: Vec<&str> = list_items(wanted)
                        .filter(|name| !is_session_token(name))
                        .collect();
                    let shown = shown.join(", ");
                    tracing::warn!("subprotocol {shown:?} omitted: the client did not offer it");
                    None
                }
                None => config
                    .subprotocols
                    .iter()
                    .position(|name| offered.contains(&name.as_str()))
                    .map(Subprotocol::Configured),
            },
            Protocols::Listed(names) => names
                .into_iter()
                .find(|name| offered.contains(&&**name))
                .map(Subprotocol::Named),
            Protocols::Chosen(choose) => match choose(&offered) {
                Some(name) if offered.contains(&name) => {
                    Some(Subprotocol::Named(name.to_owned().into()))
                }
                Some(name) => {
                    return Err(RequestError::Subprotocol {
                        name: name.to_owned(),
                    });
                }
                None => None,
            },
        };
        Ok(chosen)
    }
}

impl fmt::Debug for Upgrade {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let protocols: &dyn fmt::Debug = match &self.protocols {
            Protocols::Configured => &"as configured",
            Protocols::Listed(names) => names,
            Protocols::Chosen(_) => &"chosen by a function",
        };
        f.debug_struct("Upgrade")
            .field("protocols", protocols)
            .field("headers", &self.headers)
            .field("origins", &self.origins)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn choose(
        mut upgrade: Upgrade,
        offered: &[&str],
        wanted: Option<&str>,
    ) -> Result<Option<String>, RequestError> {
        let config = ServerConfig::default().subprotocols(vec!["c1".to_owned(), "c2".to_owned()]);
        let chosen = upgrade.choose(offered.iter().copied(), wanted, &config)?;
        Ok(chosen.and_then(|protocol| protocol.name(&config).map(str::to_owned)))
    }

    #[test]
    fn a_chosen_subprotocol_was_offered() {
        let name = |name: &str| Ok(Some(name.to_owned()));
        let none = Ok(None);
        let listed = || Upgrade::new().protocols(["v2", "v1"]);
        assert_eq!(choose(listed(), &["v1, v2"], None), name("v2"));
        assert_eq!(choose(listed(), &["x", "v1"], None), name("v1"));
        assert_eq!(choose(listed(), &["V1"], None), none, "case matters");
        assert_eq!(choose(listed(), &[], None), none);
        assert_eq!(choose(Upgrade::new(), &["c2,c1"], None), name("c1"));
        assert_eq!(choose(Upgrade::new(), &["c2"], None), name("c2"));
        assert_eq!(choose(Upgrade::new(), &["a,c1"], Some("a")), name("a"));
        assert_eq!(choose(Upgrade::new(), &["c1"], Some("a")), none);
        let last = || Upgrade::new().choose_protocol(|offered| offered.last().copied());
        assert_eq!(choose(last(), &["a, b", "c,"], None), name("c"));
        assert_eq!(choose(last(), &["a, b c"], None), name("a"), "no token");
        assert_eq!(choose(last(), &[], None), none);
        let stubborn = Upgrade::new().choose_protocol(|_| Some("mine"));
        assert_eq!(
            choose(stubborn, &["yours"], None),
            Err(RequestError::Subprotocol {
                name: "mine".to_owned()
            })
        );
    }

    #[test]
    fn fields_that_may_not_be_written_are_typed_errors() {
        for (name, value, error) in [
            ("x y", "1", HeaderError::Name),
            ("", "1", HeaderError::Name),
            ("x", "1\r\nset-cookie: a=b", HeaderError::Value),
            ("x", "\0", HeaderError::Value),
            ("Connection", "close", HeaderError::Handshake),
            ("sec-websocket-accept", "a", HeaderError::Handshake),
            ("Sec-WebSocket-Protocol", "a", HeaderError::Handshake),
            ("content-length", "1", HeaderError::Framing),
        ] {
            let upgrade = Upgrade::new().header("fine", "1").header(name, value);
            let refused = upgrade.header("also", "2").headers().cloned();
            assert_eq!(
                refused,
                Err(RequestError::Header(error)),
                "{name}: {value:?}"
            );
        }
        let fine = Upgrade::new().header("x-a", "1").header("x-a", "2");
        assert_eq!(fine.headers().map(Headers::len), Ok(2));
    }
}
