//! The static table of QPACK (RFC 9204 Appendix A).

use hcrs_mux::{Field, Form, Name};

/// The entries, of which the first has the index 0.
static ENTRIES: [Field<'static>; 99] = [
    entry(b":authority", b""),
    entry(b":path", b"/"),
    entry(b"age", b"0"),
    entry(b"content-disposition", b""),
    entry(b"content-length", b"0"),
    entry(b"cookie", b""),
    entry(b"date", b""),
    entry(b"etag", b""),
    entry(b"if-modified-since", b""),
    entry(b"if-none-match", b""),
    entry(b"last-modified", b""),
    entry(b"link", b""),
    entry(b"location", b""),
    entry(b"referer", b""),
    entry(b"set-cookie", b""),
    entry(b":method", b"CONNECT"),
    entry(b":method", b"DELETE"),
    entry(b":method", b"GET"),
    entry(b":method", b"HEAD"),
    entry(b":method", b"OPTIONS"),
    entry(b":method", b"POST"),
    entry(b":method", b"PUT"),
    entry(b":scheme", b"http"),
    entry(b":scheme", b"https"),
    entry(b":status", b"103"),
    entry(b":status", b"200"),
    entry(b":status", b"304"),
    entry(b":status", b"404"),
    entry(b":status", b"503"),
    entry(b"accept", b"*/*"),
    entry(b"accept", b"application/dns-message"),
    entry(b"accept-encoding", b"gzip, deflate, br"),
    entry(b"accept-ranges", b"bytes"),
    entry(b"access-control-allow-headers", b"cache-control"),
    entry(b"access-control-allow-headers", b"content-type"),
    entry(b"access-control-allow-origin", b"*"),
    entry(b"cache-control", b"max-age=0"),
    entry(b"cache-control", b"max-age=2592000"),
    entry(b"cache-control", b"max-age=604800"),
    entry(b"cache-control", b"no-cache"),
    entry(b"cache-control", b"no-store"),
    entry(b"cache-control", b"public, max-age=31536000"),
    entry(b"content-encoding", b"br"),
    entry(b"content-encoding", b"gzip"),
    entry(b"content-type", b"application/dns-message"),
    entry(b"content-type", b"application/javascript"),
    entry(b"content-type", b"application/json"),
    entry(b"content-type", b"application/x-www-form-urlencoded"),
    entry(b"content-type", b"image/gif"),
    entry(b"content-type", b"image/jpeg"),
    entry(b"content-type", b"image/png"),
    entry(b"content-type", b"text/css"),
    entry(b"content-type", b"text/html; charset=utf-8"),
    entry(b"content-type", b"text/plain"),
    entry(b"content-type", b"text/plain;charset=utf-8"),
    entry(b"range", b"bytes=0-"),
    entry(b"strict-transport-security", b"max-age=31536000"),
    entry(b"strict-transport-security", b"max-age=31536000; includesubdomains"),
    entry(b"strict-transport-security", b"max-age=31536000; includesubdomains; preload"),
    entry(b"vary", b"accept-encoding"),
    entry(b"vary", b"origin"),
    entry(b"x-content-type-options", b"nosniff"),
    entry(b"x-xss-protection", b"1; mode=block"),
    entry(b":status", b"100"),
    entry(b":status", b"204"),
    entry(b":status", b"206"),
    entry(b":status", b"302"),
    entry(b":status", b"400"),
    entry(b":status", b"403"),
    entry(b":status", b"421"),
    entry(b":status", b"425"),
    entry(b":status", b"500"),
    entry(b"accept-language", b""),
    entry(b"access-control-allow-credentials", b"FALSE"),
    entry(b"access-control-allow-credentials", b"TRUE"),
    entry(b"access-control-allow-headers", b"*"),
    entry(b"access-control-allow-methods", b"get"),
    entry(b"access-control-allow-methods", b"get, post, options"),
    entry(b"access-control-allow-methods", b"options"),
    entry(b"access-control-expose-headers", b"content-length"),
    entry(b"access-control-request-headers", b"content-type"),
    entry(b"access-control-request-method", b"get"),
    entry(b"access-control-request-method", b"post"),
    entry(b"alt-svc", b"clear"),
    entry(b"authorization", b""),
    entry(b"content-security-policy", b"script-src 'none'; object-src 'none'; base-uri 'none'"),
    entry(b"early-data", b"1"),
    entry(b"expect-ct", b""),
    entry(b"forwarded", b""),
    entry(b"if-range", b""),
    entry(b"origin", b""),
    entry(b"purpose", b"prefetch"),
    entry(b"server", b""),
    entry(b"timing-allow-origin", b"*"),
    entry(b"upgrade-insecure-requests", b"1"),
    entry(b"user-agent", b""),
    entry(b"x-forwarded-for", b""),
    entry(b"x-frame-options", b"deny"),
    entry(b"x-frame-options", b"sameorigin"),
];

const fn entry(name: &'static [u8], value: &'static [u8]) -> Field<'static> {
    Field { name, value, kind: Name::of(name), form: Form::Good }
}

/// Returns the entry with an index.
#[inline]
pub(super) fn get(index: usize) -> Option<Field<'static>> {
    ENTRIES.get(index).copied()
}

/// Returns the index of the first entry with a name that responses have; 0 if there is none. The entry 0 is
/// `:authority`.
pub(super) fn index_of(name: &[u8]) -> usize {
    match name {
        b"age" => 2,
        b"content-disposition" => 3,
        b"content-length" => 4,
        b"date" => 6,
        b"etag" => 7,
        b"last-modified" => 10,
        b"link" => 11,
        b"location" => 12,
        b"set-cookie" => 14,
        b":status" => 24,
        b"accept-ranges" => 32,
        b"access-control-allow-headers" => 33,
        b"access-control-allow-origin" => 35,
        b"cache-control" => 36,
        b"content-encoding" => 42,
        b"content-type" => 44,
        b"strict-transport-security" => 56,
        b"vary" => 59,
        b"x-content-type-options" => 61,
        b"x-xss-protection" => 62,
        b"access-control-allow-credentials" => 73,
        b"access-control-allow-methods" => 76,
        b"access-control-expose-headers" => 79,
        b"alt-svc" => 83,
        b"content-security-policy" => 85,
        b"expect-ct" => 87,
        b"server" => 92,
        b"timing-allow-origin" => 93,
        b"x-frame-options" => 97,
        _ => 0,
    }
}

/// Returns the index of the entry with a value, among those that begin with `first` and have the same name.
#[inline]
pub(super) fn index_with(first: usize, name: &[u8], value: &[u8]) -> Option<usize> {
    let later = || ENTRIES[first..].iter().take_while(|entry| entry.name == name);
    let at = later().position(|entry| entry.value == value)?;
    Some(first + at)
}
