//! The memory for parsing heads.

use super::lines::FieldRange;
use crate::proto::http::write::{LINE_END, SEPARATOR};

/// Maximum length of a host that a [`HeadStorage`] keeps, in bytes. DNS names are not longer.
pub(super) const LONGEST_KNOWN_HOST: usize = 255;

/// Memory for parsing heads: the positions of the fields, and the last valid host. Use one storage for many heads, so
/// that it allocates only once and checks a repeated host only once.
#[derive(Debug, Default)]
pub struct HeadStorage {
    pub(super) ranges: Vec<FieldRange>,
    pub(super) host: KnownHost,
}

/// The last valid `Host` whose value is not longer than [`LONGEST_KNOWN_HOST`]. Nearly all requests to a server have
/// the same host, and most have it in their first field line.
#[derive(Debug, Default)]
pub(super) struct KnownHost {
    /// The field as the line `Host: value` with its line end. The name is written as the client wrote it. Empty before
    /// the first host.
    pub(super) line: Vec<u8>,
    /// The same line with its name in lower case.
    pub(super) lower_line: String,
    pub(super) value: String,
    /// The number of hosts that were stored so far. It tells the current host from all earlier ones.
    pub(super) number: u64,
}

impl KnownHost {
    #[cold]
    pub(super) fn store(&mut self, name: &[u8], value: &str) {
        self.value.clear();
        self.value.push_str(value);
        self.line.clear();
        self.line.extend_from_slice(name);
        self.lower_line.clear();
        self.lower_line.push_str("host");
        for part in [SEPARATOR, value, LINE_END] {
            self.line.extend_from_slice(part.as_bytes());
            self.lower_line.push_str(part);
        }
        self.number += 1;
    }
}

impl HeadStorage {
    /// Creates storage without an allocation.
    pub const fn new() -> Self {
        Self {
            ranges: Vec::new(),
            host: KnownHost {
                line: Vec::new(),
                lower_line: String::new(),
                value: String::new(),
                number: 0,
            },
        }
    }
}
