//! The folder of accounts, keys and certificates, which several servers and machines may share.
//!
//! ```text
//! challenges/TOKEN                 the answer to a challenge http-01
//! challenges/NAME.digest           the digest for a challenge tls-alpn-01
//! AUTHORITY/account.json           the account: its key before it is registered, then its URL too
//! AUTHORITY/lock                   held by the server that asks the authority
//! AUTHORITY/orders.json            when the last orders were made, of all names
//! AUTHORITY/certificates/NAME.pem  facts, key and certificate of a name, in one file
//! AUTHORITY/certificates/NAME.json failures, and the authority's suggestion of when to renew
//! AUTHORITY/certificates/NAME.order the order that is not over, with the key of its certificate
//! ```
//!
//! A file is written under another name, synced and moved into place, so that a server that is killed leaves the
//! old one or the new one.

mod answers;

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use aws_lc_rs::rand::{SecureRandom as _, SystemRandom};
use serde::{Deserialize, Serialize};

use crate::domain::Domain;
use crate::jose::encode;
use crate::keys::CertificateFacts;
use crate::schedule::{Attempts, Budget, Moment, Window};
use crate::settings::{ChallengeKind, DirectoryUrl, KeyType};

pub use answers::{challenge_answer, challenge_digest};

/// The folder of answers to challenges.
const CHALLENGES: &str = "challenges";
/// The longest file that is read, in bytes: a chain with large keys has some 20 KiB.
const FILE_MAX: u64 = 256 << 10;
/// The age from which on files that are left over from a server that was killed are removed.
const LEFT_OVER: Duration = Duration::from_secs(24 * 60 * 60);
/// The end of the names of orders that are not over.
const ORDER: &str = ".order";
/// The end of the names of files that are being written.
const UNFINISHED: &str = ".tmp";

/// The account at an authority.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct AccountRecord {
    /// The key, PKCS #8 in base64url.
    pub(crate) key: String,
    /// The URL, once the account is registered.
    #[serde(default)]
    pub(crate) url: Option<String>,
    /// The address that the authority has.
    #[serde(default)]
    pub(crate) email: Option<String>,
}

/// What is known of a name besides its certificate.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct NameRecord {
    /// The tries since the last success.
    #[serde(default)]
    pub(crate) attempts: Attempts,
    /// The authority's suggestion of when to renew.
    #[serde(default)]
    pub(crate) suggestion: Option<Suggestion>,
    /// The challenge that has succeeded the last time.
    #[serde(default)]
    pub(crate) challenge: Option<ChallengeKind>,
    /// The certificate that was obtained the last time.
    #[serde(default)]
    pub(crate) obtained: Option<Obtained>,
}

/// When a certificate was obtained.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Obtained {
    /// The number of the certificate.
    pub(crate) seed: u64,
    pub(crate) at: Moment,
}

/// An authority's suggestion of when to renew a certificate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Suggestion {
    /// The identifier of the certificate.
    pub(crate) id: String,
    /// The time in which to renew it; `None` if the authority has not said so.
    #[serde(default)]
    pub(crate) window: Option<Window>,
    /// When the authority is asked again.
    pub(crate) next_check: Moment,
}

/// An order that is not over. A server that was killed is followed by one that continues with it, because authorities
/// count orders, and certificates even more.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct OpenOrder {
    pub(crate) url: String,
    /// The key of the certificate, as PEM.
    pub(crate) key: String,
    pub(crate) key_type: KeyType,
    pub(crate) profile: Option<String>,
    /// When it was made.
    pub(crate) made: Moment,
}

/// A certificate with its key, as they are stored.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Stored {
    /// The text of the file.
    pub(crate) pem: String,
    pub(crate) facts: CertificateFacts,
}

/// The files of one authority.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Storage {
    root: PathBuf,
    authority: PathBuf,
}

/// Whether users other than the folder's owner and its group may enter it.
pub fn is_open_to_others(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|found| found.permissions().mode() & 0o007 != 0)
}

