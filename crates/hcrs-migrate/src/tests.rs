//! Conversion of each setting of each server, and of whole inputs.

mod cases;

use std::collections::BTreeSet;
use std::fs;

use tempfile::TempDir;

use hcrs_config::{ConfigError, Setting, ValueKind, table};

use self::cases::{GRANIAN, GUNICORN, HYPERCORN, UVICORN};
use super::*;
use crate::command::Invocation;
use crate::file::{FileFormat, SettingsFile};
use crate::from_command::record_command;
use crate::from_file::record_file;
use crate::row::{FlagValue, Mapping, Row, Server};
use crate::server::{NAMES, server};
use crate::sheet::Sheet;
use crate::shell_words::split;
use crate::steps::manual_steps;

/// Converts a server's arguments, in an empty directory.
fn sheet<'a>(server: &'a Server, arguments: &[&str]) -> Sheet<'a> {
    let folder = TempDir::new().unwrap();
    let context = LaunchContext { folder: Some(folder.path().to_owned()), ..LaunchContext::default() };
    let invocation = Invocation {
        server: server.name,
        arguments: arguments.iter().map(|word| (*word).to_owned()).collect(),
        ..Invocation::default()
    };
    let mut sheet = Sheet::new(server);
    record_command(&invocation, &context, &mut sheet);
    sheet.convert();
    sheet
}

/// Converts a server's file.
fn sheet_of_file<'a>(server: &'a Server, toml: &str) -> Sheet<'a> {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("settings.toml");
    fs::write(&path, toml).unwrap();
    let found = SettingsFile::read(path.to_str().unwrap(), FileFormat::Toml, &LaunchContext::default())
        .unwrap_or_else(|e| panic!("{e}"));
    let mut sheet = Sheet::new(server);
    record_file(found, &mut sheet);
    sheet.convert();
    sheet
}

fn all_servers() -> impl Iterator<Item = Server> {
    NAMES.into_iter().filter_map(server)
}

#[test]
fn names_and_flags_are_unique_and_converted_settings_exist() {
    for server in all_servers() {
        let (mut names, mut flags) = (BTreeSet::new(), BTreeSet::new());
        for row in &server.rows {
            assert!(names.insert(row.name.as_ref()), "{} {}", server.name, row.name);
            for flag in row.each_flag() {
                assert!(flags.insert(flag), "{} {flag}", server.name);
                assert!(flag.starts_with('-'), "{} {flag}", server.name);
            }
            match &row.mapping {
                Mapping::Same(key) => assert!(table::find(key).is_some(), "{} {key}", server.name),
                Mapping::Converted(keys, _) => {
                    for key in keys.split(", ").filter(|key| !key.is_empty()) {
                        assert!(table::find(key).is_some(), "{} {key}", server.name);
                    }
                }
                Mapping::PartOf(_) => {}
                Mapping::Unsupported(why) => assert!(why.len() > 10, "{} {}", server.name, row.name),
            }
        }
        for (_, row) in server.variables {
            assert!(server.row(row).is_some(), "{} {row}", server.name);
        }
        assert!(server.row(server.app).is_some(), "{}", server.name);
    }
}

/// Returns a value of a setting that is no server's default, in the form of a flag and in that of the file.
fn sample(setting: &Setting) -> (String, String) {
    let quoted = |text: &str| (text.to_owned(), format!("\"{text}\""));
    match setting.kind {
        ValueKind::Boolean | ValueKind::BooleanOrWords(_) => ("true".into(), "true".into()),
        ValueKind::Whole(least, most) | ValueKind::WholeOrAuto(least, most) => {
            let number = 333.clamp(least, most).to_string();
            (number.clone(), number)
        }
        ValueKind::Variables | ValueKind::Pairs => ("A=b".into(), "[\"A=b\"]".into()),
        ValueKind::Size => ("333".into(), "333".into()),
        ValueKind::Mask => ("18".into(), "0o022".into()),
        ValueKind::Seconds(_) => ("7".into(), "7".into()),
        ValueKind::Ratio => ("0.5".into(), "0.5".into()),
        ValueKind::OneOf(words) => quoted(words.last().unwrap()),
        ValueKind::BooleanOrText => ("word".into(), "\"word\"".into()),
        ValueKind::Texts | ValueKind::TextOrTexts | ValueKind::BooleanOrBinds => {
            ("127.0.0.1:1".into(), "[\"127.0.0.1:1\"]".into())
        }
        ValueKind::Text
        | ValueKind::TrueOrText
        | ValueKind::Path
        | ValueKind::NameOrNumber
        | ValueKind::Table
        | ValueKind::Tables => quoted("x"),
    }
}

