//! Uvicorn's settings, by their names in `uvicorn --help` and `uvicorn.run`.

use hcrs_config::Datum;

use crate::conversions::{
    self, LONGEST_DRAIN, LONGEST_STARTUP, LOOP_AUTO, app_path, host_and_port, log_config, trusted,
};
use crate::row::{MigratedSetting, Row, Server, texts};
use crate::sheet::Sheet;

const PARSER: &str = "hcrs has one parser, which is strict";

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
        Row::part_of("app", "", "application_path"),
        Row::converted("host", "--host", "bind", bind).with_default("127.0.0.1"),
        Row::part_of("port", "--port", "bind").with_default("8000"),
        Row::part_of("uds", "--uds", "bind, umask"),
        Row::part_of("fd", "--fd", "bind"),
        Row::converted("reload", "--reload", "use_reloader", conversions::reload).switch(),
        Row::same("reload_dirs", "--reload-dir", "reload_dirs").list(),
        Row::same("reload_includes", "--reload-include", "reload_include").list(),
        Row::same("reload_excludes", "--reload-exclude", "reload_exclude").list(),
        Row::unsupported("reload_delay", "--reload-delay", "the interval of the reloader is fixed")
            .with_default("0.25"),
        Row::same("workers", "--workers", "workers"),
        Row::converted("loop", "--loop", "worker_class", worker_class).with_default("auto"),
        Row::unsupported("http", "--http", PARSER).with_default("auto"),
        Row::unsupported("http2", "--http2",
            "HTTP/2 is always enabled: by ALPN with TLS, by prior knowledge without").switch(),
        Row::unsupported("ws", "--ws", "WebSockets are always enabled").with_default("auto"),
        Row::same("ws_max_size", "--ws-max-size", "websocket_max_message_size"),
        Row::unsupported("ws_max_queue", "--ws-max-queue", "waiting messages are bounded in bytes")
            .with_default("32"),
        Row::converted("ws_ping_interval", "--ws-ping-interval", "websocket_ping_interval", ping_interval)
            .with_default("20"),
        Row::same("ws_ping_timeout", "--ws-ping-timeout", "websocket_ping_timeout"),
        Row::same("ws_per_message_deflate", "--ws-per-message-deflate", "websocket_compression"),
        Row::same("lifespan", "--lifespan", "lifespan"),
        Row::part_of("interface", "--interface", "application_path, wsgi_threads").with_default("auto"),
        Row::converted("env_file", "--env-file", "", env_file),
        Row::converted("log_config", "--log-config", "logconfig, logconfig_dict", log_config),
        Row::converted("log_level", "--log-level", "loglevel", conversions::level).with_default("info"),
        Row::converted("access_log", "--access-log --no-access-log", "accesslog, access_log_format",
            access_log)
            .switch().with_default("true"),
        Row::unsupported("use_colors", "--use-colors --no-use-colors", "logs have no colors").switch(),
        Row::part_of("proxy_headers", "--proxy-headers --no-proxy-headers",
            "proxy_headers, forwarded_allow_ips").switch().with_default("true"),
        Row::converted("forwarded_allow_ips", "--forwarded-allow-ips", "forwarded_allow_ips", forwarded)
            .with_default("127.0.0.1,::1"),
        Row::converted("root_path", "--root-path", "stripped_prefix", root_path),
        Row::converted("limit_concurrency", "--limit-concurrency", "max_connections, io_threads",
            limit_concurrency),
        Row::same("backlog", "--backlog", "backlog").with_default("2048"),
        Row::converted("limit_max_requests", "--limit-max-requests", "max_requests",
            conversions::max_requests),
        Row::converted("limit_max_requests_jitter", "--limit-max-requests-jitter", "max_requests_jitter",
            conversions::max_requests_jitter),
        Row::converted("timeout_keep_alive", "--timeout-keep-alive", "keep_alive_timeout",
            conversions::keep_alive).with_default("5"),
        Row::same("timeout_graceful_shutdown", "--timeout-graceful-shutdown", "graceful_timeout"),
        Row::unsupported("timeout_worker_healthcheck", "--timeout-worker-healthcheck",
            "worker_timeout of [hcrs] covers more: it also replaces a worker whose event loop is blocked")
            .with_default("5"),
        Row::same("ssl_keyfile", "--ssl-keyfile", "keyfile"),
        Row::same("ssl_certfile", "--ssl-certfile", "certfile"),
        Row::same("ssl_keyfile_password", "--ssl-keyfile-password", "keyfile_password"),
        Row::unsupported("ssl_version", "--ssl-version",
            "TLS 1.2 and 1.3 are enabled; minimum_version of [hcrs] can require 1.3").with_default("17"),
        Row::converted("ssl_cert_reqs", "--ssl-cert-reqs", "verify_mode", conversions::verify_mode),
        Row::same("ssl_ca_certs", "--ssl-ca-certs", "ca_certs"),
        Row::converted("ssl_ciphers", "--ssl-ciphers", "ciphers", ciphers),
        Row::unsupported("ssl_context_factory", "", "TLS does not use Python; use the TLS settings of hcrs"),
        Row::converted("headers", "--header", "alt_svc_headers", headers).list(),
        Row::same("server_header", "--server-header --no-server-header", "include_server_header").switch(),
        Row::same("date_header", "--date-header --no-date-header", "include_date_header").switch(),
        Row::part_of("app_dir", "--app-dir", "application_path"),
        Row::same("h11_max_incomplete_event_size", "--h11-max-incomplete-event-size",
            "h11_max_incomplete_size")
            .with_default("65536"),
        Row::unsupported("reset_contextvars", "--reset-contextvars", "each request has a context of its own")
            .switch(),
        Row::part_of("factory", "--factory", "application_path").switch(),
    ]
}

