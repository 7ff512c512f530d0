//! Whole command lines: files, variables and flags together, and the form of problems.

mod problems;

use std::fs;
use std::num::NonZeroU64;

use hcrs_server::{LogLevel, LogTarget, WorkerClass};
use tempfile::TempDir;

use super::*;

fn parse_words(words: &[&str]) -> Result<Command, ConfigError> {
    parse_in(["hcrs"].iter().chain(words).map(OsString::from), &[])
}

#[track_caller]
fn config(words: &[&str]) -> Config {
    match parse_words(words) {
        Ok(Command::Serve(config)) => *config,
        other => panic!("{words:?}: {other:?}"),
    }
}

/// Creates a file with this content. The guard removes its directory.
fn file(content: &str) -> (TempDir, String) {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("hcrs.toml");
    fs::write(&path, content).unwrap();
    (folder, path.to_str().unwrap().into())
}

#[track_caller]
fn problems(words: &[&str]) -> Vec<String> {
    match parse_words(words) {
        Err(ConfigError::Invalid(problems)) => problems,
        other => panic!("{words:?}: {other:?}"),
    }
}

fn binds(config: &Config) -> Vec<String> {
    config.server.listeners.iter().map(|listener| listener.bind.to_string()).collect()
}

#[test]
fn a_flag_wins_over_the_file_and_the_file_over_the_default() {
    let (_folder, path) = file(
        "application_path = \"file:app\"\nworkers = 3\nbind = [\"a:1\", \"b:2\"]\nbacklog = 7\n\
         keep_alive_timeout = 9\n",
    );
    let config = config(&["-c", &path, "-w", "5", "-b", "c:3", "--keep-alive", "0.5", "flag:app"]);
    let app = config.server.apps.first().unwrap();
    assert_eq!(app.path, "flag:app");
    assert_eq!(app.workers.get(), 5);
    assert_eq!(binds(&config), ["c:3"], "a flag that lists replaces the list");
    assert_eq!(config.server.connection.keep_alive_timeout.as_millis(), 500);
    assert_eq!(config.server.backlog, 7, "from the file");
    assert_eq!(config.server.graceful_timeout.as_secs(), 3, "the default");
    assert_eq!(app.worker_class, WorkerClass::Asyncio);
}

#[test]
fn a_reloader_needs_workers() {
    let (_folder, path) = file("workers = 0\n");
    assert_eq!(
        problems(&["-c", &path, "--reload", "m:a"]),
        ["--reload: use_reloader: there are no workers to reload, because workers is 0; set workers to 1 \
             or more"]
    );
    let app = config(&["-c", &path, "--reload", "-w", "2", "m:a"]).server.apps[0].clone();
    assert_eq!((app.use_reloader, app.workers.get()), (true, 2));
}

#[test]
fn the_app_of_the_file_is_used_when_no_flag_names_one() {
    let (_folder, path) = file("application_path = \"file:app\"");
    assert_eq!(config(&["--config", &path]).server.apps[0].path, "file:app");
    assert!(config(&[]).server.apps.is_empty());
}