#[test]
fn equal_settings_are_converted_from_each_of_their_flags() {
    let mut seen = 0;
    for server in all_servers() {
        for row in &server.rows {
            let Mapping::Same(key) = row.mapping else { continue };
            let (flag_value, literal) = sample(table::find(key).unwrap());
            for flag in row.each_flag() {
                let mut arguments = vec![flag];
                if row.value != FlagValue::Absent {
                    arguments.push(&flag_value);
                }
                arguments.push("a:b");
                let sheet = sheet(&server, &arguments);
                assert_eq!(sheet.problems, Vec::<String>::new(), "{} {arguments:?}", server.name);
                let expected = if flag.starts_with("--no-") { "false" } else { &literal };
                assert_eq!(sheet.literal(key), Some(expected), "{} {arguments:?}", server.name);
                seen += 1;
            }
            let entry = format!("{} = {literal}", row.name);
            assert_eq!(
                sheet_of_file(&server, &entry).literal(key),
                Some(literal.as_str()),
                "{} {entry}",
                server.name
            );
        }
    }
    assert!(seen > 60, "{seen}");
}

#[test]
fn unsupported_settings_are_noted_with_the_reason_unless_they_change_nothing() {
    for server in all_servers() {
        for row in &server.rows {
            let Mapping::Unsupported(why) = row.mapping else { continue };
            let why = why.trim_end_matches('.');
            let is_noted = |sheet: &Sheet<'_>| sheet.notes.iter().any(|note| note.text == why);
            for flag in row.each_flag() {
                // Turning off a default, or turning on a setting that is off by default, is noted.
                let changes = match (row.value, row.default) {
                    (FlagValue::Absent, default) => flag.starts_with("--no-") == (default == Some("true")),
                    _ => true,
                };
                let mut arguments = vec![flag];
                if row.value != FlagValue::Absent {
                    arguments.push("77");
                }
                arguments.push("a:b");
                let sheet = sheet(&server, &arguments);
                assert_eq!(is_noted(&sheet), changes, "{} {arguments:?} {:?}", server.name, sheet.notes);
            }
            if let (Some(default), Some(flag)) = (row.default, row.each_flag().next())
                && row.value != FlagValue::Absent
            {
                let sheet = sheet(&server, &[flag, default, "a:b"]);
                assert!(!is_noted(&sheet), "{} {flag} {default}", server.name);
            }
            let entry = format!("{} = \"x y\"", row.name);
            assert!(is_noted(&sheet_of_file(&server, &entry)), "{} {entry}", server.name);
        }
    }
}

#[test]
fn converted_settings_have_the_expected_lines_and_notes() {
    for (server, cases) in
        [(uvicorn::server(), UVICORN), (gunicorn::server(), GUNICORN), (granian::server(), GRANIAN)]
    {
        for (name, input, lines, notes) in cases.iter().filter(|(name, ..)| *name != "config") {
            let words = split(input, |_| None).unwrap().words;
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            let mut sheet =
                if input.contains(" = ") { sheet_of_file(&server, input) } else { sheet(&server, &words) };
            sheet.set_process();
            let text = sheet
                .to_toml("", &manual_steps(&sheet, &[]))
                .unwrap_or_else(|error| panic!("{name}: {input}\n{error}"));
            for line in *lines {
                assert!(text.contains(line), "{name}: {input}\n{line}\n{text}");
            }
            let found = text.split_once("Without an exact counterpart").map_or("", |(_, notes)| notes);
            for note in *notes {
                assert!(found.contains(note), "{name}: {input}\n{note}\n{text}");
            }
        }
    }
}

