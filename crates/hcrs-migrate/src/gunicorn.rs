//! Gunicorn's settings, by their names in `gunicorn --help` and its configuration file.

mod rows;

use hcrs_config::Datum;
use hcrs_config::table::HEAD_MAX;
use hcrs_server::Settings;

use crate::conversions::{self, LONGEST_STARTUP, LOOP_AUTO, app_path, atoms, log_config, trusted};
use crate::row::{MigratedSetting, Server, texts};
use crate::sheet::Sheet;
use crate::shell_words::assignment;
use crate::uvicorn;

/// Environment variable of Gunicorn's that is not a setting.
const SCRIPT_NAME: &str = "SCRIPT_NAME";

pub(super) fn server() -> Server {
    Server {
        name: "gunicorn",
        rows: rows::rows(),
        prefix: None,
        variables: &[
            ("WEB_CONCURRENCY", "workers"),
            ("PORT", "bind"),
            ("FORWARDED_ALLOW_IPS", "forwarded_allow_ips"),
            (SCRIPT_NAME, SCRIPT_NAME),
        ],
        abbreviates: true,
        app: "wsgi_app",
        config: Some("config"),
        finish,
    }
}

fn bind(given: &MigratedSetting, sheet: &mut Sheet<'_>) -> Result<(), String> {
    // The variable PORT contains only a port.
    let binds: Vec<String> = match given.origin.strip_prefix("PORT=") {
        Some(port) => vec![format!("0.0.0.0:{port}")],
        None => given.texts()?.iter().map(|bind| address(bind)).collect(),
    };
    sheet.set("bind", &texts(binds.iter().map(String::as_str)), given.origin.clone());
    if binds.iter().any(|bind| bind.starts_with("unix:")) {
        let umask = sheet.given_or_default("umask").ok_or("umask has no value")?;
        let bits = match umask.datum {
            Datum::Integer(bits) => bits,
            _ => number_with_base(&umask.text()?).ok_or("umask: expected a number such as 022 or 0o22")?,
        };
        sheet.set("umask", &Datum::Integer(bits & 0o777), umask.origin);
    } else if let Some(umask) = sheet.given("umask").map(|given| given.origin.clone()) {
        sheet.note(
            &umask,
            "hcrs applies a mask only to unix sockets; set UMask= in the systemd unit for files",
        );
    }
    Ok(())
}

/// Parses a number as Gunicorn does: octal with a leading zero, hexadecimal after `0x`, otherwise decimal.
fn number_with_base(text: &str) -> Option<i64> {
    let text = text.trim().to_ascii_lowercase();
    let digits = text.trim_start_matches('0');
    match text.strip_prefix("0x") {
        Some(hex) => i64::from_str_radix(hex, 16).ok(),
        None if digits.is_empty() && !text.is_empty() => Some(0),
        None if text.starts_with('0') => i64::from_str_radix(digits.trim_start_matches('o'), 8).ok(),
        None => text.parse().ok(),
    }
}

/// Converts one of Gunicorn's binds.
fn address(bind: &str) -> String {
    if let Some(path) = bind.strip_prefix("unix:") {
        return format!("unix:{}", path.strip_prefix("//").unwrap_or(path));
    }
    match bind.strip_prefix("tcp://").unwrap_or(bind) {
        "" => "0.0.0.0:8000".into(),
        bind if bind.starts_with(':') && !bind.starts_with("::") => format!("0.0.0.0{bind}"),
        bind => bind.to_owned(),
    }
}

/// Kind of Gunicorn's workers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WorkerKind {
    /// WSGI, one request at a time.
    Sync,
    /// WSGI, with threads.
    Threads,
    /// Uvicorn's ASGI worker; true if it uses uvloop whenever that is installed.
    Uvicorn(bool),
    /// Gunicorn's own ASGI worker.
    Asgi,
    /// WSGI, with green threads.
    Green,
    /// A class that is not known.
    Unknown,
}