/// Creates the folder, which others than the owner cannot enter, for this owner.
pub fn create_storage(path: &Path, owner: Option<(u32, u32)>) -> io::Result<()> {
    let is_new = !path.exists();
    create_root(path)?;
    if let (true, Some((user, group))) = (is_new, owner) {
        std::os::unix::fs::chown(path, Some(user), Some(group))?;
    }
    Ok(())
}

/// Creates the folder for its owner alone; those that it is in are as others.
fn create_root(path: &Path) -> io::Result<()> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    create_folder(path)
}

fn create_folder(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

impl Storage {
    pub(crate) fn new(root: &Path, directory: &DirectoryUrl) -> Self {
        Self { root: root.to_owned(), authority: root.join(directory.folder()) }
    }

    pub(crate) fn certificate(&self, domain: &Domain) -> PathBuf {
        self.authority.join("certificates").join(format!("{domain}.pem"))
    }

    fn record(&self, domain: &Domain) -> PathBuf {
        self.authority.join("certificates").join(format!("{domain}.json"))
    }

    pub(crate) fn lock(&self) -> PathBuf {
        self.authority.join("lock")
    }

    fn order_file(&self, domain: &Domain) -> PathBuf {
        self.authority.join("certificates").join(format!("{domain}{ORDER}"))
    }

    fn orders_file(&self) -> PathBuf {
        self.authority.join("orders.json")
    }

    fn account_file(&self) -> PathBuf {
        self.authority.join("account.json")
    }

    /// Creates the folders, and shows by files that each can be written: what an authority has issued could not be
    /// stored otherwise.
    pub(crate) fn prepare(&self) -> io::Result<()> {
        create_root(&self.root)?;
        for folder in
            [self.root.join(CHALLENGES), self.authority.join("certificates"), self.authority.clone()]
        {
            create_folder(&folder)?;
            let probe = folder.join(format!("probe.{}{UNFINISHED}", process_name()));
            // As long as a chain, so that a disk that is full shows it now.
            replace(&probe, &[b'.'; 16 << 10])?;
            fs::remove_file(&probe)?;
        }
        Ok(())
    }

    /// Removes what servers that were killed have left.
    pub(crate) fn clear(&self, now: SystemTime) {
        let is_old = |entry: &fs::DirEntry| {
            let modified = entry.metadata().and_then(|found| found.modified());
            modified.is_ok_and(|at| now.duration_since(at).is_ok_and(|age| age > LEFT_OVER))
        };
        let folders =
            [self.root.join(CHALLENGES), self.authority.clone(), self.authority.join("certificates")];
        for (at, folder) in folders.iter().enumerate() {
            for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
                let name = entry.file_name();
                let name = name.to_string_lossy();
                let is_unfinished = name.ends_with(UNFINISHED) || name.ends_with(ORDER);
                if (at == 0 || is_unfinished) && is_old(&entry) {
                    let _other_server_was_faster = fs::remove_file(entry.path());
                }
            }
        }
    }

    /// Returns the certificate of a name; `None` if there is none that can be read.
    pub(crate) fn load(&self, domain: &Domain) -> Option<Stored> {
        let pem = read(&self.certificate(domain)).ok().flatten()?;
        let facts = CertificateFacts::of_pem(&pem)?;
        facts.is_for(domain).then_some(Stored { pem, facts })
    }

    /// Stores a certificate with its key.
    pub(crate) fn store(
        &self,
        domain: &Domain,
        key: &str,
        chain: &str,
        from: &DirectoryUrl,
    ) -> io::Result<()> {
        let text = format!("Key and certificate of {domain}, from {}\n{key}{chain}", from.as_str());
        replace(&self.certificate(domain), text.as_bytes())
    }

    /// Returns what is known of a name; what cannot be read is not known.
    pub(crate) fn name_record(&self, domain: &Domain) -> NameRecord {
        let text = read(&self.record(domain)).ok().flatten();
        text.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default()
    }

    /// Stores what is known of a name.
    pub(crate) fn store_name_record(&self, domain: &Domain, record: &NameRecord) -> io::Result<()> {
        replace(&self.record(domain), serde_json::to_string(record)?.as_bytes())
    }

    /// Returns the order of a name that is not over, if there is one that can be read.
    pub(crate) fn open_order(&self, domain: &Domain) -> Option<OpenOrder> {
        serde_json::from_str(&read(&self.order_file(domain)).ok()??).ok()
    }

    /// Stores the order of a name.
    pub(crate) fn store_order(&self, domain: &Domain, order: &OpenOrder) -> io::Result<()> {
        replace(&self.order_file(domain), serde_json::to_string(order)?.as_bytes())
    }

    /// Removes the order of a name, which is over.
    pub(crate) fn remove_order(&self, domain: &Domain) {
        let _there_is_none = fs::remove_file(self.order_file(domain));
    }

    /// Returns the orders of the last period; if they cannot be read, none.
    pub(crate) fn orders(&self) -> Budget {
        let text = read(&self.orders_file()).ok().flatten();
        text.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default()
    }

    /// Stores the orders of the last period.
    pub(crate) fn store_orders(&self, orders: &Budget) -> io::Result<()> {
        replace(&self.orders_file(), serde_json::to_string(orders)?.as_bytes())
    }

    /// Returns the account, if there is one. One that cannot be read is an error: another would be made otherwise.
    pub(crate) fn account(&self) -> io::Result<Option<AccountRecord>> {
        let Some(text) = read(&self.account_file())? else { return Ok(None) };
        serde_json::from_str(&text).map(Some).map_err(|error| {
            let file = self.account_file();
            io::Error::new(
                io::ErrorKind::InvalidData,
                format!("{} is damaged ({error}); remove it to have another account made", file.display()),
            )
        })
    }

    /// Stores the account.
    pub(crate) fn store_account(&self, account: &AccountRecord) -> io::Result<()> {
        replace(&self.account_file(), serde_json::to_string(account)?.as_bytes())
    }
}

