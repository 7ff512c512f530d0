//! The output of a migration: on standard output, or in files that are replaced only on request.

use std::fs::{OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

/// Result of a migration: a configuration and possibly a systemd unit.
#[derive(Debug, Clone)]
pub struct Migrated {
    pub(super) parts: Vec<Part>,
    pub(super) force: bool,
}

/// One file of the result.
#[derive(Debug, Clone)]
pub(super) struct Part {
    /// Title, shown if several parts are printed.
    pub(super) title: String,
    pub(super) text: String,
    /// Path of the file; without one, the part is printed.
    pub(super) path: Option<PathBuf>,
    /// Whether the text contains a password.
    pub(super) is_secret: bool,
}

impl Migrated {
    /// Writes the files, and the remaining parts to `out`.
    ///
    /// If any file exists and must not be replaced, nothing is written and all of them are reported.
    pub fn write(&self, out: &mut dyn Write) -> Result<(), Vec<String>> {
        let files = || self.parts.iter().filter_map(|part| Some((part, part.path.as_deref()?)));
        let exists = |(_, path): &(&Part, &Path)| !self.force && path.exists();
        let problems: Vec<String> = files()
            .filter(exists)
            .map(|(_, path)| {
                format!("{} exists; use --force to replace it, or name another file", path.display())
            })
            .collect();
        if !problems.is_empty() {
            return Err(problems);
        }
        for (part, path) in files() {
            part.write(path, self.force)
                .map_err(|error| vec![format!("cannot write {}: {error}", path.display())])?;
        }
        let printed: Vec<&Part> = self.parts.iter().filter(|part| part.path.is_none()).collect();
        for part in &printed {
            // As with help, a closed standard output is no failure.
            let _ = match printed.len() {
                1 => out.write_all(part.text.as_bytes()),
                _ => write!(out, "# ---- {} ----\n{}\n", part.title, part.text),
            };
        }
        if printed.is_empty() {
            let _ = files().try_for_each(|(_, path)| writeln!(out, "wrote {}", path.display()));
        }
        Ok(())
    }
}

impl Part {
    fn write(&self, path: &Path, force: bool) -> io::Result<()> {
        let mode = if self.is_secret { 0o600 } else { 0o644 };
        let mut options = OpenOptions::new();
        options.write(true).mode(mode);
        // The file may have been created since the check.
        if force {
            options.create(true).truncate(true)
        } else {
            options.create_new(true)
        };
        let mut file = options.open(path)?;
        if self.is_secret {
            file.set_permissions(Permissions::from_mode(mode))?; // an existing file keeps its mode
        }
        file.write_all(self.text.as_bytes())
    }
}
