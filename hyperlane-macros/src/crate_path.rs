//! Finds the path by which generated code names the library.

use proc_macro_crate::{FoundCrate, crate_name};
use proc_macro2::{Ident, Span, TokenStream};
use quote::quote;
use syn::Path;

/// Returns the path to the module `__private`, which contains all items that generated code uses. The path begins with
/// `chosen`, the argument `crate = path`. Without this argument, the path begins with the name of the library in the
/// program's manifest.
pub(crate) fn private(chosen: Option<&Path>) -> TokenStream {
    if let Some(path) = chosen {
        return quote!(#path::__private);
    }
    let name = library_name();
    let name =
        syn::parse_str::<Ident>(&name).unwrap_or_else(|_| Ident::new_raw(&name, Span::call_site()));
    quote!(::#name::__private)
}

/// Returns the name under which the program's manifest lists the package `hyperlane`, or else the package
/// `hyperlane-core`.
pub(crate) fn library_name() -> String {
    ["hyperlane", "hyperlane-core"]
        .into_iter()
        .find_map(|package| match crate_name(package).ok()? {
            // The manifest is that of the library itself, so the code may be an example or a doctest of the library.
            // There, `crate::` would mean the example. The path therefore begins with the name of the library. The
            // library declares this name for its own code too (`extern crate self as hyperlane`).
            FoundCrate::Itself => Some(package.replace('-', "_")),
            FoundCrate::Name(name) => Some(name),
        })
        // If there is no name, the manifest is broken or does not list the library. The compiler then reports that it
        // cannot find `hyperlane`.
        .unwrap_or_else(|| "hyperlane".into())
}
