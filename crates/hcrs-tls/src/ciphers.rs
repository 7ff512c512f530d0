//! OpenSSL's cipher list format for the suites of this crate, and their order for each kind of client.

use rustls::crypto::aws_lc_rs::ALL_CIPHER_SUITES;
use rustls::{CipherSuite, SignatureAlgorithm, SupportedCipherSuite};

use crate::{TlsError, TlsWarning};

/// An algorithm that encrypts records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Bulk {
    Aes128,
    Aes256,
    ChaCha20,
}

/// A suite of TLS 1.2. Each has ECDHE and an AEAD.
#[derive(Debug)]
struct Suite {
    openssl: &'static str,
    iana: &'static str,
    id: CipherSuite,
    auth: SignatureAlgorithm,
    bulk: Bulk,
}

/// The suites of TLS 1.2 in the order of a selector: AES-128 first, because it is as safe and costs less.
static TLS12: [Suite; 6] = [
    Suite {
        openssl: "ECDHE-ECDSA-AES128-GCM-SHA256",
        iana: "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
        id: CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
        auth: SignatureAlgorithm::ECDSA,
        bulk: Bulk::Aes128,
    },
    Suite {
        openssl: "ECDHE-RSA-AES128-GCM-SHA256",
        iana: "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
        id: CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
        auth: SignatureAlgorithm::RSA,
        bulk: Bulk::Aes128,
    },
    Suite {
        openssl: "ECDHE-ECDSA-AES256-GCM-SHA384",
        iana: "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
        id: CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
        auth: SignatureAlgorithm::ECDSA,
        bulk: Bulk::Aes256,
    },
    Suite {
        openssl: "ECDHE-RSA-AES256-GCM-SHA384",
        iana: "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384",
        id: CipherSuite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
        auth: SignatureAlgorithm::RSA,
        bulk: Bulk::Aes256,
    },
    Suite {
        openssl: "ECDHE-ECDSA-CHACHA20-POLY1305",
        iana: "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
        id: CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
        auth: SignatureAlgorithm::ECDSA,
        bulk: Bulk::ChaCha20,
    },
    Suite {
        openssl: "ECDHE-RSA-CHACHA20-POLY1305",
        iana: "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
        id: CipherSuite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
        auth: SignatureAlgorithm::RSA,
        bulk: Bulk::ChaCha20,
    },
];

/// A suite of TLS 1.3.
#[derive(Debug)]
struct Suite13 {
    iana: &'static str,
    id: CipherSuite,
    bulk: Bulk,
}

/// The suites of TLS 1.3 in the order for clients with instructions for AES.
static TLS13: [Suite13; 3] = [
    Suite13 { iana: "TLS_AES_128_GCM_SHA256", id: CipherSuite::TLS13_AES_128_GCM_SHA256, bulk: Bulk::Aes128 },
    Suite13 { iana: "TLS_AES_256_GCM_SHA384", id: CipherSuite::TLS13_AES_256_GCM_SHA384, bulk: Bulk::Aes256 },
    Suite13 {
        iana: "TLS_CHACHA20_POLY1305_SHA256",
        id: CipherSuite::TLS13_CHACHA20_POLY1305_SHA256,
        bulk: Bulk::ChaCha20,
    },
];

/// Selectors of OpenSSL that match no suite of this crate, because their algorithms are old, weak or rare.
/// Excluding one is fine; asking for one causes a warning.
#[rustfmt::skip]
const ABSENT: &[&str] = &[
    "COMPLEMENTOFALL", "COMPLEMENTOFDEFAULT", "LOW", "MEDIUM", "EXP", "EXPORT", "EXPORT40", "EXPORT56",
    "SSLv2", "SSLv3", "TLSv1", "TLSv1.0",
    "RSA", "kRSA", "DH", "DHE", "EDH", "ADH", "kDH", "kDHE", "kEDH", "kDHr", "kDHd", "kECDHr", "kECDHe",
    "AECDH",
    "aNULL", "aDH", "aECDH", "aDSS", "DSS", "aGOST", "aGOST01", "kGOST",
    "PSK", "kPSK", "aPSK", "kECDHEPSK", "kDHEPSK", "kRSAPSK", "SRP", "kSRP", "aSRP", "KRB5", "kKRB5", "aKRB5",
    "NULL", "eNULL", "AESCCM", "AESCCM8", "ARIA", "ARIA128", "ARIA256", "ARIAGCM", "CAMELLIA", "CAMELLIA128",
    "CAMELLIA256", "3DES", "DES", "RC4", "RC2", "IDEA", "SEED", "GOST89MAC",
    "MD5", "SHA", "SHA1", "SHA256", "SHA384", "GOST94",
];

/// The result of a list.
#[derive(Debug, PartialEq)]
pub(crate) struct Selection {
    /// Suites of TLS 1.2 in the list's order.
    pub suites: Vec<CipherSuite>,
    pub warnings: Vec<TlsWarning>,
}

