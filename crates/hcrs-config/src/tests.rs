//! The command line as a whole: file and flags together, and how problems look.

use std::fs;

use hcrs_server::{LogLevel, LogTarget, WorkerClass};
use tempfile::TempDir;

use super::*;

fn parse_words(words: &[&str]) -> Result<Command, ConfigError> {
    parse(["hcrs"].iter().chain(words).map(OsString::from))
}

#[track_caller]
fn config(words: &[&str]) -> Config {
    match parse_words(words) {
        Ok(Command::Serve(config)) => *config,
        other => panic!("{words:?}: {other:?}"),
    }
}

/// A file of this content, and its folder, which lives as long as the guard.
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
        "application_path = \"file:app\"\nworkers = 3\nbind = [\"a:1\", \"b:2\"]\nbacklog = 7\nkeep_alive_timeout = 9\n",
    );
    let config = config(&["-c", &path, "-w", "5", "-b", "c:3", "--keep-alive", "0.5", "flag:app"]);
    let app = config.server.app.as_ref().unwrap();
    assert_eq!(app.path, "flag:app");
    assert_eq!(app.workers.get(), 5);
    assert_eq!(binds(&config), ["c:3"], "a flag that lists replaces the list");
    assert_eq!(config.server.connection.keep_alive_timeout.as_millis(), 500);
    assert_eq!(config.server.backlog, 7, "from the file");
    assert_eq!(config.server.graceful_timeout.as_secs(), 3, "the default");
    assert_eq!(app.worker_class, WorkerClass::Asyncio);
}

#[test]
fn the_app_of_the_file_is_used_when_no_flag_names_one() {
    let (_folder, path) = file("application_path = \"file:app\"");
    assert_eq!(config(&["--config", &path]).server.app.unwrap().path, "file:app");
    assert!(config(&[]).server.app.is_none());
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
    assert_eq!((server.dispatch.queue_size, server.dispatch.queue_timeout.as_secs()), (6, 10));
    assert_eq!(server.log.access, Some(LogTarget::Standard));
    assert_eq!(server.log.error, Some(LogTarget::File("e".into())));
    assert_eq!(server.log.level, LogLevel::Debug);
    let app = server.app.unwrap();
    assert_eq!((app.path.as_str(), app.root_path.as_str()), ("m:a", "/x"));
    assert_eq!((app.workers.get(), app.wsgi_threads.unwrap().get()), (3, 4));
    assert_eq!(app.worker_class, WorkerClass::Uvloop);
    assert_eq!(app.python.unwrap().to_str(), Some("py"));
}

#[test]
fn flags_may_be_shortened_and_the_mask_is_decimal_unless_it_says_octal() {
    assert_eq!(config(&["--keep", "9"]).server.connection.keep_alive_timeout.as_secs(), 9);
    assert_eq!(config(&["--log-file", "e"]).server.log.error, Some(LogTarget::File("e".into())));
    assert_eq!(config(&["--access-log", "-"]).server.log.access, Some(LogTarget::Standard));
    assert_eq!(config(&["-m", "022"]).server.umask, Some(22));
    assert_eq!(config(&["-m", "0o22"]).server.umask, Some(0o22));
    assert!(matches!(parse_words(&["--work", "2"]), Err(ConfigError::Usage(_))), "ambiguous");
}

#[test]
fn usage_errors_exit_with_2_and_help_and_version_with_0() {
    for (words, code) in [
        (&["--no-such-flag"][..], 2),
        (&["--workers", "two"], 2),
        (&["a:b", "c:d"], 2),
        (&["cert", "dev", "stray"], 2),
        (&["--help"], 0),
        (&["--version"], 0),
        (&["cert", "dev", "--help"], 0),
    ] {
        match parse_words(words) {
            Err(ConfigError::Usage(error)) => assert_eq!(error.exit_code(), code, "{words:?}"),
            other => panic!("{words:?}: {other:?}"),
        }
    }
    let Err(ConfigError::Usage(version)) = parse_words(&["--version"]) else { panic!("no version") };
    assert_eq!(version.to_string(), concat!("hcrs ", env!("CARGO_PKG_VERSION"), "\n"));
}

