//! Reads a configuration of nginx with the files that it includes.

use std::path::{Path, PathBuf};
use std::rc::Rc;

use hcrs_config::{ConfigError, read_file};

use super::syntax::{Directive, Place, parse};

/// Deepest nesting of includes.
const MAX_INCLUDES: usize = 16;
/// Most files of a configuration.
const MAX_FILES: usize = 1024;
/// Most directives of a configuration: a file that is included often counts each time.
const MAX_DIRECTIVES: usize = 200_000;

/// Folder of nginx's configuration in packages. Where it is missing, the folder of the main file takes its place.
const USUAL_FOLDER: &str = "/etc/nginx";

/// Files of packages whose contents hcrs does not need, so that they may be missing on this machine.
const DISPENSABLE: [&str; 7] = [
    "mime.types",
    "proxy_params",
    "uwsgi_params",
    "fastcgi_params",
    "fastcgi.conf",
    "scgi_params",
    "options-ssl-nginx.conf",
];

/// A configuration with all its files.
#[derive(Debug)]
pub(crate) struct Configuration {
    /// Directives of the main file, with those of the included files in place of `include`.
    pub(crate) directives: Vec<Directive>,
    /// Dispensable includes whose files are missing.
    pub(crate) missing: Vec<Directive>,
    /// Folder of the main file, to which relative paths belong.
    pub(crate) folder: PathBuf,
}

/// Reads a file and everything that it includes.
pub(crate) fn read(path: &Path) -> Result<Configuration, ConfigError> {
    let text = read_file(path)?;
    let name = path
        .file_name()
        .map_or_else(|| path.display().to_string(), |name| name.to_string_lossy().into_owned());
    let folder = path.parent().unwrap_or(Path::new("")).to_owned();
    let mut reader =
        Reader { folder, files: 0, directives: 0, missing: Vec::new(), chain: vec![canonical(path)] };
    let directives = reader.file(&name.into(), &text)?;
    Ok(Configuration { directives, missing: reader.missing, folder: reader.folder })
}

fn canonical(path: &Path) -> PathBuf {
    path.canonicalize().unwrap_or_else(|_| path.to_owned())
}

struct Reader {
    folder: PathBuf,
    files: usize,
    directives: usize,
    missing: Vec<Directive>,
    /// The files that are being read, each of which includes the next.
    chain: Vec<PathBuf>,
}

fn invalid<T>(place: &Place, problem: impl std::fmt::Display) -> Result<T, ConfigError> {
    Err(ConfigError::Invalid(vec![format!("{place}: {problem}")]))
}

impl Reader {
    fn file(&mut self, name: &Rc<str>, text: &str) -> Result<Vec<Directive>, ConfigError> {
        self.files += 1;
        let place = |line| Place { file: name.clone(), line };
        if self.files > MAX_FILES {
            return invalid(&place(1), format_args!("more than {MAX_FILES} files are included"));
        }
        let directives = parse(name, text).or_else(|error| invalid(&place(error.line), error.message))?;
        self.expand(directives)
    }

    fn expand(&mut self, directives: Vec<Directive>) -> Result<Vec<Directive>, ConfigError> {
        let mut expanded = Vec::with_capacity(directives.len());
        for mut directive in directives {
            self.directives += 1;
            if self.directives > MAX_DIRECTIVES {
                return invalid(&directive.place, format_args!("more than {MAX_DIRECTIVES} directives"));
            }
            if directive.name == "include" && directive.block.is_none() {
                expanded.append(&mut self.include(directive)?);
                continue;
            }
            if let Some(block) = directive.block.take() {
                directive.block = Some(self.expand(block)?);
            }
            expanded.push(directive);
        }
        Ok(expanded)
    }

