//! Finds the path by which expansions name the library.

use proc_macro_crate::{FoundCrate, crate_name};
use proc_macro2::{Ident, Span, TokenStream};
use quote::quote;
use syn::Path;

/// Returns the path to `__private`: below `chosen` (the `crate = path` argument), else below the name that the program
/// gives to `hyperlane`, else to `hyperlane_core`.
pub(crate) fn private(chosen: Option<&Path>) -> TokenStream {
    if let Some(path) = chosen {
        return quote!(#path::__private);
    }
    let name = library_name();
    let name =
        syn::parse_str::<Ident>(&name).unwrap_or_else(|_| Ident::new_raw(&name, Span::call_site()));
    quote!(::#name::__private)
}

/// Returns the name that the program's manifest gives to the library.
pub(crate) fn library_name() -> String {
    ["hyperlane", "hyperlane-core"]
        .into_iter()
        .find_map(|package| match crate_name(package).ok()? {
            // `crate::` would be wrong in an example or a doctest, so the libraries declare their own names
            // (`extern crate self as hyperlane`).
            FoundCrate::Itself => Some(package.replace('-', "_")),
            FoundCrate::Name(name) => Some(name),
        })
        // With a broken manifest, the compiler's own "cannot find hyperlane" is the best error.
        .unwrap_or_else(|| "hyperlane".into())
}
