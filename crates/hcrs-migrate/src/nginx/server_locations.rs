//! Locations of a server, with the blocks around them.

use super::order::{Located, Matcher};
use super::scope::Scope;
use super::servers::Server;
use super::sheet::origin;
use super::syntax::Directive;

/// A location with its scope.
#[derive(Debug, Clone)]
pub(crate) struct ServerLocation<'a> {
    pub(crate) directive: &'a Directive,
    pub(crate) scope: Scope<'a>,
    pub(crate) located: Located,
}

/// Returns all locations of a server, those within others behind them.
pub(crate) fn locations<'a>(server: &Server<'a>) -> Vec<ServerLocation<'a>> {
    let mut found: Vec<ServerLocation<'a>> = Vec::new();
    gather(server.directive, &server.scope, None, &mut found);
    found
}

fn gather<'a>(
    block: &'a Directive,
    scope: &Scope<'a>,
    parent: Option<usize>,
    found: &mut Vec<ServerLocation<'a>>,
) {
    for directive in block.each("location") {
        let Some(matcher) = matcher(directive) else { continue };
        let scope = scope.within(directive);
        let is_prefix = matches!(matcher, Matcher::Prefix { .. });
        found.push(ServerLocation { directive, scope: scope.clone(), located: Located { matcher, parent } });
        if is_prefix {
            let index = found.len() - 1;
            gather(directive, &scope, Some(index), found);
        }
    }
}

/// Returns the matcher of a location; `None` for a named one.
pub(crate) fn matcher(location: &Directive) -> Option<Matcher> {
    let text = |index: usize| location.arg(index).to_owned();
    Some(match (location.arg(0), location.args.len()) {
        ("=", 2) => Matcher::Exact(text(1)),
        ("^~", 2) => Matcher::Prefix { text: text(1), is_final: true },
        ("~" | "~*", 2) => Matcher::Expression,
        (path, 1) if path.starts_with('@') => return None,
        (path, 1) => {
            // The modifier may be joined to the path.
            match path.strip_prefix('=') {
                Some(path) => Matcher::Exact(path.into()),
                None if path.starts_with('~') => Matcher::Expression,
                None => Matcher::Prefix {
                    text: path.trim_start_matches("^~").into(),
                    is_final: path.starts_with("^~"),
                },
            }
        }
        _ => return None,
    })
}

/// Returns the expression of a location, and whether case does not matter.
pub(crate) fn expression(location: &Directive) -> (&str, bool) {
    match location.args.len() {
        1 => {
            let text = location.arg(0).trim_start_matches('~');
            (text.strip_prefix('*').unwrap_or(text), text.starts_with('*'))
        }
        _ => (location.arg(1), location.arg(0) == "~*"),
    }
}

/// Returns the origin of a location, with the location itself.
pub(crate) fn title(directive: &Directive) -> String {
    format!("{}: {}", origin([directive]), directive.written())
}