/// Returns a name that no other process has, on no machine: those in containers have the same numbers.
pub(crate) fn process_name() -> &'static str {
    static NAME: OnceLock<String> = OnceLock::new();
    NAME.get_or_init(|| {
        let mut bytes = [0; 12];
        let _without_it_the_time_and_the_number_are_all = SystemRandom::new().fill(&mut bytes);
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        format!("{}-{:x}-{}", std::process::id(), since.as_nanos(), encode(&bytes))
    })
}

/// Returns the text of a file; `None` if there is none. One that is damaged is not what is expected, but no error: a
/// lock could not be broken otherwise.
pub(crate) fn read(path: &Path) -> io::Result<Option<String>> {
    let file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        opened => opened?,
    };
    let mut bytes = Vec::new();
    file.take(FILE_MAX).read_to_end(&mut bytes)?;
    Ok(Some(String::from_utf8_lossy(&bytes).into_owned()))
}

/// Puts a file in the place of the one that there is, at once and for good. Its owner alone can read it.
pub(crate) fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let folder = path.parent().unwrap_or(Path::new("."));
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let beside = folder.join(format!(".{name}.{}.{number}{UNFINISHED}", process_name()));
    let written = write_new(&beside, content)
        .and_then(|()| fs::rename(&beside, path))
        // The name is in the folder for good once that is synced.
        .and_then(|()| File::open(folder)?.sync_all());
    if written.is_err() {
        let _never_made = fs::remove_file(&beside);
    }
    written.map_err(|error| io::Error::new(error.kind(), format!("cannot write {}: {error}", path.display())))
}

