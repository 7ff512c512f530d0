//! Certificates for developing on this machine: a short-lived one, signed by a local authority.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use crate::authority::{Authority, is_accepted};
use crate::identity::Identity;
use crate::settings::CertificateFiles;
use crate::{TlsError, pem, provider, x509};

pub(crate) const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// Validity of a certificate. Browsers accept at most 14 days for one that is given by hash (WebTransport).
pub(crate) const VALID_FOR: Duration = DAY.saturating_mul(12);
/// Time by which the start of validity lies in the past, for clocks that are behind.
pub(crate) const BACK_DATED: Duration = DAY;
/// Remaining validity below which a certificate is replaced.
const WORTH_KEEPING: Duration = DAY;

/// The files of a development certificate, its key and its authority.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DevCertificate {
    /// The certificate and then its authority's; also the file to give to a client as its only authority.
    pub certfile: PathBuf,
    /// The private key, readable by its owner only.
    pub keyfile: PathBuf,
    /// The authority's certificate alone, for the trust store of a browser or a system.
    pub cafile: PathBuf,
    /// The authority's private key, readable by its owner only.
    pub ca_keyfile: PathBuf,
}

impl DevCertificate {
    /// The names that a certificate for this machine has.
    pub const LOCAL_NAMES: [&str; 3] = ["localhost", "127.0.0.1", "::1"];

    /// Returns the paths of `cert.pem`, `key.pem`, `ca.pem` and `ca-key.pem` in the folder, whether they
    /// exist or not.
    pub fn in_folder(folder: &Path) -> Self {
        Self {
            certfile: folder.join("cert.pem"),
            keyfile: folder.join("key.pem"),
            cafile: folder.join("ca.pem"),
            ca_keyfile: folder.join("ca-key.pem"),
        }
    }

    /// Whether certificate and key exist, belong together, and are accepted for all the names, for another
    /// day, by a client that has the certificate's file.
    pub fn is_usable(&self, names: &[&str], now: SystemTime) -> bool {
        let files = CertificateFiles {
            certfile: self.certfile.clone(),
            keyfile: self.keyfile.clone(),
            keyfile_password: None,
        };
        let Ok(identity) = Identity::load(&files, &provider()) else { return false };
        let then = now + WORTH_KEEPING;
        let chain = &identity.certified.cert;
        chain.iter().all(|certificate| {
            x509::validity(certificate).is_some_and(|valid| valid.start.time <= now && then <= valid.end.time)
        }) && is_accepted(&chain[0], chain, names, then)
    }

    /// Whether the authority exists and can sign for all the names. If so, [`make_dev_certificate`] keeps it,
    /// and clients that trust it need no change.
    pub fn authority_is_usable(&self, names: &[&str], now: SystemTime) -> bool {
        Authority::load(&self.cafile, &self.ca_keyfile, now)
            .is_some_and(|authority| authority.issue_acceptable(names, now).is_some())
    }
}

/// Writes a new certificate (ECDSA P-256, valid for twelve days) and its key into the folder, which is
/// created if it does not exist.
///
/// The authority in the folder signs it. If there is none, or it cannot sign for all the names, a new one is
/// created, valid for two years. `names` are host names and IP addresses. Files that are there already are
/// replaced.
pub fn make_dev_certificate(folder: &Path, names: &[&str]) -> Result<DevCertificate, TlsError> {
    write_certificate(folder, names, SystemTime::now())
}

pub(crate) fn write_certificate(
    folder: &Path,
    names: &[&str],
    now: SystemTime,
) -> Result<DevCertificate, TlsError> {
    let made = DevCertificate::in_folder(folder);
    let kept = Authority::load(&made.cafile, &made.ca_keyfile, now)
        .and_then(|authority| Some((authority.issue_acceptable(names, now)?, authority)));
    let is_new = kept.is_none();
    let (leaf, authority) = kept.map_or_else(
        || Authority::new(names, now).and_then(|authority| Ok((authority.issue(names, now)?, authority))),
        Ok,
    )?;
    let ca = pem::certificate(authority.certificate());
    fs::create_dir_all(folder).map_err(|source| TlsError::Write { path: folder.into(), source })?;
    if is_new {
        replace(&made.ca_keyfile, authority.key().serialize_pem().as_bytes(), 0o600)?;
        replace(&made.cafile, ca.as_bytes(), 0o644)?;
    }
    replace(&made.keyfile, leaf.key.serialize_pem().as_bytes(), 0o600)?;
    replace(&made.certfile, (pem::certificate(&leaf.certificate) + &ca).as_bytes(), 0o644)?;
    Ok(made)
}

/// Writes the file under another name and moves it into place, so that its mode holds from the first byte on
/// and no process reads half a file.
fn replace(path: &Path, content: &[u8], mode: u32) -> Result<(), TlsError> {
    let beside = path.with_extension(format!("pem.{}", std::process::id()));
    let written = write_new(&beside, content, mode).and_then(|()| fs::rename(&beside, path));
    written.map_err(|source| {
        let _ = fs::remove_file(&beside); // it may not exist
        TlsError::Write { path: path.into(), source }
    })
}

fn write_new(path: &Path, content: &[u8], mode: u32) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
    file.write_all(content)?;
    file.sync_all()
}
