//! `return` and `rewrite`: redirects and fixed answers.

use super::pattern::patterns;
use super::scope::Scope;
use super::servers::{Scheme, Server};
use super::sheet::{Entry, origin, origin_with};
use super::syntax::Directive;

/// Error of a redirect that is another one for each scheme.
pub(crate) const BY_SCHEME: &str = "$scheme has no counterpart in a redirect";

/// Status of `return 444`, which closes the connection without an answer.
const CLOSED: u16 = 444;

/// Meaning of the variables of a redirect.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Meaning<'c, 'a> {
    pub(crate) server: &'c Server<'a>,
    pub(crate) scope: &'c Scope<'a>,
    /// Regular expression of the location, which has the captures.
    pub(crate) expression: Option<&'c str>,
    /// Scheme of the requests, if it is one.
    pub(crate) scheme: Option<Scheme>,
}

/// Returns the keys of the route for a `return`. The error says why there is none.
pub(crate) fn returned(directive: &Directive, meaning: Meaning<'_, '_>) -> Result<Vec<Entry>, String> {
    let scope = meaning.scope;
    let first = directive.arg(0);
    let (status, value) = match first.parse::<u16>() {
        Ok(status) => (status, directive.args.get(1)),
        Err(_) => (302, directive.args.first()),
    };
    let resolved = value.map(|value| scope.resolved(value));
    match (status, resolved) {
        (301 | 302 | 303 | 307 | 308, Some(target)) => {
            let location = location(&target, meaning)?;
            Ok(redirect(&location, status, origin([directive])))
        }
        (CLOSED, _) => Ok(vec![Entry::new(
            "status",
            "404",
            origin_with([directive], "nginx closes the connection without an answer"),
        )]),
        (200..=599, text) => Ok(fixed(directive, status, text.as_deref(), scope)?),
        _ => Err(format!("status {status} is none that can be sent")),
    }
}

fn fixed(
    directive: &Directive,
    status: u16,
    text: Option<&str>,
    scope: &Scope<'_>,
) -> Result<Vec<Entry>, String> {
    let mut entries = vec![Entry::new("status", status.to_string(), origin([directive]))];
    let Some(text) = text.filter(|text| !text.is_empty()) else { return Ok(entries) };
    if let Some(variable) = variables(text).next() {
        return Err(format!("the text of a fixed answer has no variables such as {variable}"));
    }
    entries.push(Entry::text("text", text, origin([directive])));
    let by_header = scope.all(&["add_header"]).into_iter();
    let by_header = by_header
        .filter(|header| header.arg(0).eq_ignore_ascii_case("content-type"))
        .map(|header| (header, 1))
        .next();
    let content_type = scope
        .last("default_type")
        .map(|directive| (directive, 0))
        .filter(|(directive, _)| !directive.arg(0).eq_ignore_ascii_case("application/octet-stream"));
    if let Some((directive, index)) = by_header.or(content_type) {
        entries.push(Entry::text("content_type", directive.arg(index), origin([directive])));
    }
    Ok(entries)
}

fn redirect(location: &str, status: u16, origin: String) -> Vec<Entry> {
    vec![
        Entry::text("redirect", location, origin.clone()),
        Entry::new("redirect_status", status.to_string(), origin),
    ]
}

/// Returns the keys of the route for a `rewrite` that redirects.
pub(crate) fn rewritten(directive: &Directive, meaning: Meaning<'_, '_>) -> Result<Vec<Entry>, String> {
    let target = meaning.scope.resolved(directive.arg(1));
    let status = match directive.arg(2) {
        "permanent" => 301,
        "redirect" => 302,
        _ if target.starts_with("http://") || target.starts_with("https://") => 302,
        _ => return Err("paths are not rewritten within the server; let the app have the path".into()),
    };
    // The query is added, unless the target ends in a question mark.
    let target = match target.strip_suffix('?') {
        Some(target) => target.to_owned(),
        None if target.contains(['?']) || target.contains("$request_uri") => target,
        None => target + "$is_args$args",
    };
    let location = location(&target, Meaning { expression: Some(directive.arg(0)), ..meaning })?;
    Ok(redirect(&location, status, origin([directive])))
}

/// Returns the variables of a text, with their dollar signs.
fn variables(text: &str) -> impl Iterator<Item = &str> {
    text.match_indices('$').filter_map(|(at, _)| {
        let rest = &text[at + 1..];
        let name = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let end = rest.find(|c| !name(c)).unwrap_or(rest.len());
        (end > 0).then(|| &text[at..at + 1 + end])
    })
}

