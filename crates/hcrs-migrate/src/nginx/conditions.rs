//! `if`: conditions that are matchers of routes.

use super::convert::Converter;
use super::locations::Spot;
use super::pattern::{PathText, patterns};
use super::redirects::{Meaning, returned, rewritten, scheme_of};
use super::routes::{Kind, Route};
use super::servers::Scheme;
use super::sheet::{Section, origin};
use super::syntax::Directive;

/// The methods of requests that routes name where nginx names those that are left.
const METHODS: [&str; 9] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT"];

/// Returns the methods that are not in the list.
pub(crate) fn other_methods(allowed: &[&str]) -> Vec<String> {
    METHODS.into_iter().filter(|method| !allowed.contains(method)).map(str::to_owned).collect()
}

/// An `if` and its place.
pub(crate) struct Conditional<'c, 's, 'a> {
    pub(crate) spot: &'c Spot<'s, 'a>,
    pub(crate) directive: &'a Directive,
}

/// A condition in the terms of a route.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Condition {
    Scheme(Scheme),
    Hosts(Vec<String>),
    Methods(Vec<String>),
    Paths(Vec<PathText>),
    /// A file is there.
    File(String),
}

impl<'a> Converter<'a> {
    /// Adds the routes of an `if`.
    pub(crate) fn conditional(&mut self, conditional: &Conditional<'_, '_, 'a>, routes: &mut Vec<Route>) {
        let Conditional { spot, directive } = conditional;
        let directive = *directive;
        if directive.args.join(" ").contains("$request_filename") {
            return; // with the files of the location
        }
        let Some(condition) = self.condition(conditional) else {
            let ends =
                directive.children().iter().any(|inner| matches!(inner.name.as_str(), "return" | "rewrite"));
            let (section, text) = if ends {
                (Section::Check, "the condition is none of a route; let the app decide")
            } else {
                (Section::NoCounterpart, "conditions apply to redirects and fixed answers")
            };
            self.sheet.note(section, [directive], text);
            directive.see_all();
            return;
        };
        directive.see();
        let inner = spot.scope.within(directive);
        let scheme = if let Condition::Scheme(scheme) = condition { Some(scheme) } else { None };
        let meaning = Meaning { scope: &inner, scheme, ..spot.meaning() };
        for step in directive.children() {
            let action = match step.name.as_str() {
                "return" => returned(step, meaning),
                // The paths of the route are not those of the expression.
                "rewrite" => rewritten(step, meaning).and_then(|action| {
                    let has_rest = action.iter().any(|entry| entry.literal.contains("{rest}"));
                    if has_rest { Err("$1 has no counterpart in a redirect here".into()) } else { Ok(action) }
                }),
                "break" | "set" => {
                    step.see();
                    continue;
                }
                _ => Err("conditions apply to redirects and fixed answers".into()),
            };
            let action = match action {
                Ok(action) => action,
                Err(reason) => {
                    self.sheet.note(Section::NoCounterpart, [step], reason);
                    continue;
                }
            };
            if let Condition::File(file) = &condition {
                if step.name == "return" && step.arg(0) == "503" {
                    self.maintenance(file, directive);
                } else {
                    self.sheet.note(
                        Section::NoCounterpart,
                        [directive, step],
                        "a file that is there turns on maintenance, with 503",
                    );
                }
                continue;
            }
            let rules = self.rules(&inner, Kind::Answer);
            let mut route = spot.route(Kind::Answer, action, rules);
            route.location = format!("{}: {}", origin([directive]), directive.written());
            match &condition {
                Condition::Scheme(scheme) => route.scheme = Some(*scheme),
                Condition::Hosts(hosts) => route.hosts.clone_from(hosts),
                Condition::Methods(methods) => route.methods.clone_from(methods),
                Condition::Paths(paths) => route.paths.clone_from(paths),
                Condition::File(_) => {}
            }
            routes.push(route);
        }
    }

