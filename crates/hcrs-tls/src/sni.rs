//! The choice of a certificate by the name that a client asks for (RFC 6066 section 3, RFC 9525 section 6.3).

use std::collections::HashMap;

use rustls_pki_types::DnsName;

/// The names of several certificates, each with the places of the certificates that have it.
///
/// A wildcard matches exactly one label, the leftmost; one that is part of a label or stands elsewhere
/// matches no name.
#[derive(Debug, Default)]
pub(crate) struct Names {
    exact: HashMap<String, Vec<usize>>,
    /// The wildcards, by the name that follows `*.`.
    wildcard: HashMap<String, Vec<usize>>,
}

impl Names {
    /// Indexes certificates; each item has the DNS names of one.
    pub(crate) fn new<'a>(certificates: impl IntoIterator<Item = &'a [String]>) -> Self {
        let mut table = Self::default();
        for (place, names) in certificates.into_iter().enumerate() {
            for name in names {
                table.insert(&name.to_ascii_lowercase(), place);
            }
        }
        table
    }

    fn insert(&mut self, name: &str, place: usize) {
        let (names, name) = match name.strip_prefix("*.") {
            Some(parent) => (&mut self.wildcard, parent),
            None => (&mut self.exact, name),
        };
        if DnsName::try_from(name).is_ok() {
            let places = names.entry(name.to_owned()).or_default();
            if !places.contains(&place) {
                places.push(place);
            }
        }
    }

    /// Returns the places of the certificates for a name: those that have the name itself, then those with a
    /// wildcard.
    pub(crate) fn find(&self, name: &str) -> impl Iterator<Item = usize> + '_ {
        let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
        let exact = self.exact.get(&name);
        let wildcard = name.split_once('.').and_then(|(_, parent)| self.wildcard.get(parent));
        exact.into_iter().chain(wildcard).flatten().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(certificates: &[&[&str]]) -> Names {
        let owned: Vec<Vec<String>> =
            certificates.iter().map(|names| names.iter().map(|name| (*name).to_owned()).collect()).collect();
        Names::new(owned.iter().map(Vec::as_slice))
    }

    fn found(names: &Names, name: &str) -> Vec<usize> {
        names.find(name).collect()
    }

    #[test]
    fn a_name_is_found_in_either_case_and_with_a_final_dot() {
        let names = names(&[&["a.example"], &["B.example"]]);
        for name in ["b.example", "B.EXAMPLE", "b.example."] {
            assert_eq!(found(&names, name), [1], "{name}");
        }
        assert_eq!(found(&names, "example"), []);
        assert_eq!(found(&names, "c.example"), []);
        assert_eq!(found(&names, "x.a.example"), []);
    }

    #[test]
    fn a_wildcard_stands_for_one_whole_leftmost_label() {
        let names = names(&[&["*.example.org"]]);
        assert_eq!(found(&names, "www.example.org"), [0]);
        assert_eq!(found(&names, "xn--mnchen-3ya.example.org"), [0]);
        for name in ["example.org", "a.b.example.org", "www.example.com", "", "org", ".example.org.x"] {
            assert_eq!(found(&names, name), [], "{name}");
        }
    }

    #[test]
    fn other_wildcards_match_nothing() {
        let names =
            names(&[&["w*.example.org", "*w.example.org", "a.*.example.org", "*", "*.*.example.org"]]);
        for name in ["www.example.org", "w.example.org", "a.b.example.org", "org", "a.example.org"] {
            assert_eq!(found(&names, name), [], "{name}");
        }
    }

    #[test]
    fn the_name_itself_comes_before_a_wildcard_and_equals_keep_their_order() {
        let names = names(&[&["*.example.org"], &["www.example.org"], &["www.example.org", "*.example.org"]]);
        assert_eq!(found(&names, "www.example.org"), [1, 2, 0, 2]);
        assert_eq!(found(&names, "api.example.org"), [0, 2]);
    }
}
