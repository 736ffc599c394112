//! Words that have no place in the source.

use super::source_files;

/// Words that a pure codec has no use for.
const IMPURE: [&str; 5] = [
    "tokio::",
    "TcpStream",
    "UdpSocket",
    "Instant::now",
    "SystemTime::now",
];

/// Marks of unfinished work.
const UNFINISHED: [&str; 3] = ["todo!(", "unimplemented!(", "FIXME"];

pub(super) fn problems() -> Result<Vec<String>, String> {
    let mut problems = Vec::new();
    for folder in [
        "src",
        "hyperlane-core/src",
        "hyperlane-macros/src",
        "hyperlane-broadcast/src",
        "examples",
        "tests",
    ] {
        for (path, text) in source_files(folder)? {
            let pure = path.split('/').any(|part| part == "proto");
            for (number, line) in text.lines().enumerate() {
                let code = line.split("//").next().unwrap_or_default();
                let found = UNFINISHED
                    .iter()
                    .chain(IMPURE.iter().filter(|_| pure))
                    .find(|word| code.contains(**word));
                if let Some(word) = found {
                    problems.push(format!("{path}:{}: `{word}`", number + 1));
                }
            }
        }
    }
    Ok(problems)
}
