//! The answers to challenges, which any server that shares the storage gives.

use std::fs::{self, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use super::{CHALLENGES, Storage, replace};
use crate::domain::Domain;
use crate::jose::{decode, encode};
use crate::messages::is_token;

/// The longest answer to a challenge, in bytes: a token, a point and a digest.
const ANSWER_MAX: u64 = 512;

/// Returns the answer to a challenge http-01 (RFC 8555 section 8.3), if a server with this storage waits for one.
///
/// Opens one file and reads at most 512 bytes.
pub fn challenge_answer(storage: &Path, token: &[u8]) -> Option<String> {
    if !is_token(token) {
        return None;
    }
    let path = storage.join(CHALLENGES).join(std::str::from_utf8(token).ok()?);
    let file = OpenOptions::new().read(true).custom_flags(nofollow()).open(path).ok()?;
    let mut answer = String::new();
    file.take(ANSWER_MAX).read_to_string(&mut answer).ok()?;
    // A file that another machine is writing is not whole.
    let is_whole = answer.as_bytes().starts_with(token) && answer.as_bytes().get(token.len()) == Some(&b'.');
    is_whole.then_some(answer)
}

/// Returns the digest for the challenge tls-alpn-01 of a name (RFC 8737 section 3), if a server with this storage waits
/// for one.
///
/// Opens one file and reads at most 512 bytes.
pub fn challenge_digest(storage: &Path, name: &str) -> Option<[u8; 32]> {
    let path = digest_file(storage, &Domain::parse(name).ok()?);
    let file = OpenOptions::new().read(true).custom_flags(nofollow()).open(path).ok()?;
    let mut digest = String::new();
    file.take(ANSWER_MAX).read_to_string(&mut digest).ok()?;
    decode(&digest)?.try_into().ok()
}

/// The name is no token, because of its point.
fn digest_file(storage: &Path, domain: &Domain) -> PathBuf {
    storage.join(CHALLENGES).join(format!("{domain}.digest"))
}

fn nofollow() -> i32 {
    i32::try_from(rustix::fs::OFlags::NOFOLLOW.bits()).unwrap_or_default()
}

impl Storage {
    /// Stores the answer to a challenge.
    pub(crate) fn store_answer(&self, token: &str, answer: &str) -> io::Result<()> {
        replace(&self.answer_file(token), answer.as_bytes())
    }

    /// Removes the answer to a challenge.
    pub(crate) fn remove_answer(&self, token: &str) {
        let _already_gone = fs::remove_file(self.answer_file(token));
    }

    /// Returns the digest for the challenge of a name, if a server waits for one.
    pub(crate) fn digest(&self, domain: &Domain) -> Option<[u8; 32]> {
        challenge_digest(&self.root, domain.as_str())
    }

    /// Stores the digest for the challenge of a name.
    pub(crate) fn store_digest(&self, domain: &Domain, digest: &[u8; 32]) -> io::Result<()> {
        replace(&digest_file(&self.root, domain), encode(digest).as_bytes())
    }

    /// Removes the digest for the challenge of a name, unless another one has taken its place.
    pub(crate) fn remove_digest(&self, domain: &Domain, digest: &[u8; 32]) {
        if self.digest(domain).as_ref() == Some(digest) {
            let _already_gone = fs::remove_file(digest_file(&self.root, domain));
        }
    }

    pub(super) fn answer_file(&self, token: &str) -> PathBuf {
        debug_assert!(is_token(token.as_bytes()), "tokens are checked when they arrive");
        self.root.join(CHALLENGES).join(token)
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{TOKEN, storage};
    use super::*;

    #[test]
    fn answers_are_found_by_their_tokens_and_nothing_else_is() {
        let (folder, storage) = storage();
        let root = folder.path().join("acme");
        let answer = format!("{TOKEN}.thumb");
        assert_eq!(challenge_answer(&root, TOKEN.as_bytes()), None);
        storage.store_answer(TOKEN, &answer).unwrap();
        assert_eq!(challenge_answer(&root, TOKEN.as_bytes()), Some(answer));
        fs::write(storage.answer_file(TOKEN), "0123").unwrap();
        assert_eq!(challenge_answer(&root, TOKEN.as_bytes()), None, "it is not whole");
        fs::remove_file(storage.answer_file(TOKEN)).unwrap();
        fs::write(root.join("secret-of-0123456789"), format!("{TOKEN}.x")).unwrap();
        std::os::unix::fs::symlink(root.join("secret-of-0123456789"), storage.answer_file(TOKEN)).unwrap();
        assert_eq!(challenge_answer(&root, TOKEN.as_bytes()), None, "it is a link");
        for wrong in [&b"../secret-of-0123456789"[..], b"", b"..", b"short"] {
            assert_eq!(challenge_answer(&root, wrong), None);
        }
        storage.remove_answer(TOKEN);
    }

    #[test]
    fn digests_are_found_by_their_names_and_nothing_else_is() {
        let (folder, storage) = storage();
        let root = folder.path().join("acme");
        let domain = Domain::parse("a.test").unwrap();
        assert_eq!(challenge_digest(&root, "a.test"), None);
        storage.store_digest(&domain, &[7; 32]).unwrap();
        assert_eq!(challenge_digest(&root, "A.test"), Some([7; 32]));
        storage.remove_digest(&domain, &[8; 32]);
        assert_eq!(storage.digest(&domain), Some([7; 32]), "it is another one");
        fs::write(digest_file(&root, &domain), "BwcH").unwrap();
        assert_eq!(storage.digest(&domain), None, "it is not whole");
        storage.store_digest(&domain, &[7; 32]).unwrap();
        storage.remove_digest(&domain, &[7; 32]);
        assert!(!digest_file(&root, &domain).exists());
        assert_eq!(challenge_digest(&root, "../a.test"), None);
    }
}
