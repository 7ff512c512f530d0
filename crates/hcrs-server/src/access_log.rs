//! The access log, off a request's way: each edge thread gathers finished lines in a batch of its own and
//! hands whole batches to one writing thread. The form is Hypercorn's default format behind the error log's
//! prefix: `%(h)s %(l)s %(l)s %(t)s "%(r)s" %(s)s %(b)s "%(f)s" "%(a)s"`.

use std::time::{Duration, Instant, SystemTime};

use hcrs_exchange::Address;

use crate::date::LocalTime;
use crate::escape::{Quotes, push_escaped};
use crate::log_writer::{COMPLAINT_INTERVAL, LogSender, LogWriter, Sink};
use crate::{LogLevel, LogSettings, LogTarget, StartError};

/// Bytes of lines that make a batch worth a write.
const BATCH: usize = 32 << 10;
/// How long a line may wait for others.
const BATCH_AGE: Duration = Duration::from_millis(100);
/// Bytes of one text of a client that a line shows, before escapes.
const TEXT_MAX: usize = 8 << 10;

/// Opens the access log if the settings ask for one; its lines are of the level `INFO`.
pub(crate) fn open(settings: &LogSettings) -> Result<Option<LogWriter>, StartError> {
    let sink = match &settings.access {
        _ if settings.level > LogLevel::Info => return Ok(None),
        None => return Ok(None),
        Some(LogTarget::Standard) => Sink::Output,
        Some(LogTarget::File(path)) => Sink::File(path.clone()),
    };
    let name = match &sink {
        Sink::File(path) => path.display().to_string(),
        Sink::Output | Sink::Error => "standard output".to_owned(),
    };
    let complain = |error: &str| tracing::error!("The access log cannot be written: {error}");
    LogWriter::start("access-log", sink, complain).map(Some).map_err(|error| StartError::Log(name, error))
}

/// What a line says about a finished request.
#[derive(Debug, Clone, Copy)]
pub(crate) struct AccessEntry<'a> {
    /// The client; `None` on a unix socket.
    pub client: Option<Address<'a>>,
    /// The method, as sent.
    pub method: &'a [u8],
    /// The path, as sent.
    pub path: &'a [u8],
    /// `1.0`, `1.1` or `2`.
    pub version: &'static str,
    /// Status of the response; `None` if none was begun.
    pub status: Option<u16>,
    /// The app's `content-length`.
    pub content_length: Option<&'a [u8]>,
    /// The request's `referer`.
    pub referer: Option<&'a [u8]>,
    /// The request's `user-agent`.
    pub user_agent: Option<&'a [u8]>,
}

/// One edge thread's share of the access log.
#[derive(Debug)]
pub(crate) struct AccessLog {
    sender: LogSender,
    pid: u32,
    time: LocalTime,
    /// `[2026-11-23 04:01:31 +0000] [PID] [INFO] `
    prefix: Vec<u8>,
    /// ` - - [23/Nov/2026:04:01:31 +0000] "`
    middle: Vec<u8>,
    batch: Vec<u8>,
    lines: u64,
    /// When the batch got its first line, as far as `flush_due` has seen.
    since: Option<Instant>,
    dropped: u64,
    last_complaint: Option<Instant>,
}

impl AccessLog {
    /// A share of the log that `writer` writes.
    pub(crate) fn new(writer: &LogWriter) -> Self {
        Self {
            sender: writer.sender(),
            pid: std::process::id(),
            time: LocalTime::new(),
            prefix: Vec::new(),
            middle: Vec::new(),
            batch: Vec::with_capacity(BATCH + (4 << 10)),
            lines: 0,
            since: None,
            dropped: 0,
            last_complaint: None,
        }
    }

    /// Adds the line of a request that has just finished.
    pub(crate) fn record(&mut self, entry: &AccessEntry<'_>) {
        self.record_at(entry, SystemTime::now());
    }

    fn record_at(&mut self, entry: &AccessEntry<'_>, now: SystemTime) {
        if let Some(now) = self.time.tick(now) {
            let pid = self.pid;
            self.prefix = now.strftime("[%Y-%m-%d %H:%M:%S %z] [").to_string().into_bytes();
            self.prefix.extend_from_slice(format!("{pid}] [INFO] ").as_bytes());
            self.middle = now.strftime(" - - [%d/%b/%Y:%H:%M:%S %z] \"").to_string().into_bytes();
        }
        let mut number = itoa::Buffer::new();
        let out = &mut self.batch;
        out.extend_from_slice(&self.prefix);
        match entry.client {
            Some(Address { host, port }) => {
                out.extend_from_slice(host.as_bytes());
                out.push(b':');
                out.extend_from_slice(number.format(port).as_bytes());
            }
            None => out.extend_from_slice(b"None"),
        }
        out.extend_from_slice(&self.middle);
        push_text(out, entry.method);
        out.push(b' ');
        push_path(out, entry.path);
        out.push(b' ');
        out.extend_from_slice(entry.version.as_bytes());
        out.extend_from_slice(b"\" ");
        match entry.status {
            Some(status) => out.extend_from_slice(number.format(status).as_bytes()),
            None => out.push(b'-'),
        }
        out.push(b' ');
        push_text(out, entry.content_length.unwrap_or(b"-"));
        out.extend_from_slice(b" \"");
        push_text(out, entry.referer.unwrap_or(b"-"));
        out.extend_from_slice(b"\" \"");
        push_text(out, entry.user_agent.unwrap_or(b"-"));
        out.extend_from_slice(b"\"\n");
        self.lines += 1;
        if self.batch.len() >= BATCH {
            self.flush();
        }
    }

