//! The accessors of header fields. Requests and responses have the same accessors.

/// Declares the accessors that new programs use.
macro_rules! header_accessors {
    () => {
        /// Borrows the header fields.
        pub fn get_headers(&self) -> &$crate::http::Headers {
            &self.headers
        }

        /// Borrows the header fields mutably.
        pub fn get_mut_headers(&mut self) -> &mut $crate::http::Headers {
            &mut self.headers
        }

        /// Replaces all header fields.
        pub fn set_headers(&mut self, headers: $crate::http::Headers) -> &mut Self {
            self.headers = headers;
            self
        }

        /// Borrows the first value of a header field. The case of `name` is ignored.
        pub fn header(&self, name: impl AsRef<str>) -> Option<&str> {
            self.headers.get(name.as_ref())
        }

        /// Returns whether a header field is present.
        pub fn has_header(&self, name: impl AsRef<str>) -> bool {
            self.headers.contains(name.as_ref())
        }

        /// Returns whether a header field has exactly this value.
        pub fn has_header_value(&self, name: impl AsRef<str>, value: impl AsRef<str>) -> bool {
            self.headers
                .get_all(name.as_ref())
                .any(|held| held == value.as_ref())
        }
    };
}
pub(crate) use header_accessors;

/// Declares the accessors that exist only because published Hyperlane programs use them.
macro_rules! header_spellings {
    () => {
        /// Copies all values of a header field. Returns `None` if the field is absent.
        pub fn try_get_header(
            &self,
            name: impl AsRef<str>,
        ) -> Option<$crate::http::RequestHeadersValue> {
            self.headers.owned_values(name.as_ref())
        }

        /// Copies all values of a header field. Returns no values if the field is absent.
        pub fn get_header(&self, name: impl AsRef<str>) -> $crate::http::RequestHeadersValue {
            self.try_get_header(name).unwrap_or_default()
        }

        /// Copies the first value of a header field. Returns `None` if the field is absent.
        pub fn try_get_header_front(&self, name: impl AsRef<str>) -> Option<String> {
            self.headers.get(name.as_ref()).map(str::to_owned)
        }

        /// Copies the first value of a header field. Returns an empty text if the field is absent.
        pub fn get_header_front(&self, name: impl AsRef<str>) -> String {
            self.try_get_header_front(name).unwrap_or_default()
        }

        /// Copies the last value of a header field. Returns `None` if the field is absent.
        pub fn try_get_header_back(&self, name: impl AsRef<str>) -> Option<String> {
            self.headers.get_last(name.as_ref()).map(str::to_owned)
        }

        /// Copies the last value of a header field. Returns an empty text if the field is absent.
        pub fn get_header_back(&self, name: impl AsRef<str>) -> String {
            self.try_get_header_back(name).unwrap_or_default()
        }

        /// Returns the number of values of a header field; `None` if the field is absent.
        pub fn try_get_header_size(&self, name: impl AsRef<str>) -> Option<usize> {
            Some(self.get_header_size(name)).filter(|&size| size > 0)
        }

        /// Returns the number of values of a header field.
        pub fn get_header_size(&self, name: impl AsRef<str>) -> usize {
            self.headers.get_all(name.as_ref()).count()
        }

        /// Returns the number of distinct header names.
        pub fn get_headers_size(&self) -> usize {
            self.headers.distinct_len()
        }

        /// Returns the number of header values over all names.
        pub fn get_headers_values_size(&self) -> usize {
            self.headers.len()
        }
    };
}
pub(crate) use header_spellings;
