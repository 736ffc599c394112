//! The grammar of the handshake's lists (RFC 6455 §4.3, §9.1): what does not follow it is refused.

/// Tells whether `list` is a list of tokens, not all of its places empty.
pub(super) fn is_token_list(list: &[u8]) -> bool {
    let mut items = list
        .split(|byte| *byte == b',')
        .map(<[u8]>::trim_ascii)
        .filter(|item| !item.is_empty())
        .peekable();
    items.peek().is_some() && items.all(is_token)
}

/// Tells whether `list` is a list of extensions with parameters, not all of its places empty.
pub(super) fn is_extension_list(list: &[u8]) -> bool {
    let mut rest = list.trim_ascii();
    let mut found = false;
    while !rest.is_empty() {
        if let Some(after) = rest.strip_prefix(b",") {
            rest = after.trim_ascii_start();
            continue;
        }
        let Some(after) = skip_extension(rest) else {
            return false;
        };
        if !after.is_empty() && !after.starts_with(b",") {
            return false;
        }
        found = true;
        rest = after;
    }
    found
}

/// What follows an extension and its parameters.
fn skip_extension(text: &[u8]) -> Option<&[u8]> {
    let mut rest = skip_token(text)?.trim_ascii_start();
    while let Some(parameter) = rest.strip_prefix(b";") {
        rest = skip_token(parameter.trim_ascii_start())?.trim_ascii_start();
        if let Some(value) = rest.strip_prefix(b"=") {
            rest = skip_value(value.trim_ascii_start())?.trim_ascii_start();
        }
    }
    Some(rest)
}

fn skip_token(text: &[u8]) -> Option<&[u8]> {
    let length = text.iter().take_while(|byte| is_token_byte(**byte)).count();
    text.get(length..).filter(|_| length > 0)
}

/// A token, bare or in quotes; without its quotes it must be a token, too (RFC 6455 §9.1).
fn skip_value(text: &[u8]) -> Option<&[u8]> {
    let Some(mut rest) = text.strip_prefix(b"\"") else {
        return skip_token(text);
    };
    let mut empty = true;
    loop {
        match rest {
            [b'"', after @ ..] => return (!empty).then_some(after),
            [b'\\', byte, after @ ..] | [byte, after @ ..] if is_token_byte(*byte) => rest = after,
            _ => return None,
        }
        empty = false;
    }
}

fn is_token(text: &[u8]) -> bool {
    text.iter().all(|byte| is_token_byte(*byte))
}

fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_tokens_are_told_from_others() {
        for fine in ["a", "v1.chat, v2.chat", " a ,, b ", "a,"] {
            assert!(is_token_list(fine.as_bytes()), "{fine}");
        }
        for wrong in ["", " ", ",", "a b", "a;b", "\"a\"", "a/b", "\u{e4}"] {
            assert!(!is_token_list(wrong.as_bytes()), "{wrong}");
        }
    }

    #[test]
    fn lists_of_extensions_are_told_from_others() {
        for fine in [
            "foo",
            "foo, bar; baz=2",
            "deflate-stream",
            "mux; max-channels=4; flow-control, deflate-stream",
            "private-extension",
            "permessage-deflate; client_max_window_bits",
            "permessage-deflate ; server_max_window_bits = \"10\" ,, x",
            "a; b=\"\\c\\d\"",
            ", a",
        ] {
            assert!(is_extension_list(fine.as_bytes()), "{fine}");
        }
        for wrong in [
            "",
            ",",
            "a b",
            "a;",
            "a; ;b",
            "a; =b",
            "a; b=",
            "a; b=\"\"",
            "a; b=\"c d\"",
            "a; b=\"c",
            "a; b=\"c\"d",
            "a=b",
            "=",
            ";",
            "a; b=\"\\",
            "a, b c",
            "a; b c",
        ] {
            assert!(!is_extension_list(wrong.as_bytes()), "{wrong}");
        }
    }
}
