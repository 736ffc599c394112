//! Compile-time checks of a registered hook.
//!
//! The attributes of a hook's struct name the route. The attributes of its method `handle` name parameters and guards.
//! (A guard is a condition under which the hook serves a request.) These are different items, so no macro sees both and
//! can compare them. The registration of the hook does see both. It is a constant, so the compiler evaluates the
//! checks, and a panic during the evaluation is a compile error.

#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    reason = "evaluated by the compiler only, which reports them as errors"
)]

use super::{Guard, GuardKind, Scope};

/// Panics if a hook uses a parameter that the pattern of its route lacks.
#[track_caller]
pub(super) const fn params(pattern: &str, scope: Option<&Scope>, names: &[&str]) {
    let mut at = 0;
    while at < names.len() {
        if !has_param(pattern.as_bytes(), names[at].as_bytes()) && !is_in_prefix(scope, names[at]) {
            let text = Text::new()
                .push("the route `")
                .push(pattern)
                .push("` has no parameter `")
                .push(names[at])
                .push("`, which its hook asks for by `route_param`; add `{")
                .push(names[at])
                .push("}` to the pattern, or bind it by `try_get_route_param`");
            panic!("{}", text.as_str());
        }
        at += 1;
    }
}

/// Returns whether the prefix of a scope, or of a scope around it, has a parameter.
const fn is_in_prefix(mut scope: Option<&Scope>, name: &str) -> bool {
    while let Some(within) = scope {
        if has_param(within.prefix.as_bytes(), name.as_bytes()) {
            return true;
        }
        scope = within.outer;
    }
    false
}

/// Panics if no request can reach a hook. Either its guards decline every method of its route, or the hook serves a
/// WebSocket and its route does not take GET.
///
/// If `methods` is empty, the route takes every method, and nothing is checked.
#[track_caller]
pub(super) const fn methods(methods: &[&str], guards: &[Guard], websocket: bool) {
    if methods.is_empty() {
        return;
    }
    if websocket && !contains(methods, "GET") {
        let text = list(
            Text::new().push("a WebSocket begins with a GET request, but its route takes only "),
            methods,
        )
        .push("; register the hook by `#[get(..)]` or `#[route(..)]`");
        panic!("{}", text.as_str());
    }
    let mut at = 0;
    while at < methods.len() {
        if takes(guards, methods[at]) || (eq(methods[at], "GET") && takes(guards, "HEAD")) {
            return;
        }
        at += 1;
    }
    let text = list(Text::new().push("this route takes only "), methods).push(
        ", which the guards on `handle` decline, so no request reaches it; remove one of the two",
    );
    panic!("{}", text.as_str());
}

/// Returns whether all guards accept the method. A guard that accepts GET also accepts HEAD.
const fn takes(guards: &[Guard], method: &str) -> bool {
    let mut at = 0;
    while at < guards.len() {
        if let GuardKind::Method(names) = guards[at].kind {
            let as_get = eq(method, "HEAD") && contains(names, "GET");
            if !contains(names, method) && !as_get {
                return false;
            }
        }
        at += 1;
    }
    true
}

/// Returns whether the pattern has a parameter of this name: `:name`, `{name}`, `{name:regex}` or `{*name}`.
const fn has_param(pattern: &[u8], name: &[u8]) -> bool {
    let mut at = 1;
    while at < pattern.len() {
        if pattern[at - 1] == b'/' && (pattern[at] == b':' || pattern[at] == b'{') {
            let start = match at + 1 < pattern.len() && pattern[at + 1] == b'*' {
                true => at + 2,
                false => at + 1,
            };
            let mut end = start;
            while end < pattern.len() && !matches!(pattern[end], b'/' | b':' | b'}') {
                end += 1;
            }
            if same(pattern.split_at(end).0.split_at(start).1, name) {
                return true;
            }
        }
        at += 1;
    }
    false
}

const fn contains(names: &[&str], name: &str) -> bool {
    let mut at = 0;
    while at < names.len() {
        if eq(names[at], name) {
            return true;
        }
        at += 1;
    }
    false
}

const fn eq(left: &str, right: &str) -> bool {
    same(left.as_bytes(), right.as_bytes())
}

const fn same(left: &[u8], right: &[u8]) -> bool {
    if left.len() != right.len() {
        return false;
    }
    let mut at = 0;
    while at < left.len() {
        if left[at] != right[at] {
            return false;
        }
        at += 1;
    }
    true
}

const fn list(mut text: Text, names: &[&str]) -> Text {
    let mut at = 0;
    while at < names.len() {
        if at > 0 {
            text = text.push(", ");
        }
        text = text.push(names[at]);
        at += 1;
    }
    text
}

/// A message built at compile time, where `format!` is not available.
struct Text {
    bytes: [u8; 512],
    len: usize,
}

impl Text {
    const fn new() -> Self {
        Self {
            bytes: [0; 512],
            len: 0,
        }
    }

    /// Appends as much of `text` as fits.
    const fn push(mut self, text: &str) -> Self {
        let text = text.as_bytes();
        let mut at = 0;
        while at < text.len() && self.len < self.bytes.len() {
            self.bytes[self.len] = text[at];
            self.len += 1;
            at += 1;
        }
        self
    }

    const fn as_str(&self) -> &str {
        match std::str::from_utf8(self.bytes.split_at(self.len).0) {
            Ok(text) => text,
            Err(_) => {
                "the route and its hook do not fit each other: compare parameters and methods"
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_of_a_parameter_is_found() {
        for (pattern, name, expected) in [
            ("/users/{id}", "id", true),
            ("/users/:id", "id", true),
            ("/users/:id/posts", "id", true),
            (r"/users/{id:\d+}", "id", true),
            (r"/y/{year:[0-9]{4}}/{month:\d{2}}", "month", true),
            ("/files/{*path}", "path", true),
            ("/users/{id}", "i", false),
            ("/users/{id}", "idx", false),
            ("/id", "id", false),
            ("/a:id", "id", false),
            ("", "id", false),
            ("/", "", false),
        ] {
            assert_eq!(
                has_param(pattern.as_bytes(), name.as_bytes()),
                expected,
                "{pattern} {name}"
            );
        }
    }

    #[test]
    fn a_get_route_serves_head() {
        let only = |names: &'static [&'static str]| Guard {
            kind: GuardKind::Method(names),
            check: |_| true,
        };
        methods(&["GET"], &[only(&["HEAD"])], true);
        methods(&["HEAD"], &[only(&["GET"])], false);
        methods(&["POST"], &[only(&["GET", "POST"]), only(&["POST"])], false);
        methods(&[], &[only(&["GET"])], true);
    }

    #[test]
    #[should_panic(expected = "takes only POST, PUT, which the guards")]
    fn a_route_that_its_guards_decline_is_refused() {
        let guard = Guard {
            kind: GuardKind::Method(&["GET"]),
            check: |_| true,
        };
        methods(&["POST", "PUT"], &[guard], false);
    }

    #[test]
    #[should_panic(expected = "begins with a GET request")]
    fn a_websocket_by_post_is_refused() {
        methods(&["POST"], &[], true);
    }

    #[test]
    #[should_panic(expected = "the route `/a/{b}` has no parameter `c`")]
    fn a_missing_parameter_is_named_with_its_route() {
        params("/a/{b}", None, &["b", "c"]);
    }
}
