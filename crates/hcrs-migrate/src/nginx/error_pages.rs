//! `error_page`: files and texts for the server's own answers.

use super::convert::Converter;
use super::scope::Scope;
use super::sheet::{Entry, Section, inline_table, origin};
use super::syntax::Directive;

impl<'a> Converter<'a> {
    /// Returns the rule of the error pages of a location.
    pub(crate) fn error_pages(&self, scope: &Scope<'a>) -> Option<Entry> {
        let mut pages: Vec<(String, String)> = Vec::new();
        let mut origins: Vec<&'a Directive> = Vec::new();
        for directive in scope.all(&["error_page"]) {
            let Some((target, codes)) = directive.args.split_last() else { continue };
            let (codes, changed): (Vec<&String>, Vec<&String>) =
                codes.iter().partition(|code| !code.starts_with('='));
            let page = match self.page(scope, target) {
                Ok((page, inner)) => {
                    origins.push(directive);
                    origins.extend(inner);
                    page
                }
                Err(reason) => {
                    self.sheet.note(Section::NoCounterpart, [directive], reason);
                    continue;
                }
            };
            if !changed.is_empty() {
                self.sheet.note(
                    Section::NoCounterpart,
                    [directive],
                    "an error page keeps the status of the error",
                );
            }
            for code in codes {
                let is_error = code.len() == 3 && code.starts_with(['4', '5']);
                if !is_error || pages.iter().any(|(known, _)| known == code) {
                    continue;
                }
                pages.push((code.clone(), page.clone()));
            }
        }
        if pages.is_empty() {
            return None;
        }
        // One page for all faults of a server is one for their class.
        let of_server =
            |code: &str| pages.iter().find(|(known, _)| known == code).map(|(_, page)| page.clone());
        let faults = ["500", "502", "503", "504"].map(of_server);
        if let [Some(page), rest @ ..] = &faults
            && rest.iter().all(|other| other.as_ref() == Some(page))
        {
            let page = page.clone();
            pages.retain(|(code, _)| !code.starts_with('5'));
            pages.push(("5xx".into(), page));
        }
        let table = inline_table(pages.iter().map(|(code, page)| (code.as_str(), page.as_str())));
        Some(Entry::new("error_pages", table, origin(origins)))
    }

    /// Returns the page behind a target: a file, or a text.
    fn page(&self, scope: &Scope<'a>, target: &str) -> Result<(String, Vec<&'a Directive>), &'static str> {
        if target.contains("://") || target.contains('$') {
            return Err("an error page is a file or a text, and no redirect");
        }
        let location = scope.location(target);
        if target.starts_with('@') {
            let location = location.ok_or("there is no such location")?;
            let inner = scope.within(location);
            if let Some(answer) =
                inner.here("return").filter(|answer| answer.args.len() == 2 && !answer.arg(1).contains('$'))
            {
                if answer.arg(0).starts_with('3') {
                    return Err("an error page is a file or a text, and no redirect");
                }
                return Ok((format!("text:{}", answer.arg(1)), vec![location, answer]));
            }
            let file = inner.here("rewrite").map(|rewrite| (rewrite, rewrite.arg(1)));
            let file = file.or_else(|| inner.here("try_files").map(|tries| (tries, tries.arg(0))));
            let (by, file) =
                file.ok_or("an error page is a file or a text; other locations are not asked")?;
            let root = inner.last("root").ok_or("its folder is not named")?;
            if file.contains('$') {
                return Err("an error page is a file or a text; other locations are not asked");
            }
            let seen = inner.own().iter().filter(|it| it.name == "internal");
            let path = format!("{}{file}", self.path(root.arg(0)).trim_end_matches('/'));
            return Ok((path, [location, by, root].into_iter().chain(seen).collect()));
        }
        let inner = location.map_or_else(|| scope.clone(), |location| scope.within(location));
        if let Some(alias) = inner.here("alias").filter(|_| location.is_some()) {
            return Ok((self.path(alias.arg(0)), location.into_iter().chain([alias]).collect()));
        }
        if location.is_some() && inner.here("proxy_pass").is_some() {
            return Err("an error page is a file or a text; other locations are not asked");
        }
        let root =
            inner.last("root").filter(|root| !root.arg(0).contains('$')).ok_or("its folder is not named")?;
        Ok((format!("{}{target}", self.path(root.arg(0)).trim_end_matches('/')), vec![root]))
    }
}

/// Returns whether a location is only there for an error page.
pub(crate) fn is_error_page(scope: &Scope<'_>, path: &str) -> bool {
    let pages = scope.all(&["error_page"]);
    scope.here("internal").is_some()
        && pages.iter().any(|page| page.args.last().is_some_and(|target| target == path))
}
