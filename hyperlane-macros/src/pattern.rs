//! Checks route patterns while the program compiles.

/// Checks a route pattern. The error describes the fault and its correction.
pub(crate) fn check(pattern: &str) -> Result<(), String> {
    names(pattern).map(drop)
}

/// Checks a route pattern and returns the names of its parameters.
pub(crate) fn names(pattern: &str) -> Result<Vec<&str>, String> {
    let Some(path) = pattern.strip_prefix('/') else {
        return Err(match pattern {
            "" => "a route pattern cannot be empty; the root is \"/\"".into(),
            _ => format!("a route pattern starts with `/`: write \"/{pattern}\""),
        });
    };
    let segments = split(path)?;
    let mut names: Vec<&str> = Vec::new();
    let mut rest = segments.iter();
    while let Some(segment) = rest.next() {
        let Some(parameter) = parse_segment(segment)? else {
            continue;
        };
        if parameter.catch_all && rest.len() > 0 {
            return Err(format!(
                "the catch-all `{{*{}}}` takes the rest of the path, so it must come last",
                parameter.name
            ));
        }
        if names.contains(&parameter.name) {
            return Err(format!(
                "the parameter `{}` appears twice; give the second one another name",
                parameter.name
            ));
        }
        names.push(parameter.name);
    }
    Ok(names)
}

/// A segment that is a parameter, such as `{id}`.
struct Parameter<'a> {
    name: &'a str,
    catch_all: bool,
}

/// Splits a path into segments at every `/`. A `/` inside braces is an error. Braces can nest, as in `{id:\d{3}}`.
fn split(path: &str) -> Result<Vec<&str>, String> {
    let mut segments = Vec::new();
    let mut depth = 0_usize;
    let mut start = 0;
    let mut escaped = false;
    // The index of the `[` of an open character class. Inside a class, braces have no special meaning.
    let mut class = None;
    for (at, letter) in path.char_indices() {
        let was_escaped = std::mem::take(&mut escaped);
        match letter {
            _ if was_escaped => {}
            '\\' if depth > 0 => escaped = true,
            '[' if depth > 0 => class = class.or(Some(at)),
            // A `]` is literal directly after the `[` of its class, or directly after `[^`.
            ']' if class.is_some_and(|open| matches!(path.get(open..at), Some("[" | "[^"))) => {}
            ']' if depth > 0 => class = None,
            '{' | '}' if class.is_some() => {}
            '{' => depth += 1,
            '}' if depth == 0 => return Err("a `}` has no `{` before it".into()),
            '}' => depth -= 1,
            '/' if depth > 0 => {
                return Err("a parameter cannot contain `/`, since it matches one segment; close its brace with `}` first".into());
            }
            '/' => {
                segments.extend(path.get(start..at));
                start = at + 1;
            }
            _ => {}
        }
    }
    if let Some(class) = class {
        let parameter = path.get(start..).unwrap_or_default();
        let regex = path.get(class..).unwrap_or_default();
        return Err(format!(
            "the regex in `{parameter}` does not close its `[`: add a `]` to `{regex}`"
        ));
    }
    if depth > 0 {
        return Err("a `{` is never closed; add the missing `}`".into());
    }
    segments.extend(path.get(start..));
    Ok(segments)
}

/// Parses a parameter: `:name`, `{name}`, `{name:regex}` or `{*name}`. Returns `None` for a literal segment.
fn parse_segment(segment: &str) -> Result<Option<Parameter<'_>>, String> {
    if let Some(name) = segment.strip_prefix(':') {
        return parameter(name, false).map(Some);
    }
    if let Some(name) = segment.strip_prefix('*') {
        let name = if name.is_empty() { "rest" } else { name };
        return Err(format!("a catch-all is written `{{*{name}}}`"));
    }
    if let Some(written) = foreign_syntax(segment) {
        return Err(format!(
            "a parameter is not written `{segment}`: write `{written}`"
        ));
    }
    let Some(inner) = segment.strip_prefix('{') else {
        return match segment.contains('{') {
            true => Err(format!(
                "a parameter fills a whole segment, so `{segment}` needs a `/` before its `{{`"
            )),
            false => Ok(None),
        };
    };
    let Some(inner) = inner.strip_suffix('}') else {
        return Err(format!(
            "a parameter fills a whole segment, so `{segment}` needs a `/` after its `}}`"
        ));
    };
    if let Some(name) = inner.strip_prefix('*') {
        return parameter(name, true).map(Some);
    }
    match inner.split_once(':') {
        Some((name, "")) => Err(format!(
            "the constraint of `{name}` is empty; write `{{{name}}}` to match any segment"
        )),
        Some((name, regex)) => {
            let parameter = parameter(name, false)?;
            match regex_lite::Regex::new(regex) {
                Ok(_) => Ok(Some(parameter)),
                Err(error) => Err(format!(
                    "the regex `{regex}` of `{name}` is invalid: {error}"
                )),
            }
        }
        None => parameter(inner, false).map(Some),
    }
}

