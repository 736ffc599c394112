//! UTF-8 text whose clones share one buffer.

use std::borrow::Cow;
use std::fmt;
use std::ops::Deref;

use bytes::{Bytes, BytesMut};

use super::MessageError;

/// UTF-8 text in shared [`Bytes`]. Clones share the bytes, and the conversion into bytes is free.
///
/// A move, a clone or a send does not check the bytes again. Every borrow as `&str` checks the bytes (at memory speed):
/// only `unsafe` code could skip this check, and this project contains no `unsafe` code. Store the `&str` if you need
/// it several times.
///
/// ```
/// use hyperlane_core::Utf8Bytes;
///
/// let text = Utf8Bytes::from("grüß dich");
/// assert_eq!(text.to_uppercase(), "GRÜSS DICH");
/// assert_eq!(text.as_bytes().len(), 11);
/// ```
#[derive(Clone, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Utf8Bytes(Bytes);

impl Utf8Bytes {
    /// Wraps a static text without an allocation.
    pub const fn from_static(text: &'static str) -> Self {
        Self(Bytes::from_static(text.as_bytes()))
    }

    /// Wraps bytes. The caller must have checked that the bytes are UTF-8.
    pub(super) fn checked(bytes: Bytes) -> Self {
        Self(bytes)
    }

    /// Borrows the text.
    pub fn as_str(&self) -> &str {
        // Every constructor has checked these bytes, so the check cannot fail.
        simdutf8::basic::from_utf8(&self.0).unwrap_or_default()
    }

    /// Borrows the shared bytes.
    pub(crate) fn as_shared(&self) -> &Bytes {
        &self.0
    }

    /// Borrows the bytes, without a check.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Returns the length in bytes, without a check.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Returns whether the text is empty.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the bytes, without a check or a copy.
    pub fn into_bytes(self) -> Bytes {
        self.0
    }
}

impl Deref for Utf8Bytes {
    type Target = str;

    fn deref(&self) -> &str {
        self.as_str()
    }
}

impl AsRef<str> for Utf8Bytes {
    fn as_ref(&self) -> &str {
        self.as_str()
    }
}

impl AsRef<[u8]> for Utf8Bytes {
    fn as_ref(&self) -> &[u8] {
        self.as_bytes()
    }
}

impl fmt::Display for Utf8Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl fmt::Debug for Utf8Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

impl PartialEq<str> for Utf8Bytes {
    fn eq(&self, other: &str) -> bool {
        self.as_bytes() == other.as_bytes()
    }
}

impl PartialEq<&str> for Utf8Bytes {
    fn eq(&self, other: &&str) -> bool {
        self.as_bytes() == other.as_bytes()
    }
}

impl PartialEq<String> for Utf8Bytes {
    fn eq(&self, other: &String) -> bool {
        self.as_bytes() == other.as_bytes()
    }
}

impl From<String> for Utf8Bytes {
    fn from(text: String) -> Self {
        Self(text.into())
    }
}

impl From<Box<str>> for Utf8Bytes {
    fn from(text: Box<str>) -> Self {
        Self(text.into_string().into())
    }
}

impl From<&str> for Utf8Bytes {
    fn from(text: &str) -> Self {
        Self(Bytes::copy_from_slice(text.as_bytes()))
    }
}

impl From<&String> for Utf8Bytes {
    fn from(text: &String) -> Self {
        text.as_str().into()
    }
}

impl From<Cow<'_, str>> for Utf8Bytes {
    fn from(text: Cow<'_, str>) -> Self {
        match text {
            Cow::Borrowed(text) => text.into(),
            Cow::Owned(text) => text.into(),
        }
    }
}

impl TryFrom<Bytes> for Utf8Bytes {
    type Error = MessageError;

    fn try_from(bytes: Bytes) -> Result<Self, MessageError> {
        match simdutf8::basic::from_utf8(&bytes) {
            Ok(_) => Ok(Self(bytes)),
            Err(_) => Err(MessageError::NotUtf8),
        }
    }
}

impl TryFrom<BytesMut> for Utf8Bytes {
    type Error = MessageError;

    fn try_from(bytes: BytesMut) -> Result<Self, MessageError> {
        bytes.freeze().try_into()
    }
}

impl TryFrom<Vec<u8>> for Utf8Bytes {
    type Error = MessageError;

    fn try_from(bytes: Vec<u8>) -> Result<Self, MessageError> {
        Bytes::from(bytes).try_into()
    }
}

impl From<Utf8Bytes> for Bytes {
    fn from(text: Utf8Bytes) -> Self {
        text.0
    }
}

impl From<Utf8Bytes> for String {
    fn from(text: Utf8Bytes) -> Self {
        // `into` reuses the allocation if no clone shares the bytes. Every constructor has checked the bytes, so the
        // check cannot fail.
        String::from_utf8(text.0.into()).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conversions_share_the_allocation() {
        let text = String::from("shared, not copied");
        let address = text.as_ptr();
        let bytes = Utf8Bytes::from(text).into_bytes();
        assert_eq!(bytes.as_ptr(), address);
        let back = String::from(Utf8Bytes::try_from(bytes).unwrap());
        assert_eq!(back.as_ptr(), address);
    }

    #[test]
    fn bytes_that_are_not_utf8_are_refused() {
        assert_eq!(
            Utf8Bytes::try_from(b"\xff".to_vec()),
            Err(MessageError::NotUtf8)
        );
    }

    #[test]
    fn display_honours_width() {
        assert_eq!(format!("[{:>4}]", Utf8Bytes::from("ab")), "[  ab]");
    }
}
