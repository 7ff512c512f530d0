//! A field of a request as HPACK and QPACK yield it: its text, and the facts about it that its checks need.
//!
//! Fields that are repeated come from a table, which keeps these facts with them.

/// A field of a header list.
#[derive(Debug, Clone, Copy)]
pub struct Field<'a> {
    /// The name, as sent.
    pub name: &'a [u8],
    /// The value, as sent.
    pub value: &'a [u8],
    /// The meaning of the name.
    pub kind: Name,
    /// The form of the value.
    pub form: Form,
}

/// The meaning of a field's name in a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Name {
    /// `:method`
    Method,
    /// `:scheme`
    Scheme,
    /// `:authority`
    Authority,
    /// `:path`
    Path,
    /// `:protocol` (RFC 8441, RFC 9220)
    Protocol,
    /// `:status`, which requests do not have.
    Status,
    /// `host`
    Host,
    /// `cookie`
    Cookie,
    /// `content-length`
    ContentLength,
    /// `te`
    Te,
    /// A field of one connection, which HTTP/2 and HTTP/3 do not have (RFC 9113 §8.2.2, RFC 9114 §4.2).
    ConnectionSpecific,
    /// `sec-websocket-key`
    WebSocketKey,
    /// `priority` (RFC 9218)
    Priority,
    /// A name with an underscore, which would collide with another one in a WSGI environ.
    Underscored,
    /// Any other name.
    Plain,
    /// Not a token in lower case, or an unknown pseudo-header field.
    Malformed,
}

/// The form of a field's value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// A value as RFC 9110 §5.5 defines it.
    Good,
    /// The value begins or ends with white space (RFC 9113 §8.2.1).
    Padded,
    /// The value has bytes that no value has.
    Malformed,
}

impl<'a> Field<'a> {
    /// Looks at a field that was sent as text.
    #[inline]
    pub fn new(name: &'a [u8], value: &'a [u8]) -> Self {
        Self { name, value, kind: Name::of(name), form: Form::of(value) }
    }

    /// Looks at a field whose value was sent as text, and whose name is that of `named`.
    #[inline]
    pub fn with_value(named: &Field<'a>, value: &'a [u8]) -> Self {
        Self { value, form: Form::of(value), ..*named }
    }
}

impl Name {
    /// Whether it is a pseudo-header field.
    #[inline]
    pub fn is_pseudo(self) -> bool {
        matches!(
            self,
            Self::Method | Self::Scheme | Self::Authority | Self::Path | Self::Protocol | Self::Status
        )
    }

    /// Returns the meaning of a name.
    pub const fn of(name: &[u8]) -> Self {
        match name {
            b":method" => Self::Method,
            b":scheme" => Self::Scheme,
            b":authority" => Self::Authority,
            b":path" => Self::Path,
            b":protocol" => Self::Protocol,
            b":status" => Self::Status,
            b"host" => Self::Host,
            b"cookie" => Self::Cookie,
            b"content-length" => Self::ContentLength,
            b"te" => Self::Te,
            b"connection" | b"keep-alive" | b"proxy-connection" | b"transfer-encoding" | b"upgrade" => {
                Self::ConnectionSpecific
            }
            b"sec-websocket-key" => Self::WebSocketKey,
            b"priority" => Self::Priority,
            _ => Self::of_other(name),
        }
    }

    const fn of_other(name: &[u8]) -> Self {
        if name.is_empty() {
            return Self::Malformed;
        }
        let mut kind = Self::Plain;
        let mut at = 0;
        while at < name.len() {
            match NAME_BYTES[name[at] as usize] {
                NameByte::Token => {}
                NameByte::Underscore => kind = Self::Underscored,
                NameByte::None => return Self::Malformed,
            }
            at += 1;
        }
        kind
    }
}

impl Form {
    fn of(value: &[u8]) -> Self {
        if !hcrs_http::is_field_value(value) {
            Self::Malformed
        } else if matches!(value, [b' ' | b'\t', ..] | [.., b' ' | b'\t']) {
            Self::Padded
        } else {
            Self::Good
        }
    }
}

/// The part of a byte in a name.
#[derive(Clone, Copy)]
enum NameByte {
    /// Nothing: no name has it.
    None,
    /// A byte of a token in lower case (RFC 9113 §8.2.1).
    Token,
    Underscore,
}

static NAME_BYTES: [NameByte; 256] = name_bytes();

const fn name_bytes() -> [NameByte; 256] {
    let mut bytes = [NameByte::None; 256];
    let mut byte = 0usize;
    while byte < 256 {
        bytes[byte] = match byte as u8 {
            b'_' => NameByte::Underscore,
            b'!'
            | b'#'
            | b'$'
            | b'%'
            | b'&'
            | b'\''
            | b'*'
            | b'+'
            | b'-'
            | b'.'
            | b'^'
            | b'`'
            | b'|'
            | b'~'
            | b'0'..=b'9'
            | b'a'..=b'z' => NameByte::Token,
            _ => NameByte::None,
        };
        byte += 1;
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_tokens_in_lower_case() {
        for good in ["a", "x-a", "accept", "0", "a.b~"] {
            assert_eq!(Name::of(good.as_bytes()), Name::Plain, "{good}");
        }
        assert_eq!(Name::of(b"content_length"), Name::Underscored);
        for bad in ["", "X-A", "x a", "a:", ":odd", ":", "a\r\n", "\u{e9}", "a\0", "(a)"] {
            assert_eq!(Name::of(bad.as_bytes()), Name::Malformed, "{bad:?}");
        }
    }

    #[test]
    fn every_field_of_a_connection_is_known() {
        for name in ["connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade", "te"] {
            assert!(hcrs_http::is_connection_specific(name.as_bytes()));
            assert!(matches!(Name::of(name.as_bytes()), Name::ConnectionSpecific | Name::Te), "{name}");
        }
    }

    #[test]
    fn values_have_no_controls_and_no_blanks_at_their_ends() {
        assert_eq!(Form::of(b"a b\tc \xff"), Form::Good);
        assert_eq!(Form::of(b""), Form::Good);
        for padded in [&b" a"[..], b"a ", b"\ta", b" "] {
            assert_eq!(Form::of(padded), Form::Padded);
        }
        for bad in [&b"a\r\nb"[..], b"\0", b"\x7f"] {
            assert_eq!(Form::of(bad), Form::Malformed);
        }
    }
}
