//! Deadlines of connections, requests and workers.

use super::store;
use crate::kind::{ABOVE_ZERO, FROM_ZERO, seconds};
use crate::setting::Group::Deadlines;
use crate::setting::Setting;

pub(super) const SETTINGS: &[Setting] = &[
    Setting::new(
        Deadlines,
        "keep_alive_timeout",
        ABOVE_ZERO,
        |d| seconds(d.server.connection.keep_alive_timeout),
        |v, d| store(&mut d.server.connection.keep_alive_timeout, v.seconds()),
        "Time after which a connection without a request is closed, in seconds.",
    )
    .flag("--keep-alive", None, "SECONDS")
    .aliases(&["keep_alive", "timeout_keep_alive"]),
    Setting::new(
        Deadlines,
        "read_timeout",
        ABOVE_ZERO,
        |d| seconds(d.server.connection.body_timeout),
        |v, d| store(&mut d.server.connection.body_timeout, v.seconds()),
        "Longest pause within a request's body, while almost nothing of it waits for the app, and within a \
         WebSocket message, in seconds. In Hypercorn it applies to every read and is unset.",
    )
    .flag("--read-timeout", None, "SECONDS"),
    Setting::new(
        Deadlines,
        "graceful_timeout",
        FROM_ZERO,
        |d| seconds(d.server.graceful_timeout),
        |v, d| store(&mut d.server.graceful_timeout, v.seconds()),
        "Time for requests, and for the app's work after its responses, to finish after the signal to stop, \
         in seconds. The rest is cut off, and the app's lifespan shutdown follows.",
    )
    .flag("--graceful-timeout", None, "SECONDS"),
    Setting::new(
        Deadlines,
        "startup_timeout",
        ABOVE_ZERO,
        |d| seconds(d.app.startup_timeout),
        |v, d| store(&mut d.app.startup_timeout, v.seconds()),
        "Time limit of the app's lifespan startup, in seconds.",
    )
    .of_app(),
    Setting::new(
        Deadlines,
        "shutdown_timeout",
        FROM_ZERO,
        |d| seconds(d.app.shutdown_timeout),
        |v, d| store(&mut d.app.shutdown_timeout, v.seconds()),
        "Time limit of the app's lifespan shutdown, from its start, in seconds.",
    )
    .of_app(),
    Setting::new(
        Deadlines,
        "retire_timeout",
        FROM_ZERO,
        |d| seconds(d.app.retire_timeout),
        |v, d| store(&mut d.app.retire_timeout, v.seconds()),
        "Time for requests and WebSockets to finish in a worker that has been replaced (SIGHUP, \
         max_requests), in seconds; with use_reloader at most graceful_timeout.",
    )
    .of_app()
    .extension()
    .flag("--retire-timeout", None, "SECONDS"),
    Setting::new(
        Deadlines,
        "head_timeout",
        ABOVE_ZERO,
        |d| seconds(d.server.connection.head_timeout),
        |v, d| store(&mut d.server.connection.head_timeout, v.seconds()),
        "Time limit for the arrival of a request's head, TLS's ClientHello or HTTP/2's preface, in seconds.",
    )
    .extension(),
    Setting::new(
        Deadlines,
        "write_timeout",
        ABOVE_ZERO,
        |d| seconds(d.server.connection.write_timeout),
        |v, d| store(&mut d.server.connection.write_timeout, v.seconds()),
        "Time for which a client may leave a response unread before the response is aborted, in seconds.",
    )
    .extension(),
    Setting::new(
        Deadlines,
        "queue_timeout",
        FROM_ZERO,
        |d| seconds(d.app.dispatch.queue_timeout),
        |v, d| store(&mut d.app.dispatch.queue_timeout, v.seconds()),
        "Time for which a request may wait, from its arrival, until a worker begins it, in seconds; then it \
         gets 503. Under lasting overload, a twentieth of it is enough.",
    )
    .of_app()
    .extension()
    .flag("--queue-timeout", None, "SECONDS"),
    Setting::new(
        Deadlines,
        "stall_timeout",
        ABOVE_ZERO,
        |d| seconds(d.app.dispatch.stall_timeout),
        |v, d| store(&mut d.app.dispatch.stall_timeout, v.seconds()),
        "Time after which requests that an inactive worker has not begun are given to other workers, in \
         seconds.",
    )
    .of_app()
    .extension(),
    Setting::new(
        Deadlines,
        "worker_timeout",
        FROM_ZERO,
        |d| seconds(d.app.worker_timeout),
        |v, d| store(&mut d.app.worker_timeout, v.seconds()),
        "Time without a sign of life after which a worker is killed and replaced, in seconds; 0 disables \
         it. An event loop shows life by each turn, a pool of WSGI threads by a thread that is idle, waits \
         for a client or finishes a request.",
    )
    .of_app()
    .extension()
    .flag("--worker-timeout", None, "SECONDS"),
];
