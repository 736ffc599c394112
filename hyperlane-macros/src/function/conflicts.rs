//! Refuses macros on one function that contradict each other. For example, no request can pass two guards (conditions
//! on the request) that accept different methods.

use syn::Error;

use super::Function;
use crate::literals;
use crate::model::{Applied, Args, BodyRule, Check, Handle, Role};
use crate::phases::Phases;

impl Function<'_> {
    pub(super) fn conflicts(&self, errors: &mut Vec<Error>) {
        let phases = &self.phases;
        errors.extend(methods(phases));
        errors.extend(versions(phases));
        errors.extend(no_upgrade(phases));
        errors.extend(handles(phases));
        errors.extend(bodies(phases));
        errors.extend(patterns(phases));
    }
}

/// Returns the request methods that a macro accepts. A macro that accepts `GET` also accepts `HEAD`. Returns `None` if
/// the macro accepts all methods, or does not check the method.
fn methods_taken(applied: &Applied) -> Option<Vec<&str>> {
    let mut names: Vec<&str> = match (applied.row.role, &applied.args) {
        (Role::Guard(Check::Method(methods)), _) => methods.to_vec(),
        (Role::Guard(Check::Methods), Args::Methods(methods)) => {
            methods.iter().map(String::as_str).collect()
        }
        (Role::Register(register), _) => register.methods().to_vec(),
        _ => return None,
    };
    if names.contains(&"GET") {
        names.push("HEAD");
    }
    (!names.is_empty()).then_some(names)
}

/// Finds guards that accept no method in common, and a route that accepts no method of the guards. Also finds a
/// WebSocket macro together with a route or guard that does not accept `GET`.
fn methods(phases: &Phases) -> Option<Error> {
    let mut left: Option<(&Applied, Vec<&str>)> = None;
    for guard in &phases.guards {
        let Some(taken) = methods_taken(guard) else {
            continue;
        };
        if let Some(error) = needs_get(phases, guard, &taken) {
            return Some(error);
        }
        left = match left {
            None => Some((guard, taken)),
            Some((first, before)) => {
                let both: Vec<_> = before
                    .iter()
                    .copied()
                    .filter(|name| taken.contains(name))
                    .collect();
                if both.is_empty() {
                    return Some(guard.error(format!(
                        "no request passes both `#[{}]` and `#[{}]`; keep one, or write `#[methods({})]` to take either",
                        first.name,
                        guard.name,
                        union(&before, &taken),
                    )));
                }
                Some((first, both))
            }
        };
    }
    phases.registers.iter().find_map(|register| {
        let taken = methods_taken(register)?;
        if let Some(error) = needs_get(phases, register, &taken) {
            return Some(error);
        }
        let (guard, others) = left.as_ref()?;
        let apart = !others.iter().any(|name| taken.contains(name));
        apart.then(|| {
            guard.error(format!(
                "`#[{}]` declines every request that `#[{}]` takes; remove it, or write `#[route(..)]` instead of `#[{}]`",
                guard.name, register.name, register.name
            ))
        })
    })
}

fn needs_get(phases: &Phases, applied: &Applied, taken: &[&str]) -> Option<Error> {
    let websocket = phases.websocket_macro()?;
    (!taken.contains(&"GET")).then(|| {
        let fix = match applied.row.role {
            Role::Register(_) => "write `#[get(..)]` or `#[route(..)]`".to_owned(),
            _ => "remove this guard".to_owned(),
        };
        applied.error(format!(
            "`#[{}]` begins with a GET request, which `#[{}]` does not take; {fix}",
            websocket.name, applied.name
        ))
    })
}

fn union(first: &[&str], second: &[&str]) -> String {
    let mut names: Vec<String> = Vec::new();
    for name in first.iter().chain(second) {
        // Beside `get`, the list leaves out `head`, because a guard that accepts `GET` also accepts `HEAD`.
        let along = *name == "HEAD" && (first.contains(&"GET") || second.contains(&"GET"));
        let name = name.to_lowercase();
        if !along && !name.is_empty() && !names.contains(&name) {
            names.push(name);
        }
    }
    names.join(", ")
}

