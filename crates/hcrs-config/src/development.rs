//! `hcrs dev`: serving an app while it is developed. It has other defaults, which the file, the environment
//! and flags override like any others.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use hcrs_server::{AccessFormat, LogLevel, LogTarget};
use hcrs_tls::DevCertificate;

use crate::draft::Draft;
use crate::value::Place;

/// Address of `hcrs dev` without `bind`.
pub(crate) const DEV_BIND: &str = "127.0.0.1:8443";

/// Time that requests wait for workers: one that loads a large app has to be waited for.
const QUEUE_TIMEOUT: Duration = Duration::from_secs(60);

/// Directory of the certificate if the environment names no directory of the user.
const LAST_FOLDER: &str = "certs";

/// Directory for certificates of distributions that are derived from Debian.
const DEBIAN_FOLDER: &str = "/usr/local/share/ca-certificates";

/// Replaces the defaults.
pub(crate) fn set_defaults(draft: &mut Draft) {
    draft.bind = crate::bind::parse(DEV_BIND).into_iter().collect();
    draft.app.use_reloader = true;
    draft.app.dispatch.queue_timeout = QUEUE_TIMEOUT;
    draft.server.log.level = LogLevel::Debug;
    // The developer of an app reads its requests.
    draft.server.log.has_frames = false;
    draft.server.log.access = Some(LogTarget::Standard);
}

/// Completes what depends on the other settings: the format of access lines, and the certificate. Returns the
/// directory of the development certificate, if that is the one to be used.
pub(crate) fn complete(
    draft: &mut Draft,
    environment: &[(OsString, OsString)],
    has_terminal: bool,
) -> Option<PathBuf> {
    if !["access_log_format", "access_log_json"].iter().any(|key| draft.is_given(key)) {
        let is_shown = draft.server.log.access == Some(LogTarget::Standard);
        let has_colors = is_shown && has_colors(environment, has_terminal);
        draft.server.log.access_format = AccessFormat::terminal(has_colors);
    }
    draft.server.log.has_frames |= draft.is_given("loglevel");
    if draft.certfile.is_some() || draft.keyfile.is_some() {
        return None;
    }
    let folder = certificate_folder(environment);
    let DevCertificate { certfile, keyfile, .. } = DevCertificate::in_folder(&folder);
    draft.certfile = Some((certfile, Place::Nowhere));
    draft.keyfile = Some((keyfile, Place::Nowhere));
    Some(folder)
}

/// Returns whether output to a terminal is to be colored, by the conventions of <https://no-color.org>.
pub fn has_colors(environment: &[(OsString, OsString)], has_terminal: bool) -> bool {
    let is_plain = |(name, value): &(OsString, OsString)| {
        name == "NO_COLOR" && !value.is_empty() || name == "TERM" && value == "dumb"
    };
    has_terminal && !environment.iter().any(is_plain)
}

/// Returns the directory of the certificate: one of the user's, so that clients trust one authority for all
/// projects, and the project holds no keys.
fn certificate_folder(environment: &[(OsString, OsString)]) -> PathBuf {
    let folder = |name: &str| {
        let value = environment.iter().find(|(known, _)| known == name).map(|(_, value)| Path::new(value));
        value.filter(|path| path.is_absolute())
    };
    let of_home = || folder("HOME").map(|home| home.join(".local/share"));
    let data = folder("XDG_DATA_HOME").map(Path::to_owned).or_else(of_home);
    data.map_or_else(|| LAST_FOLDER.into(), |data| data.join("hcrs"))
}

/// Greeting of `hcrs dev`: what it serves, where, and how its certificate is trusted.
#[derive(Debug, Clone)]
pub struct Greeting {
    /// The app; without one there is the welcome page.
    pub app: Option<String>,
    /// The development certificate, if it is used.
    pub certificate: Option<DevCertificate>,
    /// Whether the text has colors.
    pub has_colors: bool,
}

