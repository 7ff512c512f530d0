//! What several servers say in the same or nearly the same way, and what it is called here.

use crate::migrate::row::{Told, texts};
use crate::migrate::sheet::Sheet;
use crate::value::Datum;

/// What stands in for "no limit" where a server waits for ever: then systemd would kill it.
pub(super) const LONGEST_DRAIN: &str = "90";
/// What stands in for "no limit" of an app's startup: models are loaded, databases migrated.
pub(super) const LONGEST_STARTUP: &str = "600";

/// The largest request body of a WSGI app, in bytes, for servers that take any: what the bodies of a worker may hold on the disk
/// by default.
const LARGEST_BODY: i64 = 1 << 30;

/// Why a loop is not chosen for the operator.
pub(super) const LOOP_AUTO: &str =
    "uvloop is taken there if it is installed; here worker_class = \"uvloop\" says so";

/// Names of levels that hcrs does not have.
pub(super) fn level(told: &Told, sheet: &mut Sheet<'_>) -> Result<(), String> {
    let told_level = told.text()?.to_ascii_lowercase();
    let level = match told_level.as_str() {
        "trace" | "notset" | "5" | "10" => "debug",
        "warn" | "30" => "warning",
        "20" => "info",
        "40" => "error",
        "fatal" | "50" => "critical",
        other => other,
    };
    if level != "info" || !told.is_default {
        sheet.set("loglevel", &Datum::Text(level.to_owned()), told.origin.clone());
    }
    Ok(())
}

/// `reload` of a server that watches files.
pub(super) fn reload(told: &Told, sheet: &mut Sheet<'_>) -> Result<(), String> {
    if told.boolean()? {
        sheet.set("use_reloader", &Datum::Boolean(true), told.origin.clone());
    }
    Ok(())
}

/// A number of requests of which 0 means that workers are not replaced.
pub(super) fn max_requests(told: &Told, sheet: &mut Sheet<'_>) -> Result<(), String> {
    positive("max_requests", told, sheet)
}

/// As [`max_requests`].
pub(super) fn max_requests_jitter(told: &Told, sheet: &mut Sheet<'_>) -> Result<(), String> {
    positive("max_requests_jitter", told, sheet)
}

fn positive(key: &str, told: &Told, sheet: &mut Sheet<'_>) -> Result<(), String> {
    match told.whole()? {
        0 => {}
        number => sheet.set(key, &Datum::Integer(number), told.origin.clone()),
    }
    Ok(())
}

/// Seconds that a quiet connection is kept, of which 0 means not at all.
pub(super) fn keep_alive(told: &Told, sheet: &mut Sheet<'_>) -> Result<(), String> {
    match told.seconds()? {
        seconds if seconds > 0.0 => sheet.set("keep_alive_timeout", &number(seconds), told.origin.clone()),
        _ => {
            sheet.set("keep_alive_max_requests", &Datum::Integer(1), told.origin.clone());
        }
    }
    Ok(())
}

/// A number of seconds as it is written.
pub(super) fn number(seconds: f64) -> Datum {
    #[expect(clippy::cast_possible_truncation, reason = "a float that is whole")]
    if seconds.fract() == 0.0 && seconds.abs() < 1e15 {
        Datum::Integer(seconds as i64)
    } else {
        Datum::Float(seconds)
    }
}

/// Numbers and names of Python's `ssl.CERT_*`.
pub(super) fn verify_mode(told: &Told, sheet: &mut Sheet<'_>) -> Result<(), String> {
    let mode = match told.text()?.as_str() {
        "0" | "CERT_NONE" => return Ok(()),
        "1" | "CERT_OPTIONAL" => "CERT_OPTIONAL",
        "2" | "CERT_REQUIRED" => "CERT_REQUIRED",
        other => {
            return Err(format!("expected 0, 1 or 2, as in Python's ssl.CERT_REQUIRED, found {other:?}"));
        }
    };
    sheet.set("verify_mode", &Datum::Text(mode.into()), told.origin.clone());
    Ok(())
}