#[test]
fn wrong_flags_are_named() {
    assert_eq!(
        problems(&["-w", "5000", "-b", "5000", "--certfile", "c"]),
        [
            "--bind: \"5000\" cannot be bound: a number alone would be a host; write \"127.0.0.1:5000\", \
             or \":5000\" for every IPv4 interface",
            "--workers: expected a whole number from 0 to 1024, found 5000",
            "--certfile: certfile is set but keyfile is not: TLS needs both; for cleartext leave both out",
        ]
    );
}

#[test]
fn problems_of_a_file_are_all_told_and_shown() {
    let (_folder, path) =
        file("# servers\nbind = [\"a:1\",\n\t\"ö:x\"]\nworkers = \"two\" # äöü\n\n[hcrs]\nio_threads = 0\n");
    let shown = problems(&["-c", &path, "--backlog", "0"]).join("\n").replace(&path, "hcrs.toml");
    assert_eq!(
        shown,
        "\
hcrs.toml:3:2: bind: \"ö:x\" cannot be bound: a port is a number from 0 to 65535, and \"x\" is not
  |
3 | \t\"ö:x\"]
  | \t^^^^^
hcrs.toml:4:11: workers: expected a whole number from 0 to 1024, found the string \"two\"
  |
4 | workers = \"two\" # äöü
  |           ^^^^^
hcrs.toml:7:14: [hcrs] io_threads: expected a whole number from 1 to 1024, found 0
  |
7 | io_threads = 0
  |              ^
--backlog: expected a whole number from 1 to 2147483647, found 0"
    );
}

#[test]
fn syntax_errors_are_told_by_place() {
    for (toml, place) in [
        ("workers = 1\nworkers = 2\n", ":2:1: duplicate key"),
        ("workers = \n", ":1:"),
        ("bind = [\"a:1\"\n", ":1:"),
        ("= 3", ":1:1: "),
        ("a = \"\u{1}\"", ":1:6: "),
        ("workers = 1_", ":1:"),
    ] {
        let (_folder, path) = file(toml);
        let problems = problems(&["-c", &path]);
        assert!(problems[0].starts_with(&format!("{path}{place}")), "{toml:?}: {problems:?}");
        assert_eq!(problems[0].lines().count(), 4, "{problems:?}");
    }
}

#[test]
fn files_that_cannot_be_read_are_named() {
    let folder = TempDir::new().unwrap();
    let missing = folder.path().join("missing.toml");
    assert!(problems(&["-c", missing.to_str().unwrap()])[0].contains("cannot read the configuration"));
    assert!(problems(&["-c", folder.path().to_str().unwrap()])[0].contains("cannot read the configuration"));
    assert!(problems(&["-c", "/dev/zero"])[0].contains("at most 1048576 bytes"));
    assert!(problems(&["-c", "python:conf"])[0].contains("in Python is not supported yet"));
    let binary = folder.path().join("binary.toml");
    fs::write(&binary, b"\xff\xfe").unwrap();
    assert!(problems(&["-c", binary.to_str().unwrap()])[0].contains("UTF-8"));
}

#[test]
fn the_certificate_command_does_not_hide_an_app_named_cert() {
    assert_eq!(config(&["cert"]).server.app.unwrap().path, "cert");
    assert_eq!(config(&["cert:dev"]).server.app.unwrap().path, "cert:dev");
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
            let config = config(&["-c", path.to_str().unwrap()]);
            assert_eq!(config.warnings, Vec::<String>::new());
            seen += 1;
        }
    }
    assert!(seen >= 3, "hypercorn.toml, minimal.toml and production.toml are there");
}
