//! The user and the group that the server runs as (`process_user`, `process_group`). A server that root starts
//! binds its addresses, reads its keys and creates its files, and then gives up root for good, before it has
//! threads and before any Python runs.

use std::ffi::{CStr, CString};
use std::fmt;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::fchown;
use std::path::Path;

use rustix::process::geteuid;

use crate::{LogTarget, Settings, StartError};

/// The room for an entry of the system's lists of users and groups, in bytes, and the most that is tried.
const ENTRY: usize = 1 << 10;
const ENTRY_MAX: usize = 1 << 20;

/// The keys of the settings, as errors name them.
const USER: &str = "process_user";
const GROUP: &str = "process_group";

/// A user or a group as the operator names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AccountName {
    /// A name in the system's list.
    Name(String),
    /// A number, which need not be in the list.
    Number(u32),
}

impl AccountName {
    /// Parses a name, or a number of digits alone. Returns `None` for what can be neither.
    pub fn parse(text: &str) -> Option<Self> {
        if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
            // The largest number means "do not change" to the system.
            return text.parse().ok().filter(|&number| number < u32::MAX).map(Self::Number);
        }
        let is_name = !text.is_empty()
            && !text.starts_with('-')
            && !text.contains(|letter: char| letter == ':' || letter.is_control());
        is_name.then(|| Self::Name(text.to_owned()))
    }
}

impl fmt::Display for AccountName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => name.fmt(f),
            Self::Number(number) => number.fmt(f),
        }
    }
}

/// The user and the group that this process is to become.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    /// The name in the list of users, by which it has further groups.
    name: Option<CString>,
    user: u32,
    group: u32,
}

impl Identity {
    /// Returns the identity of the settings; `None` if they have none, or if this process has it already, as one
    /// that succeeds another server (SIGUSR2).
    pub(crate) fn of(settings: &Settings) -> Result<Option<Self>, StartError> {
        let Some(wanted) = &settings.process_user else { return Ok(None) };
        let identity = Self::resolve(wanted, settings.process_group.as_ref())?;
        let Ids { users, groups } = Ids::of_this_process()?;
        let is_in_group = settings.process_group.is_none() || groups == [identity.group; 3];
        if users == [identity.user; 3] && is_in_group {
            return Ok(None);
        }
        let refuse = |why: String| Err(StartError::Account(USER, why));
        if settings.embedder.is_some() {
            return refuse(format!(
                "the user of the program that serves the app cannot be changed; start it as user {wanted}"
            ));
        }
        if !geteuid().is_root() {
            let now = geteuid().as_raw();
            return refuse(format!(
                "only root can become user {wanted} ({}:{}), and this is user {now}; start hcrs as root, or as that user",
                identity.user, identity.group,
            ));
        }
        Ok(Some(identity))
    }

    fn resolve(wanted: &AccountName, group: Option<&AccountName>) -> Result<Self, StartError> {
        let no = |key, kind: &str, name: &AccountName| {
            StartError::Account(key, format!("there is no {kind} {name} on this machine"))
        };
        let failed = |key| move |error: io::Error| StartError::Account(key, error.to_string());
        let entry = match wanted {
            AccountName::Name(name) => {
                Some(user(Key::Name(name)).map_err(failed(USER))?.ok_or_else(|| no(USER, "user", wanted))?)
            }
            AccountName::Number(number) => user(Key::Number(*number)).map_err(failed(USER))?,
        };
        let group = match group {
            Some(AccountName::Number(number)) => Some(*number),
            Some(named @ AccountName::Name(name)) => {
                let found = group_by_name(name).map_err(failed(GROUP))?;
                Some(found.ok_or_else(|| no(GROUP, "group", named))?)
            }
            None => None,
        };
        match (wanted, entry, group) {
            (_, Some(entry), group) => Ok(Self { group: group.unwrap_or(entry.group), ..entry }),
            (AccountName::Number(user), None, Some(group)) => Ok(Self { name: None, user: *user, group }),
            _ => Err(StartError::Account(
                USER,
                format!(
                    "user {wanted} is not in the system's list, which would have its group; set {GROUP} as well"
                ),
            )),
        }
    }

