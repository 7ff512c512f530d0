//! The error log: tracing's events as lines in Hypercorn's form, `[2026-11-23 04:01:31 +0000] [PID] [INFO]
//! message`, with the event's fields behind the message as `name=value`, and those of the spans that it is in.
//!
//! The spans are those of the edge's tasks, `connection` with the field `conn` and `link` with `worker`. They
//! exist at debug only, for the events of crates that know neither number.
//!
//! An event is one line, whatever text of a client it contains; only the field `traceback` has lines of its
//! own. The output of a worker ([`log_output`]) is an event of several lines, each with time, process and level.

use std::fmt::{self, Write as _};
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::filter::{FilterExt as _, Targets, filter_fn};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, FormattedFields, MakeWriter};
use tracing_subscriber::layer::{Filter, Layer, SubscriberExt as _};
use tracing_subscriber::registry::LookupSpan;

use crate::escape::{self, push_escaped};
use crate::local_time::LocalTime;
use crate::log_writer::{LogWriter, Sink};
use crate::statsd::{CountComplaints, StatsdTarget};
use crate::syslog::Severity;
use crate::{LogError, LogLevel, LogSettings, LogTarget};

/// The field whose value is shown on lines of its own.
const TRACEBACK: &str = "traceback";

/// The target of the events that are the output of workers, which is logged at every level.
const OUTPUT: &str = "hcrs::output";
/// Their field with the process id of the worker.
const OUTPUT_OF: &str = "output_of";
/// Their field with the lines.
const OUTPUT_LINES: &str = "output_lines";

/// Logs what a process has written: whole lines, each of which becomes a line of the log with the id of the
/// process and the level of an info message. They are one entry of the log's queue.
pub fn log_output(pid: u32, lines: &[u8]) {
    tracing::info!(target: OUTPUT, output_of = pid, output_lines = lines);
}

/// Sends this process's events to the error log until the returned writer is closed.
///
/// A process has one subscriber for its life: if there is one already, it stays, and there is nothing to
/// close.
pub fn install(settings: &LogSettings, statsd: Option<&StatsdTarget>) -> Result<Option<LogWriter>, LogError> {
    let sink = match &settings.error {
        None => {
            // Complaints are counted even if there is no error log.
            let _already_set = statsd.map(|target| {
                tracing::subscriber::set_global_default(tracing_subscriber::registry().with(counting(target)))
            });
            return Ok(None);
        }
        Some(LogTarget::Standard) => Sink::Error,
        Some(LogTarget::File(path)) => Sink::File(path.clone()),
        Some(LogTarget::Syslog(target)) => Sink::Syslog(target.clone()),
    };
    let name = sink.to_string();
    let has_prefix = !matches!(sink, Sink::Syslog(_));
    // A log that cannot be written has no place for a report about itself.
    let writer = LogWriter::start("error-log", sink, |_, _| {}).map_err(|error| LogError { name, error })?;
    let subscriber = tracing_subscriber::registry().with(
        tracing_subscriber::fmt::layer()
            .with_ansi(false)
            .event_format(LineFormat::new(has_prefix))
            .with_writer(Queue { sender: writer.sender(), lost: Arc::default() })
            .with_filter(filter(settings.level, settings.has_frames, settings.capture_output)),
    );
    let subscriber = subscriber.with(statsd.map(counting));
    match tracing::subscriber::set_global_default(subscriber) {
        Ok(()) => Ok(Some(writer)),
        Err(_already_set) => {
            writer.close();
            Ok(None)
        }
    }
}

/// Counts the events of warnings and above. Its filter keeps all other events as cheap as they are without
/// it.
fn counting<S: Subscriber + for<'a> LookupSpan<'a>>(target: &StatsdTarget) -> impl Layer<S> + use<S> {
    CountComplaints(target.clone()).with_filter(filter(LogLevel::Warning, false, false))
}

