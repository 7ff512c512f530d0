//! Servers: their addresses, their names, and which of them answers a request.

use super::scope::Scope;
use super::syntax::Directive;

/// An address of a server.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Listen<'a> {
    pub(crate) directive: &'a Directive,
    pub(crate) has_tls: bool,
    pub(crate) is_default: bool,
}

impl Listen<'_> {
    /// Returns the address in the form of `bind`; `None` if it has none.
    pub(crate) fn bind(&self) -> Option<String> {
        let address = self.directive.arg(0);
        if address.starts_with("unix:") || address.is_empty() {
            return (address.len() > 5).then(|| address.to_owned());
        }
        let is_port = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        if is_port(address) {
            return Some(format!("0.0.0.0:{address}"));
        }
        let (host, port) = match address.rsplit_once(':') {
            Some((host, port)) if is_port(port) && (!host.contains(':') || host.ends_with(']')) => {
                (host, port)
            }
            _ => (address, "80"),
        };
        Some(format!("{}:{port}", if host == "*" { "0.0.0.0" } else { host }))
    }

    /// Returns the port; `None` for a unix socket.
    pub(crate) fn port(&self) -> Option<u16> {
        let bind = self.bind().filter(|bind| !bind.starts_with("unix:"))?;
        bind.rsplit_once(':')?.1.parse().ok()
    }
}

/// A server with what decides which requests it answers.
#[derive(Debug)]
pub(crate) struct Server<'a> {
    pub(crate) directive: &'a Directive,
    pub(crate) scope: Scope<'a>,
    pub(crate) listens: Vec<Listen<'a>>,
    /// Names and `*.` patterns, in lower case.
    pub(crate) names: Vec<String>,
    /// Names that have no counterpart: expressions, and patterns with a star at the end.
    pub(crate) other_names: Vec<String>,
}

/// A scheme of requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scheme {
    Http,
    Https,
}

impl Scheme {
    pub(crate) const BOTH: [Self; 2] = [Self::Http, Self::Https];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }
}

impl<'a> Server<'a> {
    pub(crate) fn new(directive: &'a Directive, outer: &Scope<'a>) -> Self {
        let scope = outer.within(directive);
        let has_ssl = scope.is_on("ssl");
        let listen = |directive: &'a Directive| {
            let has = |word: &str| directive.args.iter().skip(1).any(|arg| arg == word);
            Listen {
                directive,
                has_tls: has_ssl || has("ssl") || has("quic"),
                is_default: has("default_server") || has("default"),
            }
        };
        let mut listens: Vec<Listen<'a>> = directive.each("listen").map(listen).collect();
        // The addresses for QUIC become `quic_bind`; a server with no others is served by TCP there as well.
        let is_quic = |listen: &Listen<'_>| listen.directive.args.iter().any(|arg| arg == "quic");
        if listens.iter().any(|listen| !is_quic(listen)) {
            listens.retain(|listen| !is_quic(listen));
        }
        let (mut names, mut other_names) = (Vec::new(), Vec::new());
        for name in directive.each("server_name").flat_map(|directive| &directive.args) {
            let name = name.to_ascii_lowercase();
            if let Some(expression) = name.strip_prefix('~') {
                match expression_names(expression) {
                    Some(mut found) => names.append(&mut found),
                    None => other_names.push(name),
                }
            } else if let Some(base) = name.strip_prefix('.') {
                names.extend([base.to_owned(), format!("*.{base}")]);
            } else if name.ends_with(".*") {
                other_names.push(name);
            } else if !name.is_empty() && !name.starts_with('_') && name != "\"\"" && !name.contains('$') {
                names.push(name);
            }
        }
        let mut kept: Vec<String> = Vec::new();
        for name in names {
            if !kept.contains(&name) {
                kept.push(name);
            }
        }
        Self { directive, scope, listens, names: kept, other_names }
    }

    /// Returns whether the server answers requests of a scheme. Without `listen` it has the address `*:80`.
    pub(crate) fn has(&self, scheme: Scheme) -> bool {
        match scheme {
            Scheme::Http => self.listens.is_empty() || self.listens.iter().any(|listen| !listen.has_tls),
            Scheme::Https => self.listens.iter().any(|listen| listen.has_tls),
        }
    }

    pub(crate) fn schemes(&self) -> Vec<Scheme> {
        Scheme::BOTH.into_iter().filter(|scheme| self.has(*scheme)).collect()
    }

    fn is_default(&self, scheme: Scheme) -> bool {
        self.listens.iter().any(|listen| listen.is_default && listen.has_tls == (scheme == Scheme::Https))
    }

    /// Returns the directive of its names, or the server itself.
    pub(crate) fn name_directive(&self) -> &'a Directive {
        self.directive.each("server_name").next().unwrap_or(self.directive)
    }
}

/// Returns the names that a simple expression stands for.
fn expression_names(expression: &str) -> Option<Vec<String>> {
    let patterns = super::pattern::patterns(&format!("^/{}", expression.strip_prefix('^')?)).ok()?;
    let name = |glob: &super::pattern::Glob| match glob.path() {
        super::pattern::PathText::Exact(path) => path.strip_prefix('/').map(str::to_owned),
        _ => None,
    };
    let names = patterns.globs.iter().map(name).collect::<Option<Vec<_>>>()?;
    (!patterns.are_wider && names.iter().all(|name| !name.contains(['*', '?', '/']))).then_some(names)
}