#[test]
fn every_flag_ends_in_its_setting() {
    let config = config(&[
        "--bind=a:1",
        "--bind",
        "unix:s",
        "--insecure-bind",
        "b:2",
        "--backlog",
        "5",
        "-m",
        "18",
        "--io-threads",
        "2",
        "-w",
        "3",
        "-k",
        "uvloop",
        "--root-path",
        "/x/",
        "--python",
        "py",
        "--wsgi-threads",
        "4",
        "--queue-size",
        "6",
        "-p",
        "pid",
        "--certfile",
        "c",
        "--keyfile",
        "k",
        "--keep-alive",
        "7",
        "--read-timeout",
        "8",
        "--graceful-timeout",
        "9",
        "--queue-timeout",
        "10",
        "--access-logfile",
        "-",
        "--error-logfile",
        "e",
        "--log-level",
        "DEBUG",
        "m:a",
    ]);
    assert_eq!(config.warnings, Vec::<String>::new());
    assert_eq!(binds(&config), ["a:1", "unix:s", "b:2"]);
    let server = config.server;
    assert_eq!(server.listeners.iter().map(|listener| listener.tls).collect::<Vec<_>>(), [true, true, false]);
    assert_eq!((server.backlog, server.umask, server.io_threads.unwrap().get()), (5, Some(0o22), 2));
    assert_eq!(server.pid_path.unwrap().to_str(), Some("pid"));
    assert_eq!(server.tls.unwrap(), hcrs_tls::Settings::new("c", "k"));
    assert_eq!(server.connection.keep_alive_timeout.as_secs(), 7);
    assert_eq!(server.connection.body_timeout.as_secs(), 8);
    assert_eq!(server.graceful_timeout.as_secs(), 9);
    assert_eq!(
        (server.apps[0].dispatch.queue_size, server.apps[0].dispatch.queue_timeout.as_secs()),
        (6, 10)
    );
    assert_eq!(server.log.access, Some(LogTarget::Standard));
    assert_eq!(server.log.error, Some(LogTarget::File("e".into())));
    assert_eq!(server.log.level, LogLevel::Debug);
    let app = server.apps[0].clone();
    assert_eq!((app.path.as_str(), app.root_path.as_str()), ("m:a", "/x"));
    assert_eq!((app.workers.get(), app.wsgi_threads.unwrap().get()), (3, 4));
    assert_eq!(app.worker_class, WorkerClass::Uvloop);
    assert_eq!(app.python.unwrap().to_str(), Some("py"));
}

#[test]
fn the_other_flags_end_in_their_settings() {
    let config = config(&[
        "--certfile=c",
        "--keyfile=k",
        "--keyfile-password=p",
        "--ca-certs=a",
        "--ciphers=CHACHA20",
        "--debug",
        "--reload",
        "--max-requests=9",
        "--max-requests-jitter=3",
        "--cert-reqs=2",
        "-u",
        "1",
        "-g",
        "2",
        "m:a",
    ]);
    assert_eq!(config.warnings, Vec::<String>::new());
    let tls = config.server.tls.unwrap();
    assert_eq!(tls.keyfile_password, Some("p".into()));
    assert_eq!((tls.ca_certs, tls.ciphers.as_str()), (Some("a".into()), "CHACHA20"));
    assert_eq!(tls.verify_mode, hcrs_tls::VerifyMode::Required);
    assert_eq!(config.server.socket_owner, Some((1, 2)));
    let app = config.server.apps[0].clone();
    assert!(app.debug && app.use_reloader);
    assert_eq!((app.max_requests.map(NonZeroU64::get), app.max_requests_jitter), (Some(9), 3));
}

#[test]
fn every_flag_of_hypercorns_is_known() {
    let config = config(&[
        "--server-name",
        "x",
        "--server-name=y",
        "-D",
        "--daemon",
        "--reload",
        "--access-logformat",
        "%(h)s",
        "--log-config",
        "l",
        "--websocket-ping-interval",
        "1",
        "--max-requests",
        "1",
        "--max-requests-jitter",
        "1",
        "--statsd-host",
        "h:1",
        "--statsd-prefix",
        "p",
    ]);
    assert!(config.warnings.iter().all(|warning| warning.contains(" is ignored: ")), "{:?}", config.warnings);
}

#[track_caller]
fn config_in(environment: &[(&str, &str)], words: &[&str]) -> Result<Config, ConfigError> {
    let environment: Vec<(OsString, OsString)> =
        environment.iter().map(|(name, value)| (name.into(), value.into())).collect();
    match parse_in(["hcrs"].iter().chain(words).map(OsString::from), &environment)? {
        Command::Serve(config) => Ok(*config),
        other => panic!("{words:?}: {other:?}"),
    }
}