/// Returns the filter: events of this project from `level` up, and errors of other crates. Their warnings
/// report what clients do, so a client could fill the log with them. At debug the frames of HTTP/2 connections are
/// logged as well if the log `has_frames`. The output of workers passes at every level if the log `has_output`.
///
/// Spans are only this project's. Those of other crates may have no parent, and would hide ours.
fn filter<S: 'static>(level: LogLevel, has_frames: bool, has_output: bool) -> impl Filter<S> {
    let level = match level {
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Warning => LevelFilter::WARN,
        LogLevel::Error => LevelFilter::ERROR,
        // An error that stops the server is returned by the run, and its caller prints it.
        LogLevel::Critical => LevelFilter::OFF,
    };
    let others = level.min(LevelFilter::ERROR);
    let frames = if has_frames { level } else { others };
    let output = if has_output { LevelFilter::INFO } else { LevelFilter::OFF };
    let targets = Targets::new()
        .with_default(others)
        .with_target("hcrs", level)
        .with_target("hcrs_h2::frames", frames)
        .with_target(OUTPUT, output);
    let of_ours = filter_fn(|metadata| metadata.is_event() || metadata.target().starts_with("hcrs"));
    // Without the hint of both filters, each frame would ask them.
    targets.and(of_ours.with_max_level_hint(level.max(output)))
}

/// Hypercorn's line form.
struct LineFormat {
    time: Mutex<(LocalTime, String)>,
    pid: u32,
    /// Whether lines begin with time, process and level.
    has_prefix: bool,
}

impl LineFormat {
    fn new(has_prefix: bool) -> Self {
        let time = Mutex::new((LocalTime::new(), String::new()));
        Self { time, pid: std::process::id(), has_prefix }
    }

    /// Returns the beginning of a line.
    fn prefix(&self, pid: u32, level: &str, now: SystemTime) -> String {
        let mut guard = self.time.lock().unwrap_or_else(PoisonError::into_inner);
        let (time, text) = &mut *guard;
        if let Some(now) = time.tick(now) {
            *text = now.strftime("%Y-%m-%d %H:%M:%S %z").to_string();
        }
        format!("[{text}] [{pid}] [{level}] ")
    }

    /// Writes the lines of a worker. Where lines begin without a process, its id is behind each as a field.
    fn format_output(&self, out: &mut Writer<'_>, level: &str, event: &Event<'_>) -> fmt::Result {
        let mut output = Output::default();
        event.record(&mut output);
        let Output { pid, lines } = output;
        let (before, after) = if self.has_prefix {
            (self.prefix(pid, level, SystemTime::now()), String::new())
        } else {
            (String::new(), format!(" worker={pid}"))
        };
        for line in lines.strip_suffix(b"\n").unwrap_or(&lines).split(|&byte| byte == b'\n') {
            writeln!(out, "{before}{}{after}", escaped(line.strip_suffix(b"\r").unwrap_or(line)))?;
        }
        Ok(())
    }
}

impl<S, N> FormatEvent<S, N> for LineFormat
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut out: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let level = level_name(*event.metadata().level());
        if event.metadata().target() == OUTPUT {
            return self.format_output(&mut out, level, event);
        }
        if self.has_prefix {
            let prefix = self.prefix(self.pid, level, SystemTime::now());
            out.write_str(&prefix)?;
        }
        let mut fields = Fields::default();
        event.record(&mut fields);
        let Fields { message, others, traceback } = fields;
        write!(out, "{message}{others}")?;
        let of_the_event = event.metadata().fields();
        for span in context.event_scope().into_iter().flatten() {
            // Events of this project name their connection or worker themselves.
            let is_shown = span.fields().iter().any(|field| of_the_event.field(field.name()).is_some());
            if !is_shown && let Some(fields) = span.extensions().get::<FormattedFields<N>>() {
                write!(out, " {fields}")?;
            }
        }
        out.write_char('\n')?;
        for line in traceback.lines() {
            writeln!(out, "{}", escaped(line.as_bytes()))?;
        }
        Ok(())
    }
}

/// Returns text as a part of a line.
fn escaped(text: &[u8]) -> String {
    let mut escaped = Vec::with_capacity(text.len());
    push_escaped(&mut escaped, text, escape::Quotes::AsTheyAre);
    String::from_utf8_lossy(&escaped).into_owned()
}

/// Returns Python's name of a level.
fn level_name(level: Level) -> &'static str {
    match level {
        Level::ERROR => "ERROR",
        Level::WARN => "WARNING",
        Level::INFO => "INFO",
        Level::DEBUG | Level::TRACE => "DEBUG",
    }
}