/// Translates a parameter from the syntax of other libraries (`<id>`, `<int:id>`, `<rest..>`, `[id]`, `[...rest]`) to
/// the syntax of this library. Returns `{id}` for a segment that contains a `<` or `>` elsewhere, such as `x<id>`, but
/// not for a segment that begins with `{`. Returns `None` for other segments.
///
/// The caller refuses a segment in the foreign syntax, because it is hardly meant as a literal: in the path of a
/// request, `<`, `>`, `[` and `]` must be percent-encoded (RFC 3986 §3.3).
fn foreign_syntax(segment: &str) -> Option<String> {
    let between = |open: char, close: char| segment.strip_prefix(open)?.strip_suffix(close);
    let inner = between('<', '>').or_else(|| between('[', ']'));
    let Some(inner) = inner else {
        let has_angle = !segment.starts_with('{') && segment.contains(['<', '>']);
        return has_angle.then(|| "{id}".to_owned());
    };
    let (kind, name) = inner.rsplit_once(':').unwrap_or(("", inner));
    let bare = name.trim_matches('.').trim_start_matches('*');
    let takes_rest = bare.len() < name.len() || kind == "path";
    let bare = if bare.is_empty() { "id" } else { bare };
    Some(match takes_rest {
        true => format!("{{*{bare}}}"),
        false => format!("{{{bare}}}"),
    })
}

/// Checks the name of a parameter and returns the parameter.
fn parameter(name: &str, catch_all: bool) -> Result<Parameter<'_>, String> {
    if name.is_empty() {
        return Err("a parameter needs a name, as in `{id}`".into());
    }
    match name
        .chars()
        .find(|letter| !letter.is_alphanumeric() && !matches!(letter, '_' | '-'))
    {
        Some(letter) => Err(format!(
            "`{letter}` cannot be part of the parameter name `{name}`; use letters, digits, `_` and `-`"
        )),
        None => Ok(Parameter { name, catch_all }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn good_patterns_pass() {
        for pattern in [
            "/",
            "/users",
            "/users/",
            "/users/:id",
            "/users/{id}/posts/{post-id}",
            r"/users/{id:\d+}",
            r"/y/{year:[0-9]{4}}/{month:\d{2}}",
            r"/odd/{x:a\}b}",
            "/files/{*path}",
            "/a.b/~c",
            r"/odd/{x:[^}{]+}/{y:[\]a}]}",
            "/odd/{x:[]}]}/{y:[^]}]+}/{z:[a]]}",
            "/a[0]/b",
        ] {
            assert_eq!(check(pattern), Ok(()), "{pattern}");
        }
    }

    #[test]
    fn bad_patterns_say_what_to_correct() {
        for (pattern, part) in [
            ("", "cannot be empty"),
            ("users", "write \"/users\""),
            ("/a/{id", "never closed"),
            ("/a/id}", "no `{`"),
            ("/a/{id/b}", "cannot contain `/`"),
            ("/a/{}", "needs a name"),
            ("/a/:", "needs a name"),
            ("/a/{*}", "needs a name"),
            ("/a/{id:}", "constraint of `id` is empty"),
            ("/a/{:x}", "needs a name"),
            ("/{id}/{id}", "appears twice"),
            ("/:id/{id:\\d+}", "appears twice"),
            ("/{*rest}/b", "must come last"),
            ("/a{id}", "whole segment"),
            ("/{id}a", "whole segment"),
            ("/:id.json", "cannot be part"),
            ("/{a b}", "cannot be part"),
            ("/files/*path", "{*path}"),
            ("/files/*", "{*rest}"),
            ("/a/<id>", "write `{id}`"),
            ("/a/<int:id>/b", "write `{id}`"),
            ("/a/<path:rest>", "write `{*rest}`"),
            ("/a/<rest..>", "write `{*rest}`"),
            ("/a/x<id>", "write `{id}`"),
            ("/a/<>", "write `{id}`"),
            ("/a/[id]", "write `{id}`"),
            ("/a/[...rest]", "write `{*rest}`"),
            ("/a/{id:[0-9}", "does not close its `[`"),
            ("/a/{id:[]}", "does not close its `[`"),
            ("/a/{id:[0-9}/b", "cannot contain `/`"),
            ("/a/{id:(}", "the regex `(` of `id` is invalid"),
            ("/a/{id:*}", "is invalid"),
            (r"/a/{id:\d{2,1}}", "is invalid"),
            (r"/a/{id:(?=x)}", "is invalid"),
            (r"/a/{id:a)|(b}", "is invalid"),
        ] {
            let message = check(pattern).expect_err(pattern);
            assert!(message.contains(part), "{pattern}: {message}");
        }
    }
}
