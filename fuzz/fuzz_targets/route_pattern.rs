//! Route patterns and paths, one a line: patterns begin with `+`, all other lines are paths.
//!
//! A pattern survives being written and read again; a path finds a route if and only if one matches it by the rules
//! written out once more, and among those one of the most particular.

#![no_main]

use hyperlane_core::route::{Pattern, RouteTable, Segment};
use libfuzzer_sys::fuzz_target;

/// Regexes are the program's own and may be slow; what is sought here is not that.
const LONGEST_PATTERN: usize = 200;

fuzz_target!(|input: &[u8]| {
    let Ok(text) = str::from_utf8(input) else {
        return;
    };
    let mut table = RouteTable::new();
    let mut patterns = Vec::new();
    let mut paths = Vec::new();
    for line in text.lines().take(32) {
        match line.strip_prefix('+') {
            Some(pattern) if pattern.len() <= LONGEST_PATTERN => match Pattern::parse(pattern) {
                Ok(read) => {
                    check_pattern(pattern, &read);
                    table.insert(pattern, patterns.len()).expect("it was read");
                    patterns.push(read);
                }
                Err(error) => {
                    assert!(table.insert(pattern, usize::MAX).is_err());
                    assert!(pattern.is_empty() || error.to_string().contains(pattern));
                }
            },
            Some(_) => {}
            None => paths.push(line),
        }
    }
    for path in paths {
        check_path(&table, &patterns, path);
    }
});

fn check_pattern(text: &str, pattern: &Pattern) {
    let normal = pattern.to_string();
    let again = Pattern::parse(&normal).expect("what is written can be read");
    assert_eq!(*pattern, again);
    assert_eq!(again.to_string(), normal);
    assert!(!pattern.segments().is_empty());
    assert_eq!(pattern.is_static(), pattern.params().count() == 0);
    if pattern.is_static() {
        assert_eq!(normal, text);
    }
}

fn check_path(table: &RouteTable<usize>, patterns: &[Pattern], path: &str) {
    let ranks: Vec<Option<Vec<(u8, usize)>>> = patterns
        .iter()
        .map(|pattern| rank(patterns, pattern.segments(), path))
        .collect();
    let best = ranks.iter().flatten().min();
    let Some(found) = table.find(path) else {
        assert_eq!(best, None, "{path:?} matches");
        return;
    };
    assert!(!found.routes().is_empty());
    for (route, params) in found.iter() {
        let own = &ranks[*route.value()];
        assert_eq!(
            own.as_ref(),
            best,
            "{path:?}: {} is not the most particular",
            route.pattern()
        );
        assert_eq!(*route.pattern(), patterns[*route.value()]);
        let names: Vec<&str> = params.iter().map(|(name, _)| name).collect();
        assert_eq!(names, route.pattern().params().collect::<Vec<_>>());
        // The parameters put back give the path.
        let mut values = params.iter().map(|(_, value)| value);
        let rebuilt: String = route
            .pattern()
            .segments()
            .iter()
            .map(|segment| match segment {
                Segment::Literal(text) => format!("/{text}"),
                _ => format!("/{}", values.next().expect("a value for each")),
            })
            .collect();
        assert_eq!(rebuilt, path);
    }
}

/// Whether two runs of segments are one place of the table: names do not matter.
fn is_same_place(left: &[Segment], right: &[Segment]) -> bool {
    left.len() == right.len()
        && left.iter().zip(right).all(|pair| match pair {
            (Segment::Literal(left), Segment::Literal(right)) => left == right,
            (Segment::Param(_), Segment::Param(_)) => true,
            (Segment::CatchAll(_), Segment::CatchAll(_)) => true,
            (
                Segment::Constrained {
                    constraint: left, ..
                },
                Segment::Constrained {
                    constraint: right, ..
                },
            ) => left == right,
            _ => false,
        })
}

/// How particular a match is, segment by segment, the lowest first; nothing if there is none. Constraints go in the
/// order in which they were first inserted.
fn rank(patterns: &[Pattern], segments: &[Segment], path: &str) -> Option<Vec<(u8, usize)>> {
    let inserted = |run: &[Segment], is_whole: bool| {
        let first = patterns.iter().position(|pattern| {
            let other = pattern.segments();
            let other = match is_whole {
                true => Some(other),
                false => other.get(..run.len()),
            };
            other.is_some_and(|other| is_same_place(run, other))
        });
        first.unwrap_or(usize::MAX)
    };
    let mut rest = path.strip_prefix('/')?;
    let mut ranks = Vec::new();
    for (at, segment) in segments.iter().enumerate() {
        let is_last = at + 1 == segments.len();
        let (first, after) = match rest.split_once('/') {
            Some((first, after)) => (first, Some(after)),
            None => (rest, None),
        };
        let ends_here = is_last == after.is_none();
        let level = match segment {
            Segment::Literal(text) if first == &**text && ends_here => 0,
            Segment::Constrained { constraint, .. } if ends_here && constraint.matches(first) => 1,
            Segment::Param(_) if !first.is_empty() && ends_here => 2,
            Segment::Constrained { constraint, .. }
                if is_last && after.is_some() && constraint.matches(rest) =>
            {
                3
            }
            Segment::CatchAll(_) if is_last && !rest.is_empty() => 4,
            _ => return None,
        };
        let run = &segments[..=at];
        let order = match level {
            1 => inserted(run, false),
            3 => inserted(run, true),
            _ => 0,
        };
        ranks.push((level, order));
        if level >= 3 {
            return Some(ranks);
        }
        rest = after.unwrap_or_default();
    }
    Some(ranks)
}