#[test]
fn the_environment_stands_between_file_and_flags() {
    let (_folder, path) = file("application_path = \"a\"\nworkers = 2\nbind = \"f:1\"\nbacklog = 7\n");
    let environment = [
        ("WEB_CONCURRENCY", "3"),
        ("PORT", "99"),
        ("HCRS_BACKLOG", "8"),
        ("HCRS_INCLUDE_DATE_HEADER", "false"),
        ("HCRS_KEEP_ALIVE_TIMEOUT", "2.5"),
        ("HCRS_UMASK", "0o7"),
        ("HCRS_ALPN_PROTOCOLS", "h2"),
        ("HCRS_QUEUE_SIZE", "5"),
        ("HCRS_LOGLEVEL", "ERROR"),
    ];
    let read = config_in(&environment, &["-c", &path, "--backlog", "9"]).unwrap();
    assert_eq!(read.warnings, Vec::<String>::new());
    assert_eq!(binds(&read), ["0.0.0.0:99"]);
    let server = read.server;
    assert_eq!((server.backlog, server.umask, server.apps[0].dispatch.queue_size), (9, Some(7), 5));
    assert_eq!(server.apps[0].workers.get(), 3);
    assert_eq!(server.connection.keep_alive_timeout.as_millis(), 2500);
    assert!(!server.connection.include_date_header);
    assert_eq!(server.log.level, LogLevel::Error);

    let read = config_in(
        &[("HCRS_WORKERS", "4"), ("WEB_CONCURRENCY", "3"), ("HCRS_BIND", "a:1,b:2"), ("PORT", "9")],
        &["a"],
    );
    let read = read.unwrap();
    assert_eq!(
        read.server.apps.first().unwrap().workers.get(),
        4,
        "our own variable is the more precise one"
    );
    assert_eq!(binds(&read), ["a:1", "b:2"]);
}

#[test]
fn tables_in_variables_have_the_form_of_the_file() {
    let variables = [
        ("HCRS_LOGCONFIG_DICT", "{ version = 1, loggers = { 'a.b' = { level = \"INFO\" } } }"),
        ("HCRS_CERTIFICATES", "[{ certfile = \"c\", keyfile = \"k\" }]"),
    ];
    let read = config_in(&variables, &["a", "--certfile=c", "--keyfile=k"]).unwrap();
    assert_eq!(read.server.tls.unwrap().more_certificates.len(), 1);
    let json = r#"{"version":1,"loggers":{"a.b":{"level":"INFO"}}}"#;
    assert_eq!(read.server.log.python, Some(hcrs_server::PythonLogging::Dict(json.into())));
    let shown = read.resolved.iter().find(|setting| setting.key == "logconfig_dict").unwrap();
    assert_eq!(shown.value, "{ version = 1, loggers = { \"a.b\" = { level = \"INFO\" } } }");

    let variables =
        [("HCRS_LOGCONFIG_DICT", "{ a = 1 }\nb = 2"), ("HCRS_CERTIFICATES", "[{ certfile = 1 }]")];
    let error = config_in(&variables, &["a"]).unwrap_err().to_string();
    assert!(error.contains("HCRS_LOGCONFIG_DICT: expected a table, found the string"), "{error}");
    assert!(error.contains("HCRS_CERTIFICATES: expected a path as a string, found 1"), "{error}");
}

#[test]
fn objects_of_python_cannot_be_passed_to_the_workers_logging() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("conf.py");
    fs::write(
        &path,
        "import logging\nlogconfig_dict = {'version': 1, 'x': None, 'root': {'level': logging.INFO}}\n",
    )
    .unwrap();
    let name = format!("file:{}", path.display());
    let json = r#"{"version":1,"root":{"level":20}}"#;
    assert_eq!(config(&["-c", &name]).server.log.python, Some(hcrs_server::PythonLogging::Dict(json.into())));
    fs::write(&path, "logconfig_dict = {'handlers': {'x': {'()': list}}}\n").unwrap();
    let wrong = problems(&["-c", &name]);
    assert!(
        wrong[0].contains("conf.py: logconfig_dict: <class 'list'> cannot be passed to the workers"),
        "{wrong:?}"
    );
}

#[test]
fn wrong_variables_are_named() {
    let error =
        config_in(&[("WEB_CONCURRENCY", "many"), ("PORT", "http"), ("HCRS_DEBUG", "perhaps")], &["a"]);
    let error = error.unwrap_err().to_string();
    for problem in [
        "WEB_CONCURRENCY: expected a whole number from 0 to 1024 or \"auto\", found the string \"many\"",
        "PORT: \"0.0.0.0:http\" cannot be bound",
        "HCRS_DEBUG: expected true or false, found the string \"perhaps\"",
    ] {
        assert!(error.contains(problem), "{error}");
    }
}