    /// Returns the numbers of the user and the group.
    pub(crate) fn owner(&self) -> (u32, u32) {
        (self.user, self.group)
    }

    /// Makes the whole process one of this user, and makes sure that it cannot go back.
    pub(crate) fn assume(&self) -> Result<(), StartError> {
        let Self { name, user, group } = self;
        let failed = |error: io::Error| {
            let why =
                "root needs the capabilities CAP_SETUID and CAP_SETGID for it, and a container may lack them";
            StartError::Account(USER, format!("cannot become user {user} of group {group}: {error}; {why}"))
        };
        set_groups(name.as_deref(), *group).map_err(failed)?;
        set_group(*group).map_err(failed)?;
        set_user(*user).map_err(failed)?;
        if Ids::of_this_process()? != (Ids { users: [*user; 3], groups: [*group; 3] }) {
            return Err(failed(io::Error::other("the system has not changed all of its ids")));
        }
        if *user != 0 && set_user(0).is_ok() {
            return Err(failed(io::Error::other("it could become root again")));
        }
        Ok(())
    }

    /// Creates the files of logs that do not exist yet, as those of this user, who could not do so in a directory
    /// of root. Files that exist stay as they are: who may write in the directory could have put there a link to
    /// any file.
    pub(crate) fn create_logs(&self, settings: &Settings) -> Result<(), StartError> {
        for target in [&settings.log.access, &settings.log.error].into_iter().flatten() {
            let LogTarget::File(path) = target else { continue };
            let made = match OpenOptions::new().append(true).create_new(true).open(path) {
                Ok(file) => fchown(&file, Some(self.user), Some(self.group)),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
                Err(error) => Err(error),
            };
            made.map_err(|error| StartError::Log(path.display().to_string(), error))?;
        }
        Ok(())
    }
}

/// Returns a warning for each of these files of TLS that this process cannot read.
pub(crate) fn unreadable<'a>(files: impl IntoIterator<Item = &'a Path>) -> Vec<String> {
    let unreadable = files.into_iter().filter_map(|file| Some((file, File::open(file).err()?)));
    unreadable
        .map(|(file, error)| {
            format!(
                "{USER} cannot read {}: {error}; the file is in use, but it cannot be read again when it changes, on \
                 SIGHUP and on SIGUSR2",
                file.display()
            )
        })
        .collect()
}

/// The real, effective and saved ids of this process.
#[derive(Debug, PartialEq, Eq)]
struct Ids {
    users: [u32; 3],
    groups: [u32; 3],
}

impl Ids {
    fn of_this_process() -> io::Result<Self> {
        let (mut users, mut groups) = ([0; 3], [0; 3]);
        let ([real, effective, saved], [real_group, effective_group, saved_group]) =
            (&mut users, &mut groups);
        #[expect(unsafe_code, reason = "rustix has no getresuid")]
        // SAFETY: each pointer is to a number of its own that lives until both calls have returned.
        let results = unsafe {
            [
                libc::getresuid(real, effective, saved),
                libc::getresgid(real_group, effective_group, saved_group),
            ]
        };
        if results == [0, 0] { Ok(Self { users, groups }) } else { Err(io::Error::last_os_error()) }
    }
}

