//! Addresses.

use super::convert::Converter;
use super::servers::{Listen, Server};
use super::sheet::{Entry, Section, array, origin};
use super::syntax::Directive;

impl<'a> Converter<'a> {
    /// Converts the addresses and TLS.
    pub(crate) fn listeners(&mut self, servers: &[Server<'a>]) {
        let all: Vec<&Listen<'a>> = servers.iter().flat_map(|server| &server.listens).collect();
        let default = servers.iter().find(|server| server.listens.is_empty());
        let (tls, plain): (Vec<&Listen<'a>>, Vec<&Listen<'a>>) =
            all.iter().copied().partition(|listen| listen.has_tls);
        let mut plain = addresses(&plain);
        if let Some(server) = default
            && !plain.iter().any(|(bind, _)| bind == "0.0.0.0:80")
        {
            plain.push(("0.0.0.0:80".into(), vec![server.directive]));
        }
        let tls = addresses(&tls);
        let ports: Vec<u16> =
            all.iter().filter(|listen| !listen.has_tls).filter_map(|listen| listen.port()).collect();
        if ports.iter().any(|port| Some(port) != ports.first()) {
            let listens = all.iter().filter(|listen| !listen.has_tls).map(|listen| listen.directive);
            let text = "routes do not look at the port: all ports without TLS have the same ones";
            self.sheet.note(Section::Check, listens, text);
        }
        let is_tls = !tls.is_empty() && self.certificates(servers);
        let entry = |key: &str, list: &[(String, Vec<&'a Directive>)]| {
            let binds = list.iter().map(|(bind, _)| bind.as_str());
            Entry::new(key, array(binds), origin(list.iter().flat_map(|(_, from)| from.iter().copied())))
        };
        if is_tls {
            self.sheet.set(entry("bind", &tls));
            if !plain.is_empty() {
                self.sheet.set(entry("insecure_bind", &plain));
            }
        } else {
            self.sheet.set(entry("bind", &[plain, tls].concat()));
        }
        let proxied: Vec<(String, &'a Directive)> = all
            .iter()
            .filter(|listen| listen.directive.args.iter().any(|arg| arg == "proxy_protocol"))
            .filter_map(|listen| Some((listen.bind()?, listen.directive)))
            .collect();
        if !proxied.is_empty() {
            let is_all = proxied.len() == all.len();
            let binds = array(proxied.iter().map(|(bind, _)| bind.as_str()));
            let literal = if is_all { "true".to_owned() } else { binds };
            self.sheet.set(Entry::new("proxy_protocol", literal, origin(proxied.iter().map(|(_, it)| *it))));
        }
        let backlog = all.iter().find_map(|listen| {
            let value = listen.directive.args.iter().find_map(|arg| arg.strip_prefix("backlog="))?;
            value.parse::<u32>().ok().map(|value| (value, listen.directive))
        });
        // nginx's default is 511.
        match backlog {
            Some((value, directive)) => {
                self.sheet.set(Entry::new("backlog", value.to_string(), origin([directive])));
            }
            None => self.sheet.set(Entry::new("backlog", "511", "nginx's default")),
        }
        let listens = servers.iter().flat_map(|server| server.directive.each("listen"));
        let quic = listens.filter(|directive| directive.args.iter().any(|arg| arg == "quic"));
        let quic: Vec<_> =
            quic.map(|directive| Listen { directive, has_tls: true, is_default: false }).collect();
        if is_tls {
            let quic = addresses(&quic.iter().collect::<Vec<_>>());
            if !quic.is_empty() {
                self.sheet.set(entry("quic_bind", &quic));
            }
        } else {
            let quic = quic.iter().map(|listen| listen.directive).collect();
            self.sheet.note_some(Section::NoCounterpart, quic, "HTTP/3 needs a certificate");
        }
    }
}

/// Returns the addresses, each once, with their directives.
fn addresses<'a>(listens: &[&Listen<'a>]) -> Vec<(String, Vec<&'a Directive>)> {
    let mut found: Vec<(String, Vec<&'a Directive>)> = Vec::new();
    for listen in listens {
        let Some(bind) = listen.bind() else { continue };
        match found.iter_mut().find(|(known, _)| *known == bind) {
            Some((_, directives)) => directives.push(listen.directive),
            None => found.push((bind, vec![listen.directive])),
        }
    }
    found
}