/// Returns a target as the location of a route.
fn location(target: &str, meaning: Meaning<'_, '_>) -> Result<String, String> {
    let Meaning { server, expression, .. } = meaning;
    let target = target.replace("${", "$").replace('}', "");
    let target = ["$is_args$args", "?$args", "?$query_string", "$is_args$query_string"]
        .iter()
        .fold(target, |text, query| text.replace(query, "\u{1}"));
    let mut result = String::new();
    let mut rest = target.as_str();
    while let Some(at) = rest.find('$') {
        result.push_str(&rest[..at]);
        rest = &rest[at..];
        let Some(variable) = variables(rest).next() else {
            return Err("a dollar sign without a variable".into());
        };
        rest = &rest[variable.len()..];
        match variable {
            "$host" | "$http_host" => result.push_str("{host}"),
            "$server_name" => result.push_str(server.names.first().ok_or("$server_name is empty")?),
            "$request_uri" => result.push_str("{path}{query}"),
            "$uri" | "$document_uri" => result.push_str("{path}"),
            // The same scheme and host are those of a location without them.
            "$scheme"
                if result.is_empty()
                    && rest.strip_prefix("://$host").is_some_and(|rest| !rest.starts_with('$')) =>
            {
                rest = rest.trim_start_matches("://$host");
            }
            "$scheme" => match (meaning.scheme, &server.schemes()[..]) {
                (Some(scheme), _) => result.push_str(scheme.name()),
                (None, [scheme]) => result.push_str(scheme.name()),
                _ => return Err(BY_SCHEME.into()),
            },
            _ if is_whole_path(variable, expression) => {
                if result.ends_with('/') && !result.ends_with("//") {
                    result.pop();
                }
                result.push_str("{path}");
            }
            _ => match Rest::of(variable, expression) {
                Some(Rest::FromSlash) if result.ends_with('/') => {
                    result.pop();
                    result.push_str("{rest}");
                }
                Some(Rest::WithSlash | Rest::Open) => result.push_str("{rest}"),
                Some(Rest::FromSlash) | None => {
                    return Err(format!("{variable} has no counterpart in a redirect"));
                }
            },
        }
    }
    result.push_str(rest);
    let result = result.replace('\u{1}', "{query}");
    if result.is_empty() || !result.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err("the location is no URL".into());
    }
    Ok(result)
}

/// Returns whether a capture of an expression is the whole path, with or without its first slash.
fn is_whole_path(variable: &str, expression: Option<&str>) -> bool {
    let Some(expression) = expression else { return false };
    let inner = expression.trim_start_matches('^').trim_end_matches('$');
    variable == "$1" && matches!(inner, "(.*)" | "/(.*)" | "(/.*)" | "/?(.*)" | "(.+)" | "/(.+)")
}

/// Capture of the end of a path, behind a fixed beginning. It is the part that the route's path leaves open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rest {
    /// It follows a slash, which the part begins with.
    FromSlash,
    /// It begins with the slash, as the part does.
    WithSlash,
    /// It follows something else.
    Open,
}

impl Rest {
    fn of(variable: &str, expression: Option<&str>) -> Option<Self> {
        let inner = expression?.strip_prefix('^')?.trim_end_matches('$');
        let (fixed, capture) = inner.split_at(inner.find('(')?);
        // An unescaped dot is any character.
        let fixed = fixed.replace("\\.", "").replace("\\-", "-").replace("\\/", "/");
        if variable != "$1" || !fixed.chars().all(|c| c.is_ascii_alphanumeric() || "/_-~".contains(c)) {
            return None;
        }
        match capture {
            "(/.*)" => Some(Self::WithSlash),
            "(.*)" | "(.+)" if fixed.ends_with('/') => Some(Self::FromSlash),
            "(.*)" | "(.+)" => Some(Self::Open),
            _ => None,
        }
    }
}

