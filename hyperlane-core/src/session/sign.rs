//! Signs and verifies cookies and tokens. With a cookie or a token, a client gets access to its session.
//!
//! A cookie has the form `id.issued.mac`, and a token has the form `id.expires.mac`. `issued` and `expires` are seconds
//! since 1970; `id` and `mac` are base64url.
//!
//! The signature also covers the purpose: a cookie's name or a token's path. A cookie is therefore invalid as a token,
//! and a token is invalid as a cookie. A cookie that was set over plain HTTP is invalid over TLS, because the cookie
//! has another name over TLS (with the prefix `__Host-`).

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use super::SessionId;
use crate::config::SessionKey;

const MAC_BYTES: usize = 32;

/// The keys of a server. The first key signs, and all keys verify.
#[derive(Clone, Default)]
pub(super) struct Signer {
    keys: Vec<Hmac<Sha256>>,
}

/// The purpose of a signature.
#[derive(Clone, Copy)]
pub(super) enum Purpose<'a> {
    /// A cookie of this name.
    Cookie(&'a str),
    /// A token for this path.
    Token(&'a str),
}

/// The verified content of a cookie or token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Signed {
    pub(super) id: SessionId,
    /// The time of issue or expiry, in seconds since 1970.
    pub(super) time: u64,
    /// True if the first key made the signature.
    pub(super) by_first: bool,
}

impl Signer {
    pub(super) fn new(keys: &[SessionKey]) -> Self {
        Self {
            // HMAC accepts keys of any length, so no key is left out.
            keys: keys
                .iter()
                .filter_map(|key| Hmac::new_from_slice(key.bytes()).ok())
                .collect(),
        }
    }

    /// Signs an id and a time. Returns `None` if there is no key.
    pub(super) fn sign(&self, purpose: Purpose<'_>, id: SessionId, time: u64) -> Option<String> {
        let mut text = format!("{}.{time}", id.encode());
        let mac = authenticate(self.keys.first()?, purpose, &text);
        text.push('.');
        BASE64_URL_SAFE_NO_PAD.encode_string(mac.finalize().into_bytes(), &mut text);
        Some(text)
    }

    /// Verifies a cookie or token. Returns its content if one of the keys has signed it for this purpose. The running
    /// time does not depend on the position of a wrong byte in the signature.
    pub(super) fn verify(&self, purpose: Purpose<'_>, text: &str) -> Option<Signed> {
        let (signed, mac) = text.rsplit_once('.')?;
        let (id, time) = signed.split_once('.')?;
        let mut tag = [0; MAC_BYTES];
        if BASE64_URL_SAFE_NO_PAD.decode_slice(mac, &mut tag) != Ok(MAC_BYTES) {
            return None;
        }
        let position = self.keys.iter().position(|key| {
            authenticate(key, purpose, signed)
                .verify_slice(&tag)
                .is_ok()
        })?;
        Some(Signed {
            id: SessionId::decode(id)?,
            time: time.parse().ok()?,
            by_first: position == 0,
        })
    }
}

fn authenticate(key: &Hmac<Sha256>, purpose: Purpose<'_>, text: &str) -> Hmac<Sha256> {
    let mut mac = key.clone();
    let (kind, of) = match purpose {
        Purpose::Cookie(name) => (b"cookie\0", name),
        Purpose::Token(path) => (b"token\0\0", path),
    };
    mac.update(kind);
    // Both kinds have the same length. A zero byte separates the name or path from the text. None of these contains a
    // zero byte, so the signed bytes are unambiguous.
    mac.update(of.as_bytes());
    mac.update(b"\0");
    mac.update(text.as_bytes());
    mac
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::is_session_token;

    fn signer(keys: &[u8]) -> Signer {
        let keys: Vec<_> = keys
            .iter()
            .map(|byte| SessionKey::from([*byte; 32]))
            .collect();
        Signer::new(&keys)
    }

    #[test]
    fn what_was_signed_is_verified_for_its_purpose_alone() {
        let id = SessionId::random().unwrap();
        let signer = signer(&[1]);
        let cookie = signer.sign(Purpose::Cookie("session"), id, 7).unwrap();
        let signed = Signed {
            id,
            time: 7,
            by_first: true,
        };
        assert_eq!(
            signer.verify(Purpose::Cookie("session"), &cookie),
            Some(signed)
        );
        assert_eq!(
            signer.verify(Purpose::Cookie("__Host-session"), &cookie),
            None
        );
        assert_eq!(signer.verify(Purpose::Token("session"), &cookie), None);
        let token = signer.sign(Purpose::Token("/a"), id, 7).unwrap();
        assert_eq!(signer.verify(Purpose::Token("/b"), &token), None);
        assert_eq!(signer.verify(Purpose::Token("/a"), &token), Some(signed));
    }

    #[test]
    fn the_shape_of_a_token_is_told_from_everything_else() {
        let id = SessionId::random().unwrap();
        for time in [0, 7, 1_800_000_000, u64::MAX] {
            let token = signer(&[1]).sign(Purpose::Token("/a"), id, time).unwrap();
            assert!(is_session_token(&token), "{token}");
            for other in [
                token.replace('.', ""),
                token.replace('.', "-"),
                format!("{token}."),
                format!("{token}A"),
                format!(".{token}"),
                token[1..].to_owned(),
                token.replacen('.', ".x", 1),
            ] {
                assert!(!is_session_token(&other), "{other}");
            }
        }
        // A JSON Web Token, a UUID, and other texts.
        for other in [
            "",
            "..",
            "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.dBjftJeZ4CVP-mBOEr1AaQ",
            "123e4567-e89b-12d3-a456-426614174000",
            "chat",
        ] {
            assert!(!is_session_token(other), "{other}");
        }
    }

    #[test]
    fn all_keys_verify_and_the_first_signs() {
        let id = SessionId::random().unwrap();
        let purpose = Purpose::Cookie("session");
        let old = signer(&[1]).sign(purpose, id, 7).unwrap();
        let both = signer(&[2, 1]);
        assert!(!both.verify(purpose, &old).unwrap().by_first);
        let new = both.sign(purpose, id, 7).unwrap();
        assert!(both.verify(purpose, &new).unwrap().by_first);
        assert_eq!(signer(&[2]).verify(purpose, &old), None);
        assert_eq!(signer(&[]).verify(purpose, &old), None);
        assert_eq!(signer(&[]).sign(purpose, id, 7), None);
    }

    #[test]
    fn every_change_of_a_character_is_refused() {
        let id = SessionId::random().unwrap();
        let signer = signer(&[1]);
        let purpose = Purpose::Cookie("session");
        let cookie = signer.sign(purpose, id, 1_700_000_000).unwrap();
        for at in 0..cookie.len() {
            for other in "A9_-.a"
                .chars()
                .filter(|char| !cookie[at..].starts_with(*char))
            {
                let mut changed = cookie.clone();
                changed.replace_range(at..=at, &other.to_string());
                assert_eq!(signer.verify(purpose, &changed), None, "{changed}");
            }
            assert_eq!(signer.verify(purpose, &cookie[..at]), None);
        }
    }
}
