//! The command line of a worker.

use std::ffi::OsString;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::path::absolute;

use super::Plan;
use crate::supervise::output::Capture;
use crate::{LogTarget, PythonLogging, process_title};

/// A worker's program. Python puts the working directory before everything else, so that a file `types.py` or
/// `queue.py` beside the app would be loaded in place of the standard library's; `-P`, from 3.11 on, prevents
/// that. SIGINT of a terminal is ignored until the worker has installed handlers of its own.
const PROGRAM: &str = "import _signal, sys; _signal.signal(_signal.SIGINT, _signal.SIG_IGN); \
                       sys.path[:] = filter(None, sys.path); from hcrs.worker import main; sys.exit(main())";

/// The numbers of the descriptors that a worker inherits besides its links.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Inherited {
    pub(super) loaded_files: Option<RawFd>,
    pub(super) answers: Option<RawFd>,
    pub(super) crash: Option<RawFd>,
}

/// Returns the arguments of the command line.
pub(super) fn arguments(
    plan: &Plan<'_>,
    links: &[(OwnedFd, OwnedFd)],
    inherited: Inherited,
) -> Vec<OsString> {
    let links: Vec<_> = links
        .iter()
        .map(|(socket, memory)| format!("{}:{}", socket.as_raw_fd(), memory.as_raw_fd()))
        .collect();
    let mut arguments = program(plan);
    let mut option = |name: &str, value: String| arguments.extend([name.into(), value.into()]);
    option("--links", links.join(","));
    option("--slot", number_of(plan.slot).to_string());
    let [title, comm] = process_title::of_worker(plan.proc_name, plan.slot, plan.app);
    option("--title", title);
    option("--comm", comm);
    let Inherited { loaded_files, answers, crash } = inherited;
    for (name, descriptor) in [("--loaded-files", loaded_files), ("--pulse", answers), ("--crash", crash)] {
        if let Some(descriptor) = descriptor {
            option(name, descriptor.to_string());
        }
    }
    arguments.extend(app_arguments(plan));
    arguments
}

/// Returns the number of a slot, as hooks get it: from 1 on.
pub(in crate::supervise) fn number_of(slot: usize) -> usize {
    slot + 1
}

/// Returns the first arguments: the program and the app.
pub(in crate::supervise) fn program(plan: &Plan<'_>) -> Vec<OsString> {
    ["-c", PROGRAM, &plan.app.path].map(Into::into).into()
}

/// Returns the arguments that are the same for all workers and for their template.
pub(in crate::supervise) fn app_arguments(plan: &Plan<'_>) -> Vec<OsString> {
    let app = plan.app;
    let mut arguments = Vec::new();
    let mut option = |name: &str, value: String| arguments.extend([name.into(), value.into()]);
    option("--workers", plan.workers.to_string());
    option("--worker-class", app.worker_class.as_str().to_owned());
    option("--root-path", app.root_path.clone());
    option("--lifespan", app.lifespan.as_str().to_owned());
    option("--startup-timeout", app.startup_timeout.as_secs_f64().to_string());
    option("--shutdown-timeout", app.shutdown_timeout.as_secs_f64().to_string());
    if let Some(threads) = app.wsgi_threads {
        option("--wsgi-threads", threads.to_string());
    }
    option("--wsgi-max-body-size", app.wsgi_max_body_size.to_string());
    option("--loglevel", plan.log.level.as_str().to_owned());
    let error_log = match &plan.log.error {
        // The edge's file, wherever the worker starts.
        Some(LogTarget::File(path)) => absolute(path).as_ref().unwrap_or(path).display().to_string(),
        other => other.as_ref().map(ToString::to_string).unwrap_or_default(),
    };
    option("--errorlog", error_log);
    if let Some(Capture { log }) = plan.capture {
        arguments.push("--captured".into());
        if let Some(log) = log {
            arguments.extend(["--stderr".into(), log.as_raw_fd().to_string().into()]);
        }
    }
    let mut option = |name: &str, value: String| arguments.extend([name.into(), value.into()]);
    if let Some(PythonLogging::File(path)) = &plan.log.python {
        option("--logconfig", path.display().to_string());
    }
    if !plan.statsd.host.is_empty() {
        option("--statsd-host", plan.statsd.host.clone());
        option("--statsd-prefix", plan.statsd.prefix.clone());
        option("--dogstatsd-tags", plan.statsd.tags.clone());
    }
    for (name, hook) in [
        ("--post-fork", &app.hooks.post_fork),
        ("--worker-start", &app.hooks.worker_start),
        ("--worker-exit", &app.hooks.worker_exit),
    ] {
        if let Some(function) = hook {
            option(name, function.clone());
        }
    }
    arguments
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroUsize;
    use std::path::Path;
    use std::time::Duration;

    use super::*;
    use crate::supervise::worker::ends::link;
    use crate::supervise::worker::tests::plan;
    use crate::{AppName, AppSettings, LogSettings, StatsdSettings};

    #[test]
    fn the_command_line_has_all_that_a_worker_needs() {
        let mut app = AppSettings::new("shop.main:app".to_owned());
        app.startup_timeout = Duration::from_millis(2500);
        app.wsgi_threads = NonZeroUsize::new(4);
        app.hooks.worker_exit = Some("app:close".to_owned());
        let python = Some(PythonLogging::File("json:log.json".into()));
        let log = LogSettings { level: crate::LogLevel::Warning, python, ..LogSettings::default() };
        let statsd = StatsdSettings { host: "a:8125".into(), prefix: "shop".into(), tags: String::new() };
        let logs = (log, statsd);
        let links: Vec<_> = (0..2)
            .map(|_| link(1, &AppName::default()).unwrap())
            .map(|(_, socket, claims)| (socket, claims))
            .collect();
        let text = arguments(
            &plan(&app, Path::new("python3"), &logs),
            &links,
            Inherited { loaded_files: Some(9), answers: Some(11), crash: Some(12) },
        )
        .join(std::ffi::OsStr::new(" "));
        let numbers: Vec<_> =
            links.iter().map(|(s, c)| format!("{}:{}", s.as_raw_fd(), c.as_raw_fd())).collect();
        assert_eq!(
            text.into_string().unwrap(),
            format!(
                "-c {PROGRAM} shop.main:app --links {} --slot 3 --title shop: worker 3 (shop.main:app) --comm shop: worker 3 --loaded-files 9 --pulse 11 --crash 12 --workers 1 --worker-class asyncio --root-path  --lifespan auto \
                 --startup-timeout 2.5 --shutdown-timeout 60 --wsgi-threads 4 --wsgi-max-body-size 16777216 --loglevel warning \
                 --errorlog - --logconfig json:log.json --statsd-host a:8125 --statsd-prefix shop --dogstatsd-tags  \
                 --worker-exit app:close",
                numbers.join(",")
            )
        );
    }
}