/// Returns the server that answers requests of a scheme for unknown hosts: the default, or the first.
pub(crate) fn default_of(servers: &[Server<'_>], scheme: Scheme) -> Option<usize> {
    let of_scheme = || servers.iter().enumerate().filter(|(_, server)| server.has(scheme));
    of_scheme()
        .find(|(_, server)| server.is_default(scheme))
        .or_else(|| of_scheme().next())
        .map(|(index, _)| index)
}

/// Hosts and schemes for which a server answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Share {
    pub(crate) server: usize,
    /// Names; empty for all that no other server has.
    pub(crate) hosts: Vec<String>,
    /// Scheme, unless all of them.
    pub(crate) scheme: Option<Scheme>,
}

/// Returns the shares of the servers in an order in which the first match wins: exact names, then patterns, the longest
/// first, then the defaults. `listening` are the schemes of the whole configuration.
pub(crate) fn shares(servers: &[Server<'_>], listening: &[Scheme]) -> Vec<Share> {
    let mut exact = Vec::new();
    let mut wild = Vec::new();
    let mut rest = Vec::new();
    let defaults: Vec<(Scheme, usize)> =
        listening.iter().filter_map(|scheme| Some((*scheme, default_of(servers, *scheme)?))).collect();
    for (index, server) in servers.iter().enumerate() {
        let schemes: Vec<Scheme> =
            server.schemes().into_iter().filter(|scheme| listening.contains(scheme)).collect();
        if schemes.is_empty() {
            continue;
        }
        let is_default = |scheme: &Scheme| defaults.contains(&(*scheme, index));
        let of = |schemes: &[Scheme]| match schemes {
            [one] if listening.len() > 1 => Some(*one),
            _ => None,
        };
        let is_hidden = |name: &String| {
            servers
                .iter()
                .enumerate()
                .any(|(other, it)| other != index && it.names.iter().any(|pattern| is_below(pattern, name)))
        };
        let needs_names = !schemes.iter().all(is_default) || server.names.iter().any(is_hidden);
        if needs_names {
            let (patterns, names): (Vec<_>, Vec<_>) =
                server.names.iter().cloned().partition(|name| name.starts_with("*."));
            for (hosts, list) in [(names, &mut exact), (patterns, &mut wild)] {
                if !hosts.is_empty() {
                    list.push(Share { server: index, hosts, scheme: of(&schemes) });
                }
            }
        }
        let default_schemes: Vec<Scheme> = schemes.iter().copied().filter(is_default).collect();
        if !default_schemes.is_empty() {
            rest.push(Share { server: index, hosts: Vec::new(), scheme: of(&default_schemes) });
        }
    }
    wild.sort_by_key(|share: &Share| std::cmp::Reverse(share.hosts.iter().map(String::len).max()));
    [exact, wild, rest].concat()
}

/// Returns whether a pattern such as `*.example.com` matches a name.
fn is_below(pattern: &str, name: &str) -> bool {
    pattern.strip_prefix('*').is_some_and(|end| name.len() > end.len() && name.ends_with(end))
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use super::super::syntax::parse;
    use super::*;

    fn described(text: &str) -> Vec<String> {
        let directives = parse(&Rc::from("x"), text).unwrap();
        let outer = Scope::new(&directives);
        let servers: Vec<_> = directives.iter().map(|directive| Server::new(directive, &outer)).collect();
        let listening: Vec<_> = Scheme::BOTH
            .into_iter()
            .filter(|scheme| servers.iter().any(|server| server.has(*scheme)))
            .collect();
        let shares = shares(&servers, &listening);
        let show = |share: &Share| {
            let scheme = share.scheme.map_or("any", Scheme::name);
            format!("{} {} {scheme}", share.server, share.hosts.join(","))
        };
        shares.iter().map(show).collect()
    }

    #[test]
    fn addresses_have_the_form_of_bind() {
        for (listen, bind, port) in [
            ("80", "0.0.0.0:80", Some(80)),
            ("*:8080 default_server", "0.0.0.0:8080", Some(8080)),
            ("[::]:443 ssl", "[::]:443", Some(443)),
            ("[::1]", "[::1]:80", Some(80)),
            ("localhost", "localhost:80", Some(80)),
            ("10.0.0.1:81", "10.0.0.1:81", Some(81)),
            ("unix:/run/x.sock", "unix:/run/x.sock", None),
        ] {
            let directives = parse(&Rc::from("x"), &format!("listen {listen};")).unwrap();
            let listen = Listen { directive: &directives[0], has_tls: false, is_default: false };
            assert_eq!((listen.bind().as_deref(), listen.port()), (Some(bind), port));
        }
    }

    #[test]
    fn exact_names_stand_before_patterns_and_the_default_is_last() {
        assert_eq!(
            described(
                "server { listen 80; server_name a.test; } server { listen 80; server_name *.b.test; } \
                 server { listen 80; server_name x.b.test; } server { listen 80; server_name *.x.b.test; }"
            ),
            ["2 x.b.test any", "3 *.x.b.test any", "1 *.b.test any", "0  any"]
        );
        assert_eq!(described("server { listen 80; listen 443 ssl; server_name a.test; }"), ["0  any"]);
        assert_eq!(
            described(
                "server { listen 80 default_server; return 444; } server { listen 80; server_name a; } \
                 server { listen 443 ssl; server_name a; }"
            ),
            ["1 a http", "0  http", "2  https"]
        );
        assert_eq!(
            described(
                "server { listen 80; server_name .a.test; } server { listen 80; server_name b.a.test; }"
            ),
            ["1 b.a.test any", "0  any"]
        );
    }

    #[test]
    fn simple_expressions_are_names() {
        assert_eq!(expression_names(r"^(www\.)?a\.test$").unwrap(), ["www.a.test", "a.test"]);
        assert_eq!(expression_names(r"^.+\.a\.test$"), None);
    }
}