fn worker_kind(sheet: &Sheet<'_>) -> WorkerKind {
    match WorkerKind::of_class(&sheet.text("worker_class").unwrap_or_default()) {
        WorkerKind::Sync if has_threads(sheet) => WorkerKind::Threads,
        kind => kind,
    }
}

impl WorkerKind {
    /// Returns the kind of a value of `worker_class`.
    pub(crate) fn of_class(text: &str) -> Self {
        let text =
            text.trim_start_matches("<class '").trim_end_matches("'>").trim_start_matches("egg:gunicorn#");
        let name = text.rsplit(['.', ':']).next().unwrap_or_default().to_ascii_lowercase();
        match name.as_str() {
            "sync" | "syncworker" => Self::Sync,
            "gthread" | "threadworker" => Self::Threads,
            "asgi" | "asgiworker" => Self::Asgi,
            "uvicornh11worker" => Self::Uvicorn(false),
            name if name.contains("uvicorn") => Self::Uvicorn(true),
            name if ["gevent", "eventlet", "tornado"].iter().any(|green| name.contains(green)) => Self::Green,
            _ => Self::Unknown,
        }
    }
}

fn has_threads(sheet: &Sheet<'_>) -> bool {
    sheet.given("threads").is_some_and(|given| given.whole().is_ok_and(|threads| threads > 1))
}

fn worker_class(given: &MigratedSetting, sheet: &mut Sheet<'_>) -> Result<(), String> {
    match worker_kind(sheet) {
        WorkerKind::Sync => {
            let origin = format!("{}: one request at a time", given.origin);
            sheet.set("wsgi_threads", &Datum::Integer(1), origin);
        }
        WorkerKind::Threads => {
            let threads = sheet.given_or_default("threads").ok_or("threads has no value")?;
            sheet.set("wsgi_threads", &Datum::Integer(threads.whole()?), threads.origin);
        }
        WorkerKind::Uvicorn(true) => sheet.note(&given.origin, LOOP_AUTO),
        WorkerKind::Uvicorn(false) => {
            sheet.set("worker_class", &Datum::Text("asyncio".into()), given.origin.clone());
        }
        WorkerKind::Asgi => {}
        WorkerKind::Green => {
            sheet.note(
                &given.origin,
                "hcrs has no green threads; a WSGI app runs in wsgi_threads threads of each worker",
            );
        }
        WorkerKind::Unknown => {
            sheet.note(
                &given.origin,
                "the class is not known; put asgi: or wsgi: before the app if it is not detected",
            );
        }
    }
    Ok(())
}

fn asgi_loop(given: &MigratedSetting, sheet: &mut Sheet<'_>) -> Result<(), String> {
    match given.text()?.as_str() {
        "auto" => sheet.note(&given.origin, LOOP_AUTO),
        name => sheet.set("worker_class", &Datum::Text(name.to_owned()), given.origin.clone()),
    }
    Ok(())
}

/// Head size that suffices in practice for Gunicorn's default limits, a hundred fields of 8 KiB, in bytes.
const USUAL_HEAD: i64 = 64 << 10;

