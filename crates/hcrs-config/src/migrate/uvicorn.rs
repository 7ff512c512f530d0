//! Uvicorn's settings, as `uvicorn --help` and the parameters of `uvicorn.run` name them.

use crate::migrate::meaning::{
    self, LONGEST_DRAIN, LONGEST_STARTUP, LOOP_AUTO, app_path, host_and_port, log_config, trusted,
};
use crate::migrate::row::{Row, Server, Told, texts};
use crate::migrate::sheet::Sheet;
use crate::value::Datum;

const PARSER: &str = "there is one parser, and it is strict";

pub(super) fn server() -> Server {
    Server {
        name: "uvicorn",
        rows: rows(),
        prefix: Some("UVICORN_"),
        variables: &[("WEB_CONCURRENCY", "workers"), ("FORWARDED_ALLOW_IPS", "forwarded_allow_ips")],
        abbreviates: false,
        app: "app",
        config: None,
        finish,
    }
}

#[rustfmt::skip]
fn rows() -> Vec<Row> {
    vec![
        Row::part("app", "", "application_path"),
        Row::made("host", "--host", "bind", bind).or("127.0.0.1"),
        Row::part("port", "--port", "bind").or("8000"),
        Row::part("uds", "--uds", "bind, umask"),
        Row::part("fd", "--fd", "bind"),
        Row::made("reload", "--reload", "use_reloader", meaning::reload).switch(),
        Row::same("reload_dirs", "--reload-dir", "reload_dirs").list(),
        Row::same("reload_includes", "--reload-include", "reload_include").list(),
        Row::same("reload_excludes", "--reload-exclude", "reload_exclude").list(),
        Row::without("reload_delay", "--reload-delay", "the reloader decides itself how often it looks").or("0.25"),
        Row::same("workers", "--workers", "workers"),
        Row::made("loop", "--loop", "worker_class", worker_class).or("auto"),
        Row::without("http", "--http", PARSER).or("auto"),
        Row::without("http2", "--http2", "HTTP/2 is always spoken: by ALPN with TLS, by prior knowledge without").switch(),
        Row::without("ws", "--ws", "WebSockets are always spoken").or("auto"),
        Row::same("ws_max_size", "--ws-max-size", "websocket_max_message_size"),
        Row::without("ws_max_queue", "--ws-max-queue", "messages that wait are bounded by bytes").or("32"),
        Row::made("ws_ping_interval", "--ws-ping-interval", "websocket_ping_interval", ping_interval).or("20"),
        Row::same("ws_ping_timeout", "--ws-ping-timeout", "websocket_ping_timeout"),
        Row::same("ws_per_message_deflate", "--ws-per-message-deflate", "websocket_compression"),
        Row::same("lifespan", "--lifespan", "lifespan"),
        Row::part("interface", "--interface", "application_path, wsgi_threads").or("auto"),
        Row::made("env_file", "--env-file", "", env_file),
        Row::made("log_config", "--log-config", "logconfig, logconfig_dict", log_config),
        Row::made("log_level", "--log-level", "loglevel", meaning::level).or("info"),
        Row::made("access_log", "--access-log --no-access-log", "accesslog, access_log_format", access_log).switch().or("true"),
        Row::without("use_colors", "--use-colors --no-use-colors", "logs have no colours").switch(),
        Row::part("proxy_headers", "--proxy-headers --no-proxy-headers", "proxy_headers, forwarded_allow_ips").switch().or("true"),
        Row::made("forwarded_allow_ips", "--forwarded-allow-ips", "forwarded_allow_ips", forwarded).or("127.0.0.1,::1"),
        Row::made("root_path", "--root-path", "stripped_prefix", root_path),
        Row::made("limit_concurrency", "--limit-concurrency", "max_connections, io_threads", limit_concurrency),
        Row::same("backlog", "--backlog", "backlog").or("2048"),
        Row::made("limit_max_requests", "--limit-max-requests", "max_requests", meaning::max_requests),
        Row::made("limit_max_requests_jitter", "--limit-max-requests-jitter", "max_requests_jitter", meaning::max_requests_jitter),
        Row::made("timeout_keep_alive", "--timeout-keep-alive", "keep_alive_timeout", meaning::keep_alive).or("5"),
        Row::same("timeout_graceful_shutdown", "--timeout-graceful-shutdown", "graceful_timeout"),
        Row::without("timeout_worker_healthcheck", "--timeout-worker-healthcheck", "worker_timeout of [hcrs] looks further: it also ends a worker whose event loop is blocked for so long").or("5"),
        Row::same("ssl_keyfile", "--ssl-keyfile", "keyfile"),
        Row::same("ssl_certfile", "--ssl-certfile", "certfile"),
        Row::same("ssl_keyfile_password", "--ssl-keyfile-password", "keyfile_password"),
        Row::without("ssl_version", "--ssl-version", "TLS 1.2 and 1.3 are spoken; minimum_version of [hcrs] can ask for 1.3").or("17"),
        Row::made("ssl_cert_reqs", "--ssl-cert-reqs", "verify_mode", meaning::verify_mode),
        Row::same("ssl_ca_certs", "--ssl-ca-certs", "ca_certs"),
        Row::made("ssl_ciphers", "--ssl-ciphers", "ciphers", ciphers),
        Row::without("ssl_context_factory", "", "TLS is not Python's: say it with the keys of TLS"),
        Row::made("headers", "--header", "alt_svc_headers", headers).list(),
        Row::same("server_header", "--server-header --no-server-header", "include_server_header").switch(),
        Row::same("date_header", "--date-header --no-date-header", "include_date_header").switch(),
        Row::part("app_dir", "--app-dir", "application_path"),
        Row::same("h11_max_incomplete_event_size", "--h11-max-incomplete-event-size", "h11_max_incomplete_size").or("65536"),
        Row::without("reset_contextvars", "--reset-contextvars", "each request has a context of its own").switch(),
        Row::part("factory", "--factory", "application_path").switch(),
    ]
}