#[test]
fn each_converted_setting_has_a_case() {
    for (server, cases) in [
        (uvicorn::server(), UVICORN),
        (gunicorn::server(), GUNICORN),
        (granian::server(), GRANIAN),
        (hypercorn::server(), HYPERCORN),
    ] {
        let is_made = |row: &&Row| matches!(row.mapping, Mapping::Converted(..) | Mapping::PartOf(_));
        for row in server.rows.iter().filter(is_made) {
            assert!(cases.iter().any(|(name, ..)| *name == row.name), "{}: {}", server.name, row.name);
        }
        for (name, ..) in cases {
            assert!(server.row(name).is_some(), "{}: {name}", server.name);
        }
    }
}

/// Runs `hcrs migrate` with these words and returns its output.
fn run(words: &[&str]) -> Result<String, Vec<String>> {
    let words: Vec<_> = ["migrate"].iter().chain(words).map(OsString::from).collect();
    match parse(&words) {
        Ok(migrated) => {
            let mut printed = Vec::new();
            migrated.write(&mut printed).map(|()| String::from_utf8(printed).unwrap())
        }
        Err(ConfigError::Invalid(problems)) => Err(problems),
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn a_command_may_be_several_words_or_one() {
    for words in [
        &["uvicorn", "m:a", "--port", "80"][..],
        &["--", "uvicorn", "m:a", "--port", "80"],
        &["--", "uvicorn m:a --port 80"],
        &["uvicorn m:a --port 80"],
        &["PORT=80 uvicorn m:a --port $PORT"],
        &["P=80", "python3", "-m", "uvicorn", "m:a", "--port=80"],
        &["sh -c 'cd /srv && P=80 exec uvicorn m:a --port 80'"],
    ] {
        let text = run(words).unwrap();
        assert!(text.contains("bind = [\"127.0.0.1:80\"]"), "{words:?}\n{text}");
        assert!(text.contains("application_path = \"m:a\""), "{words:?}\n{text}");
    }
}

#[test]
fn variables_before_the_command_have_the_effect_of_that_server() {
    let text = run(&["WEB_CONCURRENCY=3 uvicorn m:a"]).unwrap();
    assert!(text.contains("workers = 3  "), "{text}");
    let text = run(&["WEB_CONCURRENCY=3 uvicorn m:a --workers 2"]).unwrap();
    assert!(text.contains("workers = 2  ") && text.contains("start hcrs with --workers 2"), "{text}");
    let text = run(&["UVICORN_PORT=81 uvicorn m:a"]).unwrap();
    assert!(text.contains("bind = [\"127.0.0.1:81\"]"), "{text}");
    let text = run(&["GRANIAN_WORKERS=2 GRANIAN_INTERFACE=wsgi granian m:a"]).unwrap();
    assert!(text.contains("workers = 2") && text.contains("\"wsgi:m:a\""), "{text}");
    let text = run(&["PORT=82 GUNICORN_CMD_ARGS='-w 5 --backlog 7' gunicorn m:a -w 6"]).unwrap();
    for line in ["bind = [\"0.0.0.0:82\"]", "workers = 6", "backlog = 7"] {
        assert!(text.contains(line), "{line}\n{text}");
    }
    let text = run(&["PORT=82 uvicorn m:a"]).unwrap();
    assert!(text.contains("PORT=82: the variable overrides this file"), "{text}");
}

#[test]
fn the_server_of_a_file_is_found_by_its_name_or_its_keys() {
    let folder = TempDir::new().unwrap();
    for (name, content, from, line) in [
        ("uvicorn.json", r#"{ "app": "m:a", "port": 80, "workers": null }"#, "", "bind = [\"127.0.0.1:80\"]"),
        ("server.json", r#"{ "app": "m:a", "timeout_keep_alive": 8 }"#, "", "keep_alive_timeout = 8"),
        ("settings.toml", "[uvicorn]\napp = 'm:a'\nuds = '/run/s'\n", "", "umask = 0o111"),
        (
            "hypercorn.toml",
            "application_path = 'm:a'\nworkers = 2\nlog_level = 'debug'\n",
            "",
            "loglevel = \"debug\"",
        ),
        (
            "other.toml",
            "bind = 'a:1'\nkeep_alive_timeout = 9\n[hcrs]\nqueue_size = 3\n",
            "",
            "queue_size = 3",
        ),
        ("x.toml", "workers = 2\n", "gunicorn", "graceful_timeout = 30"),
    ] {
        let path = folder.path().join(name);
        fs::write(&path, content).unwrap();
        let mut words = vec![path.to_str().unwrap()];
        if !from.is_empty() {
            words.extend(["--from", from]);
        }
        let text = run(&words).unwrap_or_else(|problems| panic!("{name}: {problems:?}"));
        assert!(text.contains(line), "{name}: {line}\n{text}");
    }
}

#[test]
fn hypercorns_file_is_toml_whatever_its_extension() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("hypercorn.conf");
    fs::write(&path, "workers = 5\n").unwrap();
    let text = run(&[&format!("hypercorn -c {} m:a", path.display())]).unwrap();
    assert!(text.contains("workers = 5") && text.contains("application_path = \"m:a\""), "{text}");
}

#[test]
fn all_problems_are_reported_at_once_with_their_places() {
    let folder = TempDir::new().unwrap();
    let write = |name: &str, content: &str| {
        let path = folder.path().join(name);
        fs::write(&path, content).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let long = write("uvicorn.json", r#"{ "prot": 80, "port": "x", "workers": 5000 }"#);
    let broken = write("uvicorn.broken.json", "{ \"port\": }");
    let toml = write("hypercorn.bad.toml", "bind = \n");
    let unrelated = write("x.json", "{ \"color\": 1 }");
    let yaml = write("gunicorn.yaml", "");
    for (words, reasons) in [
        (
            &["uvicorn m:a x --prot 1 --workers y"][..],
            &["did you mean --port?", "workers: expected a whole number"][..],
        ),
        (&["uvicorn m:a x"], &["x: no argument is expected"]),
        (&["uvicorn"], &["the app is missing"]),
        (&["uvicorn m:a --port"], &["--port: the value is missing"]),
        (&["uvicorn m:a --port $PORT"], &["$PORT is not set;"]),
        (&["uvicorn m:a --ssl-certfile c.pem"], &["certfile is set but keyfile is not"]),
        (&["uvicorn 'm:a"], &["not closed"]),
        (&["daphne m:a"], &["contains none of uvicorn"]),
        (
            &[&long],
            &[
                "prot: not a known setting of uvicorn",
                "did you mean port?",
                "a port is a number",
                "found 5000",
            ],
        ),
        (&[&broken], &["line 1 column 11"]),
        (&[&toml], &["bad.toml:1:"]),
        (&[&unrelated], &["--from"]),
        (&[&yaml], &["only TOML, JSON and Python"]),
        (&["missing.json"], &["missing.json", "cannot read"]),
        (&["gunicorn m:a -c missing.py --wrokers 1"], &["missing.py", "did you mean --workers?"]),
    ] {
        let problems = run(words).unwrap_err().join("\n");
        for reason in reasons {
            assert!(problems.contains(reason), "{words:?}: {reason}\n{problems}");
        }
    }
}

#[test]
fn passwords_are_not_in_comments() {
    let text = run(&["uvicorn m:a --ssl-certfile c --ssl-keyfile k --ssl-keyfile-password secret"]).unwrap();
    let with: Vec<_> = text.lines().filter(|line| line.contains("secret")).collect();
    assert!(matches!(with[..], [line] if line.starts_with("keyfile_password = \"secret\" ")), "{text}");
    assert!(with[0].ends_with("# --ssl-keyfile-password (hidden)"), "{text}");
}

proptest::proptest! {
    #[test]
    fn any_command_is_converted_or_refused(
        server in proptest::sample::select(&NAMES[..]),
        words in proptest::collection::vec(word(), 0..8),
        line in ".{0,60}",
    ) {
        let words: Vec<_> = ["--", server].into_iter().chain(words.iter().map(String::as_str)).collect();
        let _converted_or_refused = run(&words);
        let _converted_or_refused = run(&["--", &format!("{server} {line}")]);
    }

    #[test]
    fn any_unit_is_converted_or_refused(lines in proptest::collection::vec(unit_line(), 0..8)) {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("x.service");
        fs::write(&path, format!("[Service]\nExecStart=gunicorn a:b\n{}\n", lines.join("\n"))).unwrap();
        let _converted_or_refused = run(&["--systemd", path.to_str().unwrap()]);
    }
}

/// Returns flags of all servers and possible values. Flags that name Python files are omitted.
fn word() -> impl proptest::strategy::Strategy<Value = String> {
    use proptest::strategy::Strategy as _;
    let flags: Vec<String> = all_servers()
        .flat_map(|server| server.rows.iter().flat_map(Row::each_flag).map(str::to_owned).collect::<Vec<_>>())
        .filter(|flag| flag != "-c" && flag != "--config")
        .collect();
    let number = proptest::prelude::any::<i64>().prop_map(|number| number.to_string());
    proptest::prop_oneof![
        3 => proptest::sample::select(flags),
        1 => number,
        1 => "[a-z:./$%(){}=,-]{0,12}",
        1 => proptest::sample::select(&["true", "unix:x", ":80", "é", "-é"][..]).prop_map(str::to_owned),
    ]
}

fn unit_line() -> impl proptest::strategy::Strategy<Value = String> {
    proptest::prop_oneof![
        "(ExecStart|Environment|EnvironmentFile|WorkingDirectory|Type|TimeoutStopSec)=.{0,40}",
        "ExecStart=[-@:+!]{0,3}(uvicorn|/bin/sh -c|env A=1 granian) .{0,30}",
        ".{0,30}",
    ]
}

#[test]
fn short_flags_may_be_joined_and_long_ones_shortened() {
    let gunicorn = gunicorn::server();
    let sheet = sheet(&gunicorn, &["-DRw4", "-b:80", "-k=gthread", "--thre", "3", "m:a"]);
    assert_eq!(sheet.problems, Vec::<String>::new());
    for (key, literal) in [("workers", "4"), ("bind", "[\"0.0.0.0:80\"]"), ("wsgi_threads", "3")] {
        assert_eq!(sheet.literal(key), Some(literal), "{key}");
    }
}

#[test]
fn files_are_not_replaced_and_those_with_a_password_are_private() {
    use std::os::unix::fs::PermissionsExt as _;

    let folder = TempDir::new().unwrap();
    let path = folder.path().join("x.toml");
    let name = path.to_str().unwrap();
    assert_eq!(run(&["-o", name, "uvicorn", "m:a"]).unwrap(), format!("wrote {name}\n"));
    let first = fs::read_to_string(&path).unwrap();
    let problems = run(&["-o", name, "uvicorn", "m:b"]).unwrap_err().join("\n");
    assert!(problems.contains("exists; use --force to replace it"), "{problems}");
    assert_eq!(fs::read_to_string(&path).unwrap(), first);
    run(&["-o", name, "--force", "uvicorn", "m:b"]).unwrap();
    assert!(fs::read_to_string(&path).unwrap().contains("m:b"));

    let path = folder.path().join("secret.toml");
    let tls = ["--ssl-certfile", "c", "--ssl-keyfile", "k", "--ssl-keyfile-password", "p"];
    run(&[&["-o", path.to_str().unwrap(), "uvicorn", "m:a"], &tls[..]].concat()).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
}