#[test]
fn unknown_settings_are_mistakes_with_strict() {
    let (_folder, path) = file("worker = 1\nlog_level = \"info\"\n[hypercorn]\n");
    let problems = problems(&["--strict", "-c", &path]);
    assert_eq!(problems.len(), 2, "{problems:?}");
    assert!(
        problems[0].contains(":1:1: unknown key: worker, ignored; did you mean workers?"),
        "{problems:?}"
    );
    assert_eq!(config(&["-c", &path]).warnings.len(), 3);
}

#[test]
fn configuration_in_python_is_evaluated() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("conf.py");
    fs::write(
        &path,
        "import multiprocessing, pathlib, ssl\ncores = 4\nprint('hello')\ndef helper(): pass\n\
         workers = cores + 1\nbind = ('a:1', \"b:2\")\npid_path = pathlib.Path('p') / 'id'\n\
         certfile = 'c'; keyfile = 'k'; ca_certs = 'a'\nverify_mode = ssl.CERT_REQUIRED\n\
         keep_alive_timeout = 2.5\napplication_path = 'm:\u{1F980}\\\\\"'\nhcrs = {'queue_size': 3}\n\
         worker = 9\n",
    )
    .unwrap();
    let config = config(&["-c", &format!("file:{}", path.display())]);
    assert_eq!(binds(&config), ["a:1", "b:2"]);
    assert_eq!(
        config.warnings,
        [format!("file:{}: unknown key: worker, ignored; did you mean workers?", path.display())]
    );
    let server = config.server;
    assert_eq!((server.pid_path, server.apps[0].dispatch.queue_size), (Some("p/id".into()), 3));
    assert_eq!(server.tls.unwrap().verify_mode, hcrs_tls::VerifyMode::Required);
    assert_eq!(server.connection.keep_alive_timeout.as_millis(), 2500);
    let app = server.apps[0].clone();
    assert_eq!((app.workers.get(), app.path.as_str()), (5, "m:\u{1F980}\\\""));

    fs::write(&path, "workers = 'two'\nbacklog = 1 // 0\n").unwrap();
    let wrong = problems(&["-c", &format!("file:{}", path.display())]);
    assert!(wrong[0].contains("ZeroDivisionError") && wrong[0].contains("line 2"), "{wrong:?}");
    fs::write(&path, "workers = 'two'\n").unwrap();
    let wrong = problems(&["-c", &format!("file:{}", path.display())]);
    assert!(wrong[0].ends_with(
        "conf.py: workers: expected a whole number from 0 to 1024 or \"auto\", found the string \"two\""
    ));
    let wrong = problems(&["-c", "python:no_such_module_anywhere"]);
    assert!(wrong[0].contains("ModuleNotFoundError"), "{wrong:?}");
}

#[test]
fn every_setting_is_shown_with_its_origin() {
    let (_folder, path) = file("workers = 2\nkeyfile = \"k\"\nkeyfile_password = \"pass phrase\"\n");
    let environment = [("HCRS_BACKLOG".into(), "5".into())];
    let words = ["hcrs", "config", "show", &path, "--certfile", "c", "--keep", "4"];
    let Ok(Command::Show(config)) = parse_in(words.map(OsString::from), &environment) else {
        panic!("no command")
    };
    let shown = config.shown();
    let origin = |line: &str| {
        let found =
            shown.lines().find(|shown| shown.starts_with(line)).unwrap_or_else(|| panic!("{line}\n{shown}"));
        found.rsplit_once("  # ").unwrap().1.to_owned()
    };
    assert_eq!(origin("workers = 2 "), format!("{path}:1"));
    assert_eq!(origin("backlog = 5 "), "HCRS_BACKLOG");
    assert_eq!(origin("certfile = \"c\" "), "--certfile");
    assert_eq!(origin("keep_alive_timeout = 4 "), "--keep-alive");
    assert_eq!(origin("graceful_timeout = 3 "), "default");
    assert_eq!(origin("# umask is unset "), "default");
    assert!(!shown.contains("pass phrase") && shown.contains("[hcrs]\n"), "{shown}");
    let again = shown.replace("keyfile_password = (hidden)", "");
    let (_folder, path) = file(&again);
    let read = self::config(&["--strict", "-c", &path]);
    assert_eq!((read.warnings.len(), read.server.backlog), (0, 5), "the output is a valid file");
}

