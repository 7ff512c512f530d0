//! A short-lived self-signed certificate for developing on this machine.
//!
//! The leaf is its own trust anchor: `curl --cacert cert.pem` accepts it, and it can sign nothing else.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rcgen::{
    CertificateParams, DnType, ExtendedKeyUsagePurpose, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256,
};
use rustls::RootCertStore;
use rustls::client::WebPkiServerVerifier;
use rustls_pki_types::{ServerName, UnixTime};

use crate::{TlsError, identity, provider};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// Browsers let a certificate given by hash (WebTransport) live 14 days at most; this stays below.
const VALID_FOR: Duration = DAY.saturating_mul(12);
/// How far the start of validity lies in the past, for clocks that are behind.
const BACK_DATED: Duration = DAY;
/// A certificate that ends sooner than this is made anew.
const WORTH_KEEPING: Duration = DAY;

/// Where a development certificate and its key are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DevCertificate {
    /// The certificate; also the file to give to a client as its only authority.
    pub certfile: PathBuf,
    /// The private key, readable by its owner only.
    pub keyfile: PathBuf,
}

impl DevCertificate {
    /// The names that a certificate for this machine has.
    pub const LOCAL_NAMES: [&str; 3] = ["localhost", "127.0.0.1", "::1"];

    /// `cert.pem` and `key.pem` in the folder, whether they exist or not.
    pub fn in_folder(folder: &Path) -> Self {
        Self { certfile: folder.join("cert.pem"), keyfile: folder.join("key.pem") }
    }

    /// Whether both files are there, belong together, and are good for all the names for another day.
    pub fn is_usable(&self, names: &[&str], now: SystemTime) -> bool {
        let provider = provider();
        let Ok(identity) = identity::load(&self.certfile, &self.keyfile, &provider) else { return false };
        let Some(leaf) = identity.cert.first() else { return false };
        let mut roots = RootCertStore::empty();
        if roots.add(leaf.clone()).is_err() {
            return false;
        }
        let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build();
        let (Ok(verifier), Ok(since_epoch)) = (verifier, (now + WORTH_KEEPING).duration_since(UNIX_EPOCH))
        else {
            return false;
        };
        let then = UnixTime::since_unix_epoch(since_epoch);
        names.iter().all(|name| {
            use rustls::client::danger::ServerCertVerifier as _;
            ServerName::try_from(*name)
                .is_ok_and(|name| verifier.verify_server_cert(leaf, &[], &name, &[], then).is_ok())
        })
    }
}

/// Writes `cert.pem` and `key.pem` (ECDSA P-256, valid for twelve days) into the folder, making it if need be.
///
/// `names` are host names and IP addresses. Files of these names that are there already are replaced.
pub fn make_dev_certificate(folder: &Path, names: &[&str]) -> Result<DevCertificate, TlsError> {
    write_certificate(folder, names, SystemTime::now())
}

pub(crate) fn write_certificate(
    folder: &Path,
    names: &[&str],
    now: SystemTime,
) -> Result<DevCertificate, TlsError> {
    let names: Vec<String> = names.iter().map(ToString::to_string).collect();
    let mut params = CertificateParams::new(names).map_err(TlsError::Generate)?;
    params.distinguished_name.push(DnType::CommonName, "hcrs development certificate");
    params.not_before = (now - BACK_DATED).into();
    params.not_after = (now + VALID_FOR).into();
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(TlsError::Generate)?;
    let certificate = params.self_signed(&key).map_err(TlsError::Generate)?;

    let made = DevCertificate::in_folder(folder);
    fs::create_dir_all(folder).map_err(|source| TlsError::Write { path: folder.into(), source })?;
    replace(&made.keyfile, key.serialize_pem().as_bytes(), 0o600)?;
    replace(&made.certfile, certificate.pem().as_bytes(), 0o644)?;
    Ok(made)
}

/// Writes the file under another name and moves it into place: its mode holds from its first byte on, and
/// nobody reads half a file.
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
