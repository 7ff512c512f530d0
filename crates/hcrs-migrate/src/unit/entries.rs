//! The syntax of systemd units: entries, percent signs and quotes.

use crate::shell_words::quote;

/// Assignment `key=value` in a unit, possibly over several lines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) section: String,
    pub(super) key: String,
    pub(super) value: String,
    /// Index of its first line.
    pub(super) first: usize,
    /// Index of its last line.
    pub(super) last: usize,
}

/// Parses lines as entries, without comments and with continued lines joined.
pub(super) fn entries(lines: &[String]) -> Vec<Entry> {
    let mut entries = Vec::new();
    let mut section = String::new();
    let mut at = 0;
    while at < lines.len() {
        let first = at;
        let mut line = lines[at].trim().to_owned();
        at += 1;
        if line.is_empty() || line.starts_with(['#', ';']) {
            continue;
        }
        while let Some(part) = line.strip_suffix('\\').map(str::to_owned) {
            let Some(next) = lines.get(at) else { break };
            at += 1;
            let is_comment = next.trim_start().starts_with(['#', ';']);
            line = if is_comment { part + "\\" } else { format!("{} {}", part.trim_end(), next.trim()) };
        }
        if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            name.clone_into(&mut section);
        } else if let Some((key, value)) = line.split_once('=') {
            let (key, value) = (key.trim().to_owned(), value.trim().to_owned());
            entries.push(Entry { section: section.clone(), key, value, first, last: at - 1 });
        }
    }
    entries
}

/// Returns the text with doubled percent signs as single ones. Specifiers, which only systemd can expand, are
/// refused.
pub(super) fn plain(text: &str) -> Result<String, String> {
    let mut plain = String::new();
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        plain.push(letter);
        if letter == '%' {
            match letters.next() {
                Some('%') | None => {}
                Some(specifier) => {
                    return Err(format!(
                        "%{specifier} can be expanded only by systemd; replace it by its value"
                    ));
                }
            }
        }
    }
    Ok(plain)
}

/// Returns a word of a command in a form that systemd does not expand.
pub(super) fn literal(word: &str) -> String {
    quote(word).replace('%', "%%").replace('$', "$$")
}
