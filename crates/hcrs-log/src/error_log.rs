//! The error log: tracing's events as lines in Hypercorn's form, `[2026-11-23 04:01:31 +0000] [PID] [INFO]
//! message`, with the event's fields behind the message as `name=value`, and those of the spans that it is in.
//!
//! The spans are those of the edge's tasks, `connection` with the field `conn` and `link` with `worker`. They
//! exist at debug only, for the events of crates that know neither number.
//!
//! An event is one line, whatever text of a client it contains; only the field `traceback` has lines of its
//! own.

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
            .with_filter(filter(settings.level, settings.has_frames)),
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
    CountComplaints(target.clone()).with_filter(filter(LogLevel::Warning, false))
}

/// Returns the filter: events of this project from `level` up, and errors of other crates. Their warnings
/// report what clients do, so a client could fill the log with them. At debug the h2 crate's other events are
/// logged as well if the log `has_frames`: they are the frames of each connection.
///
/// Spans are only this project's. Those of other crates may have no parent, and would hide ours.
fn filter<S: 'static>(level: LogLevel, has_frames: bool) -> impl Filter<S> {
    let level = match level {
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Warning => LevelFilter::WARN,
        LogLevel::Error => LevelFilter::ERROR,
        // An error that stops the server is returned by the run, and its caller prints it.
        LogLevel::Critical => LevelFilter::OFF,
    };
    let others = level.min(LevelFilter::ERROR);
    let h2 = if has_frames && level == LevelFilter::DEBUG { level } else { others };
    let targets = Targets::new().with_default(others).with_target("hcrs", level).with_target("h2", h2);
    let of_ours = filter_fn(|metadata| metadata.is_event() || metadata.target().starts_with("hcrs"));
    // Without the hint of both filters, each span and event of h2 would ask them, several times a request.
    targets.and(of_ours.with_max_level_hint(level))
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

    fn write_time(&self, out: &mut Writer<'_>, now: SystemTime) -> fmt::Result {
        let mut guard = self.time.lock().unwrap_or_else(PoisonError::into_inner);
        let (time, text) = &mut *guard;
        if let Some(now) = time.tick(now) {
            *text = now.strftime("%Y-%m-%d %H:%M:%S %z").to_string();
        }
        out.write_str(text)
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
        if self.has_prefix {
            out.write_char('[')?;
            self.write_time(&mut out, SystemTime::now())?;
            write!(out, "] [{}] [{}] ", self.pid, level_name(*event.metadata().level()))?;
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
            let mut escaped = Vec::with_capacity(line.len());
            push_escaped(&mut escaped, line.as_bytes(), escape::Quotes::AsTheyAre);
            writeln!(out, "{}", String::from_utf8_lossy(&escaped))?;
        }
        Ok(())
    }
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
        let mut escaped = Vec::with_capacity(value.len());
        push_escaped(&mut escaped, value.as_bytes(), escape::Quotes::AsTheyAre);
        let escaped = String::from_utf8_lossy(&escaped);
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
        let mut lines = line.to_vec();
        if lost > 0 {
            lines.extend_from_slice(format!("({lost} lines were lost before this one)\n").as_bytes());
        }
        if !self.queue.sender.send(lines, self.severity) {
            self.queue.lost.fetch_add(lost + 1, Ordering::Relaxed);
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
            .with_filter(filter(level, true));
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
    fn events_of_other_crates_have_the_fields_of_our_spans_once() {
        let text = lines_of(LogLevel::Debug, || {
            let _ours = tracing::debug_span!("connection", conn = 7).entered();
            tracing::debug!(conn = 7, "ours");
            let _theirs =
                tracing::debug_span!(target: "h2::proto", parent: None, "theirs", peer = "Server").entered();
            tracing::debug!(target: "h2::codec", frame = "Ping", "send");
        });
        let lines: Vec<_> = text.lines().map(|line| line.split_once("[DEBUG] ").unwrap().1).collect();
        assert_eq!(lines, ["ours conn=7", "send frame=Ping conn=7"]);
        let text = lines_of(LogLevel::Info, || {
            let _span = tracing::debug_span!("connection", conn = 7).entered();
            tracing::info!("ours");
            tracing::warn!(target: "h2::proto", "theirs");
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
