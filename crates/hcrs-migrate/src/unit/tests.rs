//! Conversion of whole units, and of their lines.

use std::fs;

use tempfile::TempDir;

use super::*;

fn read(text: &str) -> Vec<(String, String, String)> {
    let lines: Vec<String> = text.lines().map(str::to_owned).collect();
    entries(&lines).into_iter().map(|entry| (entry.section, entry.key, entry.value)).collect()
}

#[test]
fn lines_continue_after_a_backslash_and_across_comments() {
    let text = "[Unit]\nDescription=a\n; x=y\n[Service]\n\
                ExecStart=/bin/a \\\n  # why\n   --b c \\\n  --d\nType = exec\n";
    let expected = [
        ("Unit", "Description", "a"),
        ("Service", "ExecStart", "/bin/a  --b c --d"),
        ("Service", "Type", "exec"),
    ];
    let found = read(text);
    for ((section, key, value), expected) in found.iter().zip(expected) {
        assert_eq!((section.as_str(), key.as_str()), (expected.0, expected.1));
        assert_eq!(
            value.split_whitespace().collect::<Vec<_>>(),
            expected.2.split_whitespace().collect::<Vec<_>>()
        );
    }
    assert_eq!(found.len(), 3);
}

#[test]
fn specifiers_are_refused_and_doubled_percent_signs_are_single() {
    assert_eq!(plain("a %%(h)s").unwrap(), "a %(h)s");
    assert!(plain("--bind unix:/run/%i.sock").unwrap_err().contains("%i"));
}

/// Converts a unit in a directory of its own and returns the new unit and its configuration.
fn migrated(text: &str, beside: &[(&str, &str)]) -> (String, String) {
    let folder = TempDir::new().unwrap();
    for (name, content) in beside {
        fs::write(folder.path().join(name), content).unwrap();
    }
    let path = folder.path().join("web.service");
    fs::write(&path, text.replace("HERE", folder.path().to_str().unwrap())).unwrap();
    let unit = Unit::read(&path).unwrap();
    let (unit, config) = unit
        .migrate(LaunchContext::default(), "/etc/hcrs/web.toml")
        .unwrap_or_else(|error| panic!("{error}"));
    (unit.replace(folder.path().to_str().unwrap(), "HERE"), config.toml)
}

fn refused(text: &str) -> String {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("web.service");
    fs::write(&path, text).unwrap();
    match Unit::read(&path).unwrap().migrate(LaunchContext::default(), "x.toml") {
        Err(ConfigError::Invalid(problems)) => problems.join("\n"),
        Err(error) => panic!("{error}"),
        Ok((unit, _)) => panic!("{unit}"),
    }
}

/// Returns the effective lines.
fn lines(unit: &str) -> Vec<&str> {
    unit.lines().filter(|line| !line.starts_with('#') && !line.is_empty()).collect()
}

#[test]
fn a_unit_keeps_unrelated_lines_and_starts_hcrs() {
    let (unit, toml) = migrated(
        "[Unit]\nDescription=Web\n\n[Service]\nType=simple\nUser=www-data\nWorkingDirectory=/srv/app\n\
         ExecStart=/srv/venv/bin/uvicorn \\\n  # where\n  --port 80 main:app\nRestart=always\n\n\
         [Install]\nWantedBy=multi-user.target\n",
        &[],
    );
    let expected = [
        "[Unit]",
        "Description=Web",
        "[Service]",
        "Type=notify",
        "User=www-data",
        "WorkingDirectory=/srv/app",
        "ExecStart=/srv/venv/bin/hcrs --config /etc/hcrs/web.toml",
        "ExecReload=/bin/kill -HUP $MAINPID",
        "KillMode=mixed",
        "TimeoutStopSec=160",
        "TimeoutStartSec=620",
        "Restart=always",
        "[Install]",
        "WantedBy=multi-user.target",
    ];
    assert_eq!(lines(&unit), expected, "{unit}");
    assert!(unit.contains("# was: Type=simple\n"), "{unit}");
    assert!(unit.contains("# was: ExecStart=/srv/venv/bin/uvicorn --port 80 main:app\n"), "{unit}");
    assert!(unit.contains("# ListenStream=127.0.0.1:80\n"), "{unit}");
    assert!(toml.contains("bind = [\"127.0.0.1:80\"]"), "{toml}");
    assert!(toml.contains("python = \"/srv/venv/bin/python\""), "{toml}");
}