#[test]
fn flags_may_be_shortened_and_the_mask_is_decimal_unless_it_is_marked_octal() {
    assert_eq!(config(&["--keep", "9"]).server.connection.keep_alive_timeout.as_secs(), 9);
    assert_eq!(config(&["--log-file", "e"]).server.log.error, Some(LogTarget::File("e".into())));
    assert_eq!(config(&["--access-log", "-"]).server.log.access, Some(LogTarget::Standard));
    assert_eq!(config(&["-m", "022"]).server.umask, Some(22));
    assert_eq!(config(&["-m", "0o22"]).server.umask, Some(0o22));
    assert!(matches!(parse_words(&["--work", "2"]), Err(ConfigError::Usage(_))), "ambiguous");
}

#[test]
fn the_certificate_command_does_not_hide_an_app_named_cert() {
    assert_eq!(config(&["cert"]).server.apps[0].path, "cert");
    assert_eq!(config(&["cert:dev"]).server.apps[0].path, "cert:dev");
    let Ok(Command::DevCertificate { folder, names, force }) = parse_words(&["cert", "dev"]) else {
        panic!("no command")
    };
    assert_eq!((folder.to_str(), force), (Some("certs"), false));
    assert_eq!(names, ["localhost", "127.0.0.1", "::1"]);
    let words = ["cert", "dev", "--dir", "d", "--name", "a.test", "--name", "b.test", "--force"];
    let Ok(Command::DevCertificate { folder, names, force }) = parse_words(&words) else {
        panic!("no command")
    };
    assert_eq!((folder.to_str(), force), (Some("d"), true));
    assert_eq!(names, ["a.test", "b.test"]);
}

#[test]
fn sample_files_load_without_a_warning() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../config");
    let mut seen = 0;
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "toml") {
            let config = config(&["--strict", "-c", path.to_str().unwrap()]);
            assert_eq!(config.warnings, Vec::<String>::new());
            seen += 1;
        }
    }
    assert!(seen >= 7, "there are {seen} sample files");
}

#[test]
fn config_route_names_the_route_that_takes_a_request() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("site.toml");
    let toml = "application_path = \"m:a\"\n[[hcrs.routes]]\npath = \"/api\"\napp = true\nmax_body_size = 5\n\
                [[hcrs.routes]]\npath = \"/s\"\nfiles = \"/srv\"\nmissing = \"next\"";
    fs::write(&path, toml).unwrap();
    let path = path.to_str().unwrap();
    let explained = |request: &str| {
        let words = ["config", "route", "-c", path, "--static", "/m=m", request];
        match parse_words(&words) {
            Ok(Command::Route { config, request }) => config.explain_route(&request),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(
        explained("POST http://h/api/x"),
        format!(
            "POST http://h/api/x\nroute 1 ({path}:2) takes it: the app\n  path = \"/api\"\n  app = true\n  \
             max_body_size = 5\n"
        )
    );
    assert_eq!(
        explained("https://h/s/x?y"),
        format!(
            "GET https://h/s/x?y\nroute 1 ({path}:2) does not take it: its path is another\n\
             route 2 ({path}:6) takes it if it has the file: files of /srv\n  path = \"/s\"\n  files = \"/srv\"\n  \
             missing = \"next\"\nroute 3 (--static) does not take it: its path is another\n\
             no route takes it: the app m:a\n"
        )
    );
    let Ok(Command::Show(config)) = parse_words(&["config", "show", path, "--static", "/m=m"]) else {
        panic!("a configuration")
    };
    let shown = config.shown();
    let tables: Vec<_> = shown.split("\n\n").skip(2).collect();
    assert_eq!(tables.len(), 3, "{shown}");
    assert!(
        tables[1].starts_with("[[hcrs.routes]]") && tables[1].contains(&format!("# {path}:6")),
        "{shown}"
    );
    assert!(tables[2].ends_with("# --static\npath = \"/m\"\nfiles = \"m\"\n"), "{shown}");
    let error = parse_words(&["config", "route", "-c", path, "GET /s"]).unwrap_err();
    assert!(error.to_string().starts_with("REQUEST: expected a method and a URL"), "{error}");
}
