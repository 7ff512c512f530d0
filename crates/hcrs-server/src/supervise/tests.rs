//! The supervisor with real edge threads, and processes that only pretend to be workers.

use std::num::NonZeroUsize;
use std::path::Path;

use rustix::process::{Pid, Signal as Number, kill_process};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::net::UnixListener;
use tracing::field::{Field, Visit};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt as _};

use super::signals::Signal;
use super::*;
use crate::{AppSettings, Bind, Listener, bind};

/// A supervisor to be run.
struct Scene {
    folder: tempfile::TempDir,
    settings: Settings,
}

/// A running supervisor: the lines that it logs and that its workers print, and its signals.
struct Running {
    lines: mpsc::Receiver<String>,
    /// Lines that came before the awaited one.
    earlier: Vec<String>,
    events: mpsc::Sender<Event>,
}

/// Sends the supervisor's log lines to the test.
struct LogLines(mpsc::Sender<String>);

impl<S: tracing::Subscriber> Layer<S> for LogLines {
    fn on_event(&self, event: &tracing::Event<'_>, _: Context<'_, S>) {
        struct Message(String);
        impl Visit for Message {
            fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
                if field.name() == "message" {
                    self.0 = format!("{value:?}");
                }
            }
        }
        let mut message = Message(String::new());
        event.record(&mut message);
        let _script_is_done = self.0.try_send(message.0);
    }
}

impl Scene {
    fn new(behavior: &str, workers: usize, threads: usize) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut app = AppSettings::new(format!("{behavior}:{}", folder.path().join("test.sock").display()));
        app.workers = NonZeroUsize::new(workers).unwrap();
        app.python = Some(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/supervise/tests/worker.py"));
        app.shutdown_timeout = Duration::ZERO;
        let settings = Settings {
            apps: vec![app],
            listeners: vec![Listener {
                bind: Bind::Tcp { host: "127.0.0.1".into(), port: 0 },
                tls: false,
                proxy_protocol: false,
            }],
            io_threads: NonZeroUsize::new(threads),
            ..bind::tests::settings(Vec::new())
        };
        Self { folder, settings }
    }

    /// Runs the supervisor beside `script`.
    fn run<F: Future<Output = ()>>(self, script: impl FnOnce(Running) -> F) -> Result<Outcome, StartError> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let listener = UnixListener::bind(self.folder.path().join("test.sock")).unwrap();
            let (log, lines) = mpsc::channel(64);
            let seen = tracing_subscriber::registry().with(LogLines(log.clone()));
            let _logging = tracing::subscriber::set_default(seen);
            tokio::spawn(async move {
                while let Ok((worker, _)) = listener.accept().await {
                    let log = log.clone();
                    tokio::spawn(async move {
                        let mut lines = BufReader::new(worker).lines();
                        while let Ok(Some(line)) = lines.next_line().await {
                            let _script_is_done = log.send(line).await;
                        }
                    });
                }
            });
            let (events, received) = mpsc::channel(EVENTS);
            let settings = self.settings;
            let setup = Setup {
                listeners: bind::bind(&settings, settings.io_threads.unwrap().get(), |_| Vec::new()).unwrap(),
                quic: Vec::new(),
                admin: None,
                predecessor: None,
                to_predecessor: None,
                pid_file: None,
                settings: Arc::new(settings),
                tls: None,
                descriptors: None,
                error_log: None,
                access_log: None,
                statsd: None,
                exporter: None,
            };
            let supervising = supervise(setup, Adoptions::default(), events.clone(), received);
            let script = script(Running { lines, earlier: Vec::new(), events });
            let both = tokio::time::timeout(Duration::from_secs(30), both(supervising, script));
            both.await.expect("done in time").0
        })
    }
}

impl Running {
    /// Returns the rest of the first line that begins with `what` and was not seen yet.
    async fn wait_for(&mut self, what: &str) -> String {
        loop {
            if let Some(at) = self.earlier.iter().position(|line| line.starts_with(what)) {
                return self.earlier.remove(at)[what.len()..].trim().to_owned();
            }
            let line = self.lines.recv().await.unwrap();
            self.earlier.push(line);
        }
    }

    /// Returns the process id of the next worker that prints `what`.
    async fn worker(&mut self, what: &str) -> Pid {
        Pid::from_raw(self.wait_for(what).await.parse().unwrap()).unwrap()
    }

