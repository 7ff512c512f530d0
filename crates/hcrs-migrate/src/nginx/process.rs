//! Settings of the server as a whole: addresses, TLS, deadlines, logs, proxies.

use super::convert::Converter;
use super::scope::Scope;
use super::servers::Server;
use super::sheet::{Entry, Section, array, origin, origin_with};
use super::syntax::Directive;
use super::values::{bytes, seconds, shown_seconds};

/// nginx's own `keepalive_timeout`, in seconds.
const KEEP_ALIVE: &str = "75";

/// Deadlines of nginx with the keys of hcrs.
const DEADLINES: [(&str, &str); 3] = [
    ("client_header_timeout", "head_timeout"),
    ("client_body_timeout", "read_timeout"),
    ("send_timeout", "write_timeout"),
];

/// Bounds of the sizes of heads.
const HEAD_BYTES: std::ops::RangeInclusive<u64> = 256..=983_040;

impl<'a> Converter<'a> {
    /// Returns the directive that all servers have, or the first one of them.
    pub(crate) fn common(&self, servers: &[Server<'a>], name: &str) -> Option<&'a Directive> {
        let found: Vec<&'a Directive> = servers.iter().filter_map(|server| server.scope.last(name)).collect();
        let first = *found.first()?;
        let others: Vec<&'a Directive> = found.into_iter().filter(|other| other.args != first.args).collect();
        let text = format!("{name} is one setting of the whole server; the first value is taken");
        self.sheet.note_some(Section::NoCounterpart, others, &text);
        // The same value is often written in each server.
        for server in servers {
            server.scope.last(name).filter(|it| it.args == first.args).into_iter().for_each(Directive::see);
        }
        Some(first)
    }

    /// Converts the settings of the process and of all servers.
    pub(crate) fn process(&mut self, main: &Scope<'a>, servers: &[Server<'a>]) {
        if let Some(user) = main.here("user") {
            let remark = "the workers of the app have it as well";
            self.sheet.set(Entry::text("process_user", user.arg(0), origin_with([user], remark)));
            if user.args.len() > 1 {
                self.sheet.set(Entry::text("process_group", user.arg(1), origin([user])));
            }
        }
        if let Some(pid) = main.here("pid") {
            self.sheet.set(Entry::text("pid_path", &self.path(pid.arg(0)), origin([pid])));
        }
        match self.common(servers, "keepalive_timeout") {
            None => self.sheet.set(Entry::new("keep_alive_timeout", KEEP_ALIVE, "nginx's default")),
            Some(directive) => match seconds(directive.arg(0)) {
                Some(seconds) if seconds > 0.0 => {
                    self.sheet.set(Entry::new(
                        "keep_alive_timeout",
                        shown_seconds(seconds),
                        origin([directive]),
                    ));
                }
                _ => self.sheet.set(Entry::new("keep_alive_max_requests", "1", origin([directive]))),
            },
        }
        for (name, key) in DEADLINES {
            if let Some(directive) = self.common(servers, name)
                && let Some(seconds) = seconds(directive.arg(0))
            {
                self.sheet.set(Entry::new(key, shown_seconds(seconds), origin([directive])));
            }
        }
        if let Some(directive) = self.common(servers, "keepalive_requests")
            && let Ok(number) = directive.arg(0).parse::<u64>()
        {
            self.sheet.set(Entry::new("keep_alive_max_requests", number.to_string(), origin([directive])));
        }
        if let Some(directive) = self.common(servers, "large_client_header_buffers")
            && let (Ok(number), Some(size)) = (directive.arg(0).parse::<u64>(), bytes(directive.arg(1)))
        {
            let most = number.saturating_mul(size).clamp(*HEAD_BYTES.start(), *HEAD_BYTES.end());
            self.sheet.set(Entry::new("h11_max_incomplete_size", most.to_string(), origin([directive])));
        }
        self.logs(main, servers);
        self.proxies(servers);
    }

    /// Converts what nginx knows of the clients of a proxy before it, and removes fields that only such a proxy may set.
    fn proxies(&mut self, servers: &[Server<'a>]) {
        let mut trusted: Vec<&'a Directive> = Vec::new();
        for directive in servers.iter().flat_map(|server| server.scope.all(&["set_real_ip_from"])) {
            if !trusted.iter().any(|known| std::ptr::eq(*known, directive)) {
                trusted.push(directive);
            }
        }
        if trusted.is_empty() {
            return;
        }
        let mut addresses: Vec<&str> = Vec::new();
        for directive in &trusted {
            let address = directive.arg(0).trim_end_matches(':');
            if !addresses.contains(&address) {
                addresses.push(address);
            }
        }
        self.sheet.set(Entry::new("forwarded_allow_ips", array(addresses), origin(trusted)));
        let Some(header) = self.common(servers, "real_ip_header") else { return };
        match header.arg(0).to_ascii_lowercase().as_str() {
            // Those of the PROXY protocol are set by the addresses that expect it.
            "x-forwarded-for" | "proxy_protocol" => header.see(),
            _ => {
                let text = "of trusted proxies X-Forwarded-For is read, or with proxy_headers = \"modern\" Forwarded";
                self.sheet.note(Section::Check, [header], text);
            }
        }
    }
}
