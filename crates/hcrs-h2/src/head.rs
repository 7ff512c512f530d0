//! Heads of promised requests, as header blocks.

use hcrs_http::{RequestHead, is_promise_name};
use hcrs_mux::FieldEncoder as _;
use hcrs_mux::response::{check, field};

use crate::hpack::Encoder;

/// Indices of HPACK's static table.
const METHOD_GET: u8 = 2;
const SCHEME_HTTP: u8 = 6;
const SCHEME_HTTPS: u8 = 7;

/// Writes a promised request. Returns false, and writes nothing, if it has a field that such a request may
/// not have.
pub(crate) fn promise(head: &RequestHead, encoder: &mut Encoder, out: &mut Vec<u8>) -> bool {
    let view = head.view();
    let Some(host) = view.fields().first(b"host") else { return false };
    let others = || view.fields().filter(|(name, _)| *name != b"host");
    if !others().all(|(name, value)| is_promise_name(name) && check::<Encoder>(name, value).is_ok()) {
        return false;
    }
    encoder.begin(out);
    Encoder::indexed(METHOD_GET, out);
    Encoder::indexed(if view.scheme.as_str() == "https" { SCHEME_HTTPS } else { SCHEME_HTTP }, out);
    encoder.field(b":authority", host, out);
    let mut target = view.path.to_vec();
    if !view.query.is_empty() {
        target.push(b'?');
        target.extend_from_slice(view.query);
    }
    encoder.field(b":path", &target, out);
    for (name, value) in others() {
        field(name, value, encoder, out);
    }
    true
}