    fn condition(&self, conditional: &Conditional<'_, '_, 'a>) -> Option<Condition> {
        let Conditional { spot, directive } = conditional;
        let text = directive.args.join(" ");
        let text = text.strip_prefix('(')?.strip_suffix(')')?.trim().to_owned();
        let words: Vec<&str> = text.split_whitespace().collect();
        let words = match words[..] {
            // An empty text in quotes is lost between the words.
            [variable, operator @ ("=" | "!=")] => vec![variable, operator, ""],
            _ => words,
        };
        if let Some(scheme) = scheme_of(&words) {
            let is_trusted = spot.scope.last("set_real_ip_from").is_some();
            if words[0] == "$http_x_forwarded_proto" && !is_trusted {
                let text =
                    "set forwarded_allow_ips in [hcrs] to the addresses of the proxy that sets the field";
                self.sheet.note(Section::Check, [*directive], text);
            }
            return Some(Condition::Scheme(scheme));
        }
        match words[..] {
            ["$host" | "$http_host", operator, value] => {
                let hosts = hosts(operator, value, &spot.server.names)?;
                (!hosts.is_empty()).then_some(Condition::Hosts(hosts))
            }
            ["$request_method", operator, value] => methods(operator, value).map(Condition::Methods),
            ["$request_uri" | "$uri", "~" | "~*", value] => {
                let found = patterns(value).ok()?;
                Some(Condition::Paths(found.globs.iter().map(super::pattern::Glob::path).collect()))
            }
            ["$request_uri" | "$uri", "=", value] if value.starts_with('/') && !value.contains('?') => {
                Some(Condition::Paths(vec![PathText::Exact(value.to_owned())]))
            }
            ["-f" | "-e", file] => {
                let root = spot.scope.last("root").map_or(String::new(), |root| self.path(root.arg(0)));
                let file = spot.scope.resolved(file).replace("$document_root", &root);
                (!file.contains('$')).then_some(Condition::File(file))
            }
            _ => None,
        }
    }

    /// Sets the file whose presence turns on maintenance.
    pub(crate) fn maintenance(&mut self, file: &str, directive: &'a Directive) {
        let entry = super::sheet::Entry::text("maintenance_file", file, origin([directive]));
        if self.sheet.entries.iter().any(|known| known.key == entry.key && known.literal != entry.literal) {
            self.sheet.note(
                Section::NoCounterpart,
                [directive],
                "there is one maintenance_file; the first is taken",
            );
        } else if !self.sheet.has("maintenance_file") {
            self.sheet.set(entry);
        }
    }
}

/// Returns the hosts of a condition, of those of the server.
fn hosts(operator: &str, value: &str, names: &[String]) -> Option<Vec<String>> {
    let value = value.to_ascii_lowercase();
    Some(match operator {
        "=" => vec![value],
        "!=" => names.iter().filter(|name| **name != value && !name.starts_with('*')).cloned().collect(),
        "~" | "~*" if value.starts_with("^www") => {
            names.iter().filter(|name| name.starts_with("www.")).cloned().collect()
        }
        _ => return None,
    })
}

/// Returns the methods of a condition.
fn methods(operator: &str, value: &str) -> Option<Vec<String>> {
    let list = value.trim_start_matches('^').trim_end_matches('$');
    let list = list.strip_prefix('(').and_then(|list| list.strip_suffix(')')).unwrap_or(list);
    let named: Vec<&str> = list.split('|').collect();
    if !named.iter().all(|method| !method.is_empty() && method.bytes().all(|byte| byte.is_ascii_uppercase()))
    {
        return None;
    }
    let is_expression = operator.contains('~');
    if !is_expression && named.len() > 1 {
        return None;
    }
    Some(match operator {
        "=" | "~" | "~*" => named.into_iter().map(str::to_owned).collect(),
        "!=" | "!~" | "!~*" => other_methods(&named),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn methods_are_those_named_or_the_others() {
        assert_eq!(methods("=", "POST").unwrap(), ["POST"]);
        assert_eq!(methods("~", "^(PUT|DELETE)$").unwrap(), ["PUT", "DELETE"]);
        assert_eq!(
            methods("!~", "^(GET|HEAD|POST)$").unwrap(),
            ["PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT"]
        );
        assert_eq!(methods("~", "P.*"), None);
    }

    #[test]
    fn hosts_are_those_of_the_server() {
        let names = ["a.test".to_owned(), "www.a.test".to_owned()];
        assert_eq!(hosts("=", "B.test", &names).unwrap(), ["b.test"]);
        assert_eq!(hosts("!=", "a.test", &names).unwrap(), ["www.a.test"]);
        assert_eq!(hosts("~*", r"^www\.(.+)$", &names).unwrap(), ["www.a.test"]);
        assert_eq!(hosts("~", "x", &names), None);
    }
}
