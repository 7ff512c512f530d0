//! The command line that this process was started with, and the directory that it was started in. Both are
//! kept before the process changes its title, which overwrites the arguments, and its directory.

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf, absolute};
use std::sync::OnceLock;

use crate::{Settings, StartError};

/// The command line of this process.
#[derive(Debug)]
pub(crate) struct CommandLine {
    /// The command's name or, if it has a directory, its absolute path.
    pub command: PathBuf,
    /// The arguments behind the command.
    pub arguments: Vec<OsString>,
    /// The directory that the process was started in, by the name in `$PWD` if it is one.
    pub folder: PathBuf,
}

static COMMAND_LINE: OnceLock<CommandLine> = OnceLock::new();

/// Returns the command line of this process, which the first call reads.
pub(crate) fn command_line() -> &'static CommandLine {
    COMMAND_LINE.get_or_init(|| {
        let mut arguments = std::env::args_os();
        let command = arguments.next().map(PathBuf::from).unwrap_or_default();
        let has_folder = command.parent().is_some_and(|folder| !folder.as_os_str().is_empty());
        let command = absolute(&command).ok().filter(|_| has_folder).unwrap_or(command);
        CommandLine { command, arguments: arguments.collect(), folder: started_in() }
    })
}

/// Returns a name of the working directory: `$PWD`, which may lead through a link, if it is one.
fn started_in() -> PathBuf {
    let pwd = std::env::var_os("PWD").map(PathBuf::from);
    pwd.filter(|name| name.is_absolute() && is_working_directory(name))
        .or_else(|| std::env::current_dir().ok())
        .unwrap_or_else(|| PathBuf::from("."))
}

/// Returns whether the path leads to the working directory.
pub(crate) fn is_working_directory(path: &Path) -> bool {
    let identity = |path: &Path| fs::metadata(path).ok().map(|found| (found.dev(), found.ino()));
    identity(path).is_some_and(|found| Some(found) == identity(".".as_ref()))
}

/// Changes to the directory of the settings, if they have one.
pub(crate) fn change_directory(settings: &Settings) -> Result<(), StartError> {
    match &settings.chdir {
        Some(path) => std::env::set_current_dir(path)
            .map_err(|error| StartError::Chdir(path.display().to_string(), error)),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_that_of_the_process() {
        let line = command_line();
        assert!(line.command.is_absolute() && line.command.is_file(), "{line:?}");
        assert_eq!(line.arguments, std::env::args_os().skip(1).collect::<Vec<_>>());
        assert!(is_working_directory(&line.folder), "{line:?}");
        assert!(!is_working_directory("/".as_ref()));
    }
}
