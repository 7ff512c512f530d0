//! Where what was made goes: standard output, or files that are not replaced unless that is asked for.

use std::fs::{OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

/// What was made of another server's settings.
#[derive(Debug, Clone)]
pub struct Migrated {
    pub(super) parts: Vec<Part>,
    pub(super) force: bool,
}

/// One file.
#[derive(Debug, Clone)]
pub(super) struct Part {
    /// What it is called where several are printed.
    pub(super) title: String,
    pub(super) text: String,
    /// Where it is written; printed if nowhere.
    pub(super) to: Option<PathBuf>,
    /// Whether it holds a password.
    pub(super) secret: bool,
}

impl Migrated {
    /// Writes the files, and the rest to `out`. What is wrong is told all at once, and then nothing has been written.
    pub fn deliver(&self, out: &mut dyn Write) -> Result<(), Vec<String>> {
        let named = || self.parts.iter().filter_map(|part| Some((part, part.to.as_deref()?)));
        let exists = |(_, path): &(&Part, &Path)| !self.force && path.exists();
        let there = named()
            .filter(exists)
            .map(|(_, path)| format!("{} exists: --force replaces it, or name another file", path.display()));
        let problems: Vec<String> = there.collect();
        if !problems.is_empty() {
            return Err(problems);
        }
        for (part, path) in named() {
            part.write(path, self.force)
                .map_err(|error| vec![format!("cannot write {}: {error}", path.display())])?;
        }
        let printed: Vec<&Part> = self.parts.iter().filter(|part| part.to.is_none()).collect();
        for part in &printed {
            // As with help: what nobody reads is no failure.
            let _ = match printed.len() {
                1 => out.write_all(part.text.as_bytes()),
                _ => write!(out, "# ---- {} ----\n{}\n", part.title, part.text),
            };
        }
        if printed.is_empty() {
            let _ = named().try_for_each(|(_, path)| writeln!(out, "wrote {}", path.display()));
        }
        Ok(())
    }
}

impl Part {
    fn write(&self, path: &Path, force: bool) -> io::Result<()> {
        let mode = if self.secret { 0o600 } else { 0o644 };
        let mut options = OpenOptions::new();
        options.write(true).mode(mode);
        // Between the look and now somebody may have written it.
        if force {
            options.create(true).truncate(true)
        } else {
            options.create_new(true)
        };
        let mut file = options.open(path)?;
        if self.secret {
            file.set_permissions(Permissions::from_mode(mode))?; // it may have been there
        }
        file.write_all(self.text.as_bytes())
    }
}