    fn include(&mut self, directive: Directive) -> Result<Vec<Directive>, ConfigError> {
        let place = directive.place.clone();
        let [pattern] = &directive.args[..] else {
            return invalid(&place, "include takes one file");
        };
        if self.chain.len() > MAX_INCLUDES {
            return invalid(&place, format_args!("includes are nested more than {MAX_INCLUDES} deep"));
        }
        let is_pattern = pattern.contains(['*', '?', '[']);
        let candidates = self.candidates(pattern);
        let files = candidates.iter().map(|candidate| files(candidate)).find(|files| !files.is_empty());
        let Some(files) = files else {
            let name = Path::new(pattern).file_name().and_then(|name| name.to_str()).unwrap_or_default();
            return match () {
                // A pattern that nothing matches is no error of nginx either.
                () if is_pattern => Ok(Vec::new()),
                () if DISPENSABLE.contains(&name) => {
                    self.missing.push(directive);
                    Ok(Vec::new())
                }
                () => {
                    let tried: Vec<_> = candidates.iter().map(|path| path.display().to_string()).collect();
                    invalid(
                        &place,
                        format_args!("include {pattern}: there is no file {}", tried.join(" or ")),
                    )
                }
            };
        };
        let mut included = Vec::new();
        for file in files {
            let real = canonical(&file);
            if self.chain.contains(&real) {
                return invalid(&place, format_args!("include {pattern}: the file includes itself"));
            }
            let text = match read_file(&file) {
                Err(ConfigError::Invalid(problems)) => {
                    return invalid(&place, format_args!("include {pattern}: {}", problems.join("; ")));
                }
                text => text?,
            };
            let shown = file.strip_prefix(&self.folder).unwrap_or(&file).display().to_string();
            self.chain.push(real);
            included.append(&mut self.file(&shown.into(), &text)?);
            self.chain.pop();
        }
        Ok(included)
    }

    /// Returns the paths that an include may mean: relative ones are relative to the folder of the main file, or, if
    /// the main file is one of a site, to the folder above.
    fn candidates(&self, pattern: &str) -> Vec<PathBuf> {
        let path = Path::new(pattern);
        let usual = path.strip_prefix(USUAL_FOLDER).ok();
        let mut candidates = if path.is_absolute() { vec![path.to_owned()] } else { Vec::new() };
        if let Some(relative) = usual.or((!path.is_absolute()).then_some(path)) {
            candidates.push(self.folder.join(relative));
            candidates.push(self.folder.join("..").join(relative));
        }
        candidates
    }
}

/// Returns the files that a path with patterns names, sorted as by `glob(3)`.
fn files(pattern: &Path) -> Vec<PathBuf> {
    let mut found = vec![PathBuf::new()];
    for part in pattern.components() {
        let part = part.as_os_str();
        let Some(text) = part.to_str().filter(|text| text.contains(['*', '?', '['])) else {
            for path in &mut found {
                path.push(part);
            }
            continue;
        };
        let mut below = Vec::new();
        for folder in found {
            let here = if folder.as_os_str().is_empty() { Path::new(".") } else { &folder };
            let Ok(entries) = here.read_dir() else { continue };
            let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
            let is_hidden = |name: &str| name.starts_with('.') && !text.starts_with('.');
            let names = names.filter(|name| !is_hidden(name) && is_match(text.as_bytes(), name.as_bytes()));
            below.extend(names.map(|name| folder.join(name)));
        }
        below.sort();
        below.truncate(MAX_FILES + 1);
        found = below;
    }
    found.retain(|path| path.exists() && !path.is_dir());
    found
}

/// Whether a name matches a pattern with `*`, `?` and classes in brackets.
fn is_match(pattern: &[u8], name: &[u8]) -> bool {
    let (mut p, mut n) = (0, 0);
    // The position behind the last star, and the end of what it covers so far.
    let mut star = None;
    while n < name.len() {
        match one(&pattern[p..], name[n]) {
            Some(width) if pattern[p] != b'*' => {
                p += width;
                n += 1;
            }
            _ if pattern.get(p) == Some(&b'*') => {
                star = Some((p + 1, n));
                p += 1;
            }
            _ => {
                let Some((behind, covered)) = star else { return false };
                star = Some((behind, covered + 1));
                (p, n) = (behind, covered + 1);
            }
        }
    }
    pattern[p..].iter().all(|&byte| byte == b'*')
}

