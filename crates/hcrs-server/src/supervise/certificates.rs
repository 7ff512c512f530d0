//! Rereads certificates, keys and the other files of TLS when they change or the operator asks for it.

use std::fs;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use hcrs_tls::TlsConfig;

/// How often the files are checked. A change counts once two checks agree, so that a certificate and its key,
/// written one after the other, are read together.
const PERIOD: Duration = Duration::from_secs(2);

/// The stamp of a file: when it was written, and its length.
type Stamp = Option<(SystemTime, u64)>;

/// The TLS configuration and the state of its files.
pub(super) struct Certificates {
    tls: Arc<TlsConfig>,
    /// The stamps when the files were last read.
    read: Vec<Stamp>,
    /// The stamps at the last check.
    seen: Vec<Stamp>,
    due: Instant,
}

impl Certificates {
    /// Returns the certificates of `tls`, whose files have just been read.
    pub(super) fn new(tls: Arc<TlsConfig>, now: Instant) -> Self {
        let stamps = stamps(&tls);
        Self { tls, read: stamps.clone(), seen: stamps, due: now + PERIOD }
    }

    /// Checks the files if that is due, and reads them if they have changed. Returns the time of the next
    /// check.
    pub(super) fn look(&mut self, now: Instant) -> Instant {
        if self.due <= now {
            self.due = now + PERIOD;
            let found = stamps(&self.tls);
            if found != self.read && found == self.seen {
                self.reload();
            } else {
                self.seen = found;
            }
        }
        self.due
    }

    /// Returns the TLS configuration.
    pub(super) fn tls(&self) -> &Arc<TlsConfig> {
        &self.tls
    }

    /// Returns the facts of the certificates in use.
    pub(super) fn facts(&self) -> Vec<hcrs_status::Certificate> {
        let now = SystemTime::now();
        let seconds = |time: SystemTime| time.duration_since(UNIX_EPOCH).unwrap_or_default();
        let certificates = self.tls.current().certificates().into_iter();
        certificates
            .map(|certificate| {
                let end = certificate.not_after.map(seconds).unwrap_or_default();
                hcrs_status::Certificate {
                    file: certificate.file.display().to_string(),
                    names: certificate.names,
                    not_after: end.as_secs(),
                    left: end.as_secs_f64() - seconds(now).as_secs_f64(),
                }
            })
            .collect()
    }

    /// Reads the files, for later connections. On an error everything stays as it was.
    pub(super) fn reload(&mut self) {
        self.read = stamps(&self.tls);
        self.seen.clone_from(&self.read);
        match self.tls.reload(SystemTime::now()) {
            Ok(warnings) => {
                for warning in warnings {
                    tracing::warn!("{warning}");
                }
                tracing::info!("The certificates were read again");
            }
            Err(error) => tracing::error!(
                "The certificates cannot be read again, and the ones before stay in use: {error}"
            ),
        }
    }
}

fn stamps(tls: &TlsConfig) -> Vec<Stamp> {
    let stamp = |path| fs::metadata(path).ok().and_then(|found| Some((found.modified().ok()?, found.len())));
    tls.files().into_iter().map(stamp).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_read_once_it_is_whole() {
        let folder = tempfile::TempDir::new().unwrap();
        let made = hcrs_tls::make_dev_certificate(folder.path(), &["localhost"]).unwrap();
        let settings = hcrs_tls::Settings::new(&made.certfile, &made.keyfile);
        let (tls, _) = TlsConfig::load(settings, SystemTime::now()).unwrap();
        let tls = Arc::new(tls);
        let start = Instant::now();
        let mut certificates = Certificates::new(Arc::clone(&tls), start);
        let first = tls.current();
        let at = |periods: u32| start + PERIOD * periods;
        assert_eq!(certificates.look(start), at(1));

        let key = fs::read(&made.keyfile).unwrap();
        fs::write(&made.keyfile, "half a key").unwrap();
        certificates.look(at(1));
        fs::write(&made.keyfile, [&key[..], b"\n"].concat()).unwrap();
        certificates.look(at(2));
        assert!(Arc::ptr_eq(&first, &tls.current()), "it was still changing");
        assert_eq!(certificates.look(at(3)), at(4));
        assert!(!Arc::ptr_eq(&first, &tls.current()), "it has been read");

        let second = tls.current();
        fs::write(&made.keyfile, "no key").unwrap();
        certificates.reload();
        assert!(Arc::ptr_eq(&second, &tls.current()), "what is broken changes nothing");
    }
}
