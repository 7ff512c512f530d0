//! Conversions shared by the settings of several servers.

use hcrs_config::Datum;

use crate::row::{MigratedSetting, texts};
use crate::sheet::Sheet;

/// Drain of a server without a limit, in seconds: after this time systemd would kill it.
pub(super) const LONGEST_DRAIN: &str = "90";
/// Startup of a server without a limit, in seconds: apps load models and migrate databases.
pub(super) const LONGEST_STARTUP: &str = "600";

/// Largest request body of a WSGI app for servers without a limit, in bytes: the default limit of a worker
/// for bodies on disk.
const LARGEST_BODY: i64 = 1 << 30;

/// Note about the automatic choice of an event loop.
pub(super) const LOOP_AUTO: &str =
    "the server uses uvloop if it is installed; hcrs does so with worker_class = \"uvloop\"";

/// Converts the log level, also from names and numbers that hcrs does not have.
pub(super) fn level(given: &MigratedSetting, sheet: &mut Sheet<'_>) -> Result<(), String> {
    let given_level = given.text()?.to_ascii_lowercase();
    let level = match given_level.as_str() {
        "trace" | "notset" | "5" | "10" => "debug",
        "warn" | "30" => "warning",
        "20" => "info",
        "40" => "error",
        "fatal" | "50" => "critical",
        other => other,
    };
    if level != "info" || !given.is_default {
        sheet.set("loglevel", &Datum::Text(level.to_owned()), given.origin.clone());
    }
    Ok(())
}

/// Converts the switch of a reloader.
pub(super) fn reload(given: &MigratedSetting, sheet: &mut Sheet<'_>) -> Result<(), String> {
    if given.boolean()? {
        sheet.set("use_reloader", &Datum::Boolean(true), given.origin.clone());
    }
    Ok(())
}

/// Converts the number of requests after which a worker is replaced; 0 means that none is.
pub(super) fn max_requests(given: &MigratedSetting, sheet: &mut Sheet<'_>) -> Result<(), String> {
    positive("max_requests", given, sheet)
}

/// Converts the random addition to the number of requests; 0 means that there is none.
pub(super) fn max_requests_jitter(given: &MigratedSetting, sheet: &mut Sheet<'_>) -> Result<(), String> {
    positive("max_requests_jitter", given, sheet)
}

fn positive(key: &str, given: &MigratedSetting, sheet: &mut Sheet<'_>) -> Result<(), String> {
    match given.whole()? {
        0 => {}
        number => sheet.set(key, &Datum::Integer(number), given.origin.clone()),
    }
    Ok(())
}

/// Converts the time for which an idle connection is kept, in seconds; 0 means that it is closed at once.
pub(super) fn keep_alive(given: &MigratedSetting, sheet: &mut Sheet<'_>) -> Result<(), String> {
    match given.seconds()? {
        seconds if seconds > 0.0 => sheet.set("keep_alive_timeout", &number(seconds), given.origin.clone()),
        _ => {
            sheet.set("keep_alive_max_requests", &Datum::Integer(1), given.origin.clone());
        }
    }
    Ok(())
}

/// Returns a number of seconds, without a fraction if it is whole.
pub(super) fn number(seconds: f64) -> Datum {
    #[expect(clippy::cast_possible_truncation, reason = "the float is whole and in range")]
    if seconds.fract() == 0.0 && seconds.abs() < 1e15 {
        Datum::Integer(seconds as i64)
    } else {
        Datum::Float(seconds)
    }
}

/// Converts a number or a name of Python's `ssl.CERT_*`.
pub(super) fn verify_mode(given: &MigratedSetting, sheet: &mut Sheet<'_>) -> Result<(), String> {
    let mode = match given.text()?.as_str() {
        "0" | "CERT_NONE" => return Ok(()),
        "1" | "CERT_OPTIONAL" => "CERT_OPTIONAL",
        "2" | "CERT_REQUIRED" => "CERT_REQUIRED",
        other => {
            return Err(format!("expected 0, 1 or 2, as in Python's ssl.CERT_REQUIRED, found {other:?}"));
        }
    };
    sheet.set("verify_mode", &Datum::Text(mode.into()), given.origin.clone());
    Ok(())
}

/// Converts the list of trusted proxies, which may be empty.
pub(super) fn trusted(given: &MigratedSetting, sheet: &mut Sheet<'_>) -> Result<(), String> {
    let trusted = given.texts()?;
    if !trusted.is_empty() {
        sheet.set("forwarded_allow_ips", &texts(trusted.iter().map(String::as_str)), given.origin.clone());
    }
    Ok(())
}

/// Raises the limit of request bodies, for a WSGI app of a server without one.
pub(super) fn any_body(sheet: &mut Sheet<'_>) {
    let origin = format!("{} sets no limit", sheet.server.name);
    sheet.set("wsgi_max_body_size", &Datum::Integer(LARGEST_BODY), origin);
}

/// Converts a logging configuration. The extension of the file determines its format.
pub(super) fn log_config(given: &MigratedSetting, sheet: &mut Sheet<'_>) -> Result<(), String> {
    if let Datum::Table(_) = given.datum {
        sheet.set("logconfig_dict", &given.datum, given.origin.clone());
        return Ok(());
    }
    let file = given.text()?;
    let extension = file.rsplit_once('.').map_or("", |(_, extension)| extension).to_ascii_lowercase();
    match extension.as_str() {
        "yaml" | "yml" => {
            sheet.note(
                &given.origin,
                "YAML is not supported; convert the file to JSON and set logconfig = \"json:FILE\"",
            );
        }
        "json" => sheet.set("logconfig", &Datum::Text(format!("json:{file}")), given.origin.clone()),
        _ => sheet.set("logconfig", &Datum::Text(file), given.origin.clone()),
    }
    Ok(())
}

/// Returns host and port as a bind.
pub(super) fn host_and_port(host: &str, port: &str) -> String {
    if host.contains(':') && !host.starts_with('[') {
        format!("[{host}]:{port}")
    } else {
        format!("{host}:{port}")
    }
}

/// Converts the atoms of an access log's format. `translate` returns the counterpart of an atom; other atoms
/// stay.
pub(super) fn atoms(format: &str, translate: impl Fn(&str) -> Option<String>) -> String {
    let mut result = String::new();
    let mut rest = format;
    while let Some((before, atom)) = rest.split_once("%(") {
        result += before;
        // The name of a field in braces may contain parentheses; nothing else may.
        let braced = atom.find(['{', ')']).filter(|at| atom[*at..].starts_with('{'));
        let from = braced.and_then(|at| atom[at..].find('}').map(|length| at + length)).unwrap_or(0);
        let Some(end) = atom[from..].find(')').map(|at| at + from) else {
            return result + "%(" + atom;
        };
        let (name, after) = (&atom[..end], &atom[end + 1..]);
        let width = after.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(0);
        let whole = after.len().min(width + 1);
        match translate(name) {
            Some(ours) => result += &ours,
            None => result.extend(["%(", name, ")", &after[..whole]]),
        }
        rest = &after[whole..];
    }
    result + rest
}

/// Returns the app's path: the interface, the directory of the module, the name, and the call of a factory.
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
    fn known_atoms_are_translated_and_others_stay() {
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
