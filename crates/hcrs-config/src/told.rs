//! What shows only when a setting is used, told with the place where the setting was given.

use hcrs_server::StartError;

use crate::value::{Datum, Place, Value};
use crate::{Config, Resolved};

impl Config {
    /// The error with where the setting stands that it is about, if that was given at all.
    pub fn told(&self, error: &StartError) -> String {
        let problem = error.to_string();
        let keys: &[&str] = match error {
            StartError::Bind(..) => &["bind", "insecure_bind"],
            StartError::Log(..) => &["accesslog", "errorlog"],
            StartError::LogConfig(..) => &["logconfig"],
            StartError::Pid(..) => &["pid_path"],
            StartError::Tls(_) => &[
                "keyfile_password",
                "keyfile",
                "certfile",
                "certificates",
                "ca_certs",
                "crls",
                "ciphers",
                "key_exchange",
                "minimum_version",
                "verify_mode",
                "verify_flags",
                "alpn_protocols",
            ],
            _ => return problem,
        };
        let given = || {
            keys.iter()
                .filter_map(|key| self.resolved.iter().find(|found| found.key == *key && found.is_given()))
        };
        let names = |setting: &&Resolved| has_word(&problem, setting.key);
        match given().find(|setting| setting.is_in(&problem)).or_else(|| given().find(names)) {
            // A flag and a variable say which setting they are.
            Some(setting) if setting.is_in_file() && !has_word(&problem, setting.key) => {
                format!("{}: {}: {problem}", setting.origin, setting.key)
            }
            Some(setting) => format!("{}: {problem}", setting.origin),
            None => problem,
        }
    }
}

impl Resolved {
    fn is_given(&self) -> bool {
        self.origin != "default"
    }

    fn is_in_file(&self) -> bool {
        !self.origin.starts_with("--") && !self.origin.starts_with("HCRS_")
    }

    /// Whether the problem quotes one of the texts that the setting is made of.
    fn is_in(&self, problem: &str) -> bool {
        Value::from_toml(&self.value, &Place::Nowhere).is_some_and(|value| is_quoted(&value, problem))
    }
}

fn is_quoted(value: &Value, problem: &str) -> bool {
    match &value.datum {
        Datum::Text(text) => !text.is_empty() && has_word(problem, text),
        Datum::Array(values) => values.iter().any(|value| is_quoted(value, problem)),
        Datum::Table(entries) => entries.iter().any(|(_, value)| is_quoted(value, problem)),
        _ => false,
    }
}

/// Whether a text contains a word that is not part of a longer one.
fn has_word(text: &str, word: &str) -> bool {
    let is_inner =
        |letter: Option<char>| letter.is_some_and(|letter| letter.is_alphanumeric() || letter == '_');
    text.match_indices(word).any(|(at, _)| {
        !is_inner(text[..at].chars().next_back()) && !is_inner(text[at + word.len()..].chars().next())
    })
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
    fn problems_are_told_with_the_place_of_their_setting() {
        let config = config(
            "workers = 1\nbind = [\"unix:s\", \"a.test:1\"]\ncertfile = \"c.pem\"\n[hcrs]\ncrls = \"r.pem\"\n",
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
            (read("r.pem").into(), "x.toml:5: crls: cannot read r.pem: "),
            (
                TlsError::NoKey { path: "k.pem".into() }.into(),
                "--keyfile: keyfile k.pem holds no private key",
            ),
            (TlsError::NoKeyExchange.into(), "key_exchange names no group"),
            (StartError::Pid("p".into(), missing()), "cannot write the process id to p: "),
            (StartError::App("a.test:1".into()), "the app cannot be served"),
        ] {
            let told = config.told(&error);
            assert!(told.starts_with(begin), "{told}");
        }
    }
}
