//! The checked configuration, and its form for `hcrs config show`.

/// Checked configuration, ready to run.
#[derive(Debug, Clone)]
pub struct Config {
    /// The server's settings.
    pub server: hcrs_server::Settings,
    /// Warnings about ignored or changed values, one line each.
    pub warnings: Vec<String>,
    /// Every setting with its value and the origin of the value.
    pub resolved: Vec<Resolved>,
}

/// Effective value of a setting, and its origin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolved {
    /// Key of the setting.
    pub key: &'static str,
    /// Whether the setting is an extension of Hypercorn's, in the table `[hcrs]`.
    pub is_extension: bool,
    /// Value in the form of the file; empty if the setting is unset.
    pub value: String,
    /// A place in the file, an environment variable, a flag, or `default`.
    pub origin: String,
    /// A hash of the whole value, which `value` may hide a part of.
    pub(crate) fingerprint: u64,
}

/// Widest column of settings in [`Config::shown`]; a longer setting pushes its origin to the right.
const MAX_SHOWN_WIDTH: usize = 60;

impl Config {
    /// Returns every setting in the form of a configuration file, with its origin as a comment.
    pub fn shown(&self) -> String {
        let mut shown = String::new();
        let width = self.resolved.iter().map(|setting| setting.key.len() + setting.value.len()).max();
        let width = width.unwrap_or(0).min(MAX_SHOWN_WIDTH) + 3;
        for is_extension in [false, true] {
            if is_extension {
                shown += "\n[hcrs]\n";
            }
            for setting in self.resolved.iter().filter(|setting| setting.is_extension == is_extension) {
                let line = match setting.value.as_str() {
                    "" => format!("# {} is unset", setting.key),
                    value => format!("{} = {value}", setting.key),
                };
                shown.extend([format!("{line:width$}  # {}\n", setting.origin)]);
            }
        }
        shown
    }
}
