//! Settings of the app and of the processes that run it.

use std::num::{NonZeroU64, NonZeroUsize};

use hcrs_server::{Lifespan, UsableCores, WorkerClass};

use super::{MAX_COUNT, count, store};
use crate::draft::Draft;
use crate::kind::{ABOVE_ZERO, AUTO, ValueKind, array, quoted};
use crate::setting::Group::App;
use crate::setting::{Setting, unset};
use crate::value::{Datum, GivenValue, Mistake};

pub(super) const SETTINGS: &[Setting] = &[
    Setting::new(
        App,
        "application_path",
        ValueKind::Text,
        unset,
        |v, d| store(&mut d.app.path, v.text().map(String::from)),
        "The app as MODULE:APP, where APP is an expression that defaults to app. The prefix asgi: or wsgi: \
         sets the interface. Without an app, a welcome page is served.",
    )
    .of_app()
    .at_start()
    .aliases(&["application", "app"]),
    Setting::new(
        App,
        "root_path",
        ValueKind::Text,
        |d| quoted(&d.app.root_path),
        |v, d| store(&mut d.app.root_path, v.text().map(|path| path.trim_end_matches('/').into())),
        "The path at which the app is mounted: ASGI's root_path, WSGI's SCRIPT_NAME.",
    )
    .of_app()
    .flag("--root-path", None, "PATH"),
    Setting::new(
        App,
        "workers",
        ValueKind::WholeOrAuto(0, MAX_COUNT),
        |d| d.app.workers.to_string(),
        workers,
        "Number of worker processes. \"auto\" starts one for each core that the server may use, by its CPU \
         affinity and the CPU quota of its cgroup (whole cores, at least one). 0 is treated as 1: the app \
         never runs in the main process.",
    )
    .of_app()
    .flag("--workers", Some('w'), "NUMBER"),
    Setting::new(
        App,
        "worker_class",
        ValueKind::OneOf(&["asyncio", "uvloop", "trio"]),
        |d| quoted(d.app.worker_class.as_str()),
        worker_class,
        "The event loop of the workers. uvloop and trio must be installed in the app's environment.",
    )
    .of_app()
    .flag("--worker-class", Some('k'), "CLASS"),
    Setting::new(
        App,
        "debug",
        ValueKind::Boolean,
        |d| d.app.debug.to_string(),
        |v, d| store(&mut d.app.debug, v.boolean()),
        "Enables asyncio's debug mode in the workers.",
    )
    .of_app()
    .flag("--debug", None, ""),
    Setting::new(
        App,
        "pathsend",
        ValueKind::Boolean,
        |d| d.server.connection.pathsend.to_string(),
        |v, d| store(&mut d.server.connection.pathsend, v.boolean()),
        "Offers http.response.pathsend and http.response.zerocopysend to ASGI apps. The edge then sends the \
         files of Starlette's and FastAPI's FileResponse; middleware that does not know these messages \
         breaks.",
    )
    .extension(),
    Setting::new(
        App,
        "use_reloader",
        ValueKind::Boolean,
        |d| d.app.use_reloader.to_string(),
        |v, d| store(&mut d.app.use_reloader, v.boolean()),
        "Restarts the workers when a file that they have loaded, or a Python file in the app's folder, \
         changes. Requests wait for the new code; if it cannot be loaded, they are answered with the traceback. \
         For development. The configuration is not reloaded.",
    )
    .of_app()
    .at_start()
    .flag("--reload", None, "")
    .aliases(&["reload"]),
    Setting::ignored(
        App,
        "daemon",
        ValueKind::Boolean,
        "Workers are ordinary processes: they may start child processes, and they end with the server.",
    )
    .flag("--daemon", Some('D'), ""),
    Setting::new(
        App,
        "max_requests",
        NUMBER,
        unset,
        |v, d| store(&mut d.app.max_requests, v.whole().map(NonZeroU64::new)),
        "Number of requests after which a worker is replaced, one worker at a time: the new one starts \
         first, and the old one finishes the requests that it has begun. A WebSocket counts as one request. \
         0 or unset, workers are not replaced.",
    )
    .of_app()
    .flag("--max-requests", None, "NUMBER"),
    Setting::new(
        App,
        "max_requests_jitter",
        NUMBER,
        |d| d.app.max_requests_jitter.to_string(),
        |v, d| store(&mut d.app.max_requests_jitter, v.whole()),
        "Largest random number of requests that is added to max_requests, drawn for each worker when it \
         starts.",
    )
    .of_app()
    .flag("--max-requests-jitter", None, "NUMBER"),
    Setting::new(
        App,
        "max_worker_age",
        ABOVE_ZERO,
        unset,
        |v, d| store(&mut d.app.max_worker_age, v.seconds().map(Some)),
        "Age in seconds at which a worker is replaced, as with max_requests; up to a tenth earlier, by chance, \
         so that workers are not replaced together.",
    )
    .of_app()
    .extension()
    .flag("--max-worker-age", None, "SECONDS"),
    Setting::new(
        App,
        "max_worker_rss",
        ValueKind::Whole(1 << 20, 1 << 50),
        unset,
        |v, d| store(&mut d.app.max_worker_rss, v.whole().map(Some)),
        "Resident memory in bytes at which a worker is replaced, as with max_requests; up to a tenth less, by \
         chance. It is looked at every two seconds.",
    )
    .of_app()
    .extension()
    .flag("--max-worker-rss", None, "BYTES"),
    Setting::ignored(
        App,
        "max_app_queue_size",
        NUMBER,
        "Messages that wait for the app are bounded in bytes, for each request separately.",
    ),
    Setting::new(
        App,
        "pid_path",
        ValueKind::Path,
        unset,
        |v, d| store(&mut d.server.pid_path, v.path().map(Some)),
        "File for the process id; removed when the server ends.",
    )
    .at_start()
    .flag("--pid", Some('p'), "FILE")
    .aliases(&["pid"]),
    Setting::new(
        App,
        "wsgi_max_body_size",
        ValueKind::Whole(0, i64::MAX),
        |d| d.app.wsgi_max_body_size.to_string(),
        |v, d| store(&mut d.app.wsgi_max_body_size, v.whole()),
        "Largest request body of a WSGI app, in bytes.",
    )
    .of_app(),
    Setting::new(
        App,
        "lifespan",
        ValueKind::OneOf(&["auto", "on", "off"]),
        |d| quoted(d.app.lifespan.as_str()),
        lifespan,
        "Whether the lifespan protocol is used with an ASGI app: auto uses it if the app supports it, and \
         on refuses to serve an app that does not.",
    )
    .of_app()
    .extension(),
    Setting::new(
        App,
        "preload",
        ValueKind::Boolean,
        |d| d.app.preload.to_string(),
        |v, d| store(&mut d.app.preload, v.boolean()),
        "Imports the app once, in a process from which the workers are forked: they share its memory, and one \
         that has died is replaced within milliseconds. SIGHUP and use_reloader load new code all the same. \
         Threads and connections that the app opens at its import do not work in forked workers.",
    )
    .of_app()
    .at_start()
    .extension()
    .flag("--preload", None, ""),
    Setting::new(
        App,
        "post_fork",
        ValueKind::Text,
        unset,
        |v, d| store(&mut d.app.hooks.post_fork, function(v)),
        "A function as MODULE:FUNCTION that each worker calls right after it was forked, with preload. Its \
         argument has the attributes slot, the worker's number from 1 on, and pid.",
    )
    .of_app()
    .extension(),
    Setting::new(
        App,
        "worker_start",
        ValueKind::Text,
        unset,
        |v, d| store(&mut d.app.hooks.worker_start, function(v)),
        "A function as MODULE:FUNCTION that each worker calls before the app's startup, with the argument of \
         post_fork. If it raises, the worker cannot serve.",
    )
    .of_app()
    .extension(),
    Setting::new(
        App,
        "worker_exit",
        ValueKind::Text,
        unset,
        |v, d| store(&mut d.app.hooks.worker_exit, function(v)),
        "A function as MODULE:FUNCTION that each worker which ends in order calls after the app's shutdown, \
         with the argument of post_fork. shutdown_timeout includes it.",
    )
    .of_app()
    .extension(),
    Setting::new(
        App,
        "python",
        ValueKind::Path,
        unset,
        |v, d| store(&mut d.app.python, v.path().map(Some)),
        "The Python interpreter of the workers. Unset, the first of: that of python -m hcrs, the virtual \
         environment in which the command is installed, $VIRTUAL_ENV, beside the command, PATH.",
    )
    .of_app()
    .at_start()
    .extension()
    .flag("--python", None, "PATH"),
    Setting::new(
        App,
        "reload_dirs",
        ValueKind::Texts,
        |d| array(d.app.reload.dirs.iter().filter_map(|path| path.to_str())),
        |v, d| store(&mut d.app.reload.dirs, texts(v)),
        "With use_reloader: folders whose Python files are watched. Empty, the folder from which the app's \
         module is imported. Hidden folders, node_modules and virtual environments are skipped.",
    )
    .of_app()
    .at_start()
    .extension(),
    Setting::new(
        App,
        "reload_include",
        ValueKind::Texts,
        |d| array(d.app.reload.include.iter().map(String::as_str)),
        |v, d| store(&mut d.app.reload.include, texts(v)),
        "With use_reloader: further files in these folders to watch, as patterns of file names (\"*.html\") \
         or, with a slash, of paths (\"templates/*\").",
    )
    .of_app()
    .at_start()
    .extension(),
    Setting::new(
        App,
        "reload_exclude",
        ValueKind::Texts,
        |d| array(d.app.reload.exclude.iter().map(String::as_str)),
        |v, d| store(&mut d.app.reload.exclude, texts(v)),
        "With use_reloader: files not to watch, as patterns in the form of reload_include.",
    )
    .of_app()
    .at_start()
    .extension(),
    Setting::new(
        App,
        "wsgi_threads",
        ValueKind::Whole(1, MAX_COUNT),
        unset,
        |v, d| store(&mut d.app.wsgi_threads, count(v).map(Some)),
        "Number of threads in each worker of a WSGI app. Unset, the worker chooses.",
    )
    .of_app()
    .extension()
    .flag("--wsgi-threads", None, "NUMBER"),
    Setting::new(
        App,
        "queue_size",
        ValueKind::Whole(0, 1 << 20),
        |d| d.app.dispatch.queue_size.to_string(),
        |v, d| store(&mut d.app.dispatch.queue_size, v.whole()),
        "Number of requests of one edge thread that may wait for a worker; more get 503.",
    )
    .of_app()
    .extension()
    .flag("--queue-size", None, "NUMBER"),
    Setting::new(
        App,
        "queue_bytes",
        ValueKind::Whole(1 << 16, 1 << 40),
        |d| d.app.dispatch.queue_bytes.to_string(),
        |v, d| store(&mut d.app.dispatch.queue_bytes, v.whole()),
        "Memory that requests of one edge thread may hold before a worker begins them, in bytes of heads \
         and received bodies; requests beyond it get 503.",
    )
    .of_app()
    .extension()
    .flag("--queue-bytes", None, "BYTES"),
];