impl Greeting {
    /// Returns the text, for a server that listens on these addresses, which are URLs.
    pub fn text(&self, addresses: &[String]) -> String {
        self.text_on(addresses, Path::new(DEBIAN_FOLDER).is_dir())
    }

    fn text_on(&self, addresses: &[String], is_debian: bool) -> String {
        let (strong, link, dim, plain) = if self.has_colors {
            ("\x1b[1m", "\x1b[1;4;36m", "\x1b[2m", "\x1b[0m")
        } else {
            ("", "", "", "")
        };
        let app = self.app.as_deref().unwrap_or("the welcome page");
        let mut text = format!("\n  {strong}hcrs dev{plain} serves {app}\n\n");
        text.extend(addresses.iter().map(|address| format!("    {link}{address}/{plain}\n")));
        if let (Some(certificate), Some(address)) = (&self.certificate, addresses.first()) {
            let ca = certificate.cafile.display();
            let trust = trust_command(&certificate.cafile, is_debian);
            let folder = certificate.cafile.parent().unwrap_or(Path::new(".")).display();
            text.extend([format!(
                "\n  To trust its certificate, once for all projects:\n    \
                 {trust}\n    {dim}curl --cacert {ca} {address}/\n    \
                 hcrs cert dev --dir {folder}   for Firefox, Chromium and others{plain}\n"
            )]);
        }
        text + "\n"
    }
}