    /// Hands the batch over if its lines have waited long enough; to be called every 100 ms or so.
    pub(crate) fn flush_due(&mut self, now: Instant) {
        if self.batch.is_empty() {
            return;
        }
        let since = *self.since.get_or_insert(now);
        // The first look after a line was added starts the clock, so a line waits for two looks at most.
        if now.saturating_duration_since(since) >= BATCH_AGE {
            self.flush();
        }
    }

    /// Hands the batch over to be written.
    pub(crate) fn flush(&mut self) {
        self.since = None;
        if self.batch.is_empty() {
            return;
        }
        let batch = std::mem::replace(&mut self.batch, Vec::with_capacity(BATCH + (4 << 10)));
        let lines = std::mem::take(&mut self.lines);
        if !self.sender.send(batch) {
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

fn push_text(out: &mut Vec<u8>, text: &[u8]) {
    push_escaped(out, &text[..text.len().min(TEXT_MAX)], Quotes::Escaped);
}

/// Appends the path as the app sees it: percent-decoded, then made fit for the line.
fn push_path(out: &mut Vec<u8>, path: &[u8]) {
    if !path.contains(&b'%') {
        return push_text(out, path);
    }
    let mut decoded = Vec::with_capacity(path.len());
    let mut rest = path;
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        match (byte, after) {
            (b'%', [high, low, after @ ..]) => match (hex(*high), hex(*low)) {
                (Some(high), Some(low)) => {
                    decoded.push(high << 4 | low);
                    rest = after;
                }
                _ => decoded.push(byte),
            },
            _ => decoded.push(byte),
        }
    }
    push_text(out, &decoded);
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).map(|value| value as u8)
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;
    use std::time::UNIX_EPOCH;

    use jiff::tz::TimeZone;

    use super::*;

    const NOW: u64 = 1_795_406_491;

    fn log_in(folder: &tempfile::TempDir) -> (LogWriter, AccessLog, PathBuf) {
        let path = folder.path().join("access.log");
        let settings = LogSettings { access: Some(LogTarget::File(path.clone())), ..LogSettings::default() };
        let writer = open(&settings).unwrap().unwrap();
        let mut log = AccessLog::new(&writer);
        log.time = LocalTime::in_zone(TimeZone::UTC);
        log.pid = 17993;
        (writer, log, path)
    }

    fn entry<'a>() -> AccessEntry<'a> {
        AccessEntry {
            client: Some(Address { host: "127.0.0.1", port: 33772 }),
            method: b"GET",
            path: b"/x%20y",
            version: "1.1",
            status: Some(200),
            content_length: Some(b"443"),
            referer: None,
            user_agent: None,
        }
    }

    fn line_of(entry: &AccessEntry<'_>) -> String {
        let folder = tempfile::tempdir().unwrap();
        let (writer, mut log, path) = log_in(&folder);
        log.record_at(entry, UNIX_EPOCH + Duration::from_secs(NOW));
        drop(log);
        writer.close();
        std::fs::read_to_string(path).unwrap()
    }

    #[test]
    fn lines_are_hypercorns() {
        let line = "[2026-11-23 04:01:31 +0000] [17993] [INFO] 127.0.0.1:33772 - - [23/Nov/2026:04:01:31 +0000] \
                    \"GET /x y 1.1\" 200 443 \"-\" \"-\"\n";
        assert_eq!(line_of(&entry()), line);
    }

    #[test]
    fn what_is_missing_is_a_dash() {
        let line = line_of(&AccessEntry {
            client: None,
            status: None,
            content_length: None,
            version: "2",
            ..entry()
        });
        assert!(line.contains("] None - - ["), "{line}");
        assert!(line.ends_with("\"GET /x y 2\" - - \"-\" \"-\"\n"), "{line}");
    }

    #[test]
    fn clients_cannot_forge_lines_or_fields() {
        let line = line_of(&AccessEntry {
            path: b"/%0a[x]%22%zz%",
            referer: Some(b"\" \"\x1b"),
            user_agent: Some("caf\u{e9}\u{9b}".as_bytes()),
            ..entry()
        });
        assert_eq!(line.lines().count(), 1);
        let tail = "\"GET /\\x0a[x]\\\"%zz% 1.1\" 200 443 \"\\\" \\\"\\x1b\" \"caf\u{e9}\\xc2\\x9b\"\n";
        assert!(line.ends_with(tail), "{line}");
    }

    #[test]
    fn a_line_has_a_greatest_length() {
        let long = vec![b'a'; 1 << 20];
        let line = line_of(&AccessEntry { path: &long, user_agent: Some(&long), ..entry() });
        assert!(line.len() < 2 * TEXT_MAX + 200, "{}", line.len());
    }

    #[test]
    fn full_batches_go_at_once_and_others_when_they_are_due() {
        let folder = tempfile::tempdir().unwrap();
        let (writer, mut log, path) = log_in(&folder);
        let start = Instant::now();
        log.record(&entry());
        log.flush_due(start);
        assert_eq!(log.lines, 1, "young lines wait");
        log.flush_due(start + BATCH_AGE);
        assert_eq!(log.lines, 0, "old lines go");
        while log.batch.len() < BATCH - 200 {
            log.record(&entry());
        }
        assert!(log.lines > 100);
        log.record(&AccessEntry { path: &[b'a'; 400], ..entry() });
        assert_eq!(log.lines, 0, "full batches go");
        drop(log);
        writer.close();
        assert!(std::fs::metadata(path).unwrap().len() > BATCH as u64);
    }

    #[test]
    fn is_silent_above_info_and_without_a_target() {
        let target = Some(LogTarget::Standard);
        let quiet = LogSettings { access: target, level: LogLevel::Warning, ..LogSettings::default() };
        assert!(open(&quiet).unwrap().is_none());
        assert!(open(&LogSettings::default()).unwrap().is_none());
    }
}