/// Returns whether a server redirects everything to https at the same host, by the directive that is returned.
pub(crate) fn to_https<'a>(server: &Server<'a>, tls_port: Option<u16>) -> Option<Vec<&'a Directive>> {
    let goes_to_https = |target: &str, expression: Option<&str>, scope: &Scope<'a>| {
        let target = scope.resolved(target);
        let Ok(location) = location(&target, Meaning { server, scope, expression, scheme: None }) else {
            return false;
        };
        let Some(rest) = location.strip_prefix("https://") else { return false };
        let (host, path) = rest.split_at(rest.find("{path}").unwrap_or(rest.len()));
        let (name, port) = host.split_once(':').map_or((host, None), |(name, port)| (name, Some(port)));
        let is_port = port.is_none_or(|port| port.parse().ok() == tls_port)
            && (port.is_some() || tls_port == Some(443));
        let is_host = name == "{host}" || server.names == [name.to_ascii_lowercase()];
        is_port && is_host && (path == "{path}{query}" || expression.is_some() && path == "{path}")
    };
    let redirects = |directive: &'a Directive, scope: &Scope<'a>| match directive.name.as_str() {
        "return" => {
            let is_redirect = matches!(directive.arg(0), "301" | "302" | "307" | "308");
            (is_redirect && goes_to_https(directive.arg(1), None, scope)).then_some(directive)
        }
        "rewrite" => {
            let target = directive.arg(1).trim_end_matches('?');
            let is_redirect =
                matches!(directive.arg(2), "permanent" | "redirect") || directive.args.len() == 2;
            let is_all = patterns(directive.arg(0))
                .is_ok_and(|patterns| patterns.globs.iter().any(|glob| glob.path().text().is_none()));
            (is_redirect && is_all && goes_to_https(target, Some(directive.arg(0)), scope))
                .then_some(directive)
        }
        _ => None,
    };
    let children = server.directive.children();
    if let Some(directive) = children.iter().find_map(|child| redirects(child, &server.scope)) {
        return Some(vec![directive]);
    }
    // As certbot writes it: a redirect for each name, and 404 for the others.
    let by_condition: Vec<&Directive> = server
        .directive
        .each("if")
        .filter(|block| {
            block.children().len() == 1 && redirects(&block.children()[0], &server.scope).is_some()
        })
        .collect();
    let is_rest_refused = server.directive.each("return").all(|it| matches!(it.arg(0), "404" | "444"));
    let is_for_http = |block: &&&Directive| {
        block.args.join(" ").contains("$scheme") || block.args.join(" ").contains("$server_port")
    };
    if !by_condition.is_empty()
        && is_rest_refused
        && (by_condition.iter().any(|block| is_for_http(&block))
            || server.directive.each("return").next().is_some())
    {
        let inner = by_condition.iter().flat_map(|block| block.children());
        let rest = server.directive.each("return");
        return Some(by_condition.iter().copied().chain(inner).chain(rest).collect());
    }
    // In the location of everything, beside those of challenges.
    let is_challenge =
        |location: &&Directive| location.args.last().is_some_and(|path| path.contains("/.well-known"));
    let locations: Vec<&Directive> = server.directive.each("location").collect();
    let (_, others): (Vec<&Directive>, Vec<&Directive>) = locations.into_iter().partition(is_challenge);
    match others[..] {
        [location] if location.args == ["/"] => {
            let scope = server.scope.within(location);
            let found = location.children().iter().find_map(|child| redirects(child, &scope))?;
            Some(vec![location, found])
        }
        _ => None,
    }
}

/// Returns whether a server refuses every request.
pub(crate) fn refuses_all<'a>(server: &Server<'a>) -> Option<&'a Directive> {
    let locations: Vec<&Directive> = server.directive.each("location").collect();
    let is_conditional = |block: &Directive| {
        block.children().iter().any(|inner| matches!(inner.name.as_str(), "if" | "rewrite"))
    };
    if is_conditional(server.directive) {
        return None;
    }
    let refusal = |block: &'a Directive| {
        block.each("return").find(|it| matches!(it.arg(0), "444" | "404" | "403" | "400" | "421"))
    };
    match locations[..] {
        [] => refusal(server.directive),
        [location] if location.args == ["/"] => refusal(location),
        _ => None,
    }
    .or_else(|| server.directive.each("ssl_reject_handshake").find(|it| it.arg(0) == "on"))
}

/// Conditions that hold without TLS.
const HTTP: &[(&str, &str, &str)] = &[
    ("$scheme", "=", "http"),
    ("$scheme", "!=", "https"),
    ("$server_port", "=", "80"),
    ("$server_port", "!=", "443"),
    ("$https", "=", ""),
    ("$https", "!=", "on"),
    ("$http_x_forwarded_proto", "=", "http"),
    ("$http_x_forwarded_proto", "!=", "https"),
];
/// Conditions that hold with TLS.
const HTTPS: &[(&str, &str, &str)] = &[("$scheme", "=", "https"), ("$https", "=", "on")];

