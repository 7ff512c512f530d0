//! Promised requests: an app asks the edge to promise a request to the client, and to make it itself.

use hcrs_http::{ResponseHeadWriter, is_promise_path};

/// Begins the payload of a `Push` frame: length u16 and path, then the fields in the form of a response's
/// head of status 0. The caller writes the fields and finishes the head. `None` if the path cannot be
/// promised, or is too long for a payload.
pub fn begin_promise(path: &[u8]) -> Option<(Vec<u8>, ResponseHeadWriter)> {
    if path.len() > crate::HINT_LEN_MAX || !is_promise_path(path) {
        return None;
    }
    let mut out = Vec::with_capacity(64 + path.len());
    out.extend_from_slice(&(path.len() as u16).to_le_bytes());
    out.extend_from_slice(path);
    let fields = ResponseHeadWriter::begin(&mut out, 0);
    Some((out, fields))
}

/// Returns the path in a payload and the place where its fields begin; `None` if the payload is malformed.
pub fn split_promise(payload: &[u8]) -> Option<(&[u8], usize)> {
    let (len, rest) = payload.split_first_chunk()?;
    let len = usize::from(u16::from_le_bytes(*len));
    let path = rest.get(..len)?;
    is_promise_path(path).then_some((path, 2 + len))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_promise_is_read_back_as_it_was_written() {
        let (mut payload, mut fields) = begin_promise(b"/style.css?v=1").unwrap();
        fields.field(&mut payload, b"accept", b"text/css");
        let start = payload.len();
        fields.finish(&mut payload);
        let (path, at) = split_promise(&payload).unwrap();
        assert_eq!(path, b"/style.css?v=1");
        assert!(at < start);
        assert!(split_promise(&payload[..5]).is_none() && split_promise(&[]).is_none());
        assert!(split_promise(b"\x01\x00x").is_none(), "the edge looks at the path again");
        assert!(begin_promise(b"style.css").is_none());
        assert!(begin_promise(&b"/".repeat(crate::HINT_LEN_MAX + 1)).is_none());
    }
}
