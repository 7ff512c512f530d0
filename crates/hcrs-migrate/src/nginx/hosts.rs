//! Servers as a whole: redirects to https, unknown hosts, and names without a counterpart.

use super::convert::Converter;
use super::redirects::{refuses_all, to_https};
use super::servers::{Scheme, Server, Share};
use super::sheet::{Entry, Section, origin_with};
use super::syntax::Directive;

impl<'a> Converter<'a> {
    /// Sets `redirect_http` if every server without TLS redirects to https.
    pub(crate) fn redirect_http(&mut self, servers: &[Server<'a>]) -> bool {
        let tls = servers.iter().flat_map(|server| &server.listens).find(|listen| listen.has_tls);
        let Some(tls) = tls else { return false };
        let mut redirects: Vec<&Directive> = Vec::new();
        for server in servers.iter().filter(|server| server.has(Scheme::Http)) {
            if refuses_all(server).is_some() {
                continue;
            }
            // On both schemes only a condition on the scheme is a redirect of one of them.
            let is_mixed = server.has(Scheme::Https);
            match to_https(server, tls.port()) {
                Some(found) if !is_mixed || found.iter().any(|directive| directive.name == "if") => {
                    redirects.extend(found);
                }
                _ => return false,
            }
        }
        if redirects.is_empty() {
            return false;
        }
        if redirects.iter().any(|directive| directive.name == "if") {
            let text = "redirect_http redirects requests for all hosts, unless server_names limits them";
            self.sheet.note(Section::Check, [], text);
        }
        self.sheet.set(Entry::new("redirect_http", "true", origin_with(redirects, "with status 308")));
        true
    }

    /// Sets `server_names` if the servers for unknown hosts refuse every request. Returns these servers.
    pub(crate) fn refuse_unknown_hosts(
        &mut self,
        servers: &[Server<'a>],
        shares: &[Share],
        redirected: bool,
    ) -> Vec<usize> {
        let defaults: Vec<usize> =
            shares.iter().filter(|share| share.hosts.is_empty()).map(|share| share.server).collect();
        let refusals: Vec<&Directive> =
            defaults.iter().filter_map(|index| refuses_all(&servers[*index])).collect();
        let is_redirect = |index: &usize| redirected && !servers[*index].has(Scheme::Https);
        let others: Vec<&Server<'a>> = servers
            .iter()
            .enumerate()
            .filter(|(index, server)| !defaults.contains(index) || refuses_all(server).is_none())
            .map(|(_, server)| server)
            .collect();
        let is_all = !defaults.is_empty()
            && defaults.iter().all(|index| refuses_all(&servers[*index]).is_some() || is_redirect(index))
            && !refusals.is_empty();
        let names: Vec<&String> = others.iter().flat_map(|server| &server.names).collect();
        let are_plain = names.iter().all(|name| !name.starts_with("*."))
            && others.iter().all(|server| server.other_names.is_empty() && !server.names.is_empty());
        if !is_all || !are_plain {
            return Vec::new();
        }
        let mut unique: Vec<&str> = Vec::new();
        for name in names {
            if !unique.contains(&name.as_str()) {
                unique.push(name);
            }
        }
        let by_name = others.iter().map(|server| server.name_directive());
        let refusing: Vec<usize> =
            defaults.iter().copied().filter(|index| refuses_all(&servers[*index]).is_some()).collect();
        for index in &refusing {
            servers[*index].directive.see();
            servers[*index].name_directive().see();
            servers[*index].directive.each("location").for_each(Directive::see);
        }
        let origin = origin_with(refusals.into_iter().chain(by_name), "other hosts get 404");
        self.sheet.set(Entry::texts("server_names", unique, origin));
        refusing
    }

    /// Reports names that have no counterpart.
    pub(crate) fn unserved_names(&self, servers: &[Server<'a>]) {
        for server in servers.iter().filter(|server| !server.other_names.is_empty()) {
            let names = server.other_names.join(", ");
            let what = if server.names.is_empty() { "write routes with" } else { "add to its routes" };
            let text = format!("hosts are names or *.NAME; {what} a host in place of {names}");
            self.sheet.note(Section::Check, [server.name_directive()], text);
        }
    }
}
