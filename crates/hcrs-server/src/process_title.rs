//! The names of the processes in `ps`, `top` and `/proc`: `hcrs: edge main:app` and
//! `hcrs: worker 3 (main:app)`.
//!
//! The kernel shows as a command line what is in the memory where it has put the arguments of a process, so a
//! process changes it by writing there. Only as many bytes as the arguments have are written: the variables
//! of the environment follow them. The standard library reads the arguments there as well, so
//! [`command_line`] keeps a copy. Workers do the same in Python (`hcrs/process_title.py`), which has made a
//! copy by then.

use std::ffi::CString;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt as _;

use crate::command_line::command_line;
use crate::{AppSettings, Settings};

/// The most bytes of a name in `/proc/PID/comm`, which `top`, `pgrep` and `killall` use.
const COMM_MAX: usize = 15;

/// The indexes of the first and last address of the arguments in `/proc/PID/stat`, counted from the field
/// after the name (`proc_pid_stat(5)`, fields 48 and 49).
const RANGE: [usize; 2] = [45, 46];

/// Names this process, which is the edge. Called by its main thread.
///
/// `comm` is the name alone, so that `killall hcrs` signals the edge and not the workers. A command line that
/// is too short for the title stays as it is.
pub(crate) fn name_edge(settings: &Settings) {
    command_line(); // kept before it is overwritten
    let name = &settings.proc_name;
    let paths: Vec<_> = settings.apps.iter().map(|app| app.path.as_str()).collect();
    let title = format!("{name}: edge {}", paths.join(" "));
    let title = title.trim_end();
    if let Ok(comm) = CString::new(clipped(name, COMM_MAX)) {
        let _stays = rustix::thread::set_name(&comm);
    }
    let _stays = write(title);
}

/// Returns the title of the worker in a slot, and its name for `comm`, in which the number is never cut off.
pub(crate) fn of_worker(settings_name: &str, slot: usize, app: &AppSettings) -> [String; 2] {
    let role = format!("worker {}", slot + 1);
    let comm = format!("{}: {role}", clipped(settings_name, COMM_MAX.saturating_sub(role.len() + 2)));
    [format!("{settings_name}: {role}{} ({})", app.name.suffix(), app.path), comm]
}

/// Returns the title of the process that workers are forked from, and its name for `comm`.
pub(crate) fn of_template(settings_name: &str, app: &AppSettings) -> [String; 2] {
    const ROLE: &str = "template";
    let comm = format!("{}: {ROLE}", clipped(settings_name, COMM_MAX - ROLE.len() - 2));
    [format!("{settings_name}: {ROLE}{} ({})", app.name.suffix(), app.path), comm]
}

/// Returns the longest beginning of the text of at most `most` bytes.
fn clipped(text: &str, most: usize) -> &str {
    let end = (0..=most.min(text.len())).rev().find(|&end| text.is_char_boundary(end));
    &text[..end.unwrap_or_default()]
}

/// Writes the title in place of this process's arguments, and zeros after it.
fn write(title: &str) -> io::Result<()> {
    let stat = fs::read_to_string("/proc/self/stat")?;
    let (_, fields) = stat.rsplit_once(") ").ok_or(io::ErrorKind::InvalidData)?;
    let fields: Vec<&str> = fields.split(' ').collect();
    let [from, to] = RANGE.map(|index| fields.get(index).and_then(|field| field.parse::<u64>().ok()));
    let (Some(from), Some(to)) = (from, to) else { return Err(io::ErrorKind::InvalidData.into()) };
    let room = to.checked_sub(from).and_then(|room| usize::try_from(room).ok()).unwrap_or_default();
    if title.len() >= room {
        return Err(io::ErrorKind::StorageFull.into());
    }
    let mut bytes = title.as_bytes().to_vec();
    bytes.resize(room, 0);
    // Through the kernel instead of a pointer: a wrong address is an error.
    File::options().write(true).open("/proc/self/mem")?.write_all_at(&bytes, from)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::AppName;

    #[test]
    fn titles_have_the_slot_and_the_app() {
        let app = |path: &str| AppSettings::new(path.to_owned());
        let [title, comm] = of_worker("hcrs", 2, &app("main:app"));
        assert_eq!((title.as_str(), comm.as_str()), ("hcrs: worker 3 (main:app)", "hcrs: worker 3"));
        let [title, comm] = of_worker("shop-frontend", 99, &app("asgi:src/main:app"));
        assert_eq!(title, "shop-frontend: worker 100 (asgi:src/main:app)");
        assert_eq!(comm, "sho: worker 100");
        let named = AppSettings { name: AppName::parse("blog").unwrap(), ..app("m:a") };
        assert_eq!(of_worker("hcrs", 0, &named)[0], "hcrs: worker 1 of app blog (m:a)");
        assert_eq!(clipped("äöü", 3), "ä");
    }

    #[test]
    fn a_title_that_is_too_long_changes_nothing() {
        let before = fs::read("/proc/self/cmdline").unwrap();
        assert!(write(&"x".repeat(before.len())).is_err());
        assert_eq!(fs::read("/proc/self/cmdline").unwrap(), before);
    }
}
