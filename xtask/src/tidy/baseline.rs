//! Today's exceptions to the rules, which may only shrink.

use std::{collections::BTreeMap, fs};

use crate::{Outcome, process};

/// One line per exception: `what = number`.
pub(super) const FILE: &str = "xtask/src/tidy/baseline.txt";

/// Something over its limit.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Exception {
    /// The rule and what breaks it.
    pub(super) key: String,
    pub(super) number: usize,
    /// Where, for the error.
    pub(super) places: Vec<String>,
}

/// The outcome of a comparison.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Verdict {
    pub(super) problems: Vec<String>,
    /// Lines whose number could be lower.
    pub(super) slack: usize,
}

pub(super) fn read() -> Result<String, String> {
    fs::read_to_string(process::top().join(FILE))
        .map_err(|error| format!("cannot read {FILE}: {error}"))
}

/// Compares what was found with the lines of the file.
pub(super) fn compare(text: &str, found: &[Exception]) -> Result<Verdict, String> {
    let mut allowed = parse(text)?;
    let mut verdict = Verdict::default();
    for exception in found {
        let key = exception.key.as_str();
        let before = allowed.remove(key);
        if before.is_some_and(|before| exception.number < before) {
            verdict.slack += 1;
        }
        if exception.number <= before.unwrap_or_default() {
            continue;
        }
        let number = exception.number;
        verdict.problems.push(match before {
            Some(before) => format!("{key}: {number}, and was {before}"),
            None => format!("{key}: {number}, which is not allowed"),
        });
        let places = exception.places.iter().map(|place| format!("    {place}"));
        verdict.problems.extend(places);
    }
    let gone = allowed.keys().map(|key| {
        format!(
            "{FILE}: `{key}` is no exception any more; remove the line (cargo xtask tidy --write)"
        )
    });
    verdict.problems.extend(gone);
    Ok(verdict)
}

/// Lowers the numbers of the file and removes lines that are not needed. Adds and raises nothing.
pub(super) fn tighten(text: &str, found: &[Exception]) -> Result<String, String> {
    let allowed = parse(text)?;
    let mut out: String = text
        .lines()
        .take_while(|line| line.starts_with('#'))
        .map(|line| format!("{line}\n"))
        .collect();
    for (key, before) in allowed {
        let now = found.iter().find(|exception| exception.key == key);
        if let Some(now) = now {
            out.push_str(&format!("{key} = {}\n", now.number.min(before)));
        }
    }
    Ok(out)
}

pub(super) fn write(found: &[Exception]) -> Outcome {
    let text = tighten(&read()?, found)?;
    fs::write(process::top().join(FILE), text)
        .map_err(|error| format!("cannot write {FILE}: {error}"))
}

fn parse(text: &str) -> Result<BTreeMap<&str, usize>, String> {
    text.lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .map(|line| {
            line.rsplit_once(" = ")
                .and_then(|(key, number)| Some((key, number.parse().ok()?)))
                .ok_or_else(|| format!("{FILE}: not `what = number`: {line}"))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(key: &str, number: usize) -> Exception {
        Exception {
            key: key.to_owned(),
            number,
            places: vec!["file:1".to_owned()],
        }
    }

    fn problems(text: &str, found: &[Exception]) -> Vec<String> {
        compare(text, found).unwrap().problems
    }

    #[test]
    fn an_exception_may_stay_as_it_is() {
        assert_eq!(
            compare("a b = 3\n", &[found("a b", 3)]).unwrap(),
            Verdict::default()
        );
    }

    #[test]
    fn an_exception_may_shrink() {
        let verdict = compare("a b = 3\n", &[found("a b", 2)]).unwrap();
        assert_eq!((verdict.problems.len(), verdict.slack), (0, 1));
    }

    #[test]
    fn an_exception_may_not_grow() {
        let told = problems("a b = 3\n", &[found("a b", 4)]);
        assert_eq!(told, ["a b: 4, and was 3", "    file:1"]);
    }

    #[test]
    fn a_new_exception_is_refused() {
        let told = problems("# head\n", &[found("a b", 1)]);
        assert_eq!(told, ["a b: 1, which is not allowed", "    file:1"]);
    }

    #[test]
    fn a_line_that_nothing_needs_is_refused() {
        let told = problems("a b = 3\n", &[]);
        assert!(
            told.iter().any(|line| line.contains("remove the line")),
            "{told:?}"
        );
    }

    #[test]
    fn tightening_lowers_and_removes_but_never_adds() {
        let text = "# head\na = 3\nb = 3\nc = 3\n";
        let found = [found("a", 2), found("b", 9), found("d", 1)];
        assert_eq!(tighten(text, &found).unwrap(), "# head\na = 2\nb = 3\n");
    }
}
