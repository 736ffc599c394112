//! The `Sec-WebSocket-Extensions` field (RFC 6455 §9.1).

use std::borrow::Cow;

use super::HandshakeError;
use super::grammar::is_token_byte;

/// An extension that a client offers, with its parameters in the order sent.
///
/// ```
/// use hyperlane_core::proto::ws::handshake::parse_extensions;
///
/// let offers = parse_extensions("permessage-deflate; client_max_window_bits, x-other; a=\"1\"").unwrap();
/// assert_eq!(offers[0].name, "permessage-deflate");
/// assert_eq!(offers[0].params[0].name, "client_max_window_bits");
/// assert_eq!(offers[0].params[0].value, None);
/// assert_eq!(offers[1].params[0].value.as_deref(), Some("1"));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExtensionOffer<'a> {
    /// The extension's name, as the client sent it.
    pub name: &'a str,
    /// The extension's parameters. The same name may occur more than once.
    pub params: Vec<ExtensionParam<'a>>,
}

/// A parameter of an extension.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExtensionParam<'a> {
    /// The parameter's name.
    pub name: &'a str,
    /// The value without quotes; `None` for a parameter without a value.
    pub value: Option<Cow<'a, str>>,
}

/// Parses one value of `Sec-WebSocket-Extensions`. If a request has several such fields, the caller must parse the
/// values one by one, in order.
///
/// # Errors
///
/// Returns [`HandshakeError::Extensions`] if the value breaks the grammar (RFC 6455 §9.1).
pub fn parse_extensions(value: &str) -> Result<Vec<ExtensionOffer<'_>>, HandshakeError> {
    let mut offers = Vec::new();
    let mut rest = Text(value);
    loop {
        // This line skips empty elements of the list (RFC 9110 §5.6.1.2).
        while rest.take(b',') {}
        if rest.is_at_end() {
            return Ok(offers);
        }
        let name = rest.token()?;
        let mut params = Vec::new();
        while rest.take(b';') {
            let name = rest.token()?;
            let value = match rest.take(b'=') {
                true => Some(rest.value()?),
                false => None,
            };
            params.push(ExtensionParam { name, value });
        }
        offers.push(ExtensionOffer { name, params });
        if !rest.is_at_end() && !rest.take(b',') {
            return Err(HandshakeError::Extensions);
        }
    }
}

/// The part of the value that is not parsed yet.
struct Text<'a>(&'a str);

impl<'a> Text<'a> {
    fn skip_blanks(&mut self) {
        self.0 = self.0.trim_start_matches([' ', '\t']);
    }

    fn is_at_end(&mut self) -> bool {
        self.skip_blanks();
        self.0.is_empty()
    }

    fn take(&mut self, mark: u8) -> bool {
        self.skip_blanks();
        let rest = self.0.strip_prefix(char::from(mark));
        self.0 = rest.unwrap_or(self.0);
        rest.is_some()
    }

    fn token(&mut self) -> Result<&'a str, HandshakeError> {
        self.skip_blanks();
        let len = self
            .0
            .bytes()
            .take_while(|byte| is_token_byte(*byte))
            .count();
        match self.0.split_at_checked(len) {
            Some((token, rest)) if len > 0 => {
                self.0 = rest;
                Ok(token)
            }
            _ => Err(HandshakeError::Extensions),
        }
    }

    /// Parses a token, or a quoted string whose content is a token (RFC 6455 §9.1).
    fn value(&mut self) -> Result<Cow<'a, str>, HandshakeError> {
        if !self.take(b'"') {
            return self.token().map(Cow::Borrowed);
        }
        let mut value = String::new();
        let mut chars = self.0.chars();
        loop {
            match chars.next() {
                Some('"') => break,
                Some('\\') => value.extend(chars.next()),
                Some(char) => value.push(char),
                None => return Err(HandshakeError::Extensions),
            }
        }
        self.0 = chars.as_str();
        match !value.is_empty() && value.bytes().all(is_token_byte) {
            true => Ok(Cow::Owned(value)),
            false => Err(HandshakeError::Extensions),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(value: &str) -> Result<Vec<String>, HandshakeError> {
        let offers = parse_extensions(value)?;
        let show = |param: &ExtensionParam<'_>| match &param.value {
            Some(value) => format!(";{}={value}", param.name),
            None => format!(";{}", param.name),
        };
        let show = |offer: ExtensionOffer<'_>| {
            let params: String = offer.params.iter().map(show).collect();
            format!("{}{params}", offer.name)
        };
        Ok(offers.into_iter().map(show).collect())
    }

    #[test]
    fn offers_and_parameters_are_read_in_order() {
        for (value, expected) in [
            ("", &[][..]),
            (" , ,", &[]),
            ("foo", &["foo"]),
            ("foo,bar", &["foo", "bar"]),
            ("foo ; a ; b = 1 , bar;c=\"2\"", &["foo;a;b=1", "bar;c=2"]),
            ("foo;a=\"1\\2\"", &["foo;a=12"]),
            ("foo;a;a", &["foo;a;a"]),
        ] {
            assert_eq!(names(value).unwrap(), expected, "{value:?}");
        }
    }

    #[test]
    fn what_breaks_the_grammar_is_refused() {
        for value in [
            ";",
            "=",
            "foo bar",
            "foo;",
            "foo;=1",
            "foo;a=",
            "foo;a=\"",
            "foo;a=\"\"",
            "foo;a=\"b c\"",
            "foo;a=\"1\"2",
            "foo=1",
            "f(o)o",
            "fo\u{f6}",
            "foo;a=\"\\",
        ] {
            assert_eq!(names(value), Err(HandshakeError::Extensions), "{value:?}");
        }
    }
}
