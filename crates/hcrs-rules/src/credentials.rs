//! The credentials of HTTP's Basic authentication (RFC 7617).

use hcrs_http::BASE64_ALPHABET;

/// The most bytes of a name and a password together: hashing takes time by their length.
const CREDENTIALS_MAX: usize = 512;

/// A name and a password, as the client sent them.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    bytes: Vec<u8>,
    colon: usize,
}

/// Shows no password.
impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Credentials").finish_non_exhaustive()
    }
}

impl Credentials {
    /// Reads the value of an `authorization` field; `None` if it is of another scheme, malformed or too long.
    pub fn parse(authorization: &[u8]) -> Option<Self> {
        let (scheme, encoded) = authorization.split_at_checked(6)?;
        if !scheme.eq_ignore_ascii_case(b"basic ") {
            return None;
        }
        let bytes = decode(encoded.trim_ascii())?;
        let colon = bytes.iter().position(|&byte| byte == b':')?;
        Some(Self { bytes, colon })
    }

    /// Returns the name.
    pub fn name(&self) -> &[u8] {
        &self.bytes[..self.colon]
    }

    /// Returns the password.
    pub fn password(&self) -> &[u8] {
        &self.bytes[self.colon + 1..]
    }
}

/// Decodes Base64 with or without its padding (RFC 4648 §4).
fn decode(encoded: &[u8]) -> Option<Vec<u8>> {
    let digits = encoded.strip_suffix(b"==").or_else(|| encoded.strip_suffix(b"=")).unwrap_or(encoded);
    if digits.len() > CREDENTIALS_MAX * 4 / 3 {
        return None;
    }
    let mut bytes = Vec::with_capacity(digits.len() * 3 / 4);
    let (mut bits, mut count) = (0u32, 0);
    for digit in digits {
        let value = BASE64_ALPHABET.iter().position(|known| known == digit)?;
        bits = bits << 6 | value as u32;
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count) as u8);
        }
    }
    Some(bytes)
}

/// Whether a text may be the realm of a challenge, which is quoted.
pub fn is_realm(text: &str) -> bool {
    text.bytes().all(|byte| byte != b'"' && byte != b'\\' && (byte == b' ' || byte.is_ascii_graphic()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(value: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
        Credentials::parse(value).map(|found| (found.name().to_vec(), found.password().to_vec()))
    }

    #[test]
    fn a_name_and_a_password_are_on_both_sides_of_the_first_colon() {
        // RFC 7617 §2 and §2.1
        assert_eq!(
            read(b"Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="),
            Some((b"Aladdin".to_vec(), b"open sesame".to_vec()))
        );
        assert_eq!(read(b"basic  dGVzdDoxMjPCow"), Some((b"test".to_vec(), "123£".as_bytes().to_vec())));
        assert_eq!(read(b"Basic YTpiOmM="), Some((b"a".to_vec(), b"b:c".to_vec())));
        assert_eq!(read(b"Basic Og=="), Some((Vec::new(), Vec::new())));
    }

    #[test]
    fn anything_else_is_no_credentials() {
        let long = [b"Basic ".as_slice(), &[b'O'; 4096]].concat();
        for bad in
            [&b"Bearer QWxhZGRpbjpv"[..], b"Basic", b"Basic ", b"Basic %%%%", b"Basic QWxhZGRpbg==", &long]
        {
            assert_eq!(read(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn passwords_are_not_shown() {
        let shown = format!("{:?}", Credentials::parse(b"Basic YTpzZWNyZXQ="));
        assert_eq!(shown, "Some(Credentials { .. })");
    }
}
