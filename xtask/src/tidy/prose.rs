//! Habits of prose that make a reader read twice, counted in docs and comments.

use super::baseline::Exception;

/// A habit: its name, how many lines may have it, and what finds it.
struct Habit {
    name: &'static str,
    limit: usize,
    matches: fn(&Comment<'_>) -> bool,
}

const HABITS: [Habit; 3] = [
    Habit {
        name: "has",
        limit: 0,
        matches: |comment| comment.has_someone_act(),
    },
    Habit {
        name: "nobody",
        limit: 15,
        matches: |comment| comment.speaks_of_nobody(),
    },
    Habit {
        name: "relative",
        limit: 60,
        matches: |comment| comment.begins_with_a_relative_clause(),
    },
];

const NOBODY: [&str; 4] = ["nobody", "somebody", "whoever", "who ever"];

const RELATIVE: [&str; 9] = [
    "What",
    "Whether",
    "Who",
    "Whose",
    "Whom",
    "Those",
    "Whichever",
    "Whatever",
    "Where",
];

/// A line of a comment, without its marker.
struct Comment<'a> {
    text: &'a str,
    /// End of the line before in the same comment; empty at the beginning.
    before: &'a str,
}

impl Comment<'_> {
    /// "Has the client read": a setter described as another's act. A sentence begins so; what has no object owns
    /// something.
    fn has_someone_act(&self) -> bool {
        const OWNS: [&str; 4] = ["no", "nothing", "none", "been"];
        if self.text.contains(" has it ") || self.text.contains(" has them ") {
            return true;
        }
        let starts = self
            .text
            .match_indices("Has ")
            .map(|(at, _)| self.text.split_at(at));
        starts.into_iter().any(|(head, tail)| {
            let begins = head.trim_end().is_empty()
                || head.ends_with(". ")
                || head.ends_with(": ")
                || head.ends_with("- ");
            let object = tail.split(' ').nth(1).unwrap_or_default();
            let asks = tail.contains('?');
            begins && !asks && !OWNS.contains(&object)
        })
    }

    fn speaks_of_nobody(&self) -> bool {
        let text = self.text.to_lowercase();
        NOBODY.iter().any(|word| {
            text.match_indices(word).any(|(at, _)| {
                let letter = |c: Option<char>| c.is_some_and(char::is_alphanumeric);
                let before = text.get(..at).and_then(|text| text.chars().next_back());
                let after = text
                    .get(at + word.len()..)
                    .and_then(|text| text.chars().next());
                !letter(before) && !letter(after)
            })
        })
    }

    fn begins_with_a_relative_clause(&self) -> bool {
        let text = self.text.trim_start_matches(['-', '*', ' ']);
        let word = text.split([' ', ',']).next().unwrap_or_default();
        // A capital within a sentence is a name; a question is none of the habit.
        let begins = self.before.is_empty()
            || self.before.ends_with(['.', ':', ';', '!', '?', '`'])
            || text.len() < self.text.len();
        begins && RELATIVE.contains(&word)
    }
}

/// What was counted, with the lines.
pub(super) struct Count {
    name: &'static str,
    limit: usize,
    places: Vec<String>,
}

/// Counts in files of source, each with the name to show.
pub(super) fn count(files: &[(String, String)]) -> Vec<Count> {
    HABITS
        .iter()
        .map(|habit| {
            let mut places = Vec::new();
            for (name, text) in files {
                for (line, comment) in comments(text) {
                    if (habit.matches)(&comment) {
                        places.push(format!("{name}:{line}: {}", comment.text));
                    }
                }
            }
            Count {
                name: habit.name,
                limit: habit.limit,
                places,
            }
        })
        .collect()
}

pub(super) fn over(counts: &[Count]) -> Vec<Exception> {
    counts
        .iter()
        .filter(|count| count.places.len() > count.limit)
        .map(|count| Exception {
            key: format!("prose {}", count.name),
            number: count.places.len(),
            places: vec![format!(
                "at most {}; cargo xtask tidy --prose lists the lines",
                count.limit
            )],
        })
        .collect()
}