/// Returns the length of the pattern's first element if it matches the byte.
fn one(pattern: &[u8], byte: u8) -> Option<usize> {
    match pattern.first()? {
        b'?' => Some(1),
        b'[' => {
            let end = 1 + pattern[1..].iter().skip(1).position(|&c| c == b']')? + 1;
            let (negated, class) = match pattern[1] {
                b'!' | b'^' => (true, &pattern[2..end]),
                _ => (false, &pattern[1..end]),
            };
            let is_in = class.contains(&byte)
                || class.windows(3).any(|range| range[1] == b'-' && (range[0]..=range[2]).contains(&byte));
            (is_in != negated).then_some(end + 1)
        }
        &literal => (literal == byte).then_some(1),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use tempfile::TempDir;

    use super::*;

    fn folder(files: &[(&str, &str)]) -> TempDir {
        let folder = TempDir::new().unwrap();
        for (name, text) in files {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        folder
    }

    fn names(configuration: &Configuration) -> Vec<String> {
        let one = |directive: &Directive| format!("{}@{}", directive.name, directive.place);
        configuration.directives.iter().map(one).collect()
    }

    #[test]
    fn files_are_included_in_order_relative_to_the_main_file() {
        let folder = folder(&[
            (
                "nginx.conf",
                "a;\ninclude sites/*.conf;\ninclude /etc/nginx/own/x;\ninclude none/*;\ninclude mime.types;",
            ),
            ("sites/b.conf", "b;"),
            ("sites/a.conf", "include sites/inner;"),
            ("sites/inner", "\ninner;"),
            ("sites/.hidden.conf", "hidden;"),
            ("own/x", "x;"),
        ]);
        let read = read(&folder.path().join("nginx.conf")).unwrap();
        assert_eq!(names(&read), ["a@nginx.conf:1", "inner@sites/inner:2", "b@sites/b.conf:1", "x@own/x:1"]);
        assert_eq!(read.missing.len(), 1);
    }

    #[test]
    fn a_site_alone_includes_from_the_folder_above() {
        let folder =
            folder(&[("sites-enabled/app", "include snippets/tls.conf;"), ("snippets/tls.conf", "t;")]);
        let read = read(&folder.path().join("sites-enabled/app")).unwrap();
        assert_eq!(read.directives[0].name, "t");
    }

    #[test]
    fn problems_of_includes_name_their_place() {
        let folder = folder(&[
            ("missing.conf", "a;\ninclude nothing.conf;"),
            ("self.conf", "\n\ninclude self.conf;"),
            ("loop.conf", "include loop2;"),
            ("loop2", "a;\ninclude loop.conf;"),
            ("broken.conf", "include broken2;"),
            ("broken2", "a;\nserver {"),
            ("binary.conf", "include b.bin;"),
            ("two.conf", "include a b;"),
        ]);
        fs::write(folder.path().join("b.bin"), [0xff, 0xfe, 0]).unwrap();
        for (file, problem) in [
            ("missing.conf", "missing.conf:2: include nothing.conf: there is no file "),
            ("self.conf", "self.conf:3: include self.conf: the file includes itself"),
            ("loop.conf", "loop2:2: include loop.conf: the file includes itself"),
            ("broken.conf", "broken2:2: the block of server is not closed"),
            ("binary.conf", "binary.conf:1: include b.bin: "),
            ("two.conf", "two.conf:1: include takes one file"),
        ] {
            let Err(ConfigError::Invalid(problems)) = read(&folder.path().join(file)) else {
                panic!("{file}")
            };
            assert!(problems[0].starts_with(problem), "{problems:?}");
        }
    }

    #[test]
    fn included_files_are_bounded() {
        let files: Vec<_> = (0..20).map(|n| (format!("f{n}"), format!("include f{};", n + 1))).collect();
        let files: Vec<_> = files.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
        let deep = folder(&files);
        let Err(ConfigError::Invalid(problems)) = read(&deep.path().join("f0")) else { panic!() };
        assert!(problems[0].contains("nested more than 16 deep"), "{problems:?}");
        let many = folder(&[("a", &"include b;\n".repeat(2000)), ("b", "x;")]);
        let Err(ConfigError::Invalid(problems)) = read(&many.path().join("a")) else { panic!() };
        assert!(problems[0].contains("more than 1024 files"), "{problems:?}");
    }

    #[test]
    fn patterns_match_names() {
        for (pattern, name, expected) in [
            ("*.conf", "a.conf", true),
            ("*.conf", "a.confx", false),
            ("*", "abc", true),
            ("a?c", "abc", true),
            ("[ab]*", "bx", true),
            ("[!ab]*", "bx", false),
            ("[a-c]x", "bx", true),
            ("[", "[", false),
        ] {
            assert_eq!(is_match(pattern.as_bytes(), name.as_bytes()), expected, "{pattern} {name}");
        }
    }
}
