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

#[cfg(test)]
mod tests {
    use super::super::{HeadLimits, parse_at};
    use super::*;
    use crate::Headers;

    fn read(storage: &mut HeadStorage, bytes: &[u8], start: usize) -> String {
        let limits = HeadLimits::default();
        let parsed = parse_at(bytes, start, &limits, storage, |head| {
            let mut headers = Headers::new();
            headers.append_head(head.fields);
            let facts = (head.framing, head.keep_alive, head.upgrade, head.length);
            let fields = format!("{:?} {headers:?}", head.fields);
            format!(
                "{} {:?} {} {facts:?} {fields}",
                head.method, head.target, head.host
            )
        });
        format!("{parsed:?}")
    }

    #[test]
    fn a_head_reads_the_same_whatever_was_read_before() {
        let hosts = ["Host: a.example", "host: a.example", "Host: b.example:80"];
        let odd = [
            "Host:  a.example",
            "Host: a.example ",
            "Host: ",
            "Host: a b",
            "X-A: 1",
        ];
        let rests = [
            &b""[..],
            b"Accept: */*\r\nX-Name:v\r\n",
            b"X-Latin: \xe4\r\nX-Utf: \xc3\xa4\r\n",
            b"Host: a.example\r\n",
            b"Connection: close\r\nContent-Length: 3\r\n",
        ];
        let targets = ["/a", "/a?b=%20", "http://c.example/d", "*"];
        let mut used = HeadStorage::new();
        let mut count = 0;
        for line in hosts.iter().chain(&odd).chain(&hosts) {
            for (rest, target) in rests
                .iter()
                .flat_map(|rest| targets.map(|target| (rest, target)))
            {
                let mut head = format!("GET {target} HTTP/1.1\r\n{line}\r\n").into_bytes();
                head.extend_from_slice(rest);
                head.extend_from_slice(b"\r\n");
                let fresh = read(&mut HeadStorage::new(), &head, 0);
                assert_eq!(read(&mut used, &head, 0), fresh, "{line} {target}");
                head.extend_from_slice(b"GET /\xff\xfe");
                assert_eq!(read(&mut used, &head, 0), fresh, "{line} {target}, more");
                for before in [&b"\n"[..], b"{}\r\n\r\n\n", b"\xff\xe4"] {
                    let bytes = [before, &head].concat();
                    let behind = read(&mut used, &bytes, before.len());
                    assert_eq!(behind, fresh, "{line} {target}, behind {before:?}");
                }
                count += usize::from(fresh.contains("a.example"));
            }
        }
        assert!(count > 50);
    }
}