/// The fields of an event: the message, and the others as `name=value`.
#[derive(Default)]
struct Fields {
    message: String,
    others: String,
    traceback: String,
}

impl Fields {
    fn push(&mut self, field: &Field, value: &str) {
        if field.name() == TRACEBACK {
            value.clone_into(&mut self.traceback);
            return;
        }
        let escaped = escaped(value.as_bytes());
        if field.name() == "message" {
            self.message.push_str(&escaped);
        } else {
            let _infallible = write!(self.others, " {}={escaped}", field.name());
        }
    }
}

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.push(field, value);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.push(field, &format!("{value:?}"));
    }
}

/// The output of a worker.
#[derive(Default)]
struct Output {
    pid: u32,
    lines: Vec<u8>,
}

impl Visit for Output {
    fn record_u64(&mut self, field: &Field, value: u64) {
        if field.name() == OUTPUT_OF {
            self.pid = value as u32;
        }
    }

    fn record_bytes(&mut self, field: &Field, value: &[u8]) {
        if field.name() == OUTPUT_LINES {
            self.lines = value.to_vec();
        }
    }

    fn record_debug(&mut self, _: &Field, _: &dyn fmt::Debug) {}
}

/// Sends each event's line to the writing thread.
struct Queue {
    sender: crate::log_writer::LogSender,
    lost: Arc<AtomicU64>,
}

impl<'a> MakeWriter<'a> for Queue {
    type Writer = Leveled<'a>;

    fn make_writer(&'a self) -> Self::Writer {
        Leveled { queue: self, severity: Severity::Info }
    }

    fn make_writer_for(&'a self, metadata: &Metadata<'_>) -> Self::Writer {
        let severity = match *metadata.level() {
            Level::ERROR => Severity::Error,
            Level::WARN => Severity::Warning,
            Level::INFO => Severity::Info,
            Level::DEBUG | Level::TRACE => Severity::Debug,
        };
        Leveled { queue: self, severity }
    }
}

/// Writes the lines of one event with its severity.
struct Leveled<'a> {
    queue: &'a Queue,
    severity: Severity,
}

