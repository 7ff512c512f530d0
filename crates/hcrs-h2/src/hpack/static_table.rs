//! The static table of HPACK (RFC 7541 Appendix A).

use hcrs_mux::{Field, Form, Name};

/// The entries, of which the first has the index 1.
static ENTRIES: [Field<'static>; 61] = [
    entry(b":authority", b""),
    entry(b":method", b"GET"),
    entry(b":method", b"POST"),
    entry(b":path", b"/"),
    entry(b":path", b"/index.html"),
    entry(b":scheme", b"http"),
    entry(b":scheme", b"https"),
    entry(b":status", b"200"),
    entry(b":status", b"204"),
    entry(b":status", b"206"),
    entry(b":status", b"304"),
    entry(b":status", b"400"),
    entry(b":status", b"404"),
    entry(b":status", b"500"),
    entry(b"accept-charset", b""),
    entry(b"accept-encoding", b"gzip, deflate"),
    entry(b"accept-language", b""),
    entry(b"accept-ranges", b""),
    entry(b"accept", b""),
    entry(b"access-control-allow-origin", b""),
    entry(b"age", b""),
    entry(b"allow", b""),
    entry(b"authorization", b""),
    entry(b"cache-control", b""),
    entry(b"content-disposition", b""),
    entry(b"content-encoding", b""),
    entry(b"content-language", b""),
    entry(b"content-length", b""),
    entry(b"content-location", b""),
    entry(b"content-range", b""),
    entry(b"content-type", b""),
    entry(b"cookie", b""),
    entry(b"date", b""),
    entry(b"etag", b""),
    entry(b"expect", b""),
    entry(b"expires", b""),
    entry(b"from", b""),
    entry(b"host", b""),
    entry(b"if-match", b""),
    entry(b"if-modified-since", b""),
    entry(b"if-none-match", b""),
    entry(b"if-range", b""),
    entry(b"if-unmodified-since", b""),
    entry(b"last-modified", b""),
    entry(b"link", b""),
    entry(b"location", b""),
    entry(b"max-forwards", b""),
    entry(b"proxy-authenticate", b""),
    entry(b"proxy-authorization", b""),
    entry(b"range", b""),
    entry(b"referer", b""),
    entry(b"refresh", b""),
    entry(b"retry-after", b""),
    entry(b"server", b""),
    entry(b"set-cookie", b""),
    entry(b"strict-transport-security", b""),
    entry(b"transfer-encoding", b""),
    entry(b"user-agent", b""),
    entry(b"vary", b""),
    entry(b"via", b""),
    entry(b"www-authenticate", b""),
];

/// Number of entries.
pub(super) const LEN: usize = ENTRIES.len();

const fn entry(name: &'static [u8], value: &'static [u8]) -> Field<'static> {
    Field { name, value, kind: Name::of(name), form: Form::Good }
}

/// Returns the entry with an index of at most [`LEN`]; `None` for the index 0.
#[inline]
pub(super) fn get(index: usize) -> Option<Field<'static>> {
    ENTRIES.get(index.wrapping_sub(1)).copied()
}

/// Returns the index of the first entry with a name that responses have; 0 if there is none.
pub(super) fn index_of(name: &[u8]) -> usize {
    match name {
        b":authority" => 1,
        b":path" => 4,
        b":status" => 8,
        b"date" => 33,
        b"server" => 54,
        b"content-type" => 31,
        b"content-length" => 28,
        b"accept-ranges" => 18,
        b"access-control-allow-origin" => 20,
        b"age" => 21,
        b"allow" => 22,
        b"authorization" => 23,
        b"cache-control" => 24,
        b"content-disposition" => 25,
        b"content-encoding" => 26,
        b"content-language" => 27,
        b"content-location" => 29,
        b"content-range" => 30,
        b"cookie" => 32,
        b"etag" => 34,
        b"expires" => 36,
        b"last-modified" => 44,
        b"link" => 45,
        b"location" => 46,
        b"proxy-authenticate" => 48,
        b"refresh" => 52,
        b"retry-after" => 53,
        b"set-cookie" => 55,
        b"strict-transport-security" => 56,
        b"transfer-encoding" => 57,
        b"vary" => 59,
        b"via" => 60,
        b"www-authenticate" => 61,
        b"accept" => 19,
        b"accept-encoding" => 16,
        b"accept-language" => 17,
        b"user-agent" => 58,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn indices_of_names_are_those_of_the_table() {
        for index in 1..=LEN {
            let name = get(index).unwrap().name;
            let found = index_of(name);
            assert!(found == 0 || get(found).unwrap().name == name, "{}", name.escape_ascii());
        }
        assert_eq!(index_of(b"x-a"), 0);
        assert!(get(0).is_none() && get(LEN + 1).is_none());
    }
}