/// Finds guards that accept no HTTP version in common.
fn versions(phases: &Phases) -> Option<Error> {
    let mut left: Option<(&Applied, Vec<&str>)> = None;
    for guard in &phases.guards {
        let Role::Guard(Check::Version { accepts, .. }) = guard.row.role else {
            continue;
        };
        left = match left {
            None => Some((guard, accepts.to_vec())),
            Some((first, before)) => {
                let both: Vec<_> = before
                    .into_iter()
                    .filter(|name| accepts.contains(name))
                    .collect();
                if both.is_empty() {
                    return Some(guard.error(format!(
                        "no request passes both `#[{}]` and `#[{}]`, since a request has one version; keep one of the two",
                        first.name, guard.name
                    )));
                }
                Some((first, both))
            }
        };
    }
    None
}

/// Finds a macro that requires an upgrade on the same function as a guard that declines upgrades.
fn no_upgrade(phases: &Phases) -> Option<Error> {
    let none = phases
        .guards
        .iter()
        .find(|guard| guard.row.role == Role::Guard(Check::NoUpgrade))?;
    let is_upgrade = |guard: &&Applied| matches!(guard.row.role, Role::Guard(Check::Upgrade(_)));
    let other = phases
        .guards
        .iter()
        .find(is_upgrade)
        .or_else(|| phases.websocket_macro())?;
    Some(none.error(format!(
        "`#[{}]` requires an upgrade and `#[{}]` declines it; keep one of the two",
        other.name, none.name
    )))
}

/// Finds macros that contradict the macro that opens a handle:
///
/// - `sse` together with a read macro, or with the guard `is_ws_upgrade_type`
/// - `websocket` together with `try_get_http_request`
fn handles(phases: &Phases) -> Option<Error> {
    let open = phases.opener()?;
    if phases.opens(Handle::WebSocket) {
        let read = phases
            .read
            .as_ref()
            .filter(|_| phases.message_read().is_none())?;
        return Some(read.error(format!(
            "a WebSocket carries no further requests; read its messages with `{}.recv()` or `#[try_get_websocket_request]`",
            open.bindings().first().map_or_else(String::new, |binding| binding.name.to_string())
        )));
    }
    if let Some(read) = &phases.read {
        return Some(read.error(format!(
            "`#[{}]` reads from a connection that `#[{}]` only writes to; keep one of the two",
            read.name, open.name
        )));
    }
    let websocket = phases.websocket_guard()?;
    Some(open.error(format!(
        "a request for a WebSocket (`#[{}]`) cannot be answered by an event stream; keep one of the two",
        websocket.name
    )))
}

/// Finds `body_stream` together with a WebSocket macro. In a function without a read macro, also finds `body_stream`
/// together with a macro that binds the whole body.
fn bodies(phases: &Phases) -> Option<Error> {
    let is_stream = |applied: &&Applied| applied.row.role == Role::Body(BodyRule::Stream);
    let stream = phases.extractors.iter().find(is_stream)?;
    if let Some(websocket) = phases.websocket_macro() {
        return Some(stream.error(format!(
            "the request for a WebSocket (`#[{}]`) has no body to stream; remove `#[{}]`",
            websocket.name, stream.name
        )));
    }
    if phases.read.is_some() {
        return None;
    }
    let whole = phases
        .extractors
        .iter()
        .chain(&phases.setup)
        .find(|applied| applied.row.name.starts_with("request_body"))?;
    Some(whole.error(format!(
        "`#[{}]` streams the body, so `#[{}]` would find it empty; keep one of the two",
        stream.name, whole.name
    )))
}

/// Finds two routes with the same macro and the same literal pattern.
fn patterns(phases: &Phases) -> Option<Error> {
    let registers = phases.registers.iter().enumerate();
    registers.into_iter().find_map(|(at, register)| {
        let text = literals::string_argument(register)?;
        let before = phases.registers.get(..at)?;
        let again = before.iter().find(|first| {
            first.row.name == register.row.name
                && literals::string_argument(first)
                    .is_some_and(|other| other.value() == text.value())
        })?;
        Some(Error::new(
            text.span(),
            format!(
                "`#[{}]` takes this path already; remove one of the two",
                again.name
            ),
        ))
    })
}
