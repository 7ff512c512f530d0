//! Where requests are proxied to, and which of these is the app.

use super::scope::Scope;
use super::syntax::Directive;

/// Directives that pass a request on, with the scheme of their addresses.
const PASSES: [(&str, &str); 4] =
    [("proxy_pass", "http"), ("uwsgi_pass", "uwsgi"), ("grpc_pass", "grpc"), ("scgi_pass", "scgi")];

/// Target of a proxied request.
#[derive(Debug, Clone)]
pub(crate) struct Target<'a> {
    pub(crate) directive: &'a Directive,
    /// Name of the `upstream`, or the address.
    pub(crate) key: String,
    /// Block of the `upstream`, if there is one.
    pub(crate) group: Option<&'a Directive>,
    pub(crate) scheme: String,
    /// Path that takes the place of the location's.
    pub(crate) path: Option<String>,
}

impl<'a> Target<'a> {
    /// Returns the target of a block. The error says why there is none that can be converted.
    pub(crate) fn of(scope: &Scope<'a>, upstreams: &[&'a Directive]) -> Option<Result<Self, String>> {
        let find = |(name, scheme)| Some((scope.here(name)?, scheme));
        let (directive, protocol): (&'a Directive, &str) = PASSES.into_iter().find_map(find)?;
        Some(Self::parse(directive, protocol, scope, upstreams))
    }

    fn parse(
        directive: &'a Directive,
        protocol: &str,
        scope: &Scope<'a>,
        upstreams: &[&'a Directive],
    ) -> Result<Self, String> {
        let text = scope.resolved(directive.arg(0));
        let (scheme, rest) = text.split_once("://").unwrap_or((protocol, &text));
        let (address, path) = if let Some(socket) = rest.strip_prefix("unix:") {
            let (socket, path) = socket.split_once(':').unwrap_or((socket, ""));
            (format!("unix:{socket}"), path)
        } else {
            let end =
                rest.find(['/', '?']).or_else(|| rest.find("$request_uri")).or_else(|| rest.find("$uri"));
            let (address, path) = rest.split_at(end.unwrap_or(rest.len()));
            (address.to_owned(), path)
        };
        if address.contains('$') || address.is_empty() {
            return Err("the address is known only when nginx runs".into());
        }
        // With the request's own path as a variable, it is not changed.
        let path = match path.trim_start_matches('/') {
            "$request_uri" | "$uri$is_args$args" | "$uri" => "",
            _ => path,
        };
        if path.contains('$') {
            return Err("the path is made of variables".into());
        }
        Ok(Self {
            directive,
            group: upstreams.iter().copied().find(|group| group.arg(0) == address),
            key: address,
            scheme: scheme.to_owned(),
            path: (!path.is_empty()).then(|| path.to_owned()),
        })
    }

    /// Returns the directives of the servers.
    pub(crate) fn servers(&self) -> Vec<&'a Directive> {
        self.group.map_or_else(Vec::new, |group| group.each("server").collect())
    }

    /// Returns the URLs of the servers.
    pub(crate) fn urls(&self) -> Vec<String> {
        let scheme = if self.scheme == "https" || self.scheme == "grpcs" { "https" } else { "http" };
        let url = |address: &str| match address.strip_prefix("unix:") {
            Some(socket) => format!("unix:/{}", socket.trim_start_matches('/')),
            None => format!("{scheme}://{address}"),
        };
        match self.group {
            Some(group) => group.each("server").map(|server| url(server.arg(0))).collect(),
            None => vec![url(&self.key)],
        }
    }

    /// Returns whether the app could be behind it: of other protocols only uWSGI's is one of Python's servers.
    pub(crate) fn may_be_app(&self) -> bool {
        matches!(self.scheme.as_str(), "http" | "https" | "uwsgi" | "uwsgis" | "scgi")
    }
}

/// The target that is the app, and the reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct AppChoice {
    pub(crate) key: String,
    /// Reason, as a part of a sentence.
    pub(crate) reason: &'static str,
}

/// Target in a location, as far as the choice of the app is concerned.
#[derive(Debug, Clone)]
pub(crate) struct Use {
    pub(crate) key: String,
    /// Whether requests of `/` come to it.
    pub(crate) is_root: bool,
}

/// Chooses the app. `named` is that which the operator has named.
pub(crate) fn choose(uses: &[Use], named: Option<&str>) -> Option<AppChoice> {
    let choice = |key: &str, reason| Some(AppChoice { key: key.to_owned(), reason });
    if let Some(named) = named {
        return choice(named, "named by --app");
    }
    let first = uses.first()?;
    if uses.iter().all(|used| used.key == first.key) {
        return choice(&first.key, "the only one that requests are proxied to");
    }
    match uses.iter().find(|used| used.is_root) {
        Some(root) => choice(&root.key, "the one of location /"),
        None => choice(&first.key, "the first that requests are proxied to"),
    }
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use super::super::syntax::parse;
    use super::*;

    #[test]
    fn addresses_groups_and_paths_are_found() {
        let text = "upstream app { server 127.0.0.1:8000 weight=2; server unix:/run/x.sock; } set $up http://web:80;";
        let outer = parse(&Rc::from("x"), text).unwrap();
        for (pass, key, urls, path) in [
            ("proxy_pass http://app;", "app", &["http://127.0.0.1:8000", "unix:/run/x.sock"][..], None),
            (
                "proxy_pass http://app/v1/;",
                "app",
                &["http://127.0.0.1:8000", "unix:/run/x.sock"],
                Some("/v1/"),
            ),
            ("proxy_pass http://unix:/run/y.sock;", "unix:/run/y.sock", &["unix:/run/y.sock"], None),
            ("proxy_pass http://unix:/run/y.sock:/;", "unix:/run/y.sock", &["unix:/run/y.sock"], Some("/")),
            ("proxy_pass $up;", "web:80", &["http://web:80"], None),
            ("proxy_pass https://h$request_uri;", "h", &["https://h"], None),
            ("uwsgi_pass unix:/run/z;", "unix:/run/z", &["unix:/run/z"], None),
            ("uwsgi_pass 127.0.0.1:3031;", "127.0.0.1:3031", &["http://127.0.0.1:3031"], None),
        ] {
            let inner = parse(&Rc::from("x"), &format!("location / {{ {pass} }}")).unwrap();
            let scope = Scope::new(&outer).within(&inner[0]);
            let target = Target::of(&scope, &[&outer[0]]).unwrap().unwrap();
            assert_eq!((target.key.as_str(), target.path.as_deref()), (key, path), "{pass}");
            assert_eq!(target.urls(), urls, "{pass}");
        }
        let inner = parse(&Rc::from("x"), "location / { proxy_pass http://$backend; }").unwrap();
        assert!(Target::of(&Scope::new(&inner).within(&inner[0]), &[]).unwrap().is_err());
    }

    #[test]
    fn the_app_is_the_only_target_or_that_of_the_root() {
        let used = |key: &str, is_root| Use { key: key.into(), is_root };
        let key = |uses: &[Use], named| choose(uses, named).map(|choice| choice.key);
        assert_eq!(key(&[], None), None);
        assert_eq!(key(&[used("a", false), used("a", true)], None).as_deref(), Some("a"));
        assert_eq!(key(&[used("a", false), used("b", true)], None).as_deref(), Some("b"));
        assert_eq!(key(&[used("a", false), used("b", false)], None).as_deref(), Some("a"));
        assert_eq!(key(&[used("a", false), used("b", true)], Some("a")).as_deref(), Some("a"));
    }
}