impl io::Write for Leveled<'_> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let lost = self.queue.lost.swap(0, Ordering::Relaxed);
        let count = line.split(|&byte| byte == b'\n').skip(1).count() as u64;
        let mut lines = line.to_vec();
        if lost > 0 {
            lines.extend_from_slice(format!("({lost} lines were lost before this one)\n").as_bytes());
        }
        if !self.queue.sender.send(lines, self.severity) {
            self.queue.lost.fetch_add(lost + count, Ordering::Relaxed);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines_of(level: LogLevel, log: impl FnOnce()) -> String {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("error.log");
        let writer = LogWriter::start("error-log", Sink::File(path.clone()), |_, _| {}).unwrap();
        let layer = tracing_subscriber::fmt::layer()
            .with_ansi(false)
            .event_format(LineFormat::new(true))
            .with_writer(Queue { sender: writer.sender(), lost: Arc::default() })
            .with_filter(filter(level, true, true));
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), log);
        writer.close();
        std::fs::read_to_string(path).unwrap()
    }

    #[test]
    fn lines_have_hypercorns_form() {
        let text = lines_of(LogLevel::Info, || tracing::warn!(worker = 7, "slow {}", "down"));
        let pid = std::process::id();
        let (time, rest) = text.split_at("[2026-11-23 04:01:31 +0000]".len());
        assert_eq!(rest, format!(" [{pid}] [WARNING] slow down worker=7\n"));
        assert!(time.starts_with("[20") && time.ends_with(']'), "{time}");
        assert!(jiff::Zoned::strptime("[%Y-%m-%d %H:%M:%S %z]", time).is_ok(), "{time}");
    }

    #[test]
    fn what_a_client_sends_cannot_begin_a_line_or_reach_the_terminal() {
        let text = lines_of(LogLevel::Info, || tracing::info!(path = "/\x1b[2J\n[x]", "got\r\n{}", "\x07"));
        assert!(text.ends_with("got\\x0d\\x0a\\x07 path=/\\x1b[2J\\x0a[x]\n"), "{text}");
        assert_eq!(text.lines().count(), 1);
    }

    #[test]
    fn tracebacks_keep_their_lines() {
        let text = lines_of(LogLevel::Info, || {
            tracing::error!(traceback = "Traceback:\n  \"x\"\x1b[2J\nValueError", "app failed");
        });
        let lines: Vec<_> = text.lines().collect();
        assert!(lines[0].ends_with("[ERROR] app failed"), "{text}");
        assert_eq!(&lines[1..], ["Traceback:", "  \"x\"\\x1b[2J", "ValueError"]);
    }

    #[test]
    fn output_is_logged_line_by_line_at_every_level() {
        for level in [LogLevel::Info, LogLevel::Critical] {
            let text = lines_of(level, || log_output(7, b"one\r\n\n[x] \x1b[2J\xff\xe2\x80\xae\ntwo\n"));
            let lines: Vec<_> = text.lines().map(|line| line.split_once("] ").unwrap().1).collect();
            let expected = ["one", "", "[x] \\x1b[2J\\xff\\xe2\\x80\\xae", "two"];
            assert_eq!(lines, expected.map(|line| format!("[7] [INFO] {line}")));
        }
    }

    #[test]
    fn lines_without_a_prefix_name_the_worker_behind_the_output() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("error.log");
        let writer = LogWriter::start("error-log", Sink::File(path.clone()), |_, _| {}).unwrap();
        let layer = tracing_subscriber::fmt::layer()
            .event_format(LineFormat::new(false))
            .with_writer(Queue { sender: writer.sender(), lost: Arc::default() });
        let log = || log_output(7, b"one\ntwo\n");
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), log);
        writer.close();
        assert_eq!(std::fs::read_to_string(path).unwrap(), "one worker=7\ntwo worker=7\n");
    }

    #[test]
    fn output_that_the_queue_does_not_take_is_counted_by_its_lines() {
        let writer = LogWriter::start("error-log", Sink::File("/dev/null".into()), |_, _| {}).unwrap();
        let queue = Queue { sender: writer.sender(), lost: Arc::default() };
        writer.close();
        for lines in ["1\n2\n3\n", "4\n"] {
            io::Write::write_all(&mut Leveled { queue: &queue, severity: Severity::Info }, lines.as_bytes())
                .unwrap();
        }
        assert_eq!(queue.lost.load(Ordering::Relaxed), 4);
    }

    #[test]
    fn events_of_other_crates_have_the_fields_of_our_spans_once() {
        let text = lines_of(LogLevel::Debug, || {
            let _ours = tracing::debug_span!("connection", conn = 7).entered();
            tracing::debug!(conn = 7, "ours");
            let _theirs =
                tracing::debug_span!(target: "other::proto", parent: None, "theirs", peer = "Server")
                    .entered();
            tracing::debug!(target: "hcrs_h2::frames", frame = "Ping", "send");
        });
        let lines: Vec<_> = text.lines().map(|line| line.split_once("[DEBUG] ").unwrap().1).collect();
        assert_eq!(lines, ["ours conn=7", "send frame=Ping conn=7"]);
        let text = lines_of(LogLevel::Info, || {
            let _span = tracing::debug_span!("connection", conn = 7).entered();
            tracing::info!("ours");
            tracing::warn!(target: "other::proto", "theirs");
        });
        assert!(text.ends_with("[INFO] ours\n"), "{text}");
    }

    #[test]
    fn the_level_holds_for_ours_and_other_crates_are_heard_when_something_has_failed() {
        let text = lines_of(LogLevel::Debug, || {
            tracing::debug!("ours");
            tracing::warn!(target: "other::crate", "theirs");
            tracing::error!(target: "other::crate", "their error");
        });
        assert!(text.contains("[DEBUG] ours"), "{text}");
        assert!(!text.contains("theirs"), "{text}");
        assert!(text.contains("[ERROR] their error"), "{text}");
        let text = lines_of(LogLevel::Error, || {
            tracing::warn!("hidden");
            tracing::error!("shown");
        });
        assert!(!text.contains("hidden") && text.contains("shown"), "{text}");
        assert_eq!(lines_of(LogLevel::Critical, || tracing::error!("hidden")), "");
    }
}