fn bind(told: &Told, sheet: &mut Sheet<'_>) -> Result<(), String> {
    if let Some(fd) = sheet.said("fd").cloned() {
        let bind = format!("fd://{}", fd.whole()?);
        sheet.set("bind", &texts([bind.as_str()]), fd.origin);
    } else if let Some(uds) = sheet.said("uds").cloned() {
        let bind = format!("unix:{}", uds.text()?);
        sheet.set("bind", &texts([bind.as_str()]), uds.origin.clone());
        sheet.set(
            "umask",
            &Datum::Integer(0o111),
            format!("{}: Uvicorn lets everybody write to it", uds.origin),
        );
    } else {
        let host = told.text()?;
        let port = sheet.text("port").unwrap_or_default();
        let origins = [Some(told), sheet.said("port")].into_iter().flatten().filter(|told| !told.is_default);
        let origins: Vec<_> = origins.map(|told| told.origin.as_str()).collect();
        let origin = if origins.is_empty() { "uvicorn's default".to_owned() } else { origins.join(", ") };
        let binds = match host.as_str() {
            "" => vec![format!("0.0.0.0:{port}"), format!("[::]:{port}")],
            host => vec![host_and_port(host, &port)],
        };
        sheet.set("bind", &texts(binds.iter().map(String::as_str)), origin);
    }
    Ok(())
}

fn worker_class(told: &Told, sheet: &mut Sheet<'_>) -> Result<(), String> {
    match told.text()?.as_str() {
        "auto" => sheet.note(&format!("--loop auto ({})", told.origin), LOOP_AUTO),
        "none" => sheet.set("worker_class", &Datum::Text("asyncio".into()), told.origin.clone()),
        name @ ("asyncio" | "uvloop") => {
            sheet.set("worker_class", &Datum::Text(name.into()), told.origin.clone());
        }
        _ => sheet.note(&told.origin, "the loops are asyncio, uvloop and trio"),
    }
    Ok(())
}

fn ping_interval(told: &Told, sheet: &mut Sheet<'_>) -> Result<(), String> {
    let seconds = told.seconds()?;
    if seconds > 0.0 {
        sheet.set("websocket_ping_interval", &meaning::number(seconds), told.origin.clone());
    }
    Ok(())
}

/// Uvicorn puts it before each path: a proxy has taken it off.
fn root_path(told: &Told, sheet: &mut Sheet<'_>) -> Result<(), String> {
    let path = told.text()?;
    if !path.is_empty() {
        let origin = format!("{}, which Uvicorn puts before each path", told.origin);
        sheet.set("stripped_prefix", &Datum::Text(path), origin);
    }
    Ok(())
}

fn env_file(told: &Told, sheet: &mut Sheet<'_>) -> Result<(), String> {
    sheet.environment_files.push(told.text()?);
    Ok(())
}

/// Uvicorn's line.
pub(super) const ACCESS_LINE: &str = "%(h)s - \"%(m)s %(Uq)s HTTP/%(H)s\" %(s)s";

fn access_log(told: &Told, sheet: &mut Sheet<'_>) -> Result<(), String> {
    if told.boolean()? {
        sheet.set("accesslog", &Datum::Text("-".into()), told.origin.clone());
        sheet.set("access_log_format", &Datum::Text(ACCESS_LINE.into()), "uvicorn's line");
    } else {
        sheet.set("accesslog", &Datum::Text(String::new()), told.origin.clone());
    }
    Ok(())
}

