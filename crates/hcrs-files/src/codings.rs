//! The codings of precompressed files, and which of them a client takes (RFC 9110 §12.5.3).

use hcrs_http::Fields;

/// A content coding of a file that lies beside the original.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Coding {
    /// Brotli.
    Br,
    /// Zstandard.
    Zstd,
    /// Gzip.
    Gzip,
}

impl Coding {
    /// All codings, from the one that is chosen first among equals.
    pub const ALL: [Self; 3] = [Self::Br, Self::Zstd, Self::Gzip];

    /// Returns the value of `content-encoding`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Br => "br",
            Self::Zstd => "zstd",
            Self::Gzip => "gzip",
        }
    }

    /// Returns the end of the name of a file in this coding, behind the name of the original.
    pub fn suffix(self) -> &'static str {
        match self {
            Self::Br => ".br",
            Self::Zstd => ".zst",
            Self::Gzip => ".gz",
        }
    }
}

/// The qualities that a client gives to codings, in thousandths.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct AcceptedCodings {
    of: [Option<u16>; Coding::ALL.len()],
    identity: Option<u16>,
    any: Option<u16>,
}

impl AcceptedCodings {
    /// Reads all fields `accept-encoding`. A coding that is named twice has its first quality; one whose quality is
    /// malformed is not taken.
    pub fn of(fields: Fields<'_>) -> Self {
        let mut accepted = Self::default();
        for (name, value) in fields {
            if name == b"accept-encoding" {
                accepted.add(value);
            }
        }
        accepted
    }

    fn add(&mut self, list: &[u8]) {
        for member in list.split(|&byte| byte == b',') {
            let mut parts = member.split(|&byte| byte == b';').map(<[u8]>::trim_ascii);
            let name = parts.next().unwrap_or_default();
            let of = match name {
                b"*" => &mut self.any,
                name if name.eq_ignore_ascii_case(b"identity") => &mut self.identity,
                name if name.eq_ignore_ascii_case(b"x-gzip") => &mut self.of[Coding::Gzip as usize],
                name => {
                    let is_named = |coding: &Coding| name.eq_ignore_ascii_case(coding.name().as_bytes());
                    match Coding::ALL.into_iter().find(is_named) {
                        Some(coding) => &mut self.of[coding as usize],
                        None => continue,
                    }
                }
            };
            // Other parameters than the quality have no meaning here.
            let weight = parts.find_map(|part| {
                let (key, value) = part.split_at(part.iter().position(|&byte| byte == b'=')?);
                key.trim_ascii().eq_ignore_ascii_case(b"q").then(|| value[1..].trim_ascii())
            });
            of.get_or_insert(weight.map_or(1000, |weight| thousandths(weight).unwrap_or(0)));
        }
    }

    /// Returns the coding, of those that there are, that the client likes best; `None` for the original. The order of
    /// [`Coding::ALL`] decides among equals, which are preferred to the original.
    pub fn best(&self, is_there: impl Fn(Coding) -> bool) -> Option<Coding> {
        let quality = |coding: Coding| self.of[coding as usize].or(self.any).unwrap_or(0);
        let mut best = None;
        // Without a quality of its own the original is the least of what is taken.
        let mut least = self.identity.unwrap_or(0);
        for coding in Coding::ALL.into_iter().filter(|&coding| is_there(coding)) {
            let quality = quality(coding);
            if quality > 0 && (quality > least || best.is_none() && quality == least) {
                (best, least) = (Some(coding), quality);
            }
        }
        best
    }
}

/// Parses a quality: 0 to 1 with at most three decimals.
fn thousandths(weight: &[u8]) -> Option<u16> {
    let (whole, decimals) = match weight {
        [whole] => (*whole, &b""[..]),
        [whole, b'.', decimals @ ..] => (*whole, decimals),
        _ => return None,
    };
    let is_number = decimals.len() <= 3 && decimals.iter().all(u8::is_ascii_digit);
    let digits = decimals.iter().copied().chain(*b"000").take(3);
    let part = digits.fold(0, |sum, digit| sum * 10 + u16::from(digit - b'0'));
    match (whole, is_number) {
        (b'0', true) => Some(part),
        (b'1', true) if part == 0 => Some(1000),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use hcrs_http::ResponseHead;

    use super::*;

    fn best(values: &[&str], there: &[Coding]) -> Option<Coding> {
        let fields = values.iter().map(|value| (&b"accept-encoding"[..], value.as_bytes()));
        let head = ResponseHead::new(200, fields);
        AcceptedCodings::of(head.fields()).best(|coding| there.contains(&coding))
    }

    #[test]
    fn the_quality_decides_and_among_equals_the_order() {
        use Coding::{Br, Gzip, Zstd};
        let all = &Coding::ALL[..];
        for (value, there, expected) in [
            ("gzip, deflate, br, zstd", all, Some(Br)),
            ("gzip, deflate, br, zstd", &[Zstd, Gzip], Some(Zstd)),
            ("gzip", all, Some(Gzip)),
            ("x-gzip", all, Some(Gzip)),
            ("GZIP;Q=0.5 , BR; q = 0.4", all, Some(Gzip)),
            ("br;q=0, *", all, Some(Zstd)),
            ("*;q=0.001", all, Some(Br)),
            ("*;q=0", all, None),
            ("", all, None),
            ("deflate, identity", all, None),
            ("identity;q=0", all, None),
            ("identity, gzip;q=0.5", all, None),
            ("identity;q=0.5, gzip;q=0.5", all, Some(Gzip)),
            ("gzip;level=9;q=1", all, Some(Gzip)),
            ("gzip;q=0, gzip;q=1", all, None),
            ("gzip", &[Br, Zstd], None),
            ("gzipped, brotli", all, None),
        ] {
            assert_eq!(best(&[value], there), expected, "{value}");
        }
        assert_eq!(best(&["gzip;q=0.2", "br;q=0.1"], all), Some(Gzip), "lists are joined");
        assert_eq!(best(&[], all), None);
    }

    #[test]
    fn absurd_qualities_are_none() {
        for weight in ["", "2", "1.001", "-1", "0.0000", "1e9", ".5", "0,5", "NaN", "00.5", "1.", "0x1"] {
            let expected = (weight == "1.").then_some(Coding::Gzip);
            assert_eq!(best(&[&format!("gzip;q={weight}")], &Coding::ALL), expected, "{weight}");
        }
        let endless = "gzip;q=0.1,".repeat(10_000);
        assert_eq!(best(&[&endless], &Coding::ALL), Some(Coding::Gzip));
        assert_eq!(best(&[&";q=1,".repeat(10_000)], &Coding::ALL), None);
    }
}
