//! The prefix that a proxy removes from the path of each request.

/// Length of the longest prefix that a head can carry, in bytes.
pub const PATH_PREFIX_MAX: usize = u8::MAX as usize;

/// A prefix that a proxy removes from the path of each request. It begins with a slash, does not end with
/// one, and is percent-encoded as in a request's target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PathPrefix(Box<[u8]>);

impl PathPrefix {
    /// Parses a prefix and removes a slash at its end. `None` if it is longer than [`PATH_PREFIX_MAX`], or is
    /// no path that a request could have.
    pub fn parse(text: &str) -> Option<Self> {
        path_prefix(text.as_bytes()).map(|path| Self(path.into()))
    }

    /// Returns the prefix's bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// Returns the path without a slash at its end; `None` if it is longer than [`PATH_PREFIX_MAX`], or is no
/// path that a request could have. The app gets it decoded, so no segment may decode to a dot segment or to
/// several segments.
pub fn path_prefix(text: &[u8]) -> Option<&[u8]> {
    let path = text.strip_suffix(b"/").unwrap_or(text);
    let is_segment = |segment: &[u8]| {
        let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~%!$&'()*+;=:@".contains(byte);
        segment.iter().all(is_plain)
            && decoded(segment).is_some_and(|text| {
                !matches!(&*text, b"" | b"." | b"..")
                    && !text.iter().any(|byte| byte.is_ascii_control() || *byte == b'/')
            })
    };
    let is_path = path.strip_prefix(b"/")?.split(|&byte| byte == b'/').all(is_segment);
    (is_path && path.len() <= PATH_PREFIX_MAX).then_some(path)
}

/// Decodes percent-encoding (RFC 3986 §2.1); `None` if it is malformed.
fn decoded(segment: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = segment.iter();
    let mut text = Vec::with_capacity(segment.len());
    while let Some(&byte) = bytes.next() {
        text.push(match byte {
            b'%' => {
                let mut digit = || char::from(*bytes.next()?).to_digit(16);
                u8::try_from(digit()? * 16 + digit()?).ok()?
            }
            byte => byte,
        });
    }
    Some(text)
}