pub(super) fn summary(counts: &[Count]) -> String {
    counts
        .iter()
        .map(|count| {
            format!(
                "{} {} (limit {})",
                count.name,
                count.places.len(),
                count.limit
            )
        })
        .collect::<Vec<_>>()
        .join(", ")
}

pub(super) fn listing(counts: &[Count]) -> String {
    let mut out = String::new();
    for count in counts {
        out.push_str(&format!("{}: {}\n", count.name, count.places.len()));
        for place in &count.places {
            out.push_str(&format!("    {place}\n"));
        }
    }
    out
}

/// Lines of comments and docs, from 1. Code in docs is none.
fn comments(text: &str) -> Vec<(usize, Comment<'_>)> {
    let mut found = Vec::new();
    let mut before = "";
    let mut in_code = false;
    for (number, line) in text.lines().enumerate() {
        let Some(comment) = comment(line) else {
            before = "";
            in_code = false;
            continue;
        };
        if comment.starts_with("```") {
            in_code = !in_code;
            before = "";
        } else if !in_code {
            found.push((
                number + 1,
                Comment {
                    text: comment,
                    before,
                },
            ));
            before = comment;
        }
    }
    found
}

/// The comment of a line, alone on it or behind code.
fn comment(line: &str) -> Option<&str> {
    let trimmed = line.trim();
    if let Some(comment) = trimmed.strip_prefix("//") {
        return Some(comment.trim_start_matches(['/', '!']).trim());
    }
    let (code, comment) = trimmed.rsplit_once(" // ")?;
    // In a string literal it is none.
    let quotes = code.matches('"').count();
    quotes.is_multiple_of(2).then_some(comment)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counted(text: &str) -> [usize; 3] {
        let counts = count(&[("a.rs".to_owned(), text.to_owned())]);
        let mut numbers = counts.iter().map(|count| count.places.len());
        std::array::from_fn(|_| numbers.next().unwrap())
    }

    #[test]
    fn setters_told_as_acts_of_others_are_found() {
        for text in [
            "/// Has clients count, so that they get each message once.",
            "    // Has the pipeline answer an error.",
            "//! Ends it. Has a waker woken later.",
            "/// `keep_open` has it stay.",
        ] {
            assert_eq!(counted(text), [1, 0, 0], "{text}");
        }
        for text in [
            "/// Has no meaning yet.",
            "/// The client has the file.",
            "let a = \"Has the\";",
        ] {
            assert_eq!(counted(text), [0, 0, 0], "{text}");
        }
    }

    #[test]
    fn nobody_is_found_as_a_word() {
        assert_eq!(
            counted("// Nobody waits, and somebody, whoever, sends."),
            [0, 1, 0]
        );
        assert_eq!(counted("let a = 1; // for nobody"), [0, 1, 0]);
        assert_eq!(counted("// anybodys nobodys"), [0, 0, 0]);
        assert_eq!(counted("let nobody = \" // nobody\";"), [0, 0, 0]);
    }

    #[test]
    fn relative_clauses_at_the_beginning_of_a_line_are_found() {
        assert_eq!(counted("/// What the client sees."), [0, 0, 1]);
        assert_eq!(
            counted("/// It ends.\n/// Those who wait are woken."),
            [0, 0, 1]
        );
        assert_eq!(counted("/// - Where nothing waits, it ends."), [0, 0, 1]);
        assert_eq!(counted("/// It ends what\n/// Who Inc. began."), [0, 0, 0]);
        assert_eq!(counted("/// It says what it is."), [0, 0, 0]);
    }

    #[test]
    fn code_in_docs_is_no_prose() {
        assert_eq!(
            counted("/// ```\n/// // What nobody reads.\n/// ```\n/// Text."),
            [0, 0, 0]
        );
    }
}
