//! The fields of W3C Trace Context, level 2: a `traceparent` names a trace and the span that a request belongs
//! to, and `tracestate` holds what vendors add to it.

/// The name of the field that names the trace and the parent span.
pub const TRACEPARENT: &[u8] = b"traceparent";

/// The name of the field that vendors add their data in. It means nothing without a valid `traceparent`.
pub const TRACESTATE: &[u8] = b"tracestate";

/// The length of a `traceparent` of version 00, and of the part of later ones whose form is fixed, in bytes.
pub const TRACEPARENT_LEN: usize = 55;

/// The flag of a trace that is recorded.
const SAMPLED: u8 = 1;
/// The flag of a trace whose id is random (level 2).
const RANDOM: u8 = 2;

/// A valid `traceparent`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TraceParent<'a> {
    /// The id of the trace: 32 digits, hexadecimal in lower case, not all zero.
    pub trace_id: &'a [u8],
    /// The id of the parent span: 16 such digits, not all zero.
    pub span_id: &'a [u8],
    flags: u8,
}

impl<'a> TraceParent<'a> {
    /// Parses the value of a `traceparent`. Of a later version, the part that version 00 has is read, as its
    /// specification demands.
    pub fn parse(value: &'a [u8]) -> Option<Self> {
        let (fixed, rest) = value.split_at_checked(TRACEPARENT_LEN)?;
        let [version, trace_id, span_id, flags] = [&fixed[..2], &fixed[3..35], &fixed[36..52], &fixed[53..]];
        let has_form = fixed[2] == b'-' && fixed[35] == b'-' && fixed[52] == b'-';
        let may_end_here = rest.is_empty() || version != b"00" && rest[0] == b'-';
        let are_digits = [version, trace_id, span_id, flags].into_iter().flatten().all(|b| is_digit(*b));
        let is_id = |id: &[u8]| id.iter().any(|digit| *digit != b'0');
        if !(has_form && may_end_here && are_digits && version != b"ff" && is_id(trace_id) && is_id(span_id))
        {
            return None;
        }
        Some(Self { trace_id, span_id, flags: value_of(flags[0]) << 4 | value_of(flags[1]) })
    }

    /// Whether the sender records the trace.
    pub fn is_sampled(&self) -> bool {
        self.flags & SAMPLED != 0
    }

    /// Returns the `traceparent` of a child of this span's: in the same trace, with the flags that are known.
    /// Its id must not be 0.
    pub fn child(&self, span_id: u64) -> [u8; TRACEPARENT_LEN] {
        let mut field = new_traceparent(0, span_id, false);
        field[3..35].copy_from_slice(self.trace_id);
        push_digits(&mut field[53..], &[self.flags & (SAMPLED | RANDOM)]);
        field
    }
}

/// Returns the `traceparent` of a new trace with a random id. Neither id may be 0.
pub fn new_traceparent(trace_id: u128, span_id: u64, is_sampled: bool) -> [u8; TRACEPARENT_LEN] {
    let flags = RANDOM | if is_sampled { SAMPLED } else { 0 };
    let mut field = *b"00-00000000000000000000000000000000-0000000000000000-00";
    push_digits(&mut field[3..35], &trace_id.to_be_bytes());
    push_digits(&mut field[36..52], &span_id.to_be_bytes());
    push_digits(&mut field[53..], &[flags]);
    field
}

/// Returns the 32 hexadecimal digits of a number.
pub fn hex_digits(number: u128) -> [u8; 32] {
    let mut digits = [0; 32];
    push_digits(&mut digits, &number.to_be_bytes());
    digits
}

fn push_digits(digits: &mut [u8], bytes: &[u8]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for (pair, byte) in digits.chunks_exact_mut(2).zip(bytes) {
        pair[0] = DIGITS[usize::from(byte >> 4)];
        pair[1] = DIGITS[usize::from(byte & 15)];
    }
}

fn is_digit(byte: u8) -> bool {
    matches!(byte, b'0'..=b'9' | b'a'..=b'f')
}

fn value_of(digit: u8) -> u8 {
    if digit >= b'a' { digit - b'a' + 10 } else { digit - b'0' }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of the specification.
    const EXAMPLE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn a_valid_field_names_trace_span_and_sampling() {
        let parent = TraceParent::parse(EXAMPLE.as_bytes()).unwrap();
        assert_eq!(parent.trace_id, b"4bf92f3577b34da6a3ce929d0e0e4736");
        assert_eq!(parent.span_id, b"00f067aa0ba902b7");
        assert!(parent.is_sampled());
        for (flags, is_sampled) in [("00", false), ("02", false), ("03", true), ("0b", true), ("fe", false)] {
            let field = EXAMPLE.replace("-01", &format!("-{flags}"));
            assert_eq!(TraceParent::parse(field.as_bytes()).unwrap().is_sampled(), is_sampled, "{flags}");
        }
    }

    #[test]
    fn later_versions_are_read_by_their_first_four_parts() {
        for field in [EXAMPLE.replacen("00", "01", 1), EXAMPLE.replacen("00", "cc", 1)] {
            let parent = TraceParent::parse(EXAMPLE.as_bytes());
            assert_eq!(TraceParent::parse(field.as_bytes()), parent);
            assert_eq!(TraceParent::parse(format!("{field}-what-will-be").as_bytes()), parent);
            assert_eq!(TraceParent::parse(format!("{field}-").as_bytes()), parent);
            assert_eq!(TraceParent::parse(format!("{field}.x").as_bytes()), None);
        }
    }

    #[test]
    fn malformed_fields_are_none() {
        for bad in [
            "",
            "00",
            &EXAMPLE[..54],
            &format!("{EXAMPLE}-"),
            &format!("{EXAMPLE}-00"),
            &format!("{EXAMPLE} "),
            &format!(" {EXAMPLE}"),
            &EXAMPLE.replacen("00", "ff", 1),
            &EXAMPLE.replace("4bf9", "4BF9"),
            &EXAMPLE.replace("4bf9", "4bg9"),
            &EXAMPLE.replace("-01", "-0x"),
            &EXAMPLE.replace("-01", "_01"),
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4bf92f3577b34da6a3ce929d0e0e473-600f067aa0ba902b7-01",
        ] {
            assert_eq!(TraceParent::parse(bad.as_bytes()), None, "{bad}");
        }
    }

    #[test]
    fn a_child_has_the_trace_and_the_flags_of_its_parent() {
        let parent = EXAMPLE.replacen("00", "cc", 1).replace("-01", "-ff-more");
        let child = TraceParent::parse(parent.as_bytes()).unwrap().child(0xa);
        assert_eq!(child, *EXAMPLE.replace("00f067aa0ba902b7-01", "000000000000000a-03").as_bytes());
        let child = TraceParent::parse(EXAMPLE.as_bytes()).unwrap().child(0xa);
        assert!(child.ends_with(b"-000000000000000a-01"));
    }

    #[test]
    fn new_fields_are_valid() {
        let field = new_traceparent(0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736, 0xf0_67aa_0ba9_02b7, true);
        assert_eq!(field, *EXAMPLE.replace("-01", "-03").as_bytes());
        let field = new_traceparent(1, u64::MAX, false);
        assert_eq!(&field, b"00-00000000000000000000000000000001-ffffffffffffffff-02");
        assert!(!TraceParent::parse(&field).unwrap().is_sampled());
        assert_eq!(&hex_digits(0xa), b"0000000000000000000000000000000a");
    }
}
