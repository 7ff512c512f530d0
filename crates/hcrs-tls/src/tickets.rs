//! Session tickets whose keys are in a file, so that several servers, and the next process, accept each other's.
//!
//! Nothing is encrypted with a key of the file itself. A key of each ticket's own is derived from it, and so is the
//! name by which the ticket's key is found (HKDF, RFC 5869). The policy on clients' certificates enters both: a ticket
//! of a client that another policy would refuse is none.

use std::fmt;
use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::Arc;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::hkdf::{self, HKDF_SHA256, KeyType, Prk};
use aws_lc_rs::rand;
use rustls::server::ProducesTickets;

use crate::verify::Policy;
use crate::{TlsError, TlsWarning};

/// Most keys of a file. Each ticket is looked up among them.
const KEYS_MAX: usize = 16;

/// Most bytes of the file.
const FILE_MAX: u64 = 64 << 10;

/// Least and most bytes of a key.
const KEY_LEN: std::ops::RangeInclusive<usize> = 32..=64;

/// Time for which a client may use a ticket, in seconds: twelve hours, as with keys that are not shared.
const LIFETIME: u32 = 12 * 60 * 60;

/// Length of the name of a ticket's key, in bytes.
const NAME_LEN: usize = 16;

/// Length of the random part of a ticket, from which its own key is derived, in bytes.
const SALT_LEN: usize = 32;

/// The purposes of what is derived from a key.
const EXTRACT: &[u8] = b"hcrs TLS session tickets, version 1";
const NAME: &[u8] = b"name";
const KEY: &[u8] = b"key";

/// A maker of tickets with the keys of a file.
pub(crate) struct SharedTicketer {
    /// The keys, of which the first encrypts and all decrypt.
    keys: Vec<TicketKey>,
}

/// A key of the file.
struct TicketKey {
    secret: Prk,
    policy: [u8; 32],
    name: [u8; NAME_LEN],
}

/// The length of a name.
struct NameLen;

impl KeyType for NameLen {
    fn len(&self) -> usize {
        NAME_LEN
    }
}

impl SharedTicketer {
    /// Reads the keys.
    pub(crate) fn load(
        path: &Path,
        policy: &Policy,
        warnings: &mut Vec<TlsWarning>,
    ) -> Result<Arc<dyn ProducesTickets>, TlsError> {
        let failed = |source| TlsError::Read { path: path.into(), source };
        let file = File::open(path).map_err(failed)?;
        if file.metadata().map_err(failed)?.mode() & 0o007 != 0 {
            warnings.push(TlsWarning::TicketKeysOpen { path: path.into() });
        }
        let mut text = Vec::new();
        file.take(FILE_MAX).read_to_end(&mut text).map_err(failed)?;
        let mut keys = Vec::new();
        for (number, line) in (1..).zip(text.split(|byte| *byte == b'\n')) {
            let line = line.trim_ascii();
            if line.is_empty() || line[0] == b'#' {
                continue;
            }
            let key = decoded(line).filter(|key| KEY_LEN.contains(&key.len()));
            let Some(key) = key else { return Err(TlsError::TicketKey { path: path.into(), line: number }) };
            if keys.len() == KEYS_MAX {
                return Err(TlsError::TooManyTicketKeys { path: path.into(), line: number, max: KEYS_MAX });
            }
            keys.push(TicketKey::new(&key, policy.fingerprint()));
        }
        if keys.is_empty() {
            return Err(TlsError::NoTicketKeys { path: path.into() });
        }
        Ok(Arc::new(Self { keys }))
    }
}

impl TicketKey {
    fn new(key: &[u8], policy: [u8; 32]) -> Self {
        let secret = hkdf::Salt::new(HKDF_SHA256, EXTRACT).extract(key);
        let mut name = [0; NAME_LEN];
        secret
            .expand(&[NAME, &policy], NameLen)
            .and_then(|derived| derived.fill(&mut name))
            .expect("a name is shorter than 255 hashes");
        Self { secret, policy, name }
    }