fn bind(given: &MigratedSetting, sheet: &mut Sheet<'_>) -> Result<(), String> {
    if let Some(fd) = sheet.given("fd").cloned() {
        let bind = format!("fd://{}", fd.whole()?);
        sheet.set("bind", &texts([bind.as_str()]), fd.origin);
    } else if let Some(uds) = sheet.given("uds").cloned() {
        let bind = format!("unix:{}", uds.text()?);
        sheet.set("bind", &texts([bind.as_str()]), uds.origin.clone());
        sheet.set(
            "umask",
            &Datum::Integer(0o111),
            format!("{}: Uvicorn makes it writable for every user", uds.origin),
        );
    } else {
        let host = given.text()?;
        let port = sheet.text("port").unwrap_or_default();
        let origins =
            [Some(given), sheet.given("port")].into_iter().flatten().filter(|given| !given.is_default);
        let origins: Vec<_> = origins.map(|given| given.origin.as_str()).collect();
        let origin = if origins.is_empty() { "uvicorn's default".to_owned() } else { origins.join(", ") };
        let binds = match host.as_str() {
            "" => vec![format!("0.0.0.0:{port}"), format!("[::]:{port}")],
            host => vec![host_and_port(host, &port)],
        };
        sheet.set("bind", &texts(binds.iter().map(String::as_str)), origin);
    }
    Ok(())
}

fn worker_class(given: &MigratedSetting, sheet: &mut Sheet<'_>) -> Result<(), String> {
    match given.text()?.as_str() {
        "auto" => sheet.note(&format!("--loop auto ({})", given.origin), LOOP_AUTO),
        "none" => sheet.set("worker_class", &Datum::Text("asyncio".into()), given.origin.clone()),
        name @ ("asyncio" | "uvloop") => {
            sheet.set("worker_class", &Datum::Text(name.into()), given.origin.clone());
        }
        _ => sheet.note(&given.origin, "not supported; the event loops are asyncio, uvloop and trio"),
    }
    Ok(())
}

fn ping_interval(given: &MigratedSetting, sheet: &mut Sheet<'_>) -> Result<(), String> {
    let seconds = given.seconds()?;
    if seconds > 0.0 {
        sheet.set("websocket_ping_interval", &conversions::number(seconds), given.origin.clone());
    }
    Ok(())
}

/// Converts the root path, which Uvicorn prepends to each path because a proxy has removed it.
fn root_path(given: &MigratedSetting, sheet: &mut Sheet<'_>) -> Result<(), String> {
    let path = given.text()?;
    if !path.is_empty() {
        let origin = format!("{}, which Uvicorn prepends to each path", given.origin);
        sheet.set("stripped_prefix", &Datum::Text(path), origin);
    }
    Ok(())
}

fn env_file(given: &MigratedSetting, sheet: &mut Sheet<'_>) -> Result<(), String> {
    sheet.environment_files.push(given.text()?);
    Ok(())
}

/// Format of Uvicorn's access log.
pub(super) const ACCESS_LINE: &str = "%(h)s - \"%(m)s %(Uq)s HTTP/%(H)s\" %(s)s";

