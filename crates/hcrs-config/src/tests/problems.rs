//! Problems of command lines and files, in the form in which the operator sees them.

use super::*;

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
            "--workers: expected a whole number from 0 to 1024 or \"auto\", found 5000",
            "--certfile: certfile is set but keyfile is not: TLS needs both; for cleartext leave both out",
        ]
    );
}

#[test]
fn all_problems_of_a_file_are_reported_and_shown() {
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
hcrs.toml:4:11: workers: expected a whole number from 0 to 1024 or \"auto\", found the string \"two\"
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
fn syntax_errors_are_reported_with_their_place() {
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
    assert!(problems(&["-c", "/dev/zero"])[0].contains("larger than 1048576 bytes"));
    assert!(problems(&["-c", "file:missing.py"])[0].contains("cannot read the configuration"));
    let binary = folder.path().join("binary.toml");
    fs::write(&binary, b"\xff\xfe").unwrap();
    assert!(problems(&["-c", binary.to_str().unwrap()])[0].contains("UTF-8"));
}
