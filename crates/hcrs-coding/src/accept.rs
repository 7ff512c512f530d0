//! `accept-encoding` (RFC 9110 §12.5.3).

use crate::coding::Coding;

/// A weight in thousandths.
type Weight = u16;

/// The codings that a client accepts. Of a coding that is named twice the first counts.
#[derive(Debug, Default)]
pub struct Accepted {
    /// The weights of the codings, in the order of [`Coding::ALL`].
    codings: [Option<Weight>; 3],
    identity: Option<Weight>,
    /// The weight of `*`, for what is not named.
    others: Option<Weight>,
}

/// The coding that a client prefers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Preference {
    /// The coding; `None` for a body as it is.
    pub coding: Option<Coding>,
    /// Whether the client refuses a body as it is.
    pub refuses_identity: bool,
}

impl Accepted {
    /// Notes the value of a field, of which a request may have several. An element that is malformed, or whose
    /// weight is not between 0 and 1, is ignored: a body as it is does no harm.
    pub fn note(&mut self, value: &[u8]) {
        for element in value.split(|&byte| byte == b',') {
            let mut parts = element.split(|&byte| byte == b';').map(<[u8]>::trim_ascii);
            let name = parts.next().unwrap_or_default();
            let Some(weight) = weight(parts) else { continue };
            let place = if name == b"*" {
                &mut self.others
            } else if name.eq_ignore_ascii_case(b"identity") {
                &mut self.identity
            } else if let Some(coding) = Coding::of_name(name) {
                &mut self.codings[coding as usize]
            } else {
                continue;
            };
            place.get_or_insert(weight);
        }
    }

    /// Returns the preference among the codings that are offered, the first of which wins if weights are equal.
    pub fn prefer(&self, offered: &[Coding]) -> Preference {
        let weight_of = |coding: Coding| self.codings[coding as usize].or(self.others).unwrap_or(0);
        let mut best: Option<(Coding, Weight)> = None;
        for &coding in offered {
            let weight = weight_of(coding);
            if weight > best.map_or(0, |(_, weight)| weight) {
                best = Some((coding, weight));
            }
        }
        // Without a weight of its own, a body as it is comes after every coding (RFC 9110 §12.5.3).
        let is_better = |weight: Weight| self.identity.is_none_or(|identity| identity <= weight);
        Preference {
            coding: best.filter(|&(_, weight)| is_better(weight)).map(|(coding, _)| coding),
            refuses_identity: self.identity.or(self.others) == Some(0),
        }
    }
}

/// Returns the weight among the parameters of an element, the whole one if there is none; `None` if it is malformed.
fn weight<'a>(parameters: impl Iterator<Item = &'a [u8]>) -> Option<Weight> {
    let mut weight = None;
    for parameter in parameters {
        let (name, value) = parameter.split_at_checked(2)?;
        if !name.eq_ignore_ascii_case(b"q=") || weight.replace(thousandths(value)?).is_some() {
            return None;
        }
    }
    Some(weight.unwrap_or(1000))
}

