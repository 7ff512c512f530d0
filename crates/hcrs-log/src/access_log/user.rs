//! The user that a request names by HTTP Basic authentication (RFC 7617). Only the app knows whether the
//! password was right.

/// The most characters of encoded credentials that are decoded.
const ENCODED_MAX: usize = 1 << 10;

/// Returns the user of an `authorization` field; `None` if it is of another scheme or malformed.
pub(super) fn user(authorization: &[u8]) -> Option<Vec<u8>> {
    let (scheme, token) = authorization.split_at_checked(6)?;
    if !scheme.eq_ignore_ascii_case(b"basic ") {
        return None;
    }
    let token = token.trim_ascii();
    let mut user = Vec::new();
    let (mut bits, mut count) = (0u32, 0);
    for &digit in &token[..token.len().min(ENCODED_MAX)] {
        bits = bits << 6 | u32::from(value(digit)?);
        count += 6;
        if count >= 8 {
            count -= 8;
            let byte = (bits >> count) as u8;
            if byte == b':' {
                return Some(user).filter(|user| !user.is_empty());
            }
            user.push(byte);
        }
    }
    None
}

/// Returns the value of a Base64 digit (RFC 4648 §4).
fn value(digit: u8) -> Option<u8> {
    Some(match digit {
        b'A'..=b'Z' => digit - b'A',
        b'a'..=b'z' => digit - b'a' + 26,
        b'0'..=b'9' => digit - b'0' + 52,
        b'+' => 62,
        b'/' => 63,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_before_the_colon_is_the_user() {
        // RFC 7617 §2
        assert_eq!(user(b"Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==").unwrap(), b"Aladdin");
        assert_eq!(user(b"basic  dGVzdDoxMjPCow==").unwrap(), b"test");
    }

    #[test]
    fn anything_else_is_no_user() {
        for bad in [
            &b"Bearer QWxhZGRpbjpv"[..],
            b"Basic",
            b"Basic ",
            b"Basic %%%%",
            b"Basic OnB3",
            b"Basic QWxhZGRpbg==",
        ] {
            assert_eq!(user(bad), None, "{bad:?}");
        }
        assert_eq!(user(&[b"Basic ".as_slice(), &[b'A'; 4096]].concat()), None, "too long");
    }
}
