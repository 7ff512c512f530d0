//! The app and the processes that run it.

use std::num::{NonZeroU64, NonZeroUsize};

use hcrs_server::{Lifespan, WorkerClass};

use super::{MAX_COUNT, count, fill};
use crate::draft::Draft;
use crate::setting::Group::App;
use crate::setting::{Kind, Setting, array, quoted, unset};
use crate::value::{Given, Mistake};

pub(super) const SETTINGS: &[Setting] = &[
    Setting::new(
        App,
        "application_path",
        Kind::Text,
        unset,
        |v, d| fill(&mut d.app.path, v.text().map(String::from)),
        "The app as MODULE:APP, where APP is an expression and defaults to app; asgi: or wsgi: before it says \
         which of the two it is. Without one, a welcome page.",
    )
    .aliases(&["application", "app"]),
    Setting::new(
        App,
        "root_path",
        Kind::Text,
        |d| quoted(&d.app.root_path),
        |v, d| fill(&mut d.app.root_path, v.text().map(|path| path.trim_end_matches('/').into())),
        "The path below which the app is mounted: ASGI's root_path, WSGI's SCRIPT_NAME.",
    )
    .flag("--root-path", None, "PATH"),
    Setting::new(
        App,
        "workers",
        Kind::Whole(0, MAX_COUNT),
        |d| d.app.workers.to_string(),
        workers,
        "Worker processes. 0 is taken as 1: the app never runs in the main process.",
    )
    .flag("--workers", Some('w'), "NUMBER"),
    Setting::new(
        App,
        "worker_class",
        Kind::OneOf(&["asyncio", "uvloop", "trio"]),
        |d| quoted(d.app.worker_class.as_str()),
        worker_class,
        "The workers' event loop. uvloop and trio have to be installed beside the app.",
    )
    .flag("--worker-class", Some('k'), "CLASS"),
    Setting::new(
        App,
        "debug",
        Kind::Boolean,
        |d| d.app.debug.to_string(),
        |v, d| fill(&mut d.app.debug, v.boolean()),
        "Turns on the debug mode of asyncio in the workers.",
    )
    .flag("--debug", None, ""),
    Setting::new(
        App,
        "pathsend",
        Kind::Boolean,
        |d| d.server.connection.pathsend.to_string(),
        |v, d| fill(&mut d.server.connection.pathsend, v.boolean()),
        "Whether ASGI apps are offered http.response.pathsend and http.response.zerocopysend. Files of Starlette's and \
         FastAPI's FileResponse are then sent by the edge, and middlewares that do not know these messages break.",
    )
    .own(),
    Setting::new(
        App,
        "use_reloader",
        Kind::Boolean,
        |d| d.app.use_reloader.to_string(),
        |v, d| fill(&mut d.app.use_reloader, v.boolean()),
        "Replaces the workers when a file that they have loaded, or a Python file in the app's folder, changes. If the app \
         cannot be loaded, the old workers serve on until the next change. For development. The configuration is not read again.",
    )
    .flag("--reload", None, "")
    .aliases(&["reload"]),
    Setting::ignored(
        App,
        "daemon",
        Kind::Boolean,
        "Workers are ordinary processes: they may start processes, and end with the server.",
    )
    .flag("--daemon", Some('D'), ""),
    Setting::new(
        App,
        "max_requests",
        NUMBER,
        unset,
        |v, d| fill(&mut d.app.max_requests, v.whole().map(NonZeroU64::new)),
        "A worker that has been given more requests than this is replaced, one worker at a time: the new one is started \
         first, and the old one finishes what it has begun. WebSockets count as one request. 0 and unset: never.",
    )
    .flag("--max-requests", None, "NUMBER"),
    Setting::new(
        App,
        "max_requests_jitter",
        NUMBER,
        |d| d.app.max_requests_jitter.to_string(),
        |v, d| fill(&mut d.app.max_requests_jitter, v.whole()),
        "Each worker may be given up to so many requests more than max_requests; how many is drawn when it starts.",
    )
    .flag("--max-requests-jitter", None, "NUMBER"),
    Setting::ignored(
        App,
        "max_app_queue_size",
        NUMBER,
        "What waits for the app is bounded in bytes, for each request by itself.",
    ),
    Setting::new(
        App,
        "pid_path",
        Kind::Path,
        unset,
        |v, d| fill(&mut d.server.pid_path, v.path().map(Some)),
        "The file for the process id; it is removed at the end.",
    )
    .flag("--pid", Some('p'), "FILE")
    .aliases(&["pid"]),
    Setting::new(
        App,
        "wsgi_max_body_size",
        Kind::Whole(0, i64::MAX),
        |d| d.app.wsgi_max_body_size.to_string(),
        |v, d| fill(&mut d.app.wsgi_max_body_size, v.whole()),
        "The largest request body that a WSGI app is given, in bytes.",
    ),
    Setting::new(
        App,
        "lifespan",
        Kind::OneOf(&["auto", "on", "off"]),
        |d| quoted(d.app.lifespan.as_str()),
        lifespan,
        "Whether an ASGI app is asked for its lifespan; with on, one that has none cannot be served.",
    )
    .own(),
    Setting::new(
        App,
        "python",
        Kind::Path,
        unset,
        |v, d| fill(&mut d.app.python, v.path().map(Some)),
        "The interpreter of the workers. Unset, that of python -m hcrs, of the virtual environment in which the command is \
         installed, of $VIRTUAL_ENV, beside the command, or on PATH.",
    )
    .own()
    .flag("--python", None, "PATH"),
    Setting::new(
        App,
        "reload_dirs",
        Kind::Texts,
        |d| array(d.app.reload.dirs.iter().filter_map(|path| path.to_str())),
        |v, d| fill(&mut d.app.reload.dirs, texts(v)),
        "With use_reloader: the folders whose Python files are watched. Empty, the folder that the app's module is \
         looked for in. Hidden folders, node_modules and virtual environments are passed over.",
    )
    .own(),
    Setting::new(
        App,
        "reload_include",
        Kind::Texts,
        |d| array(d.app.reload.include.iter().map(String::as_str)),
        |v, d| fill(&mut d.app.reload.include, texts(v)),
        "With use_reloader: other files in these folders that are watched, as patterns of names (\"*.html\") or, with a \
         slash, of paths (\"templates/*\").",
    )
    .own(),
    Setting::new(
        App,
        "reload_exclude",
        Kind::Texts,
        |d| array(d.app.reload.exclude.iter().map(String::as_str)),
        |v, d| fill(&mut d.app.reload.exclude, texts(v)),
        "With use_reloader: files that are not watched, as patterns like those of reload_include.",
    )
    .own(),
    Setting::new(
        App,
        "wsgi_threads",
        Kind::Whole(1, MAX_COUNT),
        unset,
        |v, d| fill(&mut d.app.wsgi_threads, count(v).map(Some)),
        "Threads of each worker that runs a WSGI app. Unset, the worker's choice.",
    )
    .own()
    .flag("--wsgi-threads", None, "NUMBER"),
    Setting::new(
        App,
        "queue_size",
        Kind::Whole(0, 1 << 20),
        |d| d.server.dispatch.queue_size.to_string(),
        |v, d| fill(&mut d.server.dispatch.queue_size, v.whole()),
        "Requests of one thread that may wait for a worker; more get 503.",
    )
    .own()
    .flag("--queue-size", None, "NUMBER"),
    Setting::new(
        App,
        "queue_bytes",
        Kind::Whole(1 << 16, 1 << 40),
        |d| d.server.dispatch.queue_bytes.to_string(),
        |v, d| fill(&mut d.server.dispatch.queue_bytes, v.whole()),
        "Bytes that the requests of one thread may hold, heads and what has come of bodies, until a worker begins them; more get 503.",
    )
    .own()
    .flag("--queue-bytes", None, "BYTES"),
];