fn checked(result: libc::c_int) -> io::Result<()> {
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Sets the groups: the given one, and those that the user has in the system's list.
fn set_groups(name: Option<&CStr>, group: u32) -> io::Result<()> {
    #[expect(unsafe_code, reason = "rustix sets the groups of one thread only; the C library those of all")]
    // SAFETY: the name ends with a zero byte, and the list has one element; both live until the call returns.
    let result = unsafe {
        match name {
            Some(name) => libc::initgroups(name.as_ptr(), group),
            None => libc::setgroups(1, &raw const group),
        }
    };
    checked(result)
}

fn set_group(group: u32) -> io::Result<()> {
    #[expect(unsafe_code, reason = "rustix sets the group of one thread only; the C library that of all")]
    // SAFETY: the call has no pointers.
    checked(unsafe { libc::setgid(group) })
}

/// Sets the user of all threads. As root, this sets the real, the effective and the saved id.
fn set_user(user: u32) -> io::Result<()> {
    #[expect(unsafe_code, reason = "rustix sets the user of one thread only; the C library that of all")]
    // SAFETY: the call has no pointers.
    checked(unsafe { libc::setuid(user) })
}

/// The key of an entry in the list of users.
#[derive(Debug, Clone, Copy)]
enum Key<'a> {
    Name(&'a str),
    Number(u32),
}

/// Returns the user with its group from the system's list, if it is there.
fn user(key: Key<'_>) -> io::Result<Option<Identity>> {
    let name = match key {
        Key::Name(name) => CString::new(name)?,
        Key::Number(_) => CString::default(),
    };
    look_up(|buffer| {
        #[expect(unsafe_code, reason = "the C library alone knows where users are listed")]
        // SAFETY: an entry of zeros is valid, the name ends with a zero byte, and the length is that of the
        // buffer. Strings of the entry are read before the buffer is used again.
        unsafe {
            let mut entry: libc::passwd = std::mem::zeroed();
            let mut found = std::ptr::null_mut();
            let (start, length) = (buffer.as_mut_ptr().cast(), buffer.len());
            let result = match key {
                Key::Name(_) => {
                    libc::getpwnam_r(name.as_ptr(), &raw mut entry, start, length, &raw mut found)
                }
                Key::Number(user) => libc::getpwuid_r(user, &raw mut entry, start, length, &raw mut found),
            };
            let identity = || Identity {
                name: Some(CStr::from_ptr(entry.pw_name).to_owned()),
                user: entry.pw_uid,
                group: entry.pw_gid,
            };
            (result, (!found.is_null()).then(identity))
        }
    })
}

/// Returns the number of a group from the system's list, if it is there.
fn group_by_name(name: &str) -> io::Result<Option<u32>> {
    let name = CString::new(name)?;
    look_up(|buffer| {
        #[expect(unsafe_code, reason = "the C library alone knows where groups are listed")]
        // SAFETY: an entry of zeros is valid, the name ends with a zero byte, and the length is that of the
        // buffer.
        unsafe {
            let mut entry: libc::group = std::mem::zeroed();
            let mut found = std::ptr::null_mut();
            let (start, length) = (buffer.as_mut_ptr().cast(), buffer.len());
            let result = libc::getgrnam_r(name.as_ptr(), &raw mut entry, start, length, &raw mut found);
            (result, (!found.is_null()).then_some(entry.gr_gid))
        }
    })
}

/// Calls a function of the C library with more and more room until that suffices. It returns an error number
/// and the entry.
fn look_up<T>(mut call: impl FnMut(&mut [u8]) -> (libc::c_int, Option<T>)) -> io::Result<Option<T>> {
    let mut buffer = vec![0; ENTRY];
    loop {
        match call(&mut buffer) {
            (0, found) => return Ok(found),
            (libc::ERANGE, _) if buffer.len() < ENTRY_MAX => buffer.resize(buffer.len() * 2, 0),
            // These also mean that there is no such entry.
            (libc::ENOENT | libc::ESRCH, _) => return Ok(None),
            (libc::EINTR, _) => {}
            (error, _) => return Err(io::Error::from_raw_os_error(error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> AccountName {
        AccountName::parse(text).unwrap()
    }

    fn resolved(user: &str, group: Option<&str>) -> Result<Identity, String> {
        Identity::resolve(&name(user), group.map(name).as_ref()).map_err(|error| error.to_string())
    }

    #[test]
    fn names_and_numbers_are_told_apart() {
        assert_eq!(name("www-data"), AccountName::Name("www-data".into()));
        assert_eq!(name("007"), AccountName::Number(7));
        assert_eq!(name("1a"), AccountName::Name("1a".into()));
        for wrong in ["", "4294967295", "99999999999", "-1", "a:b", "a\n", "a\0"] {
            assert_eq!(AccountName::parse(wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn users_and_groups_are_found_in_the_systems_list() {
        let root = resolved("root", None).unwrap();
        assert_eq!(root, Identity { name: Some(c"root".to_owned()), user: 0, group: 0 });
        assert_eq!(resolved("0", None).unwrap(), root);
        assert_eq!(resolved("root", Some("4321")).unwrap().owner(), (0, 4321));
        assert_eq!(resolved("root", Some("root")).unwrap(), root);
        let unlisted = resolved("4000000000", Some("4000000001")).unwrap();
        assert_eq!(unlisted, Identity { name: None, user: 4_000_000_000, group: 4_000_000_001 });
    }

    #[test]
    fn what_is_not_in_the_list_is_named() {
        let error = |user, group| resolved(user, group).unwrap_err();
        assert_eq!(
            error("no-such-user", None),
            "process_user: there is no user no-such-user on this machine"
        );
        let of_group = error("root", Some("no-such-group"));
        assert_eq!(of_group, "process_group: there is no group no-such-group on this machine");
        assert!(error("4000000000", None).contains("set process_group as well"));
    }

    #[test]
    fn a_process_that_has_the_identity_has_nothing_to_do_and_another_is_refused_without_root() {
        let Ids { users, groups } = Ids::of_this_process().unwrap();
        let mut settings = Settings {
            process_user: Some(AccountName::Number(users[0])),
            process_group: Some(AccountName::Number(groups[0])),
            ..Settings::default()
        };
        assert_eq!(Identity::of(&settings).unwrap(), None);
        settings.process_user = Some(AccountName::Number(users[0] + 1));
        match Identity::of(&settings) {
            Ok(identity) => assert_eq!(identity.unwrap().owner(), (users[0] + 1, groups[0])),
            Err(error) => {
                assert!(
                    !geteuid().is_root() && error.to_string().contains("only root can become"),
                    "{error}"
                );
            }
        }
        assert_eq!(Identity::of(&Settings::default()).unwrap(), None);
    }

    #[test]
    fn an_entry_that_needs_more_room_gets_it_up_to_a_limit() {
        let needs = |bytes: usize| {
            look_up(
                |buffer| if buffer.len() < bytes { (libc::ERANGE, None) } else { (0, Some(buffer.len())) },
            )
        };
        assert_eq!(needs(5000).unwrap(), Some(8192));
        assert!(needs(ENTRY_MAX + 1).is_err());
        assert_eq!(look_up::<()>(|_| (libc::ENOENT, None)).unwrap(), None);
    }

    #[test]
    fn files_that_cannot_be_read_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let readable = folder.path().join("cert.pem");
        std::fs::write(&readable, "").unwrap();
        let warnings = unreadable([readable.as_path(), Path::new("/nonexistent/key.pem")]);
        assert_eq!(warnings.len(), 1);
        assert!(warnings[0].starts_with("process_user cannot read /nonexistent/key.pem: "), "{warnings:?}");
    }

    #[test]
    fn logs_that_do_not_exist_are_created_and_others_stay() {
        let folder = tempfile::tempdir().unwrap();
        let Ids { users, groups } = Ids::of_this_process().unwrap();
        let ours = Identity { name: None, user: users[0], group: groups[0] };
        let (new, link) = (folder.path().join("error.log"), folder.path().join("access.log"));
        std::os::unix::fs::symlink("/nonexistent", &link).unwrap();
        let mut settings = Settings::default();
        settings.log.error = Some(LogTarget::File(new.clone()));
        settings.log.access = Some(LogTarget::File(link));
        ours.create_logs(&settings).unwrap();
        ours.create_logs(&settings).unwrap();
        assert!(new.is_file());
        settings.log.access = Some(LogTarget::File("/nonexistent/access.log".into()));
        let error = ours.create_logs(&settings).unwrap_err().to_string();
        assert!(error.contains("its directory does not exist"), "{error}");
    }
}