#[test]
fn variables_of_the_unit_have_the_effect_of_that_server() {
    let (unit, toml) = migrated(
        "[Service]\nEnvironment=\"OPTIONS=--workers 4 --backlog 9\" PORT=81\nEnvironmentFile=-HERE/env\n\
         ExecStart=uvicorn $OPTIONS --host ${ADDRESS} main:app\n",
        &[("env", "ADDRESS=0.0.0.0\nWEB_CONCURRENCY=2\n")],
    );
    for line in ["workers = 4", "backlog = 9", "bind = [\"0.0.0.0:8000\"]"] {
        assert!(toml.contains(line), "{line}\n{toml}");
    }
    // The variable would override the file; with that server it did not.
    let start = "ExecStart=hcrs --config /etc/hcrs/web.toml --workers 4 --bind 0.0.0.0:8000";
    assert!(lines(&unit).contains(&start), "{unit}");
}

#[test]
fn the_timeout_of_a_stop_covers_the_timeouts_of_hcrs() {
    let config = "graceful_timeout = 7\nshutdown_timeout = 5\n";
    let (unit, _) = migrated(
        "[Service]\nKillMode=process\nExecStart=hypercorn -c HERE/h.toml main:app\n",
        &[("h.toml", config)],
    );
    let stop: Vec<_> = lines(&unit)
        .into_iter()
        .filter(|line| line.starts_with("Kill") || line.starts_with("TimeoutStop"))
        .collect();
    assert_eq!(stop, ["KillMode=process", "TimeoutStopSec=22"], "{unit}");
}

#[test]
fn settings_that_the_file_cannot_express_go_into_the_unit() {
    let (unit, toml) = migrated(
        "[Service]\nType=forking\nPIDFile=/run/x.pid\nTimeoutStopSec=5\n\
         ExecStart=!/usr/bin/env A=1 poetry run gunicorn -b :80 --chdir /srv/app --env B=2 -u www -g web \
         --pid /run/x.pid m:a\n",
        &[],
    );
    for line in [
        "Type=notify",
        "NotifyAccess=all",
        "TimeoutStartSec=620",
        "ExecStart=!poetry run hcrs --config /etc/hcrs/web.toml",
        "WorkingDirectory=/srv/app",
        "AmbientCapabilities=CAP_NET_BIND_SERVICE",
        "User=www",
        "Group=web",
        "Environment=A=1",
        "Environment=B=2",
    ] {
        assert!(lines(&unit).contains(&line), "{line}\n{unit}");
    }
    assert!(!lines(&unit).iter().any(|line| line.starts_with("PIDFile")), "{unit}");
    assert!(toml.contains("pid_path = \"/run/x.pid\""), "{toml}");
    assert!(toml.contains("# - TimeoutStopSec=5: "), "{toml}");
    assert!(!toml.contains("# - A"), "{toml}");
}

#[test]
fn sockets_of_systemd_are_bound() {
    let (unit, toml) = migrated(
        "[Unit]\nRequires=web.socket\n[Service]\nExecStart=/usr/bin/gunicorn m:a\n",
        &[("web.socket", "[Socket]\nListenStream=/run/web.sock\nListenStream=80\n")],
    );
    assert!(toml.contains("bind = [\"fd://3\", \"fd://4\"]"), "{toml}");
    assert!(toml.contains("forwarded_allow_ips = [\"127.0.0.1\", \"::1\", \"unix\"]"), "{toml}");
    assert!(!unit.contains("# [Socket]"), "{unit}");
}

#[test]
fn invalid_units_are_refused_with_the_reason() {
    for (text, reason) in [
        ("[Service]\nType=simple\n", "no ExecStart="),
        ("[Service]\nExecStart=uvicorn a:b\nExecStart=uvicorn c:d\n", "several ExecStart="),
        ("[Service]\nExecStart=/usr/sbin/nginx\n", "none of uvicorn"),
        ("[Service]\nExecStart=uvicorn a:b --uds /run/%i\n", "%i can be expanded only by systemd"),
        ("[Service]\nExecStart=uvicorn a:b --port $PORT\n", "uses $PORT, which is not set"),
        ("[Service]\nExecStart=uvicorn a:b --prot 1\n", "did you mean --port?"),
    ] {
        let found = refused(text);
        assert!(found.contains(reason), "{text}\n{found}");
    }
    let (_, toml) = migrated("[Service]\nExecStart=uvicorn c:d\nExecStart=\nExecStart=uvicorn a:b\n", &[]);
    assert!(toml.contains("application_path = \"a:b\""), "{toml}");
}