/// Returns the command by which the system trusts an authority.
fn trust_command(ca: &Path, is_debian: bool) -> String {
    let ca = ca.display();
    if cfg!(target_os = "macos") {
        format!("security add-trusted-cert -k ~/Library/Keychains/login.keychain-db {ca}")
    } else if is_debian {
        format!("sudo cp {ca} {DEBIAN_FOLDER}/hcrs-dev.crt && sudo update-ca-certificates")
    } else {
        format!("sudo trust anchor {ca}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Command, Config, parse_in};

    fn environment(pairs: &[(&str, &str)]) -> Vec<(OsString, OsString)> {
        pairs.iter().map(|(name, value)| (OsString::from(name), OsString::from(value))).collect()
    }

    #[track_caller]
    fn develop(words: &[&str], pairs: &[(&str, &str)]) -> (Config, Option<PathBuf>) {
        let words = ["hcrs", "dev"].iter().chain(words).map(OsString::from);
        match parse_in(words, &environment(pairs)) {
            Ok(Command::Develop { config, certificate_folder }) => (*config, certificate_folder),
            other => panic!("{other:?}"),
        }
    }

    const HOME: (&str, &str) = ("HOME", "/home/me");

    #[test]
    fn an_app_is_served_for_its_developer() {
        let (Config { server, warnings, .. }, folder) = develop(&["main:app"], &[HOME]);
        assert_eq!(warnings, Vec::<String>::new());
        let app = server.apps[0].clone();
        assert_eq!((app.path.as_str(), app.workers.get(), app.use_reloader), ("main:app", 1, true));
        assert_eq!(server.log.level, LogLevel::Debug);
        assert_eq!(server.log.access, Some(LogTarget::Standard));
        assert!(!server.log.has_frames);
        assert_eq!(server.listeners.len(), 1);
        assert_eq!(server.listeners[0].bind.to_string(), DEV_BIND);
        assert!(server.listeners[0].tls);
        let folder = folder.unwrap();
        assert_eq!(folder, Path::new("/home/me/.local/share/hcrs"));
        assert_eq!(server.tls.unwrap().certfile, folder.join("cert.pem"));
    }

    #[test]
    fn everything_can_be_overridden() {
        let flags = "--log-level info --access-logfile a.log -w 2 -b a:1 --certfile c --keyfile k main:app";
        let flags: Vec<_> = flags.split(' ').collect();
        let env = [HOME, ("HCRS_USE_RELOADER", "false"), ("HCRS_QUEUE_TIMEOUT", "3")];
        let (Config { server, .. }, folder) = develop(&flags, &env);
        assert_eq!(folder, None);
        assert_eq!(server.tls.unwrap().certfile, Path::new("c"));
        let app = server.apps[0].clone();
        assert_eq!((app.workers.get(), app.use_reloader), (2, false));
        assert_eq!(server.apps[0].dispatch.queue_timeout, Duration::from_secs(3));
        assert_eq!((server.log.level, server.listeners[0].bind.to_string()), (LogLevel::Info, "a:1".into()));
        assert_eq!(server.log.access_format, AccessFormat::terminal(false), "a file gets no colors");
        assert!(server.log.has_frames, "a level that is given has its usual meaning");
        let (Config { server, .. }, _) = develop(&["m:a", "--access-logformat", "%(s)s"], &[HOME]);
        assert_eq!(server.log.access_format, AccessFormat::parse("%(s)s").unwrap());
        let (Config { server, .. }, _) = develop(&["m:a"], &[HOME, ("HCRS_ACCESS_LOG_JSON", "true")]);
        assert_eq!(server.log.access_format, AccessFormat::json());
    }

    #[test]
    fn an_app_in_a_module_dev_is_named_with_its_attribute() {
        let parsed = parse_in(["hcrs", "dev:app"].map(OsString::from), &[]).unwrap();
        let Command::Serve(config) = parsed else { panic!("{parsed:?}") };
        assert_eq!(config.server.apps[0].path, "dev:app");
        assert!(develop(&[], &[HOME]).0.server.apps.is_empty());
        assert_eq!(develop(&["dev:app"], &[HOME]).0.server.apps[0].path, "dev:app");
        assert_eq!(develop(&["--workers", "1", "m:a"], &[HOME]).0.server.apps[0].path, "m:a");
    }

    #[test]
    fn the_certificate_is_kept_in_the_users_directory_for_data() {
        let folder = |pairs: &[(&str, &str)]| certificate_folder(&environment(pairs));
        assert_eq!(folder(&[HOME, ("XDG_DATA_HOME", "/data")]), Path::new("/data/hcrs"));
        assert_eq!(folder(&[HOME, ("XDG_DATA_HOME", "")]), Path::new("/home/me/.local/share/hcrs"));
        assert_eq!(folder(&[("HOME", "relative")]), Path::new("certs"));
        assert_eq!(folder(&[]), Path::new("certs"));
    }

    #[test]
    fn colors_need_a_terminal_that_does_not_refuse_them() {
        assert!(has_colors(&environment(&[("NO_COLOR", ""), ("TERM", "xterm")]), true));
        for (pairs, has_terminal) in
            [(&[] as &[_], false), (&[("NO_COLOR", "1")], true), (&[("TERM", "dumb")], true)]
        {
            assert!(!has_colors(&environment(pairs), has_terminal), "{pairs:?}");
        }
    }

    #[test]
    fn the_greeting_has_the_urls_and_the_command_that_trusts() {
        let certificate = Some(DevCertificate::in_folder(Path::new("/data/hcrs")));
        let greeting = Greeting { app: Some("main:app".into()), certificate, has_colors: false };
        let addresses = ["https://127.0.0.1:8443".to_owned(), "http://127.0.0.1:8000".to_owned()];
        let text = greeting.text_on(&addresses, true);
        assert!(text.contains(
            "hcrs dev serves main:app\n\n    https://127.0.0.1:8443/\n    http://127.0.0.1:8000/\n"
        ));
        assert!(text.contains("curl --cacert /data/hcrs/ca.pem https://127.0.0.1:8443/\n"), "{text}");
        assert!(text.contains("hcrs cert dev --dir /data/hcrs "), "{text}");
        assert!(text.contains(&trust_command(Path::new("/data/hcrs/ca.pem"), true)), "{text}");
        assert!(!text.contains('\x1b'));
        let own = Greeting { certificate: None, has_colors: true, app: None };
        let text = own.text_on(&addresses[..1], true);
        assert!(
            text.contains("the welcome page") && text.contains("\x1b[1;4;36mhttps://127.0.0.1:8443/\x1b[0m")
        );
        assert!(!text.contains("curl"));
    }
}