fn head_size(_: &MigratedSetting, sheet: &mut Sheet<'_>) -> Result<(), String> {
    const LIMITS: [&str; 3] = ["limit_request_line", "limit_request_fields", "limit_request_field_size"];
    let origins: Vec<String> =
        LIMITS.iter().filter_map(|name| sheet.given(name)).map(|given| given.origin.clone()).collect();
    if origins.is_empty() || matches!(worker_kind(sheet), WorkerKind::Uvicorn(_)) {
        for origin in &origins {
            sheet.note(origin, "Uvicorn's workers ignore it, too");
        }
        sheet.set("h11_max_incomplete_size", &Datum::Integer(USUAL_HEAD), "gunicorn accepts long fields");
        return Ok(());
    }
    let mut limits = [0; 3];
    for (limit, name) in limits.iter_mut().zip(LIMITS) {
        *limit = sheet.given_or_default(name).map_or(Ok(0), |given| given.whole())?;
    }
    let [line, fields, size] = limits;
    let most = Settings::default().connection.h1.max_fields;
    if let Some(given) = sheet.given(LIMITS[1]).map(|given| given.origin.clone())
        && usize::try_from(fields).is_ok_and(|fields| fields == 0 || fields > most)
    {
        let note = format!("hcrs accepts at most {most} fields in a head, and answers more with 431");
        sheet.note(&given, &note);
    }
    // Zero means no limit.
    let whole = if limits.contains(&0) {
        HEAD_MAX
    } else {
        line.saturating_add(fields.saturating_mul(size.saturating_add(2))).saturating_add(4)
    };
    let origin = format!("{}: the whole head", origins.join(", "));
    sheet.set("h11_max_incomplete_size", &Datum::Integer(whole.clamp(256, HEAD_MAX)), origin);
    Ok(())
}

fn chdir(given: &MigratedSetting, sheet: &mut Sheet<'_>) -> Result<(), String> {
    let folder = given.text()?;
    sheet.set("chdir", &Datum::Text(folder.clone()), given.origin.clone());
    sheet.chdir = Some(folder);
    if let Some(python) = sheet.literal("python").filter(|python| !python.starts_with("\"/")) {
        let subject = format!("python = {python}");
        sheet.note(&subject, "it is relative to the directory of chdir; make it absolute");
    }
    Ok(())
}

/// Converts the variable `SCRIPT_NAME`, which Uvicorn's workers do not read.
fn script_name(given: &MigratedSetting, sheet: &mut Sheet<'_>) -> Result<(), String> {
    match worker_kind(sheet) {
        WorkerKind::Uvicorn(_) => Ok(()),
        _ => root_path(given, sheet),
    }
}

fn raw_env(given: &MigratedSetting, sheet: &mut Sheet<'_>) -> Result<(), String> {
    let words = match &given.datum {
        Datum::Array(values) => values
            .iter()
            .filter_map(|value| match &value.datum {
                Datum::Text(text) => Some(text.clone()),
                _ => None,
            })
            .collect(),
        _ => vec![given.text()?],
    };
    for word in words {
        let (name, value) = assignment(&word).ok_or(format!("expected NAME=value, found {word:?}"))?;
        if name == SCRIPT_NAME && !matches!(worker_kind(sheet), WorkerKind::Uvicorn(_)) {
            sheet.set("root_path", &Datum::Text(value), format!("{name} in {}", given.origin));
        } else {
            sheet.environment.push((name, value));
        }
    }
    Ok(())
}

fn user(given: &MigratedSetting, sheet: &mut Sheet<'_>) -> Result<(), String> {
    sheet.user = Some(given.text()?);
    Ok(())
}

fn group(given: &MigratedSetting, sheet: &mut Sheet<'_>) -> Result<(), String> {
    sheet.group = Some(given.text()?);
    Ok(())
}

fn pythonpath(given: &MigratedSetting, sheet: &mut Sheet<'_>) -> Result<(), String> {
    sheet.environment.push(("PYTHONPATH".into(), given.text()?.replace(',', ":")));
    Ok(())
}

fn forwarded(given: &MigratedSetting, sheet: &mut Sheet<'_>) -> Result<(), String> {
    trusted(given, sheet)?;
    if sheet.literal("bind").is_some_and(|bind| bind.contains("unix:")) {
        trust_unix_peers(sheet)?;
    }
    Ok(())
}

