//! Files of users and hashes of their passwords, as `htpasswd` writes them: lines of `name:hash`.
//!
//! Hashes are bcrypt (`$2y$`), argon2 (`$argon2id$`) or SHA-crypt (`$5$`, `$6$`). Others are refused: passwords
//! are guessed from MD5, SHA-1 and DES in little time.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::str::FromStr;

use argon2::password_hash::PasswordVerifier as _;
use argon2::password_hash::phc;
use argon2::{Argon2, Params};
use sha_crypt::ShaCrypt;

/// The largest file, in bytes.
pub const PASSWORD_FILE_MAX: usize = 1 << 20;

/// The most of bcrypt's cost, which is the logarithm of its rounds: 16 takes some four seconds.
const BCRYPT_COST_MAX: u32 = 16;

/// The most memory of argon2, in KiB.
const ARGON2_MEMORY_MAX: u32 = 256 << 10;

/// The most passes of argon2 over its memory.
const ARGON2_PASSES_MAX: u32 = 32;

/// The most rounds of SHA-crypt, which take about a second.
const SHA_CRYPT_ROUNDS_MAX: u32 = 1_000_000;

/// The users of a file, with the hashes of their passwords.
pub struct PasswordFile {
    users: HashMap<Box<[u8]>, usize>,
    hashes: Vec<Hash>,
    /// Chooses the hash that the password of an unknown user is compared with.
    decoys: RandomState,
}

/// Shows no hash.
impl std::fmt::Debug for PasswordFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PasswordFile").field("users", &self.users.len()).finish_non_exhaustive()
    }
}

/// The hash of a password.
enum Hash {
    Bcrypt(String),
    Argon2(Box<phc::PasswordHash>),
    ShaCrypt(sha_crypt::PasswordHash),
}

/// The reason why a file of passwords cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PasswordFileError {
    /// A line has a mistake.
    #[error("line {line}: {error}")]
    Line {
        /// The number of the line, from 1.
        line: usize,
        /// The mistake.
        error: PasswordLineError,
    },
    /// The file names no user.
    #[error("no user is named; write one with htpasswd -B")]
    Empty,
}

