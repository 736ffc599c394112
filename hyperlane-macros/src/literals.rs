//! Refuses literals that are not valid status codes, header names or header values.

use crate::model::Applied;
use syn::{Error, Expr, ExprLit, Lit, LitStr, Result, UnOp};

/// Returns the string literal if the expression is one, with or without parentheses.
pub(crate) fn string_literal(value: &Expr) -> Option<&LitStr> {
    match literal(value) {
        Some(Lit::Str(text)) => Some(text),
        _ => None,
    }
}

/// Returns the first argument of a macro if the argument is a string literal.
pub(crate) fn string_argument(applied: &Applied) -> Option<&LitStr> {
    applied.values().first().and_then(string_literal)
}

/// Refuses a literal that is not a status code of three digits.
pub(crate) fn check_status(value: &Expr) -> Result<()> {
    let refuse = |what: String| {
        Err(Error::new_spanned(
            value,
            format!("{what} is not a status code; write a number of three digits, as in `404`"),
        ))
    };
    if let Expr::Unary(unary) = value
        && matches!(unary.op, UnOp::Neg(_))
        && literal(&unary.expr).is_some()
    {
        return refuse("a negative number".into());
    }
    match literal(value) {
        Some(Lit::Int(number)) => match number.base10_parse::<u64>() {
            Ok(100..=999) => Ok(()),
            _ => refuse(format!("`{number}`")),
        },
        Some(Lit::Str(_)) => refuse("a string".into()),
        Some(Lit::Float(number)) => refuse(format!("`{number}`")),
        _ => Ok(()),
    }
}

/// Refuses a string literal that is not a valid name of a header field (RFC 9110 §5.1).
pub(crate) fn check_header_name(value: &Expr) -> Result<()> {
    let Some(text) = string_literal(value) else {
        return Ok(());
    };
    let name = text.value();
    if name.is_empty() {
        return Err(Error::new(
            text.span(),
            "a header needs a name, as in `\"server\"`",
        ));
    }
    let is_token =
        |letter: char| letter.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(letter);
    match name.chars().find(|letter| !is_token(*letter)) {
        Some(letter) => Err(Error::new(
            text.span(),
            format!(
                "{letter:?} cannot be part of a header name (RFC 9110 §5.1); use letters, digits and `-`"
            ),
        )),
        None => Ok(()),
    }
}

/// Refuses a string literal that is not a valid value of a header field (RFC 9110 §5.5).
pub(crate) fn check_header_value(value: &Expr) -> Result<()> {
    let Some(text) = string_literal(value) else {
        return Ok(());
    };
    match text
        .value()
        .chars()
        .find(|letter| letter.is_control() && *letter != '\t')
    {
        Some(letter) => Err(Error::new(
            text.span(),
            format!("{letter:?} cannot be part of a header value (RFC 9110 §5.5); remove it"),
        )),
        None => Ok(()),
    }
}

/// Returns the literal if the expression is one. Looks through parentheses, and through the invisible groups around
/// fragments of `macro_rules!` macros.
fn literal(value: &Expr) -> Option<&Lit> {
    match value {
        Expr::Lit(ExprLit { lit, .. }) => Some(lit),
        Expr::Paren(inner) => literal(&inner.expr),
        Expr::Group(inner) => literal(&inner.expr),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(code: &str) -> Expr {
        syn::parse_str(code).unwrap()
    }

    #[test]
    fn statuses_have_three_digits() {
        for code in [
            "100", "200", "999u16", "(404)", "STATUS", "200 + 1", "-STATUS",
        ] {
            assert!(check_status(&value(code)).is_ok(), "{code}");
        }
        for code in [
            "0",
            "99",
            "1000",
            "-200",
            "\"200\"",
            "200.5",
            "99999999999999999999",
        ] {
            assert!(check_status(&value(code)).is_err(), "{code}");
        }
    }

    #[test]
    fn names_are_tokens_and_values_have_no_line_ends() {
        for (name, good) in [
            ("\"x-a\"", true),
            ("NAME", true),
            ("\"\"", false),
            ("\"x y\"", false),
            ("\"x:\"", false),
            ("\"é\"", false),
        ] {
            assert_eq!(check_header_name(&value(name)).is_ok(), good, "{name}");
        }
        for (text, good) in [
            ("\"a\\tb, é\"", true),
            ("\"a\\r\\nb\"", false),
            ("\"\\0\"", false),
            ("format!(\"\\n\")", true),
        ] {
            assert_eq!(check_header_value(&value(text)).is_ok(), good, "{text}");
        }
    }
}
