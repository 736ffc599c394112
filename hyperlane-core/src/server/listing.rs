//! Registered routes and hooks, in the form that published Hyperlane programs read. [`Server::routes`] returns more
//! details.

use std::collections::BTreeMap;

use super::Server;
use crate::pipeline::chain::{Planned, PlannedKind, in_scope};
use crate::{
    error::Place,
    route::{Pattern, Segment},
};

/// The patterns of a server's routes in three groups: without parameters, with parameters but without a regex, and with
/// a regex. Each pattern has the places in the program where its handlers are registered. The groups contain only valid
/// patterns. [`Server::run`] returns an error for an invalid pattern.
#[derive(Clone, Debug, Default)]
pub struct RouteMatcher {
    fixed: BTreeMap<String, Vec<Place>>,
    dynamic: BTreeMap<usize, Vec<(Pattern, Place)>>,
    regex: BTreeMap<usize, Vec<(Pattern, Place)>>,
}

/// Methods under the names that published Hyperlane programs call.
impl RouteMatcher {
    fn add(&mut self, text: &str, place: Place) {
        let Ok(pattern) = Pattern::parse(text) else {
            return;
        };
        if pattern.is_static() {
            self.fixed.entry(text.to_owned()).or_default().push(place);
            return;
        }
        let is_regex = pattern
            .segments()
            .iter()
            .any(|segment| matches!(segment, Segment::Constrained { .. }));
        let routes = match is_regex {
            true => &mut self.regex,
            false => &mut self.dynamic,
        };
        let count = pattern.segments().len();
        routes.entry(count).or_default().push((pattern, place));
    }

    /// Returns the paths without parameters.
    pub fn get_static_route(&self) -> &BTreeMap<String, Vec<Place>> {
        &self.fixed
    }

    /// Returns the patterns with parameters but without a regex, by their number of segments.
    pub fn get_dynamic_route(&self) -> &BTreeMap<usize, Vec<(Pattern, Place)>> {
        &self.dynamic
    }

    /// Returns the patterns with a regex, by their number of segments.
    pub fn get_regex_route(&self) -> &BTreeMap<usize, Vec<(Pattern, Place)>> {
        &self.regex
    }
}

/// The name of a registered hook, and the place of its registration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct HookInfo {
    /// The name of the hook type.
    pub name: &'static str,
    /// The place in the program where the hook is registered.
    pub place: Place,
}

impl RouteMatcher {
    pub(super) fn of(server: &Server) -> Self {
        let mut matcher = Self::default();
        let (hooks, scopes) = server.planned();
        for Planned {
            kind, hook, scope, ..
        } in hooks
        {
            let prefix = scopes.get(scope).map_or("", |scope| &scope.prefix);
            match kind {
                PlannedKind::Route(pattern) => {
                    matcher.add(&in_scope(prefix, &pattern), hook.place);
                }
                #[cfg(feature = "tower")]
                PlannedKind::Mount(mounted) => {
                    matcher.add(&format!("{prefix}{mounted}/{{*rest}}"), hook.place);
                }
                _ => {}
            }
        }
        matcher
    }
}

impl Server {
    /// Returns the hooks of the kinds that `is_asked` accepts, in the order of registration.
    pub(super) fn hooks_of(&self, is_asked: impl Fn(&PlannedKind) -> bool) -> Vec<HookInfo> {
        let (hooks, _) = self.planned();
        let hooks = hooks.into_iter().filter(|planned| is_asked(&planned.kind));
        let infos = hooks.map(|planned| HookInfo {
            name: planned.hook.name,
            place: planned.hook.place,
        });
        infos.collect()
    }
}