/// Parses a weight (RFC 9110 §12.4.2): at most three digits behind the point, at most 1.
fn thousandths(value: &[u8]) -> Option<Weight> {
    let (whole, fraction) = match value {
        [whole] => (whole, &[][..]),
        [whole, b'.', fraction @ ..] => (whole, fraction),
        _ => return None,
    };
    let is_number =
        matches!(whole, b'0' | b'1') && fraction.len() <= 3 && fraction.iter().all(u8::is_ascii_digit);
    if !is_number {
        return None;
    }
    let digits = fraction.iter().chain([b'0'; 3].iter()).take(3);
    let thousandths =
        digits.fold(Weight::from(whole - b'0'), |sum, digit| sum * 10 + Weight::from(digit - b'0'));
    (thousandths <= 1000).then_some(thousandths)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn prefer(value: &str) -> Option<&'static str> {
        let mut accepted = Accepted::default();
        accepted.note(value.as_bytes());
        accepted.prefer(&Coding::ALL).coding.map(Coding::name)
    }

    #[test]
    fn weights_decide_and_among_equals_the_order_of_the_offer() {
        for (value, expected) in [
            ("gzip, deflate, br, zstd", Some("zstd")),
            ("gzip, deflate, br", Some("br")),
            ("gzip", Some("gzip")),
            ("x-gzip", Some("gzip")),
            ("GZip;Q=1", Some("gzip")),
            ("gzip;q=1.0, br;q=0.9, zstd;q=0.8", Some("gzip")),
            ("gzip ; q=0.5 , br ; q=0.501", Some("br")),
            ("zstd;q=0.001", Some("zstd")),
            ("*", Some("zstd")),
            ("*;q=0.5, zstd;q=0", Some("br")),
            ("gzip;q=0.5, *;q=0.9, zstd;q=0", Some("br")),
            ("deflate, compress, bogus", None),
            ("", None),
            (",,,", None),
            ("zstd;q=0, br;q=0.000, gzip;q=0.0", None),
            ("*;q=0", None),
            ("identity", None),
            ("identity;q=0, gzip", Some("gzip")),
            ("gzip;q=0.5, identity", None),
            ("gzip;q=0.5, identity;q=0.5", Some("gzip")),
            ("gzip;q=0, gzip", None),
        ] {
            assert_eq!(prefer(value), expected, "{value}");
        }
        let mut accepted = Accepted::default();
        accepted.note(b"gzip, br, zstd");
        assert_eq!(accepted.prefer(&[Coding::Gzip, Coding::Zstd]).coding, Some(Coding::Gzip));
        assert_eq!(accepted.prefer(&[]).coding, None);
        assert_eq!(Accepted::default().prefer(&Coding::ALL).coding, None, "no field");
    }

    #[test]
    fn several_fields_are_one_list() {
        let mut accepted = Accepted::default();
        accepted.note(b"gzip;q=0.5");
        accepted.note(b"br;q=0.6");
        assert_eq!(accepted.prefer(&Coding::ALL).coding, Some(Coding::Brotli));
    }

    #[test]
    fn elements_with_absurd_weights_are_ignored() {
        for weight in [
            "2",
            "1.001",
            "-1",
            "0.0001",
            "0,5",
            "1e-3",
            "NaN",
            "",
            ".5",
            "01",
            "0.5.",
            "1.0000",
            "0x1",
            "\"1\"",
            " 1",
            "999999999999999999999999",
            "0.5;q=0.5",
            "0.5;level=9",
        ] {
            assert_eq!(prefer(&format!("zstd;q={weight}, gzip;q=0.1")), Some("gzip"), "{weight}");
        }
        assert_eq!(prefer("zstd;level=3, gzip"), Some("gzip"));
        assert_eq!(prefer("zstd;, gzip"), Some("gzip"));
        assert_eq!(prefer("zstd;q=1., gzip"), Some("zstd"), "the grammar has it");
    }

    #[test]
    fn identity_is_refused_by_name_or_by_the_star() {
        for (value, expected) in [
            ("identity;q=0", true),
            ("*;q=0", true),
            ("identity;q=0.1, *;q=0", false),
            ("identity, gzip;q=0", false),
            ("gzip", false),
            ("", false),
        ] {
            let mut accepted = Accepted::default();
            accepted.note(value.as_bytes());
            assert_eq!(accepted.prefer(&Coding::ALL).refuses_identity, expected, "{value}");
        }
    }

    proptest! {
        #[test]
        fn any_value_has_an_answer(value in proptest::collection::vec(any::<u8>(), 0..200)) {
            let mut accepted = Accepted::default();
            accepted.note(&value);
            let _any = accepted.prefer(&Coding::ALL);
        }

        #[test]
        fn odd_lists_choose_only_what_they_name(value in "[a-z*;=,. q01]{0,60}") {
            if let Some(chosen) = prefer(&value) {
                prop_assert!(value.contains(chosen) || value.contains('*'), "{value}");
            }
        }
    }
}