const NUMBER: ValueKind = ValueKind::Whole(0, i64::MAX);

fn texts<T: for<'a> From<&'a str>>(given: &GivenValue<'_>) -> Result<Vec<T>, Mistake> {
    Ok(given.texts()?.into_iter().map(|(text, _)| text.into()).collect())
}

/// Reads the name of a function in a module.
fn function(given: &GivenValue<'_>) -> Result<Option<String>, Mistake> {
    let text = given.text()?;
    let (module, path) = text.split_once(':').unwrap_or_default();
    let is_name = |name: &str| {
        name.split('.').all(|part| {
            !part.is_empty()
                && !part.starts_with(|first: char| first.is_ascii_digit())
                && part.chars().all(|each| each == '_' || each.is_alphanumeric())
        })
    };
    if is_name(module) && is_name(path) {
        Ok(Some(text.to_owned()))
    } else {
        Err(given.expected("a function as \"MODULE:FUNCTION\""))
    }
}

/// Takes 0 for 1: by 0 Hypercorn serves within the main process, and here the app never runs there.
fn workers(given: &GivenValue<'_>, draft: &mut Draft) -> Result<(), Mistake> {
    draft.app.usable_cores = None;
    draft.no_workers = false;
    if matches!(&given.value.datum, Datum::Text(text) if text == AUTO) {
        let cores = UsableCores::of_this_process();
        draft.app.workers = cores.count;
        draft.app.usable_cores = Some(cores);
        return Ok(());
    }
    let workers = NonZeroUsize::new(given.whole()?);
    draft.no_workers = workers.is_none();
    draft.app.workers = workers.unwrap_or_else(|| {
        let message =
            "workers: 0 is treated as 1, because the app never runs in the main process; set 1 or more";
        draft.warn(&given.value.place, message);
        NonZeroUsize::MIN
    });
    Ok(())
}

fn worker_class(given: &GivenValue<'_>, draft: &mut Draft) -> Result<(), Mistake> {
    draft.app.worker_class = match given.text()? {
        "asyncio" => WorkerClass::Asyncio,
        "uvloop" => WorkerClass::Uvloop,
        "trio" => WorkerClass::Trio,
        _ => return Err(given.expected("\"asyncio\", \"uvloop\" or \"trio\"")),
    };
    Ok(())
}

fn lifespan(given: &GivenValue<'_>, draft: &mut Draft) -> Result<(), Mistake> {
    draft.app.lifespan = match given.text()? {
        "auto" => Lifespan::Auto,
        "on" => Lifespan::On,
        "off" => Lifespan::Off,
        _ => return Err(given.expected("\"auto\", \"on\" or \"off\"")),
    };
    Ok(())
}
