//! Media types as text.

/// A formatter of media types.
#[derive(Clone, Copy, Debug)]
pub struct ContentType;

impl ContentType {
    /// Returns `type; charset=name`.
    pub fn format_content_type_with_charset(
        content_type: impl AsRef<str>,
        charset: impl AsRef<str>,
    ) -> String {
        format!("{}; charset={}", content_type.as_ref(), charset.as_ref())
    }
}
