//! The checked configuration, and its form for `hcrs config show` and `hcrs config route`.

use hcrs_server::{AskedRequest, RouteStep};

/// Checked configuration, ready to run.
#[derive(Debug, Clone)]
pub struct Config {
    /// The server's settings.
    pub server: hcrs_server::Settings,
    /// Warnings about ignored or changed values, one line each.
    pub warnings: Vec<String>,
    /// Every setting with its value and the origin of the value.
    pub resolved: Vec<Resolved>,
    /// The routes as they were written, in their order.
    pub routes: Vec<WrittenRoute>,
    /// The apps as they were written, in their order.
    pub apps: Vec<WrittenApp>,
}

/// A route as it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WrittenRoute {
    /// The place of its table.
    pub origin: String,
    /// The lines of its table, in the form of the file.
    pub lines: Vec<String>,
}

/// An app as it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WrittenApp {
    /// The place of its table.
    pub origin: String,
    /// The lines of its table, in the form of the file, without the values of variables.
    pub lines: Vec<String>,
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

/// The keys that [`Config::shown`] prints as tables.
const TABLES: [&str; 3] = ["routes", "static", "apps"];

/// Widest column of settings in [`Config::shown`]; a longer setting pushes its origin to the right.
const MAX_SHOWN_WIDTH: usize = 60;

impl Config {
    /// Returns, for the operator, which route takes a request and why.
    pub fn explain_route(&self, asked: &AskedRequest) -> String {
        let name = |at: usize| match self.routes.get(at) {
            Some(route) => format!("route {} ({})", at + 1, route.origin),
            None => format!("route {}", at + 1),
        };
        let mut text = format!("{asked}\n");
        for step in hcrs_server::explain(&self.server, asked) {
            let (line, taken) = match step {
                RouteStep::Passed(at, mismatch) => {
                    (format!("{} does not take it: {mismatch}", name(at)), None)
                }
                RouteStep::Taken(at, action) => (format!("{} takes it: {action}", name(at)), Some(at)),
                RouteStep::MayTake(at, action) => {
                    (format!("{} takes it if it has the file: {action}", name(at)), Some(at))
                }
                RouteStep::Untaken(answer) => (format!("no route takes it: {answer}"), None),
            };
            text.extend([line.as_str(), "\n"]);
            for line in taken.and_then(|at| self.routes.get(at)).into_iter().flat_map(|route| &route.lines) {
                text.extend(["  ", line, "\n"]);
            }
        }
        text
    }

    /// Returns every setting in the form of a configuration file, with its origin as a comment.
    pub fn shown(&self) -> String {
        let mut shown = String::new();
        let plain = self.resolved.iter().filter(|setting| !TABLES.contains(&setting.key));
        let width = plain.map(|setting| setting.key.len() + setting.value.len()).max();
        let width = width.unwrap_or(0).min(MAX_SHOWN_WIDTH) + 3;
        for is_extension in [false, true] {
            if is_extension {
                shown += "\n[hcrs]\n";
            }
            let is_here =
                |setting: &&Resolved| setting.is_extension == is_extension && !TABLES.contains(&setting.key);
            for setting in self.resolved.iter().filter(is_here) {
                let line = match setting.value.as_str() {
                    "" => format!("# {} is unset", setting.key),
                    value => format!("{} = {value}", setting.key),
                };
                shown.extend([format!("{line:width$}  # {}\n", setting.origin)]);
            }
        }
        for WrittenApp { origin, lines } in &self.apps {
            shown.extend([format!("\n{:width$}  # {origin}\n", "[[hcrs.apps]]")]);
            shown.extend(lines.iter().map(|line| format!("{line}\n")));
        }
        for WrittenRoute { origin, lines } in &self.routes {
            shown.extend([format!("\n{:width$}  # {origin}\n", "[[hcrs.routes]]")]);
            shown.extend(lines.iter().map(|line| format!("{line}\n")));
        }
        shown
    }
}