const NUMBER: Kind = Kind::Whole(0, i64::MAX);

fn texts<T: for<'a> From<&'a str>>(given: &Given<'_>) -> Result<Vec<T>, Mistake> {
    Ok(given.texts()?.into_iter().map(|(text, _)| text.into()).collect())
}

/// Hypercorn's 0 means to serve within the main process, which is no shape of this server.
fn workers(given: &Given<'_>, draft: &mut Draft) -> Result<(), Mistake> {
    let workers = NonZeroUsize::new(given.whole()?);
    draft.no_workers = workers.is_none();
    draft.app.workers = workers.unwrap_or_else(|| {
        draft.warn(&given.value.place, "workers: 0 is taken as 1, the app never runs in the main process");
        NonZeroUsize::MIN
    });
    Ok(())
}

fn worker_class(given: &Given<'_>, draft: &mut Draft) -> Result<(), Mistake> {
    draft.app.worker_class = match given.text()? {
        "asyncio" => WorkerClass::Asyncio,
        "uvloop" => WorkerClass::Uvloop,
        "trio" => WorkerClass::Trio,
        _ => return Err(given.expected("\"asyncio\", \"uvloop\" or \"trio\"")),
    };
    Ok(())
}

fn lifespan(given: &Given<'_>, draft: &mut Draft) -> Result<(), Mistake> {
    draft.app.lifespan = match given.text()? {
        "auto" => Lifespan::Auto,
        "on" => Lifespan::On,
        "off" => Lifespan::Off,
        _ => return Err(given.expected("\"auto\", \"on\" or \"off\"")),
    };
    Ok(())
}