/// Returns the scheme to which a condition restricts, as `($scheme = http)`.
pub(crate) fn scheme_of(condition: &[&str]) -> Option<Scheme> {
    let [variable, operator, value] = condition else { return None };
    let is = |values: &[(&str, &str, &str)]| values.contains(&(*variable, *operator, *value));
    if is(HTTP) { Some(Scheme::Http) } else { is(HTTPS).then_some(Scheme::Https) }
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use super::super::syntax::parse;
    use super::*;

    fn with_server<T>(text: &str, run: impl FnOnce(&Server<'_>) -> T) -> T {
        let directives = parse(&Rc::from("x"), text).unwrap();
        let outer = Scope::new(&directives);
        run(&Server::new(&directives[0], &outer))
    }

    fn redirected(inner: &str) -> Result<String, String> {
        let text = format!("server {{ listen 443 ssl; server_name a.test b.test; {inner} }}");
        with_server(&text, |server| {
            let directive = server.directive.children().last().unwrap();
            let meaning = Meaning { server, scope: &server.scope, expression: None, scheme: None };
            let entries = if directive.name == "return" {
                returned(directive, meaning)?
            } else {
                rewritten(directive, meaning)?
            };
            let entries: Vec<_> = entries.iter().map(|entry| entry.literal.clone()).collect();
            Ok(entries.join(" "))
        })
    }

    #[test]
    fn targets_become_locations() {
        for (inner, expected) in [
            ("return 301 https://$host$request_uri;", r#""https://{host}{path}{query}" 301"#),
            ("return 301 https://$server_name$request_uri;", r#""https://a.test{path}{query}" 301"#),
            ("return 302 $scheme://www.a.test$request_uri;", r#""https://www.a.test{path}{query}" 302"#),
            ("return https://x.test$uri$is_args$args;", r#""https://x.test{path}{query}" 302"#),
            ("return 308 /new;", r#""/new" 308"#),
            ("rewrite ^ https://$host$request_uri? permanent;", r#""https://{host}{path}{query}" 301"#),
            ("rewrite ^/(.*)$ https://x.test/$1 permanent;", r#""https://x.test{path}{query}" 301"#),
            ("rewrite ^(.*)$ https://x.test$1 redirect;", r#""https://x.test{path}{query}" 302"#),
            ("rewrite ^/old$ /new? permanent;", r#""/new" 301"#),
            ("rewrite ^/a/(.*)$ /b/$1 permanent;", r#""/b{rest}{query}" 301"#),
            ("rewrite ^/a\\.b(/.*)$ https://x.test$1? permanent;", r#""https://x.test{rest}" 301"#),
            ("rewrite ^/a(.*)$ /b$1? redirect;", r#""/b{rest}" 302"#),
            ("return 404;", "404"),
            ("return 444;", "404"),
            ("return 200 \"ok\\n\";", r#"200 "ok\n""#),
        ] {
            assert_eq!(redirected(inner).as_deref(), Ok(expected), "{inner}");
        }
        for (inner, reason) in [
            ("return 301 https://$geo_host/;", "$geo_host has no counterpart"),
            ("rewrite ^/a/(.*)$ /b-$1 permanent;", "$1 has no counterpart"),
            ("rewrite ^/a.b/(.*)$ /b/$1 permanent;", "$1 has no counterpart"),
            ("rewrite ^/(a|b)/(.*)$ /c/$2 permanent;", "$2 has no counterpart"),
            ("rewrite ^/a$ /b last;", "not rewritten within the server"),
            ("return 200 $remote_addr;", "has no variables such as $remote_addr"),
        ] {
            let error = redirected(inner).unwrap_err();
            assert!(error.contains(reason), "{inner}: {error}");
        }
    }

    #[test]
    fn servers_that_redirect_to_https_are_recognized() {
        for (inner, expected) in [
            ("return 301 https://$host$request_uri;", true),
            ("return 301 https://a.test$request_uri;", true),
            ("location / { return 301 https://$server_name$request_uri; }", true),
            (
                "location /.well-known/acme-challenge/ { root /x; } location / { return 301 https://$host$request_uri; }",
                true,
            ),
            ("if ($host = a.test) { return 301 https://$host$request_uri; } return 404;", true),
            ("rewrite ^ https://$host$request_uri? permanent;", true),
            ("rewrite ^(.*)$ https://$host$1 permanent;", true),
            ("return 301 https://other.test$request_uri;", false),
            ("return 301 https://$host:8443$request_uri;", false),
            ("return 301 https://$host/;", false),
            ("location /x { root /x; } location / { return 301 https://$host$request_uri; }", false),
            ("location / { root /x; }", false),
        ] {
            let text = format!("server {{ listen 80; server_name a.test; {inner} }}");
            let found = with_server(&text, |server| to_https(server, Some(443)).is_some());
            assert_eq!(found, expected, "{inner}");
        }
    }
}
