//! Parses the arguments of macros. Each macro is a row of the table [`ROWS`]. The shape of the row says which arguments
//! the macro takes, and each shape has one parser.

use proc_macro2::{Group, Ident, Span, TokenStream, TokenTree};
use quote::ToTokens;
use syn::parse::{Parse, ParseStream, Parser};
use syn::punctuated::Punctuated;
use syn::spanned::Spanned;
use syn::{Error, Expr, ExprLit, ExprUnary, Lit, Path, Result, Token, Type, UnOp};

use crate::literals;
use crate::model::{Applied, Args, Binding, Role, Row, Shape};
use crate::nearest::nearest;
use crate::pattern;
use crate::table::{self, ROWS};

/// Parses the arguments of the macro `row`. Returns the path of an argument `crate = path` as a separate value.
pub(crate) fn parse(
    row: &'static Row,
    name: Ident,
    tokens: TokenStream,
) -> Result<(Applied, Option<Path>)> {
    let (path, tokens) = take_path(tokens, "crate", "my_crate::hyperlane")?;
    let (scope, tokens) = match row.role {
        Role::Register(_) => take_path(tokens, "scope", "API")?,
        _ => (None, tokens),
    };
    let end = name.span();
    let parser = |input: ParseStream<'_>| {
        if input.is_empty() && !row.shape.is_optional() {
            return Err(Error::new(
                end,
                format!(
                    "`{0}` needs arguments: `{1}`",
                    row.name,
                    row.shape.example(row.name)
                ),
            ));
        }
        let args = parse_shape(row, input)?;
        match input.is_empty() {
            true => Ok(args),
            false => Err(input.error(format!("expected `{}`", row.shape.example(row.name)))),
        }
    };
    let last = tokens
        .clone()
        .into_iter()
        .last()
        .map_or(name.span(), |token| token.span());
    let args = parser
        .parse2(tokens)
        .map_err(|error| relocate(error, last))?;
    let applied = Applied {
        row,
        name,
        args,
        scope,
    };
    Ok((applied, path))
}

/// Moves errors about a missing token to the last token. The parser reports such errors at the call site. The call site
/// is the item's first attribute, but another attribute may lack the token.
fn relocate(error: Error, last: Span) -> Error {
    let call_site = format!("{:?}", Span::call_site());
    let moved = error
        .into_iter()
        .map(|error| match format!("{:?}", error.span()) == call_site {
            true => Error::new(last, error),
            false => error,
        });
    moved
        .reduce(|mut all, error| {
            all.combine(error);
            all
        })
        .unwrap_or_else(|| Error::new(last, "these arguments cannot be parsed"))
}

/// Parses the arguments in the shape that `row` has.
fn parse_shape(row: &Row, input: ParseStream<'_>) -> Result<Args> {
    Ok(match row.shape {
        Shape::Nothing => match input.is_empty() {
            true => Args::Nothing,
            false => {
                return Err(input.error(format!(
                    "`{0}` takes no arguments; write `#[{0}]`",
                    row.name
                )));
            }
        },
        Shape::MaybeName if input.is_empty() => Args::Nothing,
        Shape::MaybeName | Shape::Name => {
            let binding = binding(input, row.shape)?;
            input.parse::<Option<Token![,]>>()?;
            Args::Bindings(vec![binding])
        }
        Shape::Names | Shape::TypedNames | Shape::KeyedNames | Shape::KeyedTypedNames => {
            let bindings = list(input, |input| binding(input, row.shape))?;
            refuse_duplicates(bindings.iter().map(|binding| &binding.name))?;
            if row.name.ends_with("request_header") {
                let keys = bindings.iter().filter_map(|binding| binding.key.as_ref());
                keys.into_iter().try_for_each(literals::check_header_name)?;
            }
            Args::Bindings(bindings)
        }
        Shape::MaybeValue if input.is_empty() => Args::Nothing,
        Shape::MaybeValue | Shape::Value => {
            let value = single_value(input)?;
            if row.role == Role::SetStatus {
                literals::check_status(&value)?;
            }
            Args::Values(vec![value])
        }
        Shape::Values => {
            let values = list(input, Expr::parse)?;
            if let Role::Hooks(_) = row.role {
                values.iter().try_for_each(check_hook)?;
            }
            if row.role == Role::Import {
                values.iter().try_for_each(check_import)?;
            }
            Args::Values(values)
        }
        Shape::Header => header(input)?,
        Shape::Methods => methods(input)?,
        Shape::Macros => Args::Macros(list(input, |input| list_entry(row, input))?),
        Shape::Pattern => {
            let expr = single_value(input)?;
            if let Some(literal) = literals::string_literal(&expr) {
                pattern::check(&literal.value())
                    .map_err(|message| Error::new(literal.span(), message))?;
            }
            Args::Values(vec![expr])
        }
        Shape::Order if input.is_empty() => Args::Nothing,
        Shape::Order => Args::Values(vec![order(single_value(input)?)?]),
        Shape::Declarations => {
            let declarations = list(input, |input| {
                let name = Ident::parse(input)?;
                colon(input, &name)?;
                Ok((name, input.parse::<Type>()?))
            })?;
            refuse_duplicates(declarations.iter().map(|(name, _)| name))?;
            Args::Declarations(declarations)
        }
    })
}