fn forwarded(told: &Told, sheet: &mut Sheet<'_>) -> Result<(), String> {
    let Some(headers) = sheet.said_or_default("proxy_headers") else { return Ok(()) };
    if headers.boolean()? {
        trusted(told, sheet)
    } else {
        sheet.set("proxy_headers", &Datum::Text("off".into()), headers.origin);
        Ok(())
    }
}

/// The workers for which one thread of the edge is enough (`hcrs-server` decides so by default).
const WORKERS_PER_THREAD: i64 = 4;

fn limit_concurrency(told: &Told, sheet: &mut Sheet<'_>) -> Result<(), String> {
    let workers = sheet.said("workers").map_or(Ok(1), Told::whole)?.clamp(1, i64::from(u16::MAX));
    let threads = (workers + WORKERS_PER_THREAD - 1) / WORKERS_PER_THREAD;
    let connections = told.whole()?.saturating_mul(workers) / threads;
    let origin = format!("{}, for each of {workers} workers", told.origin);
    sheet.set("max_connections", &Datum::Integer(connections), origin);
    sheet.set("io_threads", &Datum::Integer(threads), format!("{}: the limit is one thread's", told.origin));
    sheet.note(
        &told.origin,
        "what is bounded is connections: more of them are closed, where Uvicorn answers 503. An HTTP/2 connection \
         may have h2_max_concurrent_streams requests under way",
    );
    Ok(())
}

fn ciphers(told: &Told, sheet: &mut Sheet<'_>) -> Result<(), String> {
    // The name of OpenSSL's own choice in older versions.
    if told.text()? != "TLSv1" {
        sheet.set("ciphers", &told.datum, told.origin.clone());
    }
    Ok(())
}

fn headers(told: &Told, sheet: &mut Sheet<'_>) -> Result<(), String> {
    let Datum::Array(values) = &told.datum else { return Err("expected a list of headers".into()) };
    let mut alternatives = Vec::new();
    for entry in values {
        let (name, value) = match &entry.datum {
            Datum::Text(text) => {
                text.split_once(':').map(|(name, value)| (name.to_owned(), value.to_owned()))
            }
            Datum::Array(pair) => match pair.as_slice() {
                [name, value] => match (&name.datum, &value.datum) {
                    (Datum::Text(name), Datum::Text(value)) => Some((name.clone(), value.clone())),
                    _ => None,
                },
                _ => None,
            },
            _ => None,
        }
        .ok_or("expected NAME:VALUE")?;
        if name.trim().eq_ignore_ascii_case("alt-svc") {
            alternatives.push(value.trim().to_owned());
        } else if name.trim().eq_ignore_ascii_case("server") {
            sheet.set("include_server_header", &Datum::Boolean(false), told.origin.clone());
            sheet.note(
                &format!("--header {name}:{value}"),
                "only the app can send another name of the server",
            );
        } else {
            sheet.note(
                &format!("--header {name}:{value}"),
                "fields for every response are added by the app, in a middleware",
            );
        }
    }
    if !alternatives.is_empty() {
        sheet.set("alt_svc_headers", &texts(alternatives.iter().map(String::as_str)), told.origin.clone());
    }
    Ok(())
}

fn finish(sheet: &mut Sheet<'_>) {
    let interface = match sheet.text("interface").unwrap_or_default().as_str() {
        "wsgi" => {
            sheet.set("wsgi_threads", &Datum::Integer(10), "uvicorn's default");
            meaning::any_body(sheet);
            "wsgi:"
        }
        "asgi3" => "asgi:",
        "asgi2" => {
            sheet.note(
                "--interface asgi2",
                "apps are called as ASGI 3: wrap the app in asgiref.compatibility.guarantee_single_callable",
            );
            ""
        }
        _ => "",
    };
    if let Some(app) = sheet.said("app").cloned()
        && let Ok(path) = app.text()
    {
        let folder = sheet.text("app_dir").unwrap_or_default();
        let factory = sheet.said_or_default("factory").is_some_and(|told| told.boolean() == Ok(true));
        let path = app_path(interface, &folder, &path, factory);
        sheet.set("application_path", &Datum::Text(path), app.origin);
    }
    if sheet.literal("graceful_timeout").is_none() {
        let origin = "uvicorn sets no limit; systemd kills after 90 s";
        sheet.set("graceful_timeout", &Datum::Text(LONGEST_DRAIN.into()), origin);
    }
    sheet.set("startup_timeout", &Datum::Text(LONGEST_STARTUP.into()), "uvicorn sets no limit");
}
