//! The access log, off the request path: each edge thread gathers finished lines in a batch of its own and
//! sends whole batches to one writing thread.
//!
//! A line is written once for each request, when it is over, from the bytes that were sent and received.

mod entry;
mod format;
mod json;
mod line;
mod terminal;
mod user;

use std::io;
use std::time::{Duration, Instant, SystemTime};

use crate::local_time::LocalTime;
use crate::log_writer::{COMPLAINT_INTERVAL, LogSender, LogWriter, Sink};
use crate::syslog::Severity;
use crate::{LogError, LogLevel, LogSettings, LogTarget};

pub use entry::AccessEntry;
use format::Form;
pub use format::{AccessFormat, AccessFormatError};
use line::Surroundings;

/// The size of a batch, in bytes, at which it is written.
const BATCH: usize = 32 << 10;
/// How long a line may wait for others.
const BATCH_AGE: Duration = Duration::from_millis(100);

/// Opens the access log if the settings ask for one. Its lines have the level `INFO`.
pub fn open(settings: &LogSettings) -> Result<Option<LogWriter>, LogError> {
    let sink = match &settings.access {
        _ if settings.level > LogLevel::Info => return Ok(None),
        None => return Ok(None),
        Some(LogTarget::Standard) => Sink::Output,
        Some(LogTarget::File(path)) => Sink::File(path.clone()),
        Some(LogTarget::Syslog(target)) => Sink::Syslog(target.clone()),
    };
    let name = sink.to_string();
    let complain = |error: &io::Error, lost: u64| {
        tracing::error!("The access log cannot be written, {lost} of its lines are lost: {error}");
    };
    LogWriter::start("access-log", sink, complain).map(Some).map_err(|error| LogError { name, error })
}

/// One edge thread's share of the access log.
#[derive(Debug)]
pub struct AccessLog {
    sender: LogSender,
    format: AccessFormat,
    pid: u32,
    /// Whether lines begin with time, process and level.
    has_prefix: bool,
    clock: LocalTime,
    /// `[2026-11-23 04:01:31 +0000] [PID] [INFO] `
    prefix: Vec<u8>,
    /// The time in the lines of this second.
    time: String,
    batch: Vec<u8>,
    lines: u64,
    /// When the batch got its first line, as noted by `flush_due`.
    since: Option<Instant>,
    dropped: u64,
    last_complaint: Option<Instant>,
}

impl AccessLog {
    /// Returns a share of the log that `writer` writes.
    pub fn new(writer: &LogWriter, settings: &LogSettings) -> Self {
        Self {
            sender: writer.sender(),
            format: settings.access_format.clone(),
            pid: std::process::id(),
            has_prefix: !matches!(settings.access, Some(LogTarget::Syslog(_))),
            clock: LocalTime::new(),
            prefix: Vec::new(),
            time: String::new(),
            batch: Vec::with_capacity(BATCH + (4 << 10)),
            lines: 0,
            since: None,
            dropped: 0,
            last_complaint: None,
        }
    }

    /// Returns the format of lines.
    pub fn format(&self) -> &AccessFormat {
        &self.format
    }

    /// Appends the line of a request that is over.
    pub fn record(&mut self, entry: &AccessEntry<'_>) {
        self.record_at(entry, SystemTime::now());
    }

    fn record_at(&mut self, entry: &AccessEntry<'_>, now: SystemTime) {
        if let Some(now) = self.clock.tick(now) {
            self.time = match self.format.form {
                Form::Json => now.strftime("%Y-%m-%dT%H:%M:%S%:z"),
                Form::Terminal { .. } => now.strftime("%H:%M:%S"),
                Form::Text(_) => now.strftime("[%d/%b/%Y:%H:%M:%S %z]"),
            }
            .to_string();
            self.prefix = now.strftime("[%Y-%m-%d %H:%M:%S %z] [").to_string().into_bytes();
            self.prefix.extend_from_slice(format!("{}] [INFO] ", self.pid).as_bytes());
        }
        match &self.format.form {
            Form::Json => json::push_object(&mut self.batch, entry, &self.time, self.pid),
            Form::Terminal { has_colors } => {
                terminal::push_line(&mut self.batch, entry, &self.time, *has_colors);
            }
            Form::Text(parts) => {
                if self.has_prefix {
                    self.batch.extend_from_slice(&self.prefix);
                }
                let around = Surroundings { time: self.time.as_bytes(), pid: self.pid };
                line::push_line(&mut self.batch, parts, entry, around);
            }
        }
        self.batch.push(b'\n');
        self.lines += 1;
        if self.batch.len() >= BATCH {
            self.flush();
        }
    }

    /// Whether lines wait to be sent to the writer.
    pub fn is_waiting(&self) -> bool {
        !self.batch.is_empty()
    }

    /// Sends the batch to the writer if its lines have waited long enough. Call it about every 100 ms.
    pub fn flush_due(&mut self, now: Instant) {
        if self.batch.is_empty() {
            return;
        }
        let since = *self.since.get_or_insert(now);
        // The first call after a line was added starts the clock, so a line waits for two calls at most.
        if now.saturating_duration_since(since) >= BATCH_AGE {
            self.flush();
        }
    }

    /// Sends the batch to the writer.
    pub fn flush(&mut self) {
        self.since = None;
        if self.batch.is_empty() {
            return;
        }
        let batch = std::mem::replace(&mut self.batch, Vec::with_capacity(BATCH + (4 << 10)));
        let lines = std::mem::take(&mut self.lines);
        if !self.sender.send(batch, Severity::Info) {
            self.dropped += lines;
            self.complain();
        }
    }

    fn complain(&mut self) {
        if self.last_complaint.is_none_or(|at| at.elapsed() >= COMPLAINT_INTERVAL) {
            self.last_complaint = Some(Instant::now());
            let dropped = std::mem::take(&mut self.dropped);
            tracing::warn!("{dropped} lines of the access log were dropped: it is written too slowly");
        }
    }
}

impl Drop for AccessLog {
    fn drop(&mut self) {
        self.flush();
        if self.dropped > 0 {
            self.last_complaint = None;
            self.complain();
        }
    }
}

#[cfg(test)]
mod tests;