/// Trusts peers on unix sockets, as Gunicorn's own workers do; those of Uvicorn do not.
pub(super) fn trust_unix_peers(sheet: &mut Sheet<'_>) -> Result<(), String> {
    if let WorkerKind::Uvicorn(_) = worker_kind(sheet) {
        return Ok(());
    }
    let given = sheet.given_or_default("forwarded_allow_ips").ok_or("forwarded_allow_ips has no value")?;
    let all = given.texts()?;
    let all = all.iter().map(String::as_str).chain(["unix"]);
    sheet.set("forwarded_allow_ips", &texts(all), format!("{}, and peers on unix sockets", given.origin));
    Ok(())
}

fn root_path(given: &MigratedSetting, sheet: &mut Sheet<'_>) -> Result<(), String> {
    let path = given.text()?;
    if !path.is_empty() {
        sheet.set("root_path", &Datum::Text(path), given.origin.clone());
    }
    Ok(())
}

fn proxy_protocol(given: &MigratedSetting, sheet: &mut Sheet<'_>) -> Result<(), String> {
    if given.text()?.eq_ignore_ascii_case("off") || given.boolean() == Ok(false) {
        return Ok(());
    }
    sheet.set("proxy_protocol", &Datum::Boolean(true), given.origin.clone());
    let mut all =
        sheet.given_or_default("forwarded_allow_ips").map_or(Ok(Vec::new()), |given| given.texts())?;
    if sheet.literal("forwarded_allow_ips").is_some_and(|all| all.contains("\"unix\"")) {
        all.push("unix".into());
    }
    let allowed = sheet.given_or_default("proxy_allow_ips").ok_or("proxy_allow_ips has no value")?;
    for address in allowed.texts()? {
        if !all.contains(&address) {
            all.push(address);
        }
    }
    let origin = format!("forwarded_allow_ips and proxy_allow_ips ({})", allowed.origin);
    sheet.set("forwarded_allow_ips", &texts(all.iter().map(String::as_str)), origin);
    Ok(())
}

/// Format of Gunicorn's access log, in its own atoms.
const DEFAULT_LINE: &str = "%(h)s %(l)s %(u)s %(t)s \"%(r)s\" %(s)s %(b)s \"%(f)s\" \"%(a)s\"";

/// Returns the counterpart of an atom whose letters mean something else in hcrs.
fn atom(name: &str) -> Option<String> {
    Some(match name {
        // The counterpart of `r` has no query.
        "r" => "%(R)s".into(),
        // Gunicorn logs the bytes sent rather than the content length.
        "b" | "B" => "%(bytes_sent)s".into(),
        "H" => "HTTP/%(H)s".into(),
        _ => return None,
    })
}

fn access_log(given: &MigratedSetting, sheet: &mut Sheet<'_>) -> Result<(), String> {
    let target = given.text()?;
    if target.is_empty() {
        return Ok(());
    }
    sheet.set("accesslog", &Datum::Text(target), given.origin.clone());
    if let WorkerKind::Uvicorn(_) = worker_kind(sheet) {
        let origin = "the format of Uvicorn's workers";
        sheet.set("access_log_format", &Datum::Text(uvicorn::ACCESS_LINE.into()), origin);
        if let Some(format) = sheet.given("access_log_format").map(|given| given.origin.clone()) {
            sheet.note(&format, "Uvicorn's workers ignore it, too");
        }
    } else {
        let format = sheet.given_or_default("access_log_format").ok_or("access_log_format has no value")?;
        let ours = atoms(&format.text()?, atom);
        sheet.set("access_log_format", &Datum::Text(ours), format.origin);
    }
    Ok(())
}

fn log_level(given: &MigratedSetting, sheet: &mut Sheet<'_>) -> Result<(), String> {
    conversions::level(given, sheet)?;
    let above = matches!(sheet.literal("loglevel"), Some("\"warning\"" | "\"error\"" | "\"critical\""));
    if above && sheet.literal("accesslog").is_some() && !matches!(worker_kind(sheet), WorkerKind::Uvicorn(_))
    {
        let origin = format!("{}, but above info there would be no access log", given.origin);
        sheet.set("loglevel", &Datum::Text("info".into()), origin);
    }
    Ok(())
}

