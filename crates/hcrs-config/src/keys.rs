//! Every key: what it may be and which setting it fills. File and flags both go through this table.
//!
//! A value from the file is applied first and a flag's after it, which is all there is to precedence.

use std::num::NonZeroUsize;

use hcrs_server::{AccessFormat, Bind, Lifespan, LogLevel, LogTarget, PythonLogging, WorkerClass};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::bind;
use crate::draft::Draft;
use crate::proxies;
use crate::source::Source;
use crate::value::{Mistake, Place, Value};

type Apply = fn(&Value, &mut Draft) -> Result<(), Mistake>;

/// What is done with a key.
#[derive(Clone, Copy)]
enum Rule {
    /// It is read and obeyed.
    Set(Apply),
    /// Hypercorn has it and this does not yet: a warning.
    Later,
    /// As [`Rule::Later`], but to ignore it would open what the operator wants closed.
    LaterOrRefuse(fn(&Value) -> bool, &'static str),
}
use Rule::{Later, LaterOrRefuse, Set};

/// The keys at the top level, with Hypercorn's names; `v` is the value as written, `d` the draft.
const KEYS: &[(&str, Rule)] = &[
    // listeners
    ("bind", Set(|v, d| fill(&mut d.bind, binds(v)))),
    ("insecure_bind", Set(|v, d| fill(&mut d.insecure_bind, placed(v, binds(v))))),
    ("quic_bind", Later),
    ("backlog", Set(|v, d| fill(&mut d.backlog, v.whole(1, i32::MAX as u32)))),
    ("umask", Set(|v, d| fill(&mut d.umask, v.whole(0, 0o777).map(Some)))),
    ("user", Later),
    ("group", Later),
    ("server_names", Later),
    // the app and its workers
    ("application_path", Set(|v, d| fill(&mut d.app.path, v.text().map(String::from)))),
    (
        "root_path",
        Set(|v, d| fill(&mut d.app.root_path, v.text().map(|path| path.trim_end_matches('/').into()))),
    ),
    ("workers", Set(workers)),
    ("worker_class", Set(worker_class)),
    ("pid_path", Set(|v, d| fill(&mut d.pid_path, v.path().map(Some)))),
    ("daemon", Later),
    ("debug", Later),
    ("use_reloader", Later),
    ("max_requests", Later),
    ("max_requests_jitter", Later),
    ("max_app_queue_size", Later),
    ("wsgi_max_body_size", Set(|v, d| fill(&mut d.app.wsgi_max_body_size, v.whole(0, MAX_BODY)))),
    // deadlines
    ("startup_timeout", Set(|v, d| fill(&mut d.app.startup_timeout, v.seconds_above_zero()))),
    ("shutdown_timeout", Set(|v, d| fill(&mut d.app.shutdown_timeout, v.seconds()))),
    ("graceful_timeout", Set(|v, d| fill(&mut d.graceful_timeout, v.seconds()))),
    ("keep_alive_timeout", Set(|v, d| fill(&mut d.connection.keep_alive_timeout, v.seconds_above_zero()))),
    (
        "keep_alive_max_requests",
        Set(|v, d| fill(&mut d.connection.keep_alive_max_requests, v.whole(1, i64::MAX as u64))),
    ),
    ("read_timeout", Set(|v, d| fill(&mut d.connection.body_timeout, v.seconds_above_zero()))),
    // headers
    ("include_date_header", Set(|v, d| fill(&mut d.connection.include_date_header, v.boolean()))),
    ("include_server_header", Set(|v, d| fill(&mut d.connection.include_server_header, v.boolean()))),
    ("alt_svc_headers", Later),
    // TLS
    ("certfile", Set(|v, d| fill(&mut d.certfile, placed(v, v.path())))),
    ("keyfile", Set(|v, d| fill(&mut d.keyfile, placed(v, v.path())))),
    ("keyfile_password", Later),
    ("ca_certs", Later),
    ("verify_mode", LaterOrRefuse(asks_for_client_certificates, CLIENT_CERTIFICATES)),
    ("verify_flags", Later),
    ("cert_reqs", LaterOrRefuse(asks_for_client_certificates, CLIENT_CERTIFICATES)),
    ("ciphers", Later),
    ("alpn_protocols", Set(alpn_protocols)),
    (
        "ssl_handshake_timeout",
        Set(|v, d| fill(&mut d.ssl_handshake_timeout, v.seconds_above_zero().map(Some))),
    ),
    // protocols
    (
        "h11_max_incomplete_size",
        Set(|v, d| fill(&mut d.connection.h1.max_head_bytes, v.whole(256, 16 << 20))),
    ),
    ("h11_pass_raw_headers", Later),
    (
        "h2_max_concurrent_streams",
        Set(|v, d| fill(&mut d.connection.h2.max_concurrent_streams, v.whole(1, i32::MAX as u32))),
    ),
    (
        "h2_max_header_list_size",
        Set(|v, d| fill(&mut d.connection.h2.max_header_list_size, v.whole(256, 16 << 20))),
    ),
    (
        // The bounds of RFC 9113 section 6.5.2.
        "h2_max_inbound_frame_size",
        Set(|v, d| fill(&mut d.connection.h2.max_inbound_frame_size, v.whole(16_384, 16_777_215))),
    ),
    ("websocket_max_message_size", Later),
    ("websocket_ping_interval", Later),
    // logs and metrics
    ("accesslog", Set(|v, d| fill(&mut d.log.access, log_target(v)))),
    ("access_log_format", Set(access_log_format)),
    ("errorlog", Set(|v, d| fill(&mut d.log.error, log_target(v)))),
    ("loglevel", Set(log_level)),
    ("logconfig", Set(|v, d| fill(&mut d.log.python, v.path().map(PythonLogging::File).map(Some)))),
    ("logconfig_dict", Later),
    ("logger_class", Later),
    ("statsd_host", Set(statsd_host)),
    ("statsd_prefix", Set(|v, d| fill(&mut d.statsd.prefix, v.text().map(String::from)))),
    ("dogstatsd_tags", Set(|v, d| fill(&mut d.statsd.tags, v.text().map(String::from)))),
];

/// The keys of the table `[hcrs]`, which Hypercorn does not have.
const OWN_KEYS: &[(&str, Rule)] = &[
    ("access_log_json", Set(access_log_json)),
    ("drop_untrusted_forwarded", Set(|v, d| fill(&mut d.proxies.settings.drop_untrusted, v.boolean()))),
    ("forwarded_allow_ips", Set(|v, d| fill(&mut d.proxies.settings.trusted, proxies::trust(v)))),
    ("forwarded_prefix", Set(|v, d| fill(&mut d.proxies.prefix, v.boolean()))),
    ("io_threads", Set(|v, d| fill(&mut d.io_threads, count(v).map(Some)))),
    ("proxy_headers", Set(|v, d| fill(&mut d.proxies.headers, proxies::headers(v)))),
    ("proxy_protocol", Set(|v, d| fill(&mut d.proxies.protocol, proxies::protocol(v)))),
    (
        "proxy_protocol_timeout",
        Set(|v, d| fill(&mut d.proxies.settings.protocol_timeout, v.seconds_above_zero())),
    ),
    ("lifespan", Set(lifespan)),
    ("python", Set(|v, d| fill(&mut d.app.python, v.path().map(Some)))),
    ("queue_size", Set(|v, d| fill(&mut d.dispatch.queue_size, v.whole(0, 1 << 20)))),
    ("queue_timeout", Set(|v, d| fill(&mut d.dispatch.queue_timeout, v.seconds()))),
    ("trusted_hops", Set(|v, d| fill(&mut d.proxies.hops, v.whole(0, MAX_COUNT).map(NonZeroUsize::new)))),
    ("wsgi_threads", Set(|v, d| fill(&mut d.app.wsgi_threads, count(v).map(Some)))),
];

/// The name of the table that holds [`OWN_KEYS`].
const OWN_TABLE: &str = "hcrs";

/// Names that a key is easily taken for: Hypercorn's flags, which a file does not know.
const FLAG_NAMES: &[(&str, &str)] = &[
    ("access_log", "accesslog"),
    ("access_logfile", "accesslog"),
    ("access_logformat", "access_log_format"),
    ("application", "application_path"),
    ("error_log", "errorlog"),
    ("error_logfile", "errorlog"),
    ("keep_alive", "keep_alive_timeout"),
    ("log_config", "logconfig"),
    ("log_file", "errorlog"),
    ("log_level", "loglevel"),
    ("pid", "pid_path"),
    ("reload", "use_reloader"),
    ("server_name", "server_names"),
];

const MAX_BODY: usize = isize::MAX as usize;
const MAX_COUNT: usize = 1024;

/// Applies the whole file; what is wrong with it is collected in the draft.
pub(crate) fn apply_file(source: &Source, draft: &mut Draft) {
    let (document, errors) = DeTable::parse_recoverable(source.text());
    if !errors.is_empty() {
        draft.mistakes.extend(errors.iter().map(|error| Mistake {
            place: error.span().map_or(Place::Nowhere, Place::File),
            message: error.message().replace('\n', ", "),
        }));
        return;
    }
    for (key, value) in in_order(document.get_ref()) {
        match value.get_ref() {
            DeValue::Table(own) if key.get_ref() == OWN_TABLE => {
                for (key, value) in in_order(own) {
                    apply(OWN_KEYS, "[hcrs] ", key, value, draft);
                }
            }
            _ if key.get_ref() == OWN_TABLE => {
                draft.mistakes.push(named(OWN_TABLE, Value::from(value).expected("a table, [hcrs]")));
            }
            _ => apply(KEYS, "", key, value, draft),
        }
    }
}

/// Applies flags, each under the name of its key.
pub(crate) fn apply_flags(values: Vec<(&'static str, Value)>, draft: &mut Draft) {
    for (key, value) in values {
        let rule = KEYS.iter().chain(OWN_KEYS).find(|(name, _)| *name == key);
        if let Some((_, Set(apply))) = rule
            && let Err(mistake) = apply(&value, draft)
        {
            draft.mistakes.push(mistake);
        }
    }
}

/// The entries of a table as they stand in the file.
fn in_order<'a>(
    table: &'a DeTable<'a>,
) -> Vec<(&'a Spanned<toml::de::DeString<'a>>, &'a Spanned<DeValue<'a>>)> {
    let mut entries: Vec<_> = table.iter().collect();
    entries.sort_by_key(|(key, _)| key.span().start);
    entries
}

fn apply(
    keys: &[(&str, Rule)],
    table: &str,
    key: &Spanned<toml::de::DeString<'_>>,
    written: &Spanned<DeValue<'_>>,
    draft: &mut Draft,
) {
    let name = key.get_ref().as_ref();
    let value = Value::from(written);
    let place = Place::File(key.span());
    match keys.iter().find(|(known, _)| *known == name).map(|(_, rule)| *rule) {
        Some(Set(set)) => {
            if let Err(mistake) = set(&value, draft) {
                draft.mistakes.push(named(&format!("{table}{name}"), mistake));
            }
        }
        Some(LaterOrRefuse(refused, why)) if refused(&value) => {
            draft.mistakes.push(Mistake { place: value.place, message: format!("{name}: {why}") });
        }
        Some(Later | LaterOrRefuse(..)) => draft.warn(&place, format!("not supported yet: {name}, ignored")),
        None if matches!(written.get_ref(), DeValue::Table(_)) => {
            let message = format!("unknown table [{table}{name}], ignored: settings stand above all tables");
            draft.warn(&place, message);
        }
        None => draft.warn(&place, format!("unknown key: {table}{name}, ignored{}", hint(keys, name))),
    }
}

fn named(key: &str, mistake: Mistake) -> Mistake {
    Mistake { message: format!("{key}: {}", mistake.message), ..mistake }
}

/// The known name that is most like the unknown one, if any is like it.
fn hint(keys: &[(&str, Rule)], name: &str) -> String {
    const LIKE: f64 = 0.65;
    let name = name.to_ascii_lowercase().replace('-', "_");
    let flag = FLAG_NAMES.iter().find(|(flag, _)| *flag == name).map(|(_, key)| *key);
    let nearest = || {
        keys.iter()
            .map(|(known, _)| (strsim::normalized_damerau_levenshtein(known, &name), *known))
            .filter(|(likeness, _)| *likeness >= LIKE)
            .max_by(|a, b| a.0.total_cmp(&b.0))
            .map(|(_, known)| known)
    };
    flag.or_else(nearest).map_or(String::new(), |known| format!("; did you mean {known}?"))
}

fn fill<T>(setting: &mut T, read: Result<T, Mistake>) -> Result<(), Mistake> {
    *setting = read?;
    Ok(())
}

/// With the place, for those who are checked together later.
fn placed<T>(value: &Value, read: Result<T, Mistake>) -> Result<Option<(T, Place)>, Mistake> {
    Ok(Some((read?, value.place.clone())))
}

pub(crate) fn binds(value: &Value) -> Result<Vec<Bind>, Mistake> {
    let texts = value.text_or_texts()?;
    texts
        .into_iter()
        .map(|(text, place)| {
            bind::parse(text).map_err(|reason| Mistake {
                place: place.clone(),
                message: format!("{text:?} cannot be bound: {reason}"),
            })
        })
        .collect()
}

fn count(value: &Value) -> Result<NonZeroUsize, Mistake> {
    Ok(NonZeroUsize::new(value.whole(1, MAX_COUNT)?).unwrap_or(NonZeroUsize::MIN))
}

/// Hypercorn's 0 means to serve within the main process, which is no shape of this server.
fn workers(value: &Value, draft: &mut Draft) -> Result<(), Mistake> {
    let workers: usize = value.whole(0, MAX_COUNT)?;
    draft.app.workers = NonZeroUsize::new(workers).unwrap_or_else(|| {
        draft.warn(&value.place, "workers: 0 is taken as 1, the app never runs in the main process");
        NonZeroUsize::MIN
    });
    Ok(())
}

fn worker_class(value: &Value, draft: &mut Draft) -> Result<(), Mistake> {
    draft.app.worker_class = match value.text()? {
        "asyncio" => WorkerClass::Asyncio,
        "uvloop" => WorkerClass::Uvloop,
        "trio" => WorkerClass::Trio,
        _ => return Err(value.expected("\"asyncio\", \"uvloop\" or \"trio\"")),
    };
    Ok(())
}

fn lifespan(value: &Value, draft: &mut Draft) -> Result<(), Mistake> {
    draft.app.lifespan = match value.text()? {
        "auto" => Lifespan::Auto,
        "on" => Lifespan::On,
        "off" => Lifespan::Off,
        _ => return Err(value.expected("\"auto\", \"on\" or \"off\"")),
    };
    Ok(())
}

/// Only what is really spoken may be promised to a client.
fn alpn_protocols(value: &Value, draft: &mut Draft) -> Result<(), Mistake> {
    let names = value.texts()?;
    if let Some((name, place)) =
        names.iter().find(|(name, _)| !hcrs_tls::Settings::ALPN_PROTOCOLS.contains(name))
    {
        return Err(Mistake {
            place: (*place).clone(),
            message: format!("expected \"h2\" or \"http/1.1\", found {name:?}"),
        });
    }
    draft.alpn_protocols = Some(names.into_iter().map(|(name, _)| name.into()).collect());
    Ok(())
}

fn log_target(value: &Value) -> Result<Option<LogTarget>, Mistake> {
    LogTarget::parse(value.text()?).map_err(|message| Mistake { place: value.place.clone(), message })
}

fn access_log_format(value: &Value, draft: &mut Draft) -> Result<(), Mistake> {
    draft.log.access_format = AccessFormat::parse(value.text()?)
        .map_err(|error| Mistake { place: value.place.clone(), message: error.to_string() })?;
    Ok(())
}

fn access_log_json(value: &Value, draft: &mut Draft) -> Result<(), Mistake> {
    if value.boolean()? {
        draft.log.access_format = AccessFormat::json();
    }
    Ok(())
}

fn statsd_host(value: &Value, draft: &mut Draft) -> Result<(), Mistake> {
    let host = value.text()?;
    let has_port =
        host.rsplit_once(':').is_some_and(|(name, port)| !name.is_empty() && port.parse::<u16>().is_ok());
    if !host.is_empty() && !has_port {
        return Err(value.expected("\"host:port\""));
    }
    host.clone_into(&mut draft.statsd.host);
    Ok(())
}

fn log_level(value: &Value, draft: &mut Draft) -> Result<(), Mistake> {
    draft.log.level = match value.text()?.to_ascii_lowercase().as_str() {
        "debug" => LogLevel::Debug,
        "info" => LogLevel::Info,
        "warning" | "warn" => LogLevel::Warning,
        "error" => LogLevel::Error,
        "critical" | "fatal" => LogLevel::Critical,
        _ => return Err(value.expected("\"debug\", \"info\", \"warning\", \"error\" or \"critical\"")),
    };
    Ok(())
}

const CLIENT_CERTIFICATES: &str =
    "checking client certificates is not supported yet, and without the check everybody would be let in";

/// Python's `CERT_NONE` is 0; whatever else is written asks for a check.
fn asks_for_client_certificates(value: &Value) -> bool {
    value.whole(0_i64, 0).is_err()
}

#[cfg(test)]
mod tests;