/// Proxies that are trusted; the list may be empty.
pub(super) fn trusted(told: &Told, sheet: &mut Sheet<'_>) -> Result<(), String> {
    let trusted = told.texts()?;
    if !trusted.is_empty() {
        sheet.set("forwarded_allow_ips", &texts(trusted.iter().map(String::as_str)), told.origin.clone());
    }
    Ok(())
}

/// The bodies that a WSGI app is given, of a server that has no limit for them.
pub(super) fn any_body(sheet: &mut Sheet<'_>) {
    let origin = format!("{} sets no limit", sheet.server.name);
    sheet.set("wsgi_max_body_size", &Datum::Integer(LARGEST_BODY), origin);
}

/// A logging configuration; the form of the file is told by its ending.
pub(super) fn log_config(told: &Told, sheet: &mut Sheet<'_>) -> Result<(), String> {
    if let Datum::Table(_) = told.datum {
        sheet.set("logconfig_dict", &told.datum, told.origin.clone());
        return Ok(());
    }
    let file = told.text()?;
    let ending = file.rsplit_once('.').map_or("", |(_, ending)| ending).to_ascii_lowercase();
    match ending.as_str() {
        "yaml" | "yml" => {
            sheet.note(&told.origin, "YAML is not read; write it as JSON and set logconfig = \"json:FILE\"");
        }
        "json" => sheet.set("logconfig", &Datum::Text(format!("json:{file}")), told.origin.clone()),
        _ => sheet.set("logconfig", &Datum::Text(file), told.origin.clone()),
    }
    Ok(())
}

/// `HOST` and `PORT` as a bind.
pub(super) fn host_and_port(host: &str, port: &str) -> String {
    if host.contains(':') && !host.starts_with('[') {
        format!("[{host}]:{port}")
    } else {
        format!("{host}:{port}")
    }
}

/// An access log's format in the atoms of another server. `translate` knows them; those that it does not know stay.
pub(super) fn atoms(format: &str, translate: impl Fn(&str) -> Option<String>) -> String {
    let mut result = String::new();
    let mut rest = format;
    while let Some((before, atom)) = rest.split_once("%(") {
        result += before;
        // A field's name in braces may hold parentheses; nothing else does.
        let braced = atom.find(['{', ')']).filter(|at| atom[*at..].starts_with('{'));
        let from = braced.and_then(|at| atom[at..].find('}').map(|length| at + length)).unwrap_or(0);
        let Some(end) = atom[from..].find(')').map(|at| at + from) else {
            return result + "%(" + atom;
        };
        let (name, behind) = (&atom[..end], &atom[end + 1..]);
        let width = behind.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(0);
        let whole = behind.len().min(width + 1);
        match translate(name) {
            Some(ours) => result += &ours,
            None => result.extend(["%(", name, ")", &behind[..whole]]),
        }
        rest = &behind[whole..];
    }
    result + rest
}

/// The app's path: the interface, the folder in which its module is, and the call of a factory.
pub(super) fn app_path(interface: &str, folder: &str, path: &str, factory: bool) -> String {
    let folder = match folder.trim_end_matches('/') {
        "" | "." => String::new(),
        folder => format!("{folder}/"),
    };
    format!("{interface}{folder}{path}{}", if factory { "()" } else { "" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn atoms_are_translated_and_others_stay() {
        let translate = |name: &str| match name {
            "a" => Some("%(b)s".to_owned()),
            _ => name.strip_prefix('{').map(|_| "field".to_owned()),
        };
        for (format, expected) in [
            ("x %(a)s y", "x %(b)s y"),
            ("%(a)d%(a).3f|%(c)s", "%(b)s%(b)s|%(c)s"),
            ("%({x(y)}i)s %(z", "field %(z"),
            ("%(a)s %({x}i)s", "%(b)s field"),
            ("100%% %(a)-5s", "100%% %(b)s"),
        ] {
            assert_eq!(atoms(format, translate), expected, "{format}");
        }
    }

    #[test]
    fn an_apps_path_has_its_interface_folder_and_call() {
        assert_eq!(app_path("", "", "a.b:c", false), "a.b:c");
        assert_eq!(app_path("wsgi:", "src/", "a:make", true), "wsgi:src/a:make()");
        assert_eq!(app_path("", ".", "a:b", false), "a:b");
    }
}