pub(crate) fn write_new(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(content)?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) const TOKEN: &str = "0123456789abcdef_-";

    pub(super) fn storage() -> (tempfile::TempDir, Storage) {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("acme");
        create_storage(&root, None).unwrap();
        let storage = Storage::new(&root, &DirectoryUrl::default());
        storage.prepare().unwrap();
        (folder, storage)
    }

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn what_is_stored_is_its_owners_alone() {
        let (_folder, storage) = storage();
        let account = AccountRecord { key: "k".into(), url: None, email: None };
        assert!(storage.account().unwrap().is_none());
        storage.store_account(&account).unwrap();
        assert!(storage.account().unwrap() == Some(account));
        assert_eq!((mode(&storage.root), mode(&storage.authority)), (0o700, 0o700));
        assert!(!is_open_to_others(&storage.root) && is_open_to_others(Path::new("/")));
        assert_eq!(mode(&storage.account_file()), 0o600);
        fs::write(storage.account_file(), "{").unwrap();
        let error = storage.account().err().unwrap().to_string();
        assert!(error.contains("account.json is damaged"), "{error}");
    }

    #[test]
    fn a_certificate_is_read_with_its_facts_if_it_is_for_the_name() {
        let (_folder, storage) = storage();
        let domain = Domain::parse("a.test").unwrap();
        let key = rcgen::KeyPair::generate().unwrap();
        let params = rcgen::CertificateParams::new(["a.test".to_owned()]).unwrap();
        let chain = params.self_signed(&key).unwrap().pem();
        storage.store(&domain, &key.serialize_pem(), &chain, &DirectoryUrl::default()).unwrap();
        let stored = storage.load(&domain).unwrap();
        assert!(stored.pem.contains(&chain) && stored.facts.is_for(&domain));
        assert_eq!(mode(&storage.certificate(&domain)), 0o600);
        let other = Domain::parse("b.test").unwrap();
        fs::copy(storage.certificate(&domain), storage.certificate(&other)).unwrap();
        assert!(storage.load(&other).is_none());
        fs::write(storage.certificate(&domain), "half").unwrap();
        assert!(storage.load(&domain).is_none());
    }

    #[test]
    fn records_are_read_as_they_were_written_and_damaged_ones_are_new() {
        let (_folder, storage) = storage();
        let domain = Domain::parse("a.test").unwrap();
        let mut record = NameRecord::default();
        record.attempts.fail(5, Some(7), "no".into());
        record.suggestion =
            Some(Suggestion { id: "a.b".into(), window: Some(Window { start: 1, end: 2 }), next_check: 3 });
        storage.store_name_record(&domain, &record).unwrap();
        assert_eq!(storage.name_record(&domain), record);
        fs::write(storage.record(&domain), "{").unwrap();
        assert_eq!(storage.name_record(&domain), NameRecord::default());
    }

    #[test]
    fn what_killed_servers_have_left_is_removed_after_a_day() {
        let (_folder, storage) = storage();
        storage.store_answer(TOKEN, "x").unwrap();
        let unfinished = storage.authority.join(".account.json.1.1.tmp");
        fs::write(&unfinished, "").unwrap();
        storage.store_account(&AccountRecord { key: "k".into(), url: None, email: None }).unwrap();
        let domain = Domain::parse("a.test").unwrap();
        fs::write(storage.order_file(&domain), "").unwrap();
        let left = [unfinished, storage.answer_file(TOKEN), storage.order_file(&domain)];
        storage.clear(SystemTime::now());
        assert!(left.iter().all(|file| file.exists()));
        storage.clear(SystemTime::now() + 2 * LEFT_OVER);
        assert!(!left.iter().any(|file| file.exists()));
        assert!(storage.account().unwrap().is_some());
    }

    #[test]
    fn a_file_that_cannot_be_written_leaves_the_old_one() {
        let (_folder, storage) = storage();
        let target = storage.authority.join("account.json");
        fs::create_dir(&target).unwrap();
        let error = replace(&target, b"x").unwrap_err().to_string();
        assert!(error.contains("cannot write") && error.contains("account.json"), "{error}");
        let left = fs::read_dir(&storage.authority).unwrap().flatten().count();
        assert_eq!(left, 2, "the folder of certificates, and what was there");
    }
}
