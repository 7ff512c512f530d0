//! The access log and the error log.

use super::convert::Converter;
use super::scope::Scope;
use super::servers::Server;
use super::sheet::{Entry, Section, origin, origin_with};
use super::syntax::Directive;

impl<'a> Converter<'a> {
    pub(crate) fn logs(&mut self, main: &Scope<'a>, servers: &[Server<'a>]) {
        let logs: Vec<&'a Directive> =
            servers.iter().flat_map(|server| server.scope.all(&["access_log"])).collect();
        let mut files: Vec<&'a Directive> = logs.into_iter().filter(|log| log.arg(0) != "off").collect();
        let first = (!files.is_empty()).then(|| files.remove(0));
        match first {
            Some(log) => {
                let target = self.log_target(log.arg(0));
                let others = files.into_iter().filter(|other| other.arg(0) != log.arg(0)).collect();
                self.sheet.note_some(
                    Section::NoCounterpart,
                    others,
                    "there is one access log; its lines have no file of their own by server",
                );
                self.sheet.set(Entry::text("accesslog", &target, origin([log])));
                self.log_format(log);
            }
            None if self.has_access_log => {
                self.sheet.set(Entry::text("accesslog", "-", "nginx's default is a log of all requests"));
            }
            None => {}
        }
        let error_log = self.common(servers, "error_log").or_else(|| main.here("error_log"));
        if let Some(log) = error_log {
            let target = self.log_target(log.arg(0));
            if target == "/dev/null" {
                self.sheet.note(
                    Section::Check,
                    [log],
                    "hcrs logs its own faults and the app's; errorlog = \"\" would turn that off",
                );
                return;
            }
            self.sheet.set(Entry::text("errorlog", &target, origin([log])));
            // Above info there is no access log either.
            let level = match log.arg(1) {
                "debug" => Some("debug"),
                "" | "info" | "notice" => None,
                _ if self.has_access_log => None,
                "warn" => Some("warning"),
                "error" => Some("error"),
                _ => Some("critical"),
            };
            if let Some(level) = level {
                self.sheet.set(Entry::text("loglevel", level, origin([log])));
            }
        }
    }

    fn log_target(&self, text: &str) -> String {
        match text {
            "/dev/stdout" | "/dev/stderr" | "stderr" => "-".into(),
            _ if text.starts_with("syslog:") => {
                let server = text.split(['=', ',']).nth(1).unwrap_or_default();
                match server.strip_prefix("unix:") {
                    Some(socket) => format!("syslog:{socket}"),
                    None if server.contains(':') => format!("syslog:udp://{server}"),
                    None => format!("syslog:udp://{server}:514"),
                }
            }
            _ => self.path(text),
        }
    }

    fn log_format(&mut self, log: &'a Directive) {
        let name = log.arg(1);
        let has_default = name.is_empty() || name == "combined" || name.contains('=');
        if has_default {
            return;
        }
        let format =
            self.http.own().iter().find(|format| format.name == "log_format" && format.arg(0) == name);
        let Some(format) = format else { return };
        let text: String =
            format.args[1..].iter().filter(|arg| !arg.starts_with("escape=")).map(String::as_str).collect();
        if text.trim_start().starts_with('{') || format.arg(1) == "escape=json" {
            self.sheet.set(Entry::new(
                "access_log_json",
                "true",
                origin_with([format], "with the fields of hcrs"),
            ));
            return;
        }
        let (text, missing) = atoms(&text);
        if !missing.is_empty() {
            let text = format!("the access log has no {}; - stands in its place", missing.join(", "));
            self.sheet.note(Section::NoCounterpart, [format], text);
        }
        self.sheet.set(Entry::text("access_log_format", &text, origin([format, log])));
    }
}

/// Returns a format of the access log with the atoms of hcrs, and the variables that have none.
fn atoms(format: &str) -> (String, Vec<String>) {
    let known = [
        ("$remote_addr", "%(h)s"),
        ("$realip_remote_addr", "%(h)s"),
        ("$remote_user", "%(u)s"),
        ("$time_local", "%(t)s"),
        ("$time_iso8601", "%(t)s"),
        ("$request_method", "%(m)s"),
        ("$request_time", "%(L)s"),
        ("$request_uri", "%(Uq)s"),
        ("$request_length", "%(bytes_received)s"),
        ("$request_id", "%(request_id)s"),
        ("$connection", "%(connection_id)s"),
        ("$request", "%(R)s"),
        ("$status", "%(s)s"),
        ("$body_bytes_sent", "%(bytes_sent)s"),
        ("$bytes_sent", "%(bytes_sent)s"),
        ("$server_protocol", "HTTP/%(H)s"),
        ("$scheme", "%(S)s"),
        ("$host", "%({host}i)s"),
        ("$server_name", "%({host}i)s"),
        ("$args", "%(q)s"),
        ("$query_string", "%(q)s"),
        ("$uri", "%(U)s"),
    ];
    let (mut text, mut missing) = (String::new(), Vec::new());
    // The atom of the time has brackets.
    let format = format.replace("[$time_local]", "$time_local").replace("[$time_iso8601]", "$time_iso8601");
    let mut rest = format.as_str();
    while let Some(at) = rest.find('$') {
        text.push_str(&rest[..at].replace('%', "%%"));
        rest = &rest[at..];
        let inner = rest[1..].trim_start_matches('{');
        let end = inner.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).unwrap_or(inner.len());
        let name = format!("${}", &inner[..end]);
        let braces = rest[1..].starts_with('{');
        rest = &rest[1 + usize::from(braces) + end..];
        rest = if braces { rest.strip_prefix('}').unwrap_or(rest) } else { rest };
        let field = |prefix: &str| name.strip_prefix(prefix).map(|field| field.replace('_', "-"));
        if let Some((_, atom)) = known.iter().find(|(known, _)| *known == name) {
            text.push_str(atom);
        } else if name == "$http_referer" {
            text.push_str("%(f)s");
        } else if name == "$http_user_agent" {
            text.push_str("%(a)s");
        } else if let Some(field) = field("$http_") {
            text.push_str(&["%({", &field, "}i)s"].concat());
        } else if let Some(field) = field("$sent_http_") {
            text.push_str(&["%({", &field, "}o)s"].concat());
        } else {
            text.push('-');
            if !missing.contains(&name) {
                missing.push(name);
            }
        }
    }
    text.push_str(&rest.replace('%', "%%"));
    (text, missing)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_of_the_access_log_have_atoms() {
        let (text, missing) = atoms(
            "$remote_addr [$time_local] \"$request\" $status ${body_bytes_sent}b $http_x_id $upstream_addr 5%",
        );
        assert_eq!(text, "%(h)s %(t)s \"%(R)s\" %(s)s %(bytes_sent)sb %({x-id}i)s - 5%%");
        assert_eq!(missing, ["$upstream_addr"]);
    }
}