/// Removes `key = path` from a comma-separated list. Returns the path and the remaining tokens. `example` is a path for
/// error texts.
fn take_path(tokens: TokenStream, key: &str, example: &str) -> Result<(Option<Path>, TokenStream)> {
    let is_punct = |token: Option<&TokenTree>, sign: char| matches!(token, Some(TokenTree::Punct(punct)) if punct.as_char() == sign);
    let mut found = None;
    let mut kept: Vec<TokenTree> = Vec::new();
    let mut tokens = tokens.into_iter().peekable();
    let mut starts = true;
    while let Some(token) = tokens.next() {
        let is_key = matches!(&token, TokenTree::Ident(ident) if *ident == key);
        if !(starts && is_key && is_punct(tokens.peek(), '=')) {
            starts = is_punct(Some(&token), ',');
            kept.push(token);
            continue;
        }
        if found.is_some() {
            return Err(Error::new(
                token.span(),
                format!("`{key}` is given twice; remove one of the two"),
            ));
        }
        let equals = tokens.next().map_or(token.span(), |equals| equals.span());
        let path: TokenStream =
            std::iter::from_fn(|| tokens.next_if(|token| !is_punct(Some(token), ','))).collect();
        if path.is_empty() {
            return Err(Error::new(
                equals,
                format!("expected a path, as in `{key} = {example}`"),
            ));
        }
        found = Some(Path::parse_mod_style.parse2(path)?);
        // The comma after `key = path` is removed too. If `key = path` is the last argument, the comma before it is
        // removed instead.
        if tokens.next().is_none() {
            kept.pop_if(|token| is_punct(Some(token), ','));
        }
    }
    Ok((found, kept.into_iter().collect()))
}

/// Parses a comma-separated list. A comma at its end is allowed.
fn list<T>(input: ParseStream<'_>, item: impl Fn(ParseStream<'_>) -> Result<T>) -> Result<Vec<T>> {
    let mut items = Vec::new();
    while !input.is_empty() {
        items.push(item(input)?);
        // If another token follows, `parse` reports it and shows an example.
        if input.parse::<Option<Token![,]>>()?.is_none() {
            break;
        }
    }
    Ok(items)
}

/// Parses one expression. A comma after it is allowed.
fn single_value(input: ParseStream<'_>) -> Result<Expr> {
    let value = input.parse::<Expr>()?;
    input.parse::<Option<Token![,]>>()?;
    Ok(value)
}

/// Refuses a name that appears twice in one list.
fn refuse_duplicates<'a>(names: impl Iterator<Item = &'a Ident>) -> Result<()> {
    let mut seen: Vec<&Ident> = Vec::new();
    for name in names {
        if seen.contains(&name) {
            return Err(Error::new(
                name.span(),
                format!("`{name}` is named twice; remove one or rename it"),
            ));
        }
        seen.push(name);
    }
    Ok(())
}

/// Parses a variable to bind: `name` or `key => name`, each with or without `: Type`.
fn binding(input: ParseStream<'_>, shape: Shape) -> Result<Binding> {
    let keyed = matches!(shape, Shape::KeyedNames | Shape::KeyedTypedNames);
    let typed = matches!(shape, Shape::TypedNames | Shape::KeyedTypedNames);
    let key = match keyed {
        true => {
            let key = input.parse::<Expr>()?;
            let arrow = input.parse::<Token![=>]>();
            arrow.map_err(|error| {
                Error::new(
                    error.span(),
                    "expected `=>` between the key and the variable, as in `\"id\" => id`",
                )
            })?;
            Some(key)
        }
        false => None,
    };
    let mutability = input.parse()?;
    let name = input
        .parse::<Ident>()
        .map_err(|error| Error::new(error.span(), "expected the name of the variable to bind"))?;
    let ty = match typed {
        true => {
            colon(input, &name)?;
            Some(input.parse::<Type>()?)
        }
        false => None,
    };
    Ok(Binding {
        key,
        mutability,
        name,
        ty,
    })
}

/// Parses the colon before a variable's type.
fn colon(input: ParseStream<'_>, name: &Ident) -> Result<Token![:]> {
    let colon = input.parse::<Token![:]>();
    colon.map_err(|error| Error::new(error.span(), format!("expected `: Type` after `{name}`")))
}

/// Parses `key => value` or `key, value`. The form with `=>` replaces the header, the form with a comma adds a header.
fn header(input: ParseStream<'_>) -> Result<Args> {
    let key = Box::new(input.parse::<Expr>()?);
    let replaces = input.peek(Token![=>]);
    if replaces {
        input.parse::<Token![=>]>()?;
    } else {
        input.parse::<Token![,]>().map_err(|error| {
            Error::new(
                error.span(),
                "expected `=>` to set the header, or `,` to add one more of its name",
            )
        })?;
    }
    let value = Box::new(single_value(input)?);
    literals::check_header_name(&key)?;
    literals::check_header_value(&value)?;
    Ok(Args::Header {
        key,
        value,
        replaces,
    })
}

