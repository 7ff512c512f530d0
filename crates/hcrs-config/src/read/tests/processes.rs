//! Workers, and the surroundings of the processes.

use hcrs_server::AccountName;

use super::*;

#[test]
fn the_last_number_of_workers_counts() {
    let parsed = |flags: &str, environment: &[(&str, &str)]| {
        let words = format!("hcrs {flags} m:a");
        let environment: Vec<_> =
            environment.iter().map(|(name, value)| (name.into(), value.into())).collect();
        match parse_in(words.split_whitespace().map(OsString::from), &environment) {
            Ok(Command::Serve(config)) => app(&config.server).clone(),
            other => panic!("{other:?}"),
        }
    };
    let auto = parsed("--workers auto", &[("WEB_CONCURRENCY", "3")]);
    assert_eq!(auto.usable_cores.unwrap().count, auto.workers);
    assert!(parsed("", &[("WEB_CONCURRENCY", "auto")]).usable_cores.is_some());
    let three = parsed("-w 3", &[("WEB_CONCURRENCY", "auto")]);
    assert_eq!((three.workers.get(), three.usable_cores), (3, None));
}

#[test]
fn zero_max_requests_means_no_limit() {
    let never = config("application_path = \"m:a\"\nmax_requests = 0").unwrap();
    assert_eq!(never.server.apps[0].max_requests, None);
}

#[test]
fn empty_application_path_is_no_app() {
    assert!(settings("application_path = \"\"").apps.is_empty());
}

#[test]
fn the_surroundings_of_the_processes_end_in_their_settings() {
    ends_in("[hcrs]\nproc_name = \"shop\"", |s| s.proc_name.clone(), "shop".into());
    ends_in("[hcrs]\nchdir = \"/srv\"", |s| s.chdir.clone(), Some("/srv".into()));
    let variables = vec![("A".to_owned(), "1=2".to_owned()), ("B".to_owned(), String::new())];
    ends_in("[hcrs]\nenv = [\"A=1=2\", \"B=\"]", |s| app(s).variables.clone(), variables.clone());
    ends_in("[hcrs]\nenv = { A = \"1=2\", B = \"\" }", |s| app(s).variables.clone(), variables);
}

#[test]
fn the_user_of_the_process_ends_in_its_setting() {
    let user = |name: &str| AccountName::parse(name);
    ends_in("[hcrs]\nprocess_user = \"www-data\"", |s| s.process_user.clone(), user("www-data"));
    ends_in("[hcrs]\nprocess_user = 33", |s| s.process_user.clone(), Some(AccountName::Number(33)));
    let group = "[hcrs]\nprocess_user = 33\nprocess_group = \"www-data\"";
    ends_in(group, |s| s.process_group.clone(), user("www-data"));
    for (wrong, why) in [
        ("process_user = \"\"", "expected a user, as its name or its number"),
        ("process_user = -1", "expected a user, as its name or its number"),
        ("process_user = 4294967295", "expected a user, as its name or its number"),
        ("process_user = \"a:b\"", "expected a user, as its name or its number"),
        ("process_group = 33", "process_group: needs process_user"),
    ] {
        let error = config(&format!("[hcrs]\n{wrong}")).unwrap_err().to_string();
        assert!(error.contains("test.toml:2") && error.contains(why), "{error}");
    }
}

#[test]
fn captured_output_ends_in_its_setting() {
    ends_in("[hcrs]\ncapture_output = true", |s| s.log.capture_output, true);
    let without_log = config("errorlog = \"\"\n[hcrs]\ncapture_output = true").unwrap();
    assert!(!without_log.server.log.capture_output);
    assert!(without_log.warnings[0].contains("test.toml:3"), "{:?}", without_log.warnings);
}

#[test]
fn the_timeouts_of_workers_end_in_their_settings() {
    ends_in("[hcrs]\nretire_timeout = 0.5", |s| app(s).retire_timeout, Duration::from_millis(500));
    ends_in("[hcrs]\nworker_timeout = 0", |s| app(s).worker_timeout, Duration::ZERO);
    ends_in("[hcrs]\nworker_timeout = 2.5", |s| app(s).worker_timeout, Duration::from_millis(2500));
}

#[test]
fn the_limits_of_workers_end_in_their_settings() {
    ends_in("[hcrs]\nmax_worker_age = 3600", |s| app(s).max_worker_age, Some(Duration::from_secs(3600)));
    ends_in("[hcrs]\nmax_worker_rss = 500000000", |s| app(s).max_worker_rss, Some(500_000_000));
}

#[test]
fn preload_and_the_hooks_end_in_their_settings() {
    ends_in("[hcrs]\npreload = true", |s| app(s).preload, true);
    ends_in("[hcrs]\npost_fork = \"a.b:c\"", |s| app(s).hooks.post_fork.clone(), Some("a.b:c".into()));
    ends_in("[hcrs]\nworker_start = \"a:b.c\"", |s| app(s).hooks.worker_start.clone(), Some("a:b.c".into()));
    ends_in("[hcrs]\nworker_exit = \"a:_b2\"", |s| app(s).hooks.worker_exit.clone(), Some("a:_b2".into()));
    for wrong in ["a", "a:", ":b", "a/b:c", "a:b()", "2a:b", "a:b:c", "a..b:c"] {
        let error = config(&format!("[hcrs]\nworker_exit = \"{wrong}\"")).unwrap_err().to_string();
        assert!(error.contains("a function as \"MODULE:FUNCTION\""), "{error}");
    }
}

#[test]
fn waiting_requests_are_bounded_in_bytes() {
    assert_eq!(
        app(&settings("application_path = \"m:a\"\nhcrs.queue_bytes = 65536")).dispatch.queue_bytes,
        65_536
    );
}
