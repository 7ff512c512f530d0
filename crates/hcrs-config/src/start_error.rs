//! Errors of the start, with the place of the setting that caused them.

use std::path::Path;

use hcrs_server::{LogTarget, StartError};
use hcrs_tls::TlsError;

use crate::config::{Config, Resolved};

/// Setting that caused an error.
struct Cause {
    key: &'static str,
    /// Whether the message of the error names the setting.
    is_named: bool,
}

impl Cause {
    /// Returns a cause that the message names.
    fn named(key: &'static str) -> Self {
        Self { key, is_named: true }
    }

    /// Returns a cause that the message does not name.
    fn unnamed(key: &'static str) -> Self {
        Self { key, is_named: false }
    }
}

impl Config {
    /// Returns the message of the error, preceded by the place of the setting that caused it if one was
    /// given.
    pub fn explain(&self, error: &StartError) -> String {
        let Some(cause) = self.cause(error) else { return error.to_string() };
        let is_cause = |setting: &&Resolved| setting.key == cause.key && setting.is_given();
        match self.resolved.iter().find(is_cause) {
            // A flag and a variable show which setting they are.
            Some(setting) if setting.is_in_file() && !cause.is_named => {
                format!("{}: {}: {error}", setting.origin, setting.key)
            }
            Some(setting) => format!("{}: {error}", setting.origin),
            None => error.to_string(),
        }
    }

    fn cause(&self, error: &StartError) -> Option<Cause> {
        match error {
            StartError::Bind(address, _) => self.cause_of_address(address),
            StartError::Log(name, _) => {
                let is_it =
                    |log: &Option<LogTarget>| log.as_ref().is_some_and(|log| log.to_string() == *name);
                let log = &self.server.log;
                is_it(&log.access)
                    .then_some("accesslog")
                    .or_else(|| is_it(&log.error).then_some("errorlog"))
                    .map(Cause::unnamed)
            }
            StartError::LogConfig(..) => Some(Cause::unnamed("logconfig")),
            StartError::Chdir(..) => Some(Cause::unnamed("chdir")),
            StartError::AppChdir(..) => Some(Cause::unnamed("apps")),
            StartError::Folder(..) => Some(Cause::unnamed("routes")),
            StartError::ConfiguredFile(path, _) | StartError::Passwords(path, _) => {
                Some(Cause::unnamed(self.server.routes.rules_of_all().key_of_file(path).unwrap_or("routes")))
            }
            StartError::Pid(..) => Some(Cause::unnamed("pid_path")),
            StartError::Account(key, _) => Some(Cause::named(key)),
            StartError::Tls(error) => self.cause_of_tls_error(error),
            _ => None,
        }
    }

    fn cause_of_address(&self, address: &str) -> Option<Cause> {
        let Some(listener) =
            self.server.listeners.iter().find(|listener| listener.bind.to_string() == address)
        else {
            let is_for_quic = self.server.quic_binds.iter().any(|bind| bind.to_string() == address);
            return is_for_quic.then(|| Cause::unnamed("quic_bind"));
        };
        let is_insecure = self.server.tls.is_some() && !listener.tls;
        Some(Cause::unnamed(if is_insecure { "insecure_bind" } else { "bind" }))
    }

    fn cause_of_tls_error(&self, error: &TlsError) -> Option<Cause> {
        match error {
            TlsError::Read { path, .. } | TlsError::Pem { path, .. } | TlsError::UnusableCrl { path, .. } => {
                self.setting_of_tls_file(path).map(Cause::unnamed)
            }
            TlsError::NoCertificate { path } | TlsError::UnusableCertificate { path, .. } => {
                self.cause_in_certificate(path, "certfile")
            }
            TlsError::NoKey { path }
            | TlsError::PasswordMissing { path }
            | TlsError::LegacyEncryption { path }
            | TlsError::UnknownEncryption { path, .. }
            | TlsError::UnusableKey { path, .. }
            | TlsError::NotAPair { keyfile: path, .. } => self.cause_in_certificate(path, "keyfile"),
            TlsError::WrongPassword { path } => self.cause_in_certificate(path, "keyfile_password"),
            TlsError::UnknownName { setting, .. } => Some(Cause::named(setting)),
            TlsError::NoCiphers { .. } => Some(Cause::named("ciphers")),
            TlsError::NoKeyExchange | TlsError::NoKeyExchangeForTls12 => Some(Cause::named("key_exchange")),
            TlsError::NoAuthorities { .. } => Some(Cause::named("verify_mode")),
            TlsError::NoUsableAuthority { .. } => Some(Cause::named("ca_certs")),
            TlsError::NoCrls => Some(Cause::named("verify_flags")),
            TlsError::EmptyCrlFile { .. } => Some(Cause::named("crls")),
            TlsError::AlpnName { .. } => Some(Cause::named("alpn_protocols")),
            _ => None,
        }
    }

