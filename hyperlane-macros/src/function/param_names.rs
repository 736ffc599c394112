//! Compares the path parameters that a hook asks for with the parameters in its route's pattern.

use proc_macro2::TokenStream;
use quote::quote_spanned;
use syn::{Attribute, Error, LitStr};

use super::Function;
use crate::literals;
use crate::model::{Applied, Role};
use crate::pattern;
use crate::tokens::hygienic;

impl Function<'_> {
    /// Refuses a parameter name that is missing in a pattern of the route function. Checks only names and patterns that
    /// are string literals.
    pub(super) fn unknown_params(&self, errors: &mut Vec<Error>) {
        let registers = &self.phases.registers;
        // The prefix of a scope that the attribute names may have the parameter.
        let pattern = |applied: &Applied| match applied.scope {
            None => literals::string_argument(applied).map(LitStr::value),
            Some(_) => None,
        };
        let patterns: Vec<String> = registers.iter().filter_map(pattern).collect();
        let lacks = |pattern: &&String, name: &str| {
            pattern::names(pattern).is_ok_and(|names| !names.contains(&name))
        };
        for (applied, name) in self.requested_params() {
            let text = name.value();
            let optional = applied.row.role == Role::Extract("try_route_param");
            // The name of an optional parameter is refused only if the name is missing in all patterns. A pattern that
            // is not a literal may contain the name.
            let lacking = match optional {
                true if patterns.len() < registers.len() => None,
                true if !patterns.iter().all(|pattern| lacks(&pattern, &text)) => None,
                _ => patterns.iter().find(|pattern| lacks(pattern, &text)),
            };
            let Some(pattern) = lacking else {
                continue;
            };
            let known = pattern::names(pattern).unwrap_or_default();
            let fix = match known.as_slice() {
                [] => format!("add `{{{text}}}` to it"),
                [one] => format!("did you mean `{one}`?"),
                several => format!("it has {}", several.join(", ")),
            };
            errors.push(Error::new(
                name.span(),
                format!("the route `{pattern}` has no parameter `{text}`; {fix}"),
            ));
        }
    }

    /// Returns the names of the parameters that the hook requires by `route_param`. Only names that are string literals
    /// are known.
    pub(super) fn required_params(&self) -> Vec<&LitStr> {
        self.requested_params()
            .filter(|(applied, _)| applied.row.role == Role::Require("route_param"))
            .map(|(_, name)| name)
            .collect()
    }

    /// Writes a constant with the names of the required parameters, next to `handle` or `new`. The registration
    /// compares the names with the route's pattern.
    pub(super) fn param_constant(&self, cfgs: &[&Attribute]) -> Option<TokenStream> {
        let signature = &self.item.sig;
        let is_new = signature.ident == "new"
            && signature.receiver().is_none()
            && signature.inputs.len() == 2
            && !self.is_route();
        let constant = match (self.is_handler, is_new) {
            (true, _) => quote::format_ident!("PARAMS"),
            (false, true) => quote::format_ident!("NEW_PARAMS"),
            (false, false) => return None,
        };
        let names = self.required_params();
        let span = hygienic(names.first()?.span());
        Some(quote_spanned! {span=>
            #(#cfgs)*
            #[doc(hidden)]
            #[allow(dead_code)]
            const #constant: &'static [&'static str] = &[#(#names),*];
        })
    }

    /// Returns the names of all requested parameters, each with its macro. Only names that are string literals are
    /// known.
    fn requested_params(&self) -> impl Iterator<Item = (&Applied, &LitStr)> {
        let phases = &self.phases;
        let asking = phases.extractors.iter().chain(&phases.setup);
        let asking = asking.filter(|applied| {
            matches!(
                applied.row.role,
                Role::Require("route_param") | Role::Extract("try_route_param")
            )
        });
        asking.flat_map(|applied| {
            let keys = applied
                .bindings()
                .iter()
                .filter_map(|binding| binding.key.as_ref());
            keys.filter_map(literals::string_literal)
                .map(move |name| (applied, name))
        })
    }
}
