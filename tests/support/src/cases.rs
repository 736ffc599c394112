//! Tables of cases, as text: a line for each, with columns between ` | `. Empty lines and those with `#` are comments.

/// A line of a table.
pub struct CaseLine {
    /// Its number.
    pub number: usize,
    /// Its columns.
    pub columns: [&'static str; 3],
}

/// Returns the lines of a table.
///
/// # Panics
/// If a line has no three columns.
pub fn case_lines(table: &'static str) -> impl Iterator<Item = CaseLine> {
    let lines = (1..).zip(table.lines());
    lines
        .filter(|(_, text)| !text.is_empty() && !text.starts_with('#'))
        .map(|(number, text)| {
            let columns: Vec<&str> = text.splitn(3, " | ").collect();
            let Ok(columns) = columns.try_into() else {
                panic!("line {number}: a column is missing");
            };
            CaseLine { number, columns }
        })
}

/// Resolves `{C*N}`, which is C N times, and the escapes `\r`, `\n`, `\t`, `\\` and `\xHH`.
///
/// # Panics
/// If a repetition or an escape is none.
pub fn expand(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = text;
    while let Some(open) = rest.find('{') {
        let close = open + rest[open..].find('}').expect("a repetition ends");
        let (part, count) = rest[open + 1..close]
            .rsplit_once('*')
            .expect("a repetition has a number");
        bytes.extend(unescape(&rest[..open]));
        bytes.extend(unescape(part).repeat(count.parse().expect("a number")));
        rest = &rest[close + 1..];
    }
    bytes.extend(unescape(rest));
    bytes
}

fn unescape(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'\\' => match rest.next() {
                Some(b'r') => b'\r',
                Some(b'n') => b'\n',
                Some(b't') => b'\t',
                Some(b'\\') => b'\\',
                Some(b'x') => {
                    let digits = [rest.next().unwrap(), rest.next().unwrap()];
                    u8::from_str_radix(str::from_utf8(&digits).unwrap(), 16).unwrap()
                }
                other => panic!("no such escape: {other:?}"),
            },
            byte => byte,
        });
    }
    bytes
}
