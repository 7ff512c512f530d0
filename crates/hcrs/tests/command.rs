//! The command as a process: its output and its exit code, as far as no Python is needed.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Output};

use tempfile::TempDir;

fn hcrs(folder: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_hcrs"))
        .args(arguments)
        .current_dir(folder)
        .output()
        .expect("hcrs starts")
}

fn text(printed: Vec<u8>) -> String {
    String::from_utf8(printed).expect("the command prints UTF-8")
}

#[track_caller]
fn exits(folder: &Path, arguments: &[&str], code: i32) -> (String, String) {
    let output = hcrs(folder, arguments);
    let (out, err) = (text(output.stdout), text(output.stderr));
    assert_eq!(output.status.code(), Some(code), "{arguments:?}\n{out}\n{err}");
    (out, err)
}

#[test]
fn version_and_help_are_printed_to_standard_output() {
    let folder = TempDir::new().unwrap();
    let (out, err) = exits(folder.path(), &["--version"], 0);
    assert_eq!((out.as_str(), err.as_str()), (concat!("hcrs ", env!("CARGO_PKG_VERSION"), "\n"), ""));
    let (out, err) = exits(folder.path(), &["--help"], 0);
    assert!(out.contains("--worker-class") && err.is_empty(), "{out}{err}");
    for command in [&["config", "check"][..], &["config", "show"], &["cert", "dev"], &["migrate"]] {
        let (out, _) = exits(folder.path(), &[command, &["--help"]].concat(), 0);
        let usage = format!("Usage: hcrs {} [OPTIONS]", command.join(" "));
        assert!(out.contains(&usage), "{usage}\n{out}");
    }
}

#[test]
fn wrong_arguments_exit_with_2() {
    let folder = TempDir::new().unwrap();
    let (out, err) = exits(folder.path(), &["--bnid", "a"], 2);
    assert!(out.is_empty() && err.contains("--bind"), "{err}");
}

#[test]
fn wrong_configuration_exits_with_78_and_names_the_place() {
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join("x.toml"), "workers = 'two'\n").unwrap();
    let (_, err) = exits(folder.path(), &["-c", "x.toml"], 78);
    assert!(err.starts_with("hcrs: x.toml:1:11: workers: expected a whole number"), "{err}");
    exits(folder.path(), &["-c", "missing.toml"], 78);
}

#[test]
fn certificate_that_cannot_be_used_exits_with_78() {
    let folder = TempDir::new().unwrap();
    let (_, err) =
        exits(folder.path(), &["--certfile", "c.pem", "--keyfile", "k.pem", "-b", "127.0.0.1:0"], 78);
    assert!(err.contains("cannot read c.pem"), "{err}");
}

#[test]
fn address_in_use_exits_with_1() {
    let folder = TempDir::new().unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let (_, err) = exits(folder.path(), &["--bind", &address], 1);
    assert!(err.contains(&format!("cannot listen on {address}")), "{err}");
}

#[test]
fn warnings_begin_the_error_log() {
    let folder = TempDir::new().unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let toml = format!("worker = 2\nbind = '{}'\n", taken.local_addr().unwrap());
    fs::write(folder.path().join("x.toml"), toml).unwrap();
    let (_, err) = exits(folder.path(), &["-c", "x.toml"], 1);
    let warning = "[WARNING] x.toml:1:1: unknown key: worker, ignored; did you mean workers?";
    assert!(err.lines().next().unwrap().ends_with(warning), "{err}");
}

#[test]
fn development_certificate_is_kept_while_it_is_valid() {
    let folder = TempDir::new().unwrap();
    let (out, _) = exits(folder.path(), &["cert", "dev"], 0);
    assert!(out.starts_with("wrote certs/cert.pem and certs/key.pem\n"), "{out}");
    assert!(out.contains("curl --cacert certs/ca.pem"), "{out}");
    let key = folder.path().join("certs/key.pem");
    assert_eq!(fs::metadata(&key).unwrap().permissions().mode() & 0o777, 0o600);
    let first = fs::read(&key).unwrap();

    let (out, _) = exits(folder.path(), &["cert", "dev"], 0);
    assert!(
        out.starts_with("certs/cert.pem is still valid and was kept; use --force to replace it\n"),
        "{out}"
    );
    assert!(out.contains("curl --cacert certs/ca.pem"), "{out}");
    assert_eq!(first, fs::read(&key).unwrap());

    exits(folder.path(), &["cert", "dev", "--force"], 0);
    assert_ne!(first, fs::read(&key).unwrap());
    fs::write(folder.path().join("certs/cert.pem"), "damaged").unwrap();
    let (out, _) = exits(folder.path(), &["cert", "dev"], 0);
    assert!(out.starts_with("wrote"), "{out}");
}

#[test]
fn configuration_is_checked_without_serving() {
    let folder = TempDir::new().unwrap();
    exits(folder.path(), &["cert", "dev"], 0);
    let good = "bind = '127.0.0.1:0'\ncertfile = 'certs/cert.pem'\nkeyfile = 'certs/key.pem'\n";
    fs::write(folder.path().join("x.toml"), good).unwrap();
    let (out, err) = exits(folder.path(), &["config", "check", "x.toml"], 0);
    assert_eq!((out.as_str(), err.as_str()), ("the configuration is valid\n", ""));

    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let bad = "certfile = 'certs/ca.pem'\nkeyfile = 'certs/key.pem'\npid_path = 'missing/pid'\n";
    fs::write(folder.path().join("x.toml"), format!("bind = '{address}'\n{bad}")).unwrap();
    let (_, err) = exits(folder.path(), &["config", "check", "x.toml"], 78);
    for problem in [&format!("cannot listen on {address}"), "missing/pid", "does not belong"] {
        assert!(err.contains(problem), "{problem}\n{err}");
    }

    fs::write(folder.path().join("x.toml"), "worker = 2\n").unwrap();
    let (_, err) = exits(folder.path(), &["config", "check", "x.toml", "--strict", "-b", "127.0.0.1:0"], 78);
    assert!(err.contains("did you mean workers?"), "{err}");
}

#[test]
fn configuration_of_the_working_directory_is_shown_with_its_origins() {
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join("hypercorn.toml"), "workers = 2\n").unwrap();
    let (out, _) = exits(folder.path(), &["config", "show"], 0);
    let line = out.lines().find(|line| line.starts_with("workers = 2")).unwrap();
    assert!(line.ends_with("# hypercorn.toml:1"), "{line}");
}