    /// Returns the cause of an error about a certificate or its key: `key`, or `certificates` for one beyond
    /// the first.
    fn cause_in_certificate(&self, path: &Path, key: &'static str) -> Option<Cause> {
        Some(match self.setting_of_tls_file(path)? {
            "certificates" => Cause::unnamed("certificates"),
            _ => Cause::named(key),
        })
    }

    /// Returns the setting that names a file of TLS.
    fn setting_of_tls_file(&self, path: &Path) -> Option<&'static str> {
        let tls = self.server.tls.as_ref()?;
        let is_more =
            || tls.more_certificates.iter().any(|pair| pair.certfile == path || pair.keyfile == path);
        Some(match path {
            _ if tls.keyfile == path => "keyfile",
            _ if tls.certfile == path => "certfile",
            _ if is_more() => "certificates",
            _ if tls.ca_certs.as_deref() == Some(path) => "ca_certs",
            _ if tls.crls.iter().any(|crl| crl == path) => "crls",
            _ => return None,
        })
    }
}

impl Resolved {
    fn is_given(&self) -> bool {
        self.origin != "default"
    }

    fn is_in_file(&self) -> bool {
        !self.origin.starts_with("--") && !self.origin.starts_with("HCRS_")
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;
    use std::io;

    use hcrs_tls::TlsError;

    use super::*;
    use crate::{Command, parse_in};

    fn config(toml: &str, flags: &[&str]) -> Config {
        let folder = tempfile::TempDir::new().unwrap();
        let path = folder.path().join("x.toml");
        std::fs::write(&path, toml).unwrap();
        let words = ["hcrs", "-c", path.to_str().unwrap()].into_iter().chain(flags.iter().copied());
        let environment = [("HCRS_INSECURE_BIND".into(), "b.test:2".into())];
        let Ok(Command::Serve(mut config)) = parse_in(words.map(OsString::from), &environment) else {
            panic!("{toml}")
        };
        for setting in &mut config.resolved {
            setting.origin = setting.origin.rsplit('/').next().unwrap().to_owned();
        }
        *config
    }

    #[test]
    fn errors_are_preceded_by_the_place_of_their_setting() {
        let config = config(
            "workers = 1\nbind = ['unix:s', 'a.test:1']\ncertfile = 'c.pem'\nkeyfile_password = 'p'\n[hcrs]\n\
             crls = 'r.pem'\n\
             certificates = [{ certfile = 'd.pem', keyfile = 'e.pem', keyfile_password = 'q' }]\n",
            &["--keyfile", "k.pem"],
        );
        let missing = || io::Error::from(io::ErrorKind::NotFound);
        let read = |path: &str| TlsError::Read { path: path.into(), source: missing() };
        for (error, begin) in [
            (StartError::Bind("a.test:1".into(), missing()), "x.toml:2: bind: cannot listen on a.test:1: "),
            (
                StartError::Bind("b.test:2".into(), missing()),
                "HCRS_INSECURE_BIND: cannot listen on b.test:2: ",
            ),
            (StartError::Bind("127.0.0.1:8000".into(), missing()), "cannot listen on 127.0.0.1:8000: "),
            (read("c.pem").into(), "x.toml:3: certfile: cannot read c.pem: "),
            (read("k.pem").into(), "--keyfile: cannot read k.pem: "),
            (read("r.pem").into(), "x.toml:6: crls: cannot read r.pem: "),
            (
                TlsError::NoKey { path: "k.pem".into() }.into(),
                "--keyfile: keyfile k.pem holds no private key",
            ),
            (
                TlsError::WrongPassword { path: "k.pem".into() }.into(),
                "x.toml:4: keyfile_password does not decrypt the key in keyfile k.pem",
            ),
            (
                TlsError::WrongPassword { path: "e.pem".into() }.into(),
                "x.toml:7: certificates: keyfile_password does not decrypt the key in keyfile e.pem",
            ),
            (TlsError::NoKeyExchange.into(), "key_exchange names no group"),
            (StartError::Pid("p".into(), missing()), "cannot write the process id to p: "),
            (StartError::App("a.test:1".into()), "the app cannot be served"),
        ] {
            let message = config.explain(&error);
            assert!(message.starts_with(begin), "{message}");
        }
    }
}