fn logconfig_dict(given: &MigratedSetting, sheet: &mut Sheet<'_>) -> Result<(), String> {
    match &given.datum {
        Datum::Table(entries) if entries.is_empty() => Ok(()),
        Datum::Table(_) => log_config(given, sheet),
        _ => Err("expected a table".into()),
    }
}

fn logconfig_json(given: &MigratedSetting, sheet: &mut Sheet<'_>) -> Result<(), String> {
    let file = format!("json:{}", given.text()?);
    sheet.set("logconfig", &Datum::Text(file), given.origin.clone());
    Ok(())
}

fn syslog(given: &MigratedSetting, sheet: &mut Sheet<'_>) -> Result<(), String> {
    if !given.boolean()? {
        return Ok(());
    }
    let address = sheet.text("syslog_addr").unwrap_or_default();
    let facility = sheet.text("syslog_facility").unwrap_or_default();
    let target = match address.split_once("://") {
        Some(("udp", server)) => format!("udp://{server}"),
        Some(("unix", path)) => path.trim_end_matches("#dgram").trim_end_matches("#stream").to_owned(),
        _ => {
            sheet.note(
                &format!("syslog_addr {address}"),
                "syslog is supported over UDP and the system's socket",
            );
            return Ok(());
        }
    };
    let target =
        format!("syslog:{target}?facility={}", facility.trim_start_matches("LOG_").to_ascii_lowercase());
    sheet.set("errorlog", &Datum::Text(target.clone()), given.origin.clone());
    let keeps_access_log =
        sheet.given("disable_redirect_access_to_syslog").is_some_and(|given| given.boolean() == Ok(true));
    if !keeps_access_log {
        sheet.set("accesslog", &Datum::Text(target), given.origin.clone());
    }
    Ok(())
}

fn statsd_host(given: &MigratedSetting, sheet: &mut Sheet<'_>) -> Result<(), String> {
    let host = given.text()?;
    if host.starts_with("unix:") {
        sheet.note(&given.origin, "metrics are sent over UDP only; give HOST:PORT");
        return Ok(());
    }
    sheet.set("statsd_host", &Datum::Text(host), given.origin.clone());
    sheet.note(
        &given.origin,
        "metrics have Hypercorn's names: hypercorn.requests instead of gunicorn.requests",
    );
    Ok(())
}

fn finish(sheet: &mut Sheet<'_>) {
    let kind = worker_kind(sheet);
    let interface = match kind {
        WorkerKind::Sync | WorkerKind::Threads | WorkerKind::Green => "wsgi:",
        WorkerKind::Uvicorn(_) | WorkerKind::Asgi => "asgi:",
        WorkerKind::Unknown => "",
    };
    if let Some(app) = sheet.given("wsgi_app").cloned()
        && let Ok(path) = app.text()
    {
        let path = if path.contains(':') { path } else { format!("{path}:application") };
        let folder = sheet.folder.clone().filter(|_| sheet.chdir.is_none()).unwrap_or_default();
        let path = app_path(interface, &folder, &path, false);
        sheet.set("application_path", &Datum::Text(path), app.origin);
    }
    sheet.set("startup_timeout", &Datum::Text(LONGEST_STARTUP.into()), "gunicorn sets no limit");
    if !matches!(kind, WorkerKind::Uvicorn(_) | WorkerKind::Asgi) {
        conversions::any_body(sheet);
    }
    if matches!(kind, WorkerKind::Threads | WorkerKind::Green) && sheet.literal("worker_timeout") != Some("0")
    {
        sheet.note(
            "timeout of a worker with threads",
            "worker_timeout also replaces a worker all of whose threads are busy and neither finish nor \
             begin a request for this time",
        );
    }
    if let WorkerKind::Uvicorn(_) = kind {
        sheet.set("websocket_ping_interval", &Datum::Integer(20), "the default of Uvicorn's workers");
    }
}
