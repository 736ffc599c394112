//! Declares the scope of a module: `file_scope!` and the attribute `scope`.

use proc_macro2::{Span, TokenStream};
use quote::{quote, quote_spanned};
use syn::parse::{Parse, ParseStream};
use syn::spanned::Spanned;
use syn::{Error, Expr, Ident, Item, ItemMod, Result, Token, parse2};

use crate::crate_path;
use crate::literals;
use crate::nearest::nearest;
use crate::pattern;
use crate::tokens::hygienic;

/// The options of a scope.
const OPTIONS: [&str; 7] = [
    "with", "inside", "server", "max_body", "errors", "cors", "csrf",
];

/// Expands `file_scope!("/api", ..)`.
pub(crate) fn file(input: TokenStream) -> TokenStream {
    match parse2::<Declaration>(input) {
        Ok(declaration) => declaration.register(),
        Err(error) => error.into_compile_error(),
    }
}

/// Expands `#[scope("/api", ..)]` on a module.
pub(crate) fn module(args: TokenStream, item: TokenStream) -> TokenStream {
    match expand_module(args, item.clone()) {
        Ok(code) => code,
        Err(error) => {
            let error = error.into_compile_error();
            quote!(#item #error)
        }
    }
}

fn expand_module(args: TokenStream, item: TokenStream) -> Result<TokenStream> {
    let declaration = parse2::<Declaration>(args)?;
    let mut module = parse2::<ItemMod>(item).map_err(|error| {
        Error::new(
            error.span(),
            "`#[scope]` stands on a module with a body, as in `#[scope(\"/api\")] mod api { .. }`; a route names a scope \
             by `#[get(\"/path\", scope = API)]`",
        )
    })?;
    let Some((_, items)) = &mut module.content else {
        return Err(Error::new_spanned(
            module.semi,
            "the body of this module is in a file of its own; write `file_scope!(..)` at the top of that file",
        ));
    };
    // The options are resolved in the module, like everything else in it. An import of the names around the module would
    // hide the module's own names of the same spelling.
    let registration: Item = syn::parse2(declaration.register())?;
    items.insert(0, registration);
    Ok(quote!(#module))
}

/// The arguments of a scope.
struct Declaration {
    prefix: Option<Expr>,
    /// The calls that build the scope.
    calls: TokenStream,
}

impl Parse for Declaration {
    fn parse(input: ParseStream<'_>) -> Result<Self> {
        let mut declaration = Self {
            prefix: None,
            calls: TokenStream::new(),
        };
        let is_option =
            input.peek(Ident) && (input.peek2(Token![=]) || input.peek2(syn::token::Paren));
        if !input.is_empty() && !is_option {
            let prefix = input.parse::<Expr>()?;
            check_prefix(&prefix)?;
            declaration.prefix = Some(prefix);
            comma(input)?;
        }
        let mut seen: Vec<Ident> = Vec::new();
        while !input.is_empty() {
            let name = input.parse::<Ident>().map_err(|error| {
                Error::new(
                    error.span(),
                    format!("expected an option of a scope: {}", OPTIONS.join(", ")),
                )
            })?;
            if seen.contains(&name) {
                return Err(Error::new(
                    name.span(),
                    format!("`{name}` is given twice; remove one of the two"),
                ));
            }
            declaration.option(&name, input)?;
            seen.push(name);
            comma(input)?;
        }
        Ok(declaration)
    }
}

impl Declaration {
    /// Parses the value of an option.
    fn option(&mut self, name: &Ident, input: ParseStream<'_>) -> Result<()> {
        let span = hygienic(name.span());
        match name.to_string().as_str() {
            "with" => {
                let list;
                syn::parenthesized!(list in input);
                let functions = list.parse_terminated(Expr::parse, Token![,])?;
                for function in functions {
                    let at = hygienic(function.span());
                    self.calls.extend(quote_spanned!(at=> .with(&#function)));
                }
            }
            option @ ("inside" | "server" | "max_body" | "errors" | "cors" | "csrf") => {
                input.parse::<Token![=]>().map_err(|error| {
                    Error::new(
                        error.span(),
                        format!("expected `=`, as in `{}`", example(option)),
                    )
                })?;
                let value = input.parse::<Expr>()?;
                self.calls.extend(match option {
                    "inside" | "errors" | "cors" => quote_spanned!(span=> .#name(&#value)),
                    _ => quote_spanned!(span=> .#name(#value)),
                });
            }
            other => {
                let hint = match nearest(other, OPTIONS) {
                    Some(near) => format!("did you mean `{near}`?"),
                    None => format!("the options are {}", OPTIONS.join(", ")),
                };
                return Err(Error::new(
                    name.span(),
                    format!("`{other}` is not an option of a scope; {hint}"),
                ));
            }
        }
        Ok(())
    }

    /// Writes the registration of the scope.
    fn register(&self) -> TokenStream {
        let private = crate_path::private(None);
        let prefix = match &self.prefix {
            Some(prefix) => quote!(#prefix),
            None => quote!(""),
        };
        let span = hygienic(
            self.prefix
                .as_ref()
                .map_or_else(Span::call_site, Spanned::span),
        );
        let calls = &self.calls;
        quote_spanned! {span=>
            // The name makes a second scope of the module a compile error.
            #[allow(dead_code)]
            const HYPERLANE_SCOPE_OF_THIS_MODULE: () = {
                #private::inventory::submit! {{
                    #private::ScopeRegistration {
                        module: ::core::module_path!(),
                        scope: #private::Scope::new(#prefix) #calls,
                    }
                }}
            };
        }
    }
}

/// Checks a literal prefix like a pattern.
fn check_prefix(prefix: &Expr) -> Result<()> {
    let Some(literal) = literals::string_literal(prefix) else {
        return Ok(());
    };
    let text = literal.value();
    if text.len() > 1 && text.ends_with('/') || text == "/" {
        return Err(Error::new(
            literal.span(),
            "the prefix of a scope must not end with `/`: write `\"/api\"`",
        ));
    }
    match text.is_empty() {
        true => Ok(()),
        false => pattern::check(&text).map_err(|message| Error::new(literal.span(), message)),
    }
}

fn comma(input: ParseStream<'_>) -> Result<()> {
    match input.is_empty() {
        true => Ok(()),
        false => input.parse::<Token![,]>().map(drop),
    }
}

fn example(option: &str) -> &'static str {
    match option {
        "inside" => "inside = API",
        "server" => "server = \"admin\"",
        "errors" => "errors = render",
        "cors" => "cors = CORS",
        "csrf" => "csrf = Csrf::Off",
        _ => "max_body = 64 * 1024",
    }
}
