//! Checks settings without serving: whether addresses can be bound and files written.

use std::fs::OpenOptions;
use std::io;
use std::path::Path;

use rustix::fs::{Access, access};

use crate::bind::bind;
use crate::bind::udp::bind_udp;
use crate::command_line::change_directory;
use crate::process_user::{Identity, unreadable};
use crate::{Bind, LogTarget, Settings, StartError};

/// Returns everything that would stop the start, as far as it can be known in advance. Nothing is changed but
/// the working directory: no socket listens, no file is created.
pub fn check(settings: &Settings) -> Vec<StartError> {
    if let Err(error) = change_directory(settings) {
        return vec![error]; // relative paths mean nothing without it
    }
    let mut problems: Vec<_> = settings.routes.clone().load().err().into_iter().collect();
    problems.extend(settings.apps.iter().filter_map(|app| app.check_folder().err()));
    let mut tcp = Settings { listeners: Vec::new(), ..settings.clone() };
    for listener in &settings.listeners {
        match &listener.bind {
            Bind::Tcp { .. } => tcp.listeners = vec![listener.clone()],
            Bind::Unix(path) => {
                if let Err(error) = can_be_made(path) {
                    problems.push(StartError::Bind(listener.bind.to_string(), error));
                }
                continue;
            }
            Bind::Fd(_) => continue, // opened by the process that starts the server
        }
        problems.extend(bind(&tcp, 1, |_| Vec::new()).err());
    }
    let of_others = |bind: &&Bind| !matches!(bind, Bind::Fd(_));
    for bind in settings.quic_binds.iter().filter(of_others) {
        problems.extend(bind_udp(std::slice::from_ref(bind), 1, |_| Vec::new()).err());
    }
    for target in [&settings.log.access, &settings.log.error].into_iter().flatten() {
        if let LogTarget::File(path) = target
            && let Err(error) = can_be_appended(path)
        {
            problems.push(StartError::Log(path.display().to_string(), error));
        }
    }
    if let Some(path) = &settings.pid_path
        && let Err(error) = can_be_appended(path)
    {
        problems.push(StartError::Pid(path.display().to_string(), error));
    }
    problems
}

/// The findings of a check as `process_user`.
#[derive(Debug, Default)]
pub struct CheckedAsUser {
    /// Warnings for the operator.
    pub warnings: Vec<String>,
    /// Errors that would stop the start.
    pub problems: Vec<StartError>,
}

/// Becomes the user of the settings, if they have another one, and checks that the server can continue as that
/// user. Call it last: the process stays one of that user.
pub fn check_as_process_user(settings: &Settings) -> CheckedAsUser {
    let mut found = CheckedAsUser::default();
    let identity = match Identity::of(settings) {
        Ok(Some(identity)) => identity,
        Ok(None) => return found,
        Err(error) => {
            found.problems.push(error);
            return found;
        }
    };
    if let Err(error) = identity.assume() {
        found.problems.push(error);
        return found;
    }
    for target in [&settings.log.access, &settings.log.error].into_iter().flatten() {
        // Files that do not exist are created by root.
        if let LogTarget::File(path) = target
            && let Err(error) = OpenOptions::new().append(true).open(path)
            && error.kind() != io::ErrorKind::NotFound
        {
            found.problems.push(StartError::Log(path.display().to_string(), error));
        }
    }
    if let Some(tls) = &settings.tls {
        let more = tls.more_certificates.iter().flat_map(|pair| [&pair.certfile, &pair.keyfile]);
        let files =
            [&tls.certfile, &tls.keyfile].into_iter().chain(more).chain(&tls.ca_certs).chain(&tls.crls);
        let files = files.filter(|file| !file.as_os_str().is_empty());
        found.warnings = unreadable(files.map(AsRef::as_ref));
    }
    found
}

fn can_be_appended(path: &Path) -> io::Result<()> {
    match OpenOptions::new().append(true).open(path) {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => can_be_made(path),
        Err(error) => Err(error),
    }
}

fn can_be_made(path: &Path) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    Ok(access(folder, Access::WRITE_OK | Access::EXEC_OK)?)
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;
    use crate::Listener;

    #[test]
    fn every_problem_is_found_and_nothing_is_made() {
        let folder = tempfile::TempDir::new().unwrap();
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = taken.local_addr().unwrap().port();
        let listener = |bind| Listener { bind, tls: false, proxy_protocol: false };
        let mut settings = Settings {
            listeners: vec![
                listener(Bind::Tcp { host: "127.0.0.1".into(), port }),
                listener(Bind::Tcp { host: "127.0.0.1".into(), port: 0 }),
                listener(Bind::Unix(folder.path().join("missing/socket"))),
                listener(Bind::Unix(folder.path().join("socket"))),
            ],
            pid_path: Some(folder.path().join("missing/pid")),
            ..Settings::default()
        };
        settings.log.access = Some(LogTarget::File(folder.path().join("access")));
        settings.log.error = Some(LogTarget::File(folder.path().to_owned()));
        let problems: Vec<String> = check(&settings).iter().map(ToString::to_string).collect();
        assert_eq!(problems.len(), 4, "{problems:?}");
        assert!(problems[0].starts_with(&format!("cannot listen on 127.0.0.1:{port}: ")), "{problems:?}");
        assert!(
            problems[1].contains("missing/socket") && problems[3].contains("missing/pid"),
            "{problems:?}"
        );
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