    async fn reload(&self) {
        self.events.send(Event::Signal(Signal::Reload)).await.unwrap();
    }

    async fn stop(&self) {
        self.events.send(Event::Signal(Signal::Stop(Stop::TERM))).await.unwrap();
    }

    /// Repeats the signal until it counts.
    async fn insist(&mut self) {
        let again = async {
            loop {
                let _supervisor_gone = self.events.send(Event::Signal(Signal::Stop(Stop::TERM))).await;
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        let seen = async { while !self.lines.recv().await.unwrap().contains("(SIGTERM again)") {} };
        tokio::select! {
            () = again => {}
            () = seen => {}
        }
    }
}

/// Runs two futures to their ends.
async fn both<A: Future, B: Future>(a: A, b: B) -> (A::Output, B::Output) {
    let (mut a, mut b) = (Box::pin(a), Box::pin(b));
    let (mut a_done, mut b_done) = (None, None);
    std::future::poll_fn(|cx| {
        use std::task::Poll::{Pending, Ready};
        if a_done.is_none()
            && let Ready(output) = a.as_mut().poll(cx)
        {
            a_done = Some(output);
        }
        if b_done.is_none()
            && let Ready(output) = b.as_mut().poll(cx)
        {
            b_done = Some(output);
        }
        if a_done.is_some() && b_done.is_some() { Ready(()) } else { Pending }
    })
    .await;
    (a_done.unwrap(), b_done.unwrap())
}

#[test]
fn a_stop_drains_every_worker_over_every_link() {
    let outcome = Scene::new("serve", 2, 2).run(|mut running| async move {
        assert!(running.wait_for("Running on http://127.0.0.1:").await.ends_with("(CTRL + C to quit)"));
        running.stop().await;
        running.wait_for("drained").await;
        running.wait_for("drained").await;
    });
    assert_eq!(outcome.unwrap(), Outcome::Clean);
}

#[test]
fn a_killed_worker_is_replaced() {
    let outcome = Scene::new("serve", 1, 2).run(|mut running| async move {
        let first = running.worker("ready").await;
        running.wait_for("Running on").await;
        kill_process(first, Number::KILL).unwrap();
        let rest = running.wait_for(&format!("Worker {} was", first.as_raw_nonzero())).await;
        assert_eq!(rest, "killed by SIGKILL; another is started");
        let second = running.worker("ready").await;
        running.wait_for(&format!("Worker {} is ready", second.as_raw_nonzero())).await;
        kill_process(second, Number::SEGV).unwrap();
        let rest = running.wait_for(&format!("Worker {} was", second.as_raw_nonzero())).await;
        assert!(rest.starts_with("killed by SIGSEGV") && rest.ends_with("; another is started"), "{rest}");
        let third = running.worker("ready").await;
        running.wait_for(&format!("Worker {} is ready", third.as_raw_nonzero())).await;
        running.stop().await;
        running.wait_for("drained").await;
    });
    assert_eq!(outcome.unwrap(), Outcome::Clean);
}

#[test]
fn a_worker_that_cannot_serve_ends_the_start_with_its_words() {
    let outcome = Scene::new("fail", 2, 2).run(|_running| async {});
    let Err(StartError::App(text)) = outcome else { panic!("{outcome:?}") };
    assert_eq!(text, "Traceback: no such app");
}

#[test]
fn a_worker_that_ends_without_a_word_ends_the_start() {
    let outcome = Scene::new("mute", 1, 1).run(|_running| async {});
    let Err(StartError::App(text)) = outcome else { panic!("{outcome:?}") };
    assert!(text.contains("exited with status 3 before it was ready"), "{text}");
}

#[test]
fn an_interpreter_that_cannot_be_run_ends_the_start() {
    let mut scene = Scene::new("serve", 1, 1);
    scene.settings.apps[0].python = Some("/nonexistent/python".into());
    let outcome = scene.run(|_running| async {});
    let Err(StartError::Worker(text)) = outcome else { panic!("{outcome:?}") };
    assert!(text.starts_with("/nonexistent/python cannot be run: "), "{text}");
}

#[test]
fn a_stop_before_the_workers_are_ready_is_a_clean_end() {
    let outcome = Scene::new("sleep", 1, 1).run(|mut running| async move {
        running.wait_for("started").await;
        running.stop().await;
    });
    assert_eq!(outcome.unwrap(), Outcome::Clean);
}

#[test]
fn a_worker_that_does_not_end_is_killed() {
    let outcome = Scene::new("stubborn", 1, 1).run(|mut running| async move {
        let worker = running.worker("ready").await;
        running.wait_for("Running on").await;
        running.stop().await;
        let rest = running.wait_for(&format!("Worker {} does", worker.as_raw_nonzero())).await;
        assert_eq!(rest, "not end; killing it");
    });
    assert_eq!(outcome.unwrap(), Outcome::ShutdownFailed);
}

#[test]
fn a_worker_that_reports_its_shutdown_has_the_time_for_that() {
    let mut scene = Scene::new("slow", 1, 2);
    scene.settings.graceful_timeout = Duration::ZERO;
    scene.settings.apps[0].shutdown_timeout = Duration::from_secs(3600);
    let outcome = scene.run(|mut running| async move {
        running.wait_for("Running on").await;
        running.stop().await;
    });
    assert_eq!(outcome.unwrap(), Outcome::Clean);
}

#[test]
fn a_second_stop_does_not_wait_for_workers() {
    let mut scene = Scene::new("stubborn", 1, 1);
    scene.settings.graceful_timeout = Duration::from_secs(3600);
    let outcome = scene.run(|mut running| async move {
        running.wait_for("Running on").await;
        running.stop().await;
        running.wait_for("drained").await;
        running.insist().await;
    });
    assert_eq!(outcome.unwrap(), Outcome::ShutdownFailed);
}

#[test]
fn a_shutdown_that_fails_in_a_worker_shows_in_the_outcome() {
    let outcome = Scene::new("bad-end", 1, 1).run(|mut running| async move {
        running.wait_for("Running on").await;
        running.stop().await;
        running.wait_for("drained").await;
    });
    assert_eq!(outcome.unwrap(), Outcome::ShutdownFailed);
}

#[test]
fn a_worker_is_retired_when_its_replacement_is_ready_and_the_next_one_follows() {
    let outcome = Scene::new("serve", 2, 2).run(|mut running| async move {
        let old = [running.worker("ready").await, running.worker("ready").await];
        running.wait_for("Running on").await;
        running.reload().await;
        running.wait_for("Replacing all workers").await;
        let mut retired = Vec::new();
        for _ in &old {
            let new = running.worker("ready").await;
            let worker = format!("Worker {} is ready and replaces worker", new.as_raw_nonzero());
            let rest = running.wait_for(&worker).await;
            let drained = running.worker("drained").await;
            assert_eq!(rest, drained.as_raw_nonzero().to_string());
            retired.push(drained);
        }
        running.wait_for("All workers have been replaced").await;
        assert!(old.iter().all(|worker| retired.contains(worker)), "{old:?} {retired:?}");
        running.stop().await;
        running.wait_for("drained").await;
        running.wait_for("drained").await;
    });
    assert_eq!(outcome.unwrap(), Outcome::Clean);
}

#[test]
fn a_replaced_worker_that_does_not_end_is_killed() {
    let mut scene = Scene::new("stubborn", 1, 1);
    scene.settings.apps[0].retire_timeout = Duration::ZERO;
    let outcome = scene.run(|mut running| async move {
        let old = running.worker("ready").await;
        running.wait_for("Running on").await;
        running.reload().await;
        let rest = running.wait_for(&format!("Worker {} does", old.as_raw_nonzero())).await;
        assert_eq!(rest, "not end; killing it");
        let rest = running.wait_for(&format!("Worker {} was", old.as_raw_nonzero())).await;
        assert_eq!(rest, "killed by SIGKILL while shutting down");
        running.wait_for("All workers have been replaced").await;
        running.stop().await;
        running.wait_for("drained").await;
        running.insist().await;
    });
    assert_eq!(outcome.unwrap(), Outcome::ShutdownFailed);
}

#[test]
fn without_an_app_it_serves_without_workers() {
    let mut scene = Scene::new("serve", 1, 2);
    scene.settings.apps.clear();
    let outcome = scene.run(|mut running| async move {
        running.wait_for("Running on").await;
        running.stop().await;
    });
    assert_eq!(outcome.unwrap(), Outcome::Clean);
}
