//! Under which path the expansion reaches the library.

use proc_macro_crate::{FoundCrate, crate_name};
use proc_macro2::{Ident, Span, TokenStream};
use quote::quote;
use syn::Path;

/// Returns the path to `__private`: below `chosen` (the `crate = path` argument), else below the name the program
/// gave to `hyperlane`, else to `hyperlane_core`.
pub(crate) fn private(chosen: Option<&Path>) -> TokenStream {
    if let Some(path) = chosen {
        return quote!(#path::__private);
    }
    let name = library_name();
    let name =
        syn::parse_str::<Ident>(&name).unwrap_or_else(|_| Ident::new_raw(&name, Span::call_site()));
    quote!(::#name::__private)
}

/// Returns the name under which the program knows the library.
pub(crate) fn library_name() -> String {
    ["hyperlane", "hyperlane-core"]
        .into_iter()
        .find_map(|package| match crate_name(package).ok()? {
            // `crate::` would be wrong in an example or a doctest, so the libraries name themselves
            // (`extern crate self as hyperlane`).
            FoundCrate::Itself => Some(package.replace('-', "_")),
            FoundCrate::Name(name) => Some(name),
        })
        // Whatever is wrong with the manifest, the compiler's own "cannot find hyperlane" says it best.
        .unwrap_or_else(|| "hyperlane".into())
}
