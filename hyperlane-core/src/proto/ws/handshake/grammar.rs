//! Strict checks of the lists of subprotocols and extensions in a handshake (RFC 6455 §4.3, §9.1).

use super::parse_extensions;
pub(super) use crate::proto::http::is_token_byte;

// `is_token_list` and `is_extension_list` accept an empty list, because some clients that offer nothing send an empty
// list.

/// Returns whether `list` is a list of tokens. The list may be empty.
pub(super) fn is_token_list(list: &[u8]) -> bool {
    list.split(|byte| *byte == b',')
        .map(<[u8]>::trim_ascii)
        .all(is_token)
}

/// Returns whether `list` is a list of extensions. The list may be empty.
pub(super) fn is_extension_list(list: &[u8]) -> bool {
    str::from_utf8(list).is_ok_and(|list| parse_extensions(list).is_ok())
}

fn is_token(text: &[u8]) -> bool {
    text.iter().all(|byte| is_token_byte(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_tokens_are_told_from_others() {
        for fine in ["a", "v1.chat, v2.chat", " a ,, b ", "a,", "", " \t", ", ,"] {
            assert!(is_token_list(fine.as_bytes()), "{fine}");
        }
        for wrong in ["a b", "a;b", ", a b", "\"a\"", "a/b", "\u{e4}"] {
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
            "",
            " , ,",
        ] {
            assert!(is_extension_list(fine.as_bytes()), "{fine}");
        }
        for wrong in [
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
