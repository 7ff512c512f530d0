//! How long things may take.

use super::fill;
use crate::setting::Group::Deadlines;
use crate::setting::{ABOVE_ZERO, FROM_ZERO, Setting, seconds};

pub(super) const SETTINGS: &[Setting] = &[
    Setting::new(
        Deadlines,
        "keep_alive_timeout",
        ABOVE_ZERO,
        |d| seconds(d.server.connection.keep_alive_timeout),
        |v, d| fill(&mut d.server.connection.keep_alive_timeout, v.seconds()),
        "How long a connection may stay without a request, in seconds.",
    )
    .flag("--keep-alive", None, "SECONDS")
    .aliases(&["keep_alive", "timeout_keep_alive"]),
    Setting::new(
        Deadlines,
        "read_timeout",
        ABOVE_ZERO,
        |d| seconds(d.server.connection.body_timeout),
        |v, d| fill(&mut d.server.connection.body_timeout, v.seconds()),
        "The longest gap in a request's body while next to nothing of it waits for the app, and in a message of a WebSocket, in \
         seconds. In Hypercorn: of any read, and unset.",
    )
    .flag("--read-timeout", None, "SECONDS"),
    Setting::new(
        Deadlines,
        "graceful_timeout",
        FROM_ZERO,
        |d| seconds(d.server.graceful_timeout),
        |v, d| fill(&mut d.server.graceful_timeout, v.seconds()),
        "How long requests, and what the app does after its responses, may go on after the signal to stop, in seconds. What is left \
         is cut off, and the app's lifespan shutdown follows.",
    )
    .flag("--graceful-timeout", None, "SECONDS"),
    Setting::new(
        Deadlines,
        "startup_timeout",
        ABOVE_ZERO,
        |d| seconds(d.app.startup_timeout),
        |v, d| fill(&mut d.app.startup_timeout, v.seconds()),
        "How long the app's lifespan startup may take, in seconds.",
    ),
    Setting::new(
        Deadlines,
        "shutdown_timeout",
        FROM_ZERO,
        |d| seconds(d.app.shutdown_timeout),
        |v, d| fill(&mut d.app.shutdown_timeout, v.seconds()),
        "How long the app's lifespan shutdown may take from where it begins, in seconds.",
    ),
    Setting::new(
        Deadlines,
        "retire_timeout",
        FROM_ZERO,
        |d| seconds(d.app.retire_timeout),
        |v, d| fill(&mut d.app.retire_timeout, v.seconds()),
        "How long requests and WebSockets may go on in a worker that has been replaced (SIGHUP, max_requests), in seconds; with \
         use_reloader no longer than graceful_timeout.",
    )
    .own()
    .flag("--retire-timeout", None, "SECONDS"),
    Setting::new(
        Deadlines,
        "head_timeout",
        ABOVE_ZERO,
        |d| seconds(d.server.connection.head_timeout),
        |v, d| fill(&mut d.server.connection.head_timeout, v.seconds()),
        "How long a request's head, TLS's ClientHello, or HTTP/2's preface, may take to arrive, in seconds.",
    )
    .own(),
    Setting::new(
        Deadlines,
        "write_timeout",
        ABOVE_ZERO,
        |d| seconds(d.server.connection.write_timeout),
        |v, d| fill(&mut d.server.connection.write_timeout, v.seconds()),
        "How long a client may leave a response unread before it is given up, in seconds.",
    )
    .own(),
    Setting::new(
        Deadlines,
        "queue_timeout",
        FROM_ZERO,
        |d| seconds(d.server.dispatch.queue_timeout),
        |v, d| fill(&mut d.server.dispatch.queue_timeout, v.seconds()),
        "How long a request may wait, from its arrival until a worker begins it, before it gets 503, in seconds.",
    )
    .own()
    .flag("--queue-timeout", None, "SECONDS"),
    Setting::new(
        Deadlines,
        "stall_timeout",
        ABOVE_ZERO,
        |d| seconds(d.server.dispatch.stall_timeout),
        |v, d| fill(&mut d.server.dispatch.stall_timeout, v.seconds()),
        "How long a worker may leave a request unbegun, and do nothing else, before others are given it, in seconds.",
    )
    .own(),
    Setting::new(
        Deadlines,
        "worker_timeout",
        FROM_ZERO,
        |d| seconds(d.app.worker_timeout),
        |v, d| fill(&mut d.app.worker_timeout, v.seconds()),
        "How long a worker may give no sign of life before it is killed and replaced, in seconds; 0 for ever. Its event loop \
         gives one when it turns, a pool of WSGI threads when one of them is free, waits for a client or ends a request.",
    )
    .own()
    .flag("--worker-timeout", None, "SECONDS"),
];