/// Reads a list as `openssl ciphers` does: elements between colons, commas or spaces; `!` excludes for good,
/// `-` removes, `+` moves to the end; selectors joined by `+` must all match; `@STRENGTH` sorts by key
/// length.
pub(crate) fn select(list: &str) -> Result<Selection, TlsError> {
    let mut warnings = Vec::new();
    let mut chosen: Vec<&Suite> = Vec::new();
    let mut excluded: Vec<CipherSuite> = Vec::new();
    for element in list.split([':', ',', ';', ' ']).filter(|element| !element.is_empty()) {
        if let Some(command) = element.strip_prefix('@') {
            match command {
                "STRENGTH" => chosen.sort_by_key(|suite| suite.bulk == Bulk::Aes128),
                // No suite has less than 112 bits of security.
                "SECLEVEL=0" | "SECLEVEL=1" | "SECLEVEL=2" => {}
                _ if command.starts_with("SECLEVEL=") => {
                    warnings.push(TlsWarning::SecurityLevel { name: element.to_owned() });
                }
                _ => warnings.push(TlsWarning::UnknownCipher { name: element.to_owned() }),
            }
            continue;
        }
        let (operator, name) = match element.split_at_checked(1) {
            Some((operator @ ("!" | "-" | "+"), name)) => (operator, name),
            _ => ("", element),
        };
        if TLS13.iter().any(|suite| suite.iana == name) {
            warnings.push(TlsWarning::Tls13Cipher { name: element.to_owned() });
            continue;
        }
        let meant = find(name);
        let nothing = match (&meant, operator) {
            (None, _) => true,
            (Some(suites), "") => suites.is_empty(),
            (Some(_), _) => false,
        };
        if nothing {
            warnings.push(TlsWarning::UnknownCipher { name: element.to_owned() });
        }
        let meant = meant.unwrap_or_default();
        let is_meant = |suite: &&Suite| meant.iter().any(|other| other.id == suite.id);
        match operator {
            "!" => {
                excluded.extend(meant.iter().map(|suite| suite.id));
                chosen.retain(|suite| !is_meant(suite));
            }
            "-" => chosen.retain(|suite| !is_meant(suite)),
            "+" => chosen.sort_by_key(is_meant),
            _ => {
                for suite in &meant {
                    if !excluded.contains(&suite.id) && !chosen.iter().any(|other| other.id == suite.id) {
                        chosen.push(suite);
                    }
                }
            }
        }
    }
    if chosen.is_empty() {
        return Err(TlsError::NoCiphers { list: list.to_owned() });
    }
    Ok(Selection { suites: chosen.iter().map(|suite| suite.id).collect(), warnings })
}

/// Returns the suites that match a name or selectors joined by `+`; `None` if a part is unknown.
fn find(name: &str) -> Option<Vec<&'static Suite>> {
    let mut suites: Vec<&Suite> = TLS12.iter().collect();
    for part in name.split('+') {
        let holds = selector(part)?;
        suites.retain(|suite| holds(suite));
    }
    Some(suites)
}

type Selector = Box<dyn Fn(&Suite) -> bool>;

fn selector(word: &str) -> Option<Selector> {
    let selector: Selector = match word {
        "ALL" | "DEFAULT" | "HIGH" | "TLSv1.2" | "ECDHE" | "EECDH" | "kECDHE" | "kEECDH" | "ECDH" => {
            Box::new(|_| true)
        }
        "aRSA" => Box::new(|suite| suite.auth == SignatureAlgorithm::RSA),
        "aECDSA" | "ECDSA" => Box::new(|suite| suite.auth == SignatureAlgorithm::ECDSA),
        "AES" | "AESGCM" | "FIPS" => Box::new(|suite| suite.bulk != Bulk::ChaCha20),
        "AES128" => Box::new(|suite| suite.bulk == Bulk::Aes128),
        "AES256" => Box::new(|suite| suite.bulk == Bulk::Aes256),
        "CHACHA20" => Box::new(|suite| suite.bulk == Bulk::ChaCha20),
        _ if ABSENT.contains(&word) => Box::new(|_| false),
        _ => {
            let id = TLS12.iter().find(|suite| suite.openssl == word || suite.iana == word)?.id;
            Box::new(move |suite| suite.id == id)
        }
    };
    Some(selector)
}

/// The algorithm that a client's hardware is fast at. A client without instructions for AES puts `ChaCha20`
/// first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Favourite {
    Aes,
    ChaCha20,
}

impl Favourite {
    /// Returns the kind of a client by the first suite in its list that this crate has.
    pub(crate) fn of(offered: &[CipherSuite]) -> Self {
        match offered.iter().find_map(|id| bulk(*id)) {
            Some(Bulk::ChaCha20) => Self::ChaCha20,
            _ => Self::Aes,
        }
    }

    /// Returns all suites in the order in which the server prefers them for such a client: those of TLS 1.3,
    /// then the selected ones of TLS 1.2. Among those of AES and among those of `ChaCha20` the list's order
    /// holds.
    pub(crate) fn order(self, selected: &[CipherSuite]) -> Vec<SupportedCipherSuite> {
        let mut ids: Vec<CipherSuite> = TLS13.iter().map(|suite| suite.id).collect();
        ids.extend(selected);
        ids.sort_by_key(|id| (bulk(*id) == Some(Bulk::ChaCha20)) != (self == Self::ChaCha20));
        let suite = |id| ALL_CIPHER_SUITES.iter().find(|suite| suite.suite() == id).copied();
        ids.into_iter().filter_map(suite).collect()
    }
}

fn bulk(id: CipherSuite) -> Option<Bulk> {
    let tls12 = TLS12.iter().map(|suite| (suite.id, suite.bulk));
    let mut all = tls12.chain(TLS13.iter().map(|suite| (suite.id, suite.bulk)));
    all.find(|(other, _)| *other == id).map(|(_, bulk)| bulk)
}

/// Whether a client that offers these suites accepts a key of this algorithm: in TLS 1.2 the suite decides
/// how the server signs (Ed25519 counts as ECDSA, RFC 8422 section 5.10).
pub(crate) fn fit(offered: &[CipherSuite], key: SignatureAlgorithm) -> bool {
    let auth = if key == SignatureAlgorithm::ED25519 { SignatureAlgorithm::ECDSA } else { key };
    offered.iter().any(|id| {
        TLS13.iter().any(|suite| suite.id == *id)
            || TLS12.iter().any(|suite| suite.id == *id && suite.auth == auth)
    })
}

#[cfg(test)]
mod tests;