    /// Returns the key of one ticket.
    fn of_ticket(&self, salt: &[u8; SALT_LEN]) -> Option<LessSafeKey> {
        let info = [KEY, &self.policy, salt];
        let derived = self.secret.expand(&info, &AES_256_GCM).ok()?;
        Some(LessSafeKey::new(UnboundKey::from(derived)))
    }

    /// Returns the nonce of a ticket, whose key encrypts nothing else.
    fn nonce() -> Nonce {
        Nonce::assume_unique_for_key([0; NONCE_LEN])
    }
}

/// A ticket is the name of its key, its salt, the ciphertext and the tag.
impl ProducesTickets for SharedTicketer {
    fn enabled(&self) -> bool {
        true
    }

    fn lifetime(&self) -> u32 {
        LIFETIME
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        let key = self.keys.first()?;
        let mut salt = [0; SALT_LEN];
        rand::fill(&mut salt).ok()?;
        let mut sealed = plain.to_vec();
        key.of_ticket(&salt)?
            .seal_in_place_append_tag(TicketKey::nonce(), Aad::from(key.name), &mut sealed)
            .ok()?;
        Some([&key.name[..], &salt, &sealed].concat())
    }

    fn decrypt(&self, ticket: &[u8]) -> Option<Vec<u8>> {
        let (name, rest) = ticket.split_first_chunk::<NAME_LEN>()?;
        let (salt, sealed) = rest.split_first_chunk::<SALT_LEN>()?;
        let key = self.keys.iter().find(|key| key.name == *name)?;
        let mut opened = sealed.to_vec();
        let len = key
            .of_ticket(salt)?
            .open_in_place(TicketKey::nonce(), Aad::from(key.name), &mut opened)
            .ok()?
            .len();
        opened.truncate(len);
        Some(opened)
    }
}

impl fmt::Debug for SharedTicketer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SharedTicketer({} keys, hidden)", self.keys.len())
    }
}

/// Decodes a key in hexadecimal digits, or in base64.
fn decoded(text: &[u8]) -> Option<Vec<u8>> {
    if text.iter().all(u8::is_ascii_hexdigit) {
        let (pairs, []) = text.as_chunks::<2>() else { return None };
        let value = |digit: u8| (digit as char).to_digit(16).map(|value| value as u8);
        return pairs.iter().map(|[high, low]| Some(value(*high)? << 4 | value(*low)?)).collect();
    }
    let digits = text.strip_suffix(b"==").or_else(|| text.strip_suffix(b"=")).unwrap_or(text);
    let (mut bits, mut count, mut bytes) = (0u32, 0, Vec::new());
    for digit in digits {
        let value = match digit {
            b'A'..=b'Z' => digit - b'A',
            b'a'..=b'z' => digit - b'a' + 26,
            b'0'..=b'9' => digit - b'0' + 52,
            b'+' | b'-' => 62,
            b'/' | b'_' => 63,
            _ => return None,
        };
        bits = bits << 6 | u32::from(value);
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count) as u8);
        }
    }
    // The bits that are left belong to no byte.
    (count < 6 && bits & ((1 << count) - 1) == 0).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_in_hexadecimal_digits_or_in_base64() {
        for (text, expected) in [
            ("00ff10Ab", Some(vec![0, 255, 16, 0xab])),
            ("aGVsbG8h", Some(b"hello!".to_vec())),
            ("aGVsbG8=", Some(b"hello".to_vec())),
            ("aGVsbG8", Some(b"hello".to_vec())),
            ("aGVsbA==", Some(b"hell".to_vec())),
            ("+/-_", Some(vec![0xfb, 0xff, 0xbf])),
            ("aGVsbG9=", None),
            ("aGVsb", None),
            ("aGVs bG8h", None),
            ("aGV=bG8h", None),
            ("abc", None),
            ("\u{fc}", None),
        ] {
            assert_eq!(decoded(text.as_bytes()), expected, "{text}");
        }
    }
}
