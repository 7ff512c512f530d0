//! The head of an upstream's response as the client gets it, without the fields of one hop.

use hcrs_http::{ResponseHead, is_connection_specific, is_trailer_name};
use http::header::{self, HeaderMap};

use super::request_head::Named;

/// The size of the largest head, and of the largest trailers, in bytes.
pub(super) const HEAD_MAX: usize = 64 << 10;
/// The most fields of a head.
pub(super) const FIELDS_MAX: usize = 256;

/// Returns the head of a response.
pub(super) fn response_head(status: u16, fields: &HeaderMap) -> ResponseHead {
    let is_chunked = fields.contains_key(header::TRANSFER_ENCODING);
    let named = fields.contains_key(header::CONNECTION).then(|| Named::of(pairs(fields)));
    let ends_here = |name: &[u8]| {
        is_connection_specific(name)
            // RFC 9112 §6.3: the coding overrides the length.
            || is_chunked && name == b"content-length"
            || named.as_ref().is_some_and(|named| named.has(name))
    };
    ResponseHead::new(status, pairs(fields).filter(|(name, _)| !ends_here(name)))
}

/// Returns the head that opens a WebSocket, for a client that gets the fields of the upgrade with status 101, or one
/// that has asked by an extended CONNECT (RFC 8441 §5).
pub(super) fn switch_head(fields: &HeaderMap, is_extended_connect: bool) -> ResponseHead {
    if !is_extended_connect {
        let upgrade: [(&[u8], &[u8]); 2] = [(b"upgrade", b"websocket"), (b"connection", b"upgrade")];
        let others = pairs(fields).filter(|(name, _)| !is_connection_specific(name));
        return ResponseHead::new(101, upgrade.into_iter().chain(others));
    }
    let is_kept = |name: &[u8]| {
        !is_connection_specific(name) && !matches!(name, b"sec-websocket-accept" | b"content-length")
    };
    ResponseHead::new(200, pairs(fields).filter(|(name, _)| is_kept(name)))
}

/// Returns trailers, without fields that may not stand there.
pub(super) fn trailers(fields: &HeaderMap) -> ResponseHead {
    ResponseHead::new(0, pairs(fields).filter(|(name, _)| is_trailer_name(name)))
}

fn pairs(fields: &HeaderMap) -> impl Iterator<Item = (&[u8], &[u8])> {
    fields.iter().map(|(name, value)| (name.as_str().as_bytes(), value.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let pairs = pairs.iter().map(|(name, value)| {
            (header::HeaderName::from_static(name), header::HeaderValue::from_static(value))
        });
        pairs.collect()
    }

    fn names(head: &ResponseHead) -> Vec<String> {
        head.fields().map(|(name, _)| String::from_utf8_lossy(name).into_owned()).collect()
    }

    #[test]
    fn fields_of_one_hop_end_here() {
        let fields = fields(&[
            ("connection", "x-own"),
            ("x-own", "1"),
            ("content-length", "5"),
            ("transfer-encoding", "chunked"),
            ("keep-alive", "timeout=5"),
            ("upgrade", "h2c"),
            ("x-kept", "1"),
        ]);
        assert_eq!(names(&response_head(200, &fields)), ["x-kept"]);
    }

    #[test]
    fn a_websocket_opens_in_the_form_in_which_the_client_has_asked() {
        let fields = fields(&[
            ("upgrade", "websocket"),
            ("connection", "Upgrade"),
            ("sec-websocket-accept", "x"),
            ("sec-websocket-protocol", "chat"),
        ]);
        let head = switch_head(&fields, false);
        assert_eq!(head.status(), 101);
        assert_eq!(names(&head), ["upgrade", "connection", "sec-websocket-accept", "sec-websocket-protocol"]);
        let head = switch_head(&fields, true);
        assert_eq!((head.status(), names(&head)), (200, vec!["sec-websocket-protocol".to_owned()]));
    }

    #[test]
    fn trailers_have_no_fields_that_frame_a_message() {
        assert_eq!(names(&trailers(&fields(&[("x-sum", "1"), ("content-length", "2")]))), ["x-sum"]);
    }
}