/// Parses a list of lower-case method names.
fn methods(input: ParseStream<'_>) -> Result<Args> {
    const METHODS: [&str; 10] = [
        "get", "post", "put", "delete", "patch", "head", "options", "connect", "trace", "query",
    ];
    let names = Punctuated::<Ident, Token![,]>::parse_terminated(input)?;
    refuse_duplicates(names.iter())?;
    for name in &names {
        let word = name.to_string();
        if !METHODS.contains(&word.as_str()) {
            let hint = match nearest(&word.to_lowercase(), METHODS) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("the methods are {}", METHODS.join(", ")),
            };
            return Err(Error::new(
                name.span(),
                format!("`{word}` is not a method; {hint}"),
            ));
        }
    }
    Ok(Args::Methods(
        names
            .iter()
            .map(|name| name.to_string().to_uppercase())
            .collect(),
    ))
}

/// Parses one entry of `prologue_macros` or `epilogue_macros`.
fn list_entry(list: &Row, input: ParseStream<'_>) -> Result<Applied> {
    let path = input.call(Path::parse_mod_style)?;
    let Some(segment) = path.segments.last() else {
        return Err(Error::new_spanned(path, "expected the name of a macro"));
    };
    let name = segment.ident.clone();
    let Some(row) = table::find(&name.to_string()) else {
        let hint = match nearest(&name.to_string(), ROWS.iter().map(|row| row.name)) {
            Some(near) => format!("; did you mean `{near}`?"),
            None => format!(", so `{}` cannot run it; remove it", list.name),
        };
        return Err(Error::new(
            name.span(),
            format!("`{name}` is not a macro of hyperlane{hint}"),
        ));
    };
    if let Role::Register(_) | Role::With | Role::Declare | Role::Import | Role::Macros(_) =
        row.role
    {
        return Err(Error::new(
            name.span(),
            format!("`{name}` cannot stand in a list; write it as an attribute of its own"),
        ));
    }
    let tokens = match input.peek(syn::token::Paren) {
        true => input.parse::<Group>()?.stream(),
        false => TokenStream::new(),
    };
    let (applied, path) = parse(row, name, tokens)?;
    match path {
        Some(path) => Err(Error::new_spanned(
            path,
            format!(
                "`crate = …` applies to the whole list; write it among the arguments of `{}`",
                list.name
            ),
        )),
        None => Ok(applied),
    }
}

/// Refuses an expression that is not the path of a hook (a function that handles requests).
fn check_hook(value: &Expr) -> Result<()> {
    match value {
        Expr::Path(_) => Ok(()),
        Expr::Call(call) => {
            let name = call.func.to_token_stream();
            Err(Error::new_spanned(
                value,
                format!("name the hook without calling it: `{name}`"),
            ))
        }
        _ => Err(Error::new_spanned(
            value,
            "expected the path of a hook, an `async fn(&mut Stream, &mut Context)`",
        )),
    }
}

/// Refuses an expression that is not the path of a trait.
fn check_import(value: &Expr) -> Result<()> {
    match value {
        Expr::Path(path) if path.qself.is_none() => Ok(()),
        _ => Err(Error::new_spanned(
            value,
            "expected the path of a trait, as in `std::fmt::Write`",
        )),
    }
}

/// Parses an order, the number by which hooks of one kind are sorted. A number, or a string that contains a number,
/// becomes a literal. Any other expression, such as a constant, stays unchanged.
fn order(value: Expr) -> Result<Expr> {
    let (negative, inner) = match &value {
        Expr::Unary(ExprUnary {
            op: UnOp::Neg(_),
            expr,
            ..
        }) => (true, expr.as_ref()),
        _ => (false, &value),
    };
    let Expr::Lit(ExprLit { lit, .. }) = inner else {
        return Ok(value);
    };
    let digits = match lit {
        Lit::Int(literal) => literal.base10_digits().to_owned(),
        Lit::Str(literal) => literal.value(),
        _ => {
            return Err(Error::new(
                lit.span(),
                "an order is a whole number, as in `-1`, or a constant",
            ));
        }
    };
    let text = if negative {
        format!("-{digits}")
    } else {
        digits
    };
    match text.trim().parse::<i64>() {
        Ok(number) => Ok(number_at(number, value.span())),
        Err(_) => Err(Error::new(
            lit.span(),
            format!(
                "`{text}` is not a whole number in the range of an order; write one, as in `-1`"
            ),
        )),
    }
}

/// Returns an integer expression whose digits have the given span. A negative number consists of two tokens, a minus
/// sign and the digits.
fn number_at(number: i64, span: Span) -> Expr {
    let mut digits = proc_macro2::Literal::u64_unsuffixed(number.unsigned_abs());
    digits.set_span(span);
    let digits: TokenTree = digits.into();
    let tokens: TokenStream = match number.is_negative() {
        true => [
            proc_macro2::Punct::new('-', proc_macro2::Spacing::Alone).into(),
            digits,
        ]
        .into_iter()
        .collect(),
        false => digits.into(),
    };
    Expr::Verbatim(tokens)
}