fn access_log(given: &MigratedSetting, sheet: &mut Sheet<'_>) -> Result<(), String> {
    if given.boolean()? {
        sheet.set("accesslog", &Datum::Text("-".into()), given.origin.clone());
        sheet.set("access_log_format", &Datum::Text(ACCESS_LINE.into()), "uvicorn's format");
    } else {
        sheet.set("accesslog", &Datum::Text(String::new()), given.origin.clone());
    }
    Ok(())
}

fn forwarded(given: &MigratedSetting, sheet: &mut Sheet<'_>) -> Result<(), String> {
    let Some(headers) = sheet.given_or_default("proxy_headers") else { return Ok(()) };
    if headers.boolean()? {
        trusted(given, sheet)
    } else {
        sheet.set("proxy_headers", &Datum::Text("off".into()), headers.origin);
        Ok(())
    }
}

/// Workers for each edge thread by default (`hcrs-server`).
const WORKERS_PER_THREAD: i64 = 4;

fn limit_concurrency(given: &MigratedSetting, sheet: &mut Sheet<'_>) -> Result<(), String> {
    let workers = sheet.given("workers").map_or(Ok(1), MigratedSetting::whole)?.clamp(1, i64::from(u16::MAX));
    let threads = (workers + WORKERS_PER_THREAD - 1) / WORKERS_PER_THREAD;
    let connections = given.whole()?.saturating_mul(workers) / threads;
    let origin = format!("{}, for each of {workers} workers", given.origin);
    sheet.set("max_connections", &Datum::Integer(connections), origin);
    sheet.set(
        "io_threads",
        &Datum::Integer(threads),
        format!("{}: the limit is for each edge thread", given.origin),
    );
    sheet.note(
        &given.origin,
        "connections are limited: further ones are closed, where Uvicorn answers 503. An HTTP/2 connection \
         may have h2_max_concurrent_streams requests in flight",
    );
    Ok(())
}

fn ciphers(given: &MigratedSetting, sheet: &mut Sheet<'_>) -> Result<(), String> {
    // The default of older versions, which names no cipher list.
    if given.text()? != "TLSv1" {
        sheet.set("ciphers", &given.datum, given.origin.clone());
    }
    Ok(())
}

fn headers(given: &MigratedSetting, sheet: &mut Sheet<'_>) -> Result<(), String> {
    let Datum::Array(values) = &given.datum else { return Err("expected a list of headers".into()) };
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
            sheet.set("include_server_header", &Datum::Boolean(false), given.origin.clone());
            sheet.note(
                &format!("--header {name}:{value}"),
                "to send another server name, add the field in the app",
            );
        } else {
            sheet.note(
                &format!("--header {name}:{value}"),
                "add fields to every response in the app, by a middleware",
            );
        }
    }
    if !alternatives.is_empty() {
        sheet.set("alt_svc_headers", &texts(alternatives.iter().map(String::as_str)), given.origin.clone());
    }
    Ok(())
}

fn finish(sheet: &mut Sheet<'_>) {
    let interface = match sheet.text("interface").unwrap_or_default().as_str() {
        "wsgi" => {
            sheet.set("wsgi_threads", &Datum::Integer(10), "uvicorn's default");
            conversions::any_body(sheet);
            "wsgi:"
        }
        "asgi3" => "asgi:",
        "asgi2" => {
            sheet.note(
                "--interface asgi2",
                "hcrs calls apps as ASGI 3; wrap the app in asgiref.compatibility.guarantee_single_callable",
            );
            ""
        }
        _ => "",
    };
    if let Some(app) = sheet.given("app").cloned()
        && let Ok(path) = app.text()
    {
        let folder = sheet.text("app_dir").unwrap_or_default();
        let factory = sheet.given_or_default("factory").is_some_and(|given| given.boolean() == Ok(true));
        let path = app_path(interface, &folder, &path, factory);
        sheet.set("application_path", &Datum::Text(path), app.origin);
    }
    if sheet.literal("graceful_timeout").is_none() {
        let origin = "uvicorn sets no limit; systemd kills after 90 s";
        sheet.set("graceful_timeout", &Datum::Text(LONGEST_DRAIN.into()), origin);
    }
    sheet.set("startup_timeout", &Datum::Text(LONGEST_STARTUP.into()), "uvicorn sets no limit");
}