/// The mistake in a line of a file of passwords.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PasswordLineError {
    /// The line is not of the form `name:hash`.
    #[error("expected name:hash")]
    Malformed,
    /// The name is in an earlier line, too.
    #[error("the user was named before, in line {0}")]
    NamedTwice(usize),
    /// The hash is of a kind that protects nothing.
    #[error("{0} is not accepted, as passwords are guessed from it in little time; use bcrypt: htpasswd -B")]
    Weak(&'static str),
    /// The hash is of an unknown kind, or a password that is not hashed.
    #[error("unknown kind of hash; use bcrypt ($2y$), argon2 ($argon2id$) or SHA-crypt ($5$, $6$)")]
    UnknownHash,
    /// The hash is not of the form of its kind.
    #[error("malformed {0} hash")]
    MalformedHash(&'static str),
    /// To verify the hash takes too much time or memory.
    #[error("{0}")]
    TooCostly(&'static str),
}

impl PasswordFile {
    /// Parses the contents of a file. Empty lines, and those that begin with `#`, have no meaning.
    pub fn parse(contents: &[u8]) -> Result<Self, PasswordFileError> {
        let (mut users, mut hashes, mut lines) = (HashMap::new(), Vec::new(), Vec::new());
        for (at, text) in contents.split(|&byte| byte == b'\n').enumerate() {
            let line = at + 1;
            let text = text.trim_ascii();
            if text.is_empty() || text.starts_with(b"#") {
                continue;
            }
            let failed = |error| PasswordFileError::Line { line, error };
            let colon = text.iter().position(|&byte| byte == b':').filter(|&colon| colon > 0);
            let colon = colon.ok_or_else(|| failed(PasswordLineError::Malformed))?;
            let (name, rest) = (&text[..colon], &text[colon + 1..]);
            // As in passwd(5), other columns may follow.
            let hash = rest.split(|&byte| byte == b':').next().unwrap_or_default();
            let hash = std::str::from_utf8(hash).map_err(|_| failed(PasswordLineError::UnknownHash))?;
            hashes.push(Hash::parse(hash).map_err(failed)?);
            lines.push(line);
            if let Some(earlier) = users.insert(Box::from(name), hashes.len() - 1) {
                return Err(failed(PasswordLineError::NamedTwice(lines[earlier])));
            }
        }
        if hashes.is_empty() {
            return Err(PasswordFileError::Empty);
        }
        Ok(Self { users, hashes, decoys: RandomState::new() })
    }

    /// Whether the password is that of the user. Takes the time of its hash, which may be a second.
    ///
    /// The password of an unknown user is compared with the hash of another, always the same one for a name, so
    /// that the time tells nothing about which users there are.
    pub fn verify(&self, name: &[u8], password: &[u8]) -> bool {
        let known = self.users.get(name).copied();
        let decoy = || self.decoys.hash_one(name) as usize % self.hashes.len();
        let is_right = self.hashes[known.unwrap_or_else(decoy)].verify(password);
        is_right && known.is_some()
    }
}

impl Hash {
    fn parse(text: &str) -> Result<Self, PasswordLineError> {
        use PasswordLineError::{MalformedHash, TooCostly, UnknownHash, Weak};
        let after_dollar = text.strip_prefix('$').map(|rest| rest.split('$').next().unwrap_or_default());
        match after_dollar {
            Some("2a" | "2b" | "2y") => {
                let parts = bcrypt::HashParts::from_str(text).map_err(|_| MalformedHash("bcrypt"))?;
                match parts.get_cost() {
                    0..4 => Err(MalformedHash("bcrypt")),
                    4..=BCRYPT_COST_MAX => Ok(Self::Bcrypt(text.to_owned())),
                    _ => Err(TooCostly("bcrypt's cost is at most 16")),
                }
            }
            Some("argon2id" | "argon2i" | "argon2d") => {
                let hash = phc::PasswordHash::new(text).map_err(|_| MalformedHash("argon2"))?;
                let params = Params::try_from(&hash).map_err(|_| MalformedHash("argon2"))?;
                if hash.hash.is_none() || hash.salt.is_none() {
                    return Err(MalformedHash("argon2"));
                }
                if params.m_cost() > ARGON2_MEMORY_MAX || params.t_cost() > ARGON2_PASSES_MAX {
                    return Err(TooCostly("argon2 has at most 256 MiB (m=262144) and 32 passes (t=32)"));
                }
                Ok(Self::Argon2(Box::new(hash)))
            }
            Some("5" | "6") => {
                let hash = sha_crypt::PasswordHash::new(text).map_err(|_| MalformedHash("SHA-crypt"))?;
                let fields: Vec<_> = text.split('$').skip(2).collect();
                let [.., digest] = fields[..] else { return Err(MalformedHash("SHA-crypt")) };
                let rounds = fields[0].strip_prefix("rounds=");
                let is_whole = fields.len() == 2 + usize::from(rounds.is_some())
                    && digest.len() == if after_dollar == Some("5") { 43 } else { 86 };
                if !is_whole {
                    return Err(MalformedHash("SHA-crypt"));
                }
                match rounds.map_or(Ok(sha_crypt::Params::RECOMMENDED_ROUNDS), str::parse) {
                    Err(_) | Ok(0..sha_crypt::Params::ROUNDS_MIN) => Err(MalformedHash("SHA-crypt")),
                    Ok(sha_crypt::Params::ROUNDS_MIN..=SHA_CRYPT_ROUNDS_MAX) => Ok(Self::ShaCrypt(hash)),
                    Ok(_) => Err(TooCostly("SHA-crypt has at most 1000000 rounds")),
                }
            }
            Some("apr1" | "1") => Err(Weak("MD5 ($apr1$, $1$)")),
            _ if text.starts_with("{SHA}") => Err(Weak("SHA-1 ({SHA})")),
            None if is_des(text) => Err(Weak("DES (crypt)")),
            _ => Err(UnknownHash),
        }
    }

    /// Compares in a time that does not depend on the result.
    fn verify(&self, password: &[u8]) -> bool {
        match self {
            Self::Bcrypt(hash) => bcrypt::verify(password, hash).unwrap_or(false),
            Self::Argon2(hash) => Argon2::default().verify_password(password, hash.as_ref()).is_ok(),
            Self::ShaCrypt(hash) => ShaCrypt::default().verify_password(password, hash).is_ok(),
        }
    }
}

/// Whether a text has the form of a hash of crypt(3)'s first kind.
fn is_des(text: &str) -> bool {
    text.len() == 13 && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Made by Apache's htpasswd (`-B`), argon2-cffi, OpenSSL (`passwd -5`, `-6`) and crypt(3).
    const FILE: &[u8] = br"
# users
bcrypt:$2y$04$rkTXB0teiRj4S91reMFdEO/m1ckT93BrsVEt1O2t12eRcOdpdqz6m
argon2id:$argon2id$v=19$m=64,t=1,p=1$4SVmIFYy2y8HUfF+qs6e9A$a2n9PQ8hDJnHsZdS6LdMSlneIQPCavpnLYieuIeEjBo
argon2i:$argon2i$v=19$m=64,t=3,p=2$GRApoHKX9qMVq+fdDiiv9Q$ASz6QjjLAnegmIdGCVD6HkWNNAKRJTx17seRC9XepbM
sha256:$5$saltsalt$yrhPKxCqiWcCE9h0g86j6Ugz7SDFdFm.BjU.d8RaQnC
sha512:$6$saltsaltsaltsalt$bFDPCeim1lAoNHIVuV/pMLnUrlFnTeup0Y2rY3Qzhrpc5jt4juzyyDqJOnx7GDYBMXDgBtUoroCXtDWBR9jZX.
rounds:$6$rounds=1000$abc$T/VoLjX2QrHMGse5qGcGKXqZAM4/7BRMew5D44u0FfFVnTVZMxQu6mVPThREVK4UbnACKwrKl1LmLEfHrdaya/:a column
";

    #[test]
    fn a_user_needs_the_password_of_the_hash() {
        let file = PasswordFile::parse(FILE).unwrap();
        for name in ["bcrypt", "argon2id", "argon2i", "sha256", "sha512", "rounds"] {
            assert!(file.verify(name.as_bytes(), b"open sesame"), "{name}");
            assert!(!file.verify(name.as_bytes(), b"open sesam"), "{name}");
            assert!(!file.verify(name.as_bytes(), b""), "{name}");
        }
        for name in ["unknown", "", "Bcrypt"] {
            assert!(!file.verify(name.as_bytes(), b"open sesame"), "{name:?}, whose decoy has this password");
        }
        assert!(!file.verify(b"rounds", &[b'a'; 512]));
    }

    #[test]
    fn weak_and_broken_lines_are_named() {
        use PasswordLineError::{Malformed, MalformedHash, NamedTwice, TooCostly, UnknownHash, Weak};
        let bcrypt = "$2y$04$rkTXB0teiRj4S91reMFdEO/m1ckT93BrsVEt1O2t12eRcOdpdqz6m";
        let argon2 = "4SVmIFYy2y8HUfF+qs6e9A$a2n9PQ8hDJnHsZdS6LdMSlneIQPCavpnLYieuIeEjBo";
        let sha = "abc$YfUpbOb1DthsfsHxCQrfwTuwysfDsVaL9/g52LvETD8";
        for (line, expected) in [
            ("name".to_owned(), Malformed),
            (":hash".to_owned(), Malformed),
            ("a:".to_owned(), UnknownHash),
            ("a:secret".to_owned(), UnknownHash),
            ("a:$y$j9T$abc$def".to_owned(), UnknownHash),
            ("a:$apr1$jQdiwJ9F$QVohp6aeUAThhnQTlZGFZ1".to_owned(), Weak("MD5 ($apr1$, $1$)")),
            ("a:{SHA}EfatjsUqKYSrqv18O1FlA3hcIHI=".to_owned(), Weak("SHA-1 ({SHA})")),
            ("a:SBMD4MTjkM2n6".to_owned(), Weak("DES (crypt)")),
            (format!("a:{}", &bcrypt[..59]), MalformedHash("bcrypt")),
            (format!("a:{}", bcrypt.replace("$04$", "$03$")), MalformedHash("bcrypt")),
            (format!("a:{}", bcrypt.replace("$04$", "$17$")), TooCostly("bcrypt's cost is at most 16")),
            (format!("a:$argon2id$v=19$m=64,t=1,p=0${argon2}"), MalformedHash("argon2")),
            ("a:$argon2id$v=19$m=64,t=1,p=1$4SVmIFYy2y8HUfF".to_owned(), MalformedHash("argon2")),
            (
                format!("a:$argon2id$v=19$m=262145,t=1,p=1${argon2}"),
                TooCostly("argon2 has at most 256 MiB (m=262144) and 32 passes (t=32)"),
            ),
            (format!("a:$5$rounds=1000001${sha}"), TooCostly("SHA-crypt has at most 1000000 rounds")),
            (format!("a:$5$rounds=999${sha}"), MalformedHash("SHA-crypt")),
            (format!("a:$6$rounds=1000${sha}"), MalformedHash("SHA-crypt")),
            ("a:$5$abc".to_owned(), MalformedHash("SHA-crypt")),
            ("a:$5$".to_owned(), MalformedHash("SHA-crypt")),
            (format!("b:{bcrypt}"), NamedTwice(2)),
        ] {
            let file = format!("# users\nb:{bcrypt}\n{line}\n");
            let error = PasswordFile::parse(file.as_bytes()).unwrap_err();
            assert_eq!(error, PasswordFileError::Line { line: 3, error: expected }, "{line}");
        }
        assert_eq!(PasswordFile::parse(b"# nobody\n\n").unwrap_err(), PasswordFileError::Empty);
    }
}
