//! The proof that a server knows WebSocket (RFC 6455 §4.2.2).

use hcrs_http::{BASE64_ALPHABET, base64};
use sha1::{Digest as _, Sha1};

/// The suffix that is hashed with the key (RFC 6455 §1.3).
const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// Returns the value of `sec-websocket-accept` for a key; `None` if the key is not 16 bytes in base64.
pub(super) fn accept(key: &[u8]) -> Option<String> {
    is_key(key).then(|| base64(&Sha1::new().chain_update(key).chain_update(GUID).finalize()))
}

/// Whether the key is 16 bytes in base64: 22 digits and two padding signs.
fn is_key(key: &[u8]) -> bool {
    key.strip_suffix(b"==").is_some_and(|digits| {
        digits.len() == 22 && digits.iter().all(|digit| BASE64_ALPHABET.contains(digit))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_of_rfc_6455_section_1_3() {
        assert_eq!(accept(b"dGhlIHNhbXBsZSBub25jZQ==").as_deref(), Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
    }

    #[test]
    fn only_sixteen_bytes_are_a_key() {
        for key in [
            "",
            "==",
            "dGhlIHNhbXBsZSBub25jZQ",
            "dGhlIHNhbXBsZSBub25jZQ=",
            "dGhlIHNhbXBsZSBub25jZQ===",
            "dGhlIHNhbXBsZSBub25jZ===",
            "dGhlIHNhbXBsZSBub25jZQAA",
            "dGhlIHNhbXBsZSBub25jZ-==",
            "dGhlIHNhbXBsZSBub25jZQAAAA==",
            "dGhlIHNhbXBs ZSBub25jZ==",
        ] {
            assert_eq!(accept(key.as_bytes()), None, "{key:?}");
        }
    }
}
