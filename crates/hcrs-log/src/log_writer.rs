//! A thread that appends batches of lines to a log, each by one write, so that a thread that logs never waits
//! for a disk or a pipe. The channel to it is bounded; a sender that finds it full counts the lines that are
//! lost.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::fd::AsFd as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, SyncSender, TrySendError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};

use crate::syslog::{Severity, Syslog, SyslogTarget};

/// The most batches that may wait to be written.
const QUEUE: usize = 64;
/// How long the end of a run waits for a log that cannot be written.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);
/// The shortest time between two complaints about a log that cannot be written.
pub const COMPLAINT_INTERVAL: Duration = Duration::from_secs(10);

/// The target of a log's bytes.
#[derive(Debug)]
pub enum Sink {
    /// Standard output.
    Output,
    /// Standard error.
    Error,
    /// Appended to the file.
    File(PathBuf),
    /// Sent to a syslog server, line by line.
    Syslog(SyslogTarget),
}

impl Sink {
    fn open(&self) -> io::Result<Opened> {
        let file = match self {
            Self::Output => io::stdout().as_fd().try_clone_to_owned()?.into(),
            Self::Error => io::stderr().as_fd().try_clone_to_owned()?.into(),
            Self::File(path) => OpenOptions::new().append(true).create(true).open(path)?,
            Self::Syslog(target) => return Syslog::open(target).map(Box::new).map(Opened::Syslog),
        };
        Ok(Opened::File { file, is_torn: false })
    }
}

impl fmt::Display for Sink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Output => f.write_str("standard output"),
            Self::Error => f.write_str("standard error"),
            Self::File(path) => path.display().fmt(f),
            Self::Syslog(target) => target.fmt(f),
        }
    }
}

/// A sink that is open.
#[derive(Debug)]
enum Opened {
    File {
        file: File,
        /// Whether its last line was written in part.
        is_torn: bool,
    },
    Syslog(Box<Syslog>),
}

impl Opened {
    /// Writes whole lines. The error has the number of lines that are lost, and the reason.
    fn write(&mut self, lines: &[u8], severity: Severity) -> Result<(), (u64, io::Error)> {
        match self {
            Self::File { file, is_torn } => {
                let count = |lines: &[u8]| lines.split(|&byte| byte == b'\n').skip(1).count() as u64;
                if *is_torn {
                    append(file, b"\n").map_err(|(_, error)| (count(lines), error))?;
                    *is_torn = false;
                }
                append(file, lines).map_err(|(left, error)| {
                    *is_torn = left < lines.len() && !lines[..lines.len() - left].ends_with(b"\n");
                    (count(&lines[lines.len() - left..]), error)
                })
            }
            Self::Syslog(syslog) => syslog.send(lines, severity),
        }
    }
}

#[derive(Debug)]
enum Message {
    Lines(Vec<u8>, Severity),
    Reopen,
    Close,
}

/// The handle of the writing thread, owned by the run.
#[derive(Debug)]
pub struct LogWriter {
    queue: SyncSender<Message>,
    /// Whether the file is to be reopened, although there was no room in the queue for it.
    must_reopen: Arc<AtomicBool>,
    closed: Receiver<()>,
}

impl LogWriter {
    /// Opens the log and starts its thread, which reports to `complain` why it could not write, and how many
    /// lines are lost.
    pub fn start(name: &str, sink: Sink, complain: fn(&io::Error, u64)) -> io::Result<Self> {
        let opened = sink.open()?;
        let (queue, messages) = mpsc::sync_channel(QUEUE);
        let (at_end, closed) = mpsc::sync_channel(1);
        let must_reopen = Arc::<AtomicBool>::default();
        let is_reopened = Arc::clone(&must_reopen);
        thread::Builder::new().name(name.to_owned()).spawn(move || {
            write_until_closed(messages, opened, &sink, &is_reopened, complain);
            let _nobody_waits = at_end.send(());
        })?;
        Ok(Self { queue, must_reopen, closed })
    }

    /// Returns a sender to this writer's queue.
    pub fn sender(&self) -> LogSender {
        LogSender { queue: self.queue.clone() }
    }

    /// Reopens the file, after it was moved away.
    pub fn reopen(&self) {
        if self.queue.try_send(Message::Reopen).is_err() {
            // The thread looks after each message.
            self.must_reopen.store(true, Ordering::Release);
        }
    }

    /// Writes the queued lines, for two seconds at most, and ends the thread.
    pub fn close(self) {
        let deadline = Instant::now() + CLOSE_TIMEOUT;
        while let Err(TrySendError::Full(_)) = self.queue.try_send(Message::Close) {
            if Instant::now() >= deadline {
                return;
            }
            thread::sleep(Duration::from_millis(5));
        }
        let _too_slow = self.closed.recv_timeout(deadline.saturating_duration_since(Instant::now()));
    }
}

/// The sending end of a writer's queue.
#[derive(Debug, Clone)]
pub struct LogSender {
    queue: SyncSender<Message>,
}

impl LogSender {
    /// Queues whole lines. Returns false if they were dropped because the queue is full or the log closed.
    #[must_use]
    pub(crate) fn send(&self, lines: Vec<u8>, severity: Severity) -> bool {
        self.queue.try_send(Message::Lines(lines, severity)).is_ok()
    }
}

fn write_until_closed(
    messages: Receiver<Message>,
    mut opened: Opened,
    sink: &Sink,
    must_reopen: &AtomicBool,
    complain: fn(&io::Error, u64),
) {
    let mut last_complaint: Option<Instant> = None;
    let mut lost = 0;
    for message in messages {
        let mut outcome = Ok(());
        let mut reopens = must_reopen.swap(false, Ordering::Acquire);
        match message {
            Message::Lines(lines, severity) => outcome = opened.write(&lines, severity),
            Message::Reopen => reopens = true,
            Message::Close => return,
        }
        if reopens {
            match sink.open() {
                Ok(anew) => opened = anew,
                Err(error) => outcome = outcome.and(Err((0, error))),
            }
        }
        if let Err((lines, error)) = outcome {
            lost += lines;
            if last_complaint.is_none_or(|at| at.elapsed() >= COMPLAINT_INTERVAL) {
                last_complaint = Some(Instant::now());
                complain(&error, std::mem::take(&mut lost));
            }
        }
    }
}

/// Writes all bytes, also to a pipe that another process has made non-blocking. The error has the number of
/// bytes that are left.
fn append(file: &mut File, mut lines: &[u8]) -> Result<(), (usize, io::Error)> {
    while !lines.is_empty() {
        match file.write(lines) {
            Ok(0) => return Err((lines.len(), io::ErrorKind::WriteZero.into())),
            Ok(written) => lines = &lines[written..],
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                poll(&mut [PollFd::new(file, PollFlags::OUT)], None)
                    .map_err(|error| (lines.len(), error.into()))?;
            }
            Err(error) => return Err((lines.len(), error)),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;
    use std::sync::atomic::AtomicU64;

    use super::*;

    fn silent(_: &io::Error, _: u64) {}

    #[test]
    fn what_is_queued_when_the_log_closes_is_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        std::fs::write(&path, "before\n").unwrap();
        let writer = LogWriter::start("log", Sink::File(path.clone()), silent).unwrap();
        let sender = writer.sender();
        for number in 0..QUEUE / 2 {
            assert!(sender.send(format!("{number}\n").into_bytes(), Severity::Info));
        }
        writer.close();
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.starts_with("before\n0\n1\n"), "{text}");
        assert_eq!(text.lines().count(), 1 + QUEUE / 2);
        assert!(!sender.send(b"late\n".to_vec(), Severity::Info));
    }

    #[test]
    fn reopening_follows_a_file_that_was_moved() {
        let folder = tempfile::tempdir().unwrap();
        let (path, moved) = (folder.path().join("log"), folder.path().join("log.1"));
        let writer = LogWriter::start("log", Sink::File(path.clone()), silent).unwrap();
        assert!(writer.sender().send(b"old\n".to_vec(), Severity::Info));
        std::fs::rename(&path, &moved).unwrap();
        writer.reopen();
        assert!(writer.sender().send(b"new\n".to_vec(), Severity::Info));
        writer.close();
        assert_eq!(std::fs::read_to_string(&moved).unwrap(), "old\n");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "new\n");
    }

    #[test]
    fn a_file_is_reopened_although_the_queue_is_full() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
        let mut reader = OpenOptions::new().read(true).write(true).open(&path).unwrap();
        rustix::io::ioctl_fionbio(&reader, true).unwrap();
        let writer = LogWriter::start("log", Sink::File(path.clone()), silent).unwrap();
        let sender = writer.sender();
        let batch = vec![b'\n'; 64 << 10];
        let mut taken = 0;
        for number in 0..2 * QUEUE {
            taken += usize::from(sender.send(batch.clone(), Severity::Info));
            if number > QUEUE {
                thread::sleep(Duration::from_millis(1)); // the thread takes one, and cannot write it
            }
        }
        std::fs::rename(&path, folder.path().join("log.1")).unwrap();
        writer.reopen();
        let (mut room, mut read) = (vec![0; batch.len()], 0);
        let deadline = Instant::now() + Duration::from_secs(20);
        while !path.exists() && Instant::now() < deadline {
            read += reader.read(&mut room).unwrap_or_default();
        }
        writer.close();
        while let Ok(more @ 1..) = reader.read(&mut room) {
            read += more;
        }
        let written = std::fs::metadata(&path).unwrap().len() as usize;
        assert_eq!(read + written, taken * batch.len());
        assert!(written > read, "{written} bytes of {taken} batches are in the new file");
    }

    #[test]
    fn a_log_that_cannot_be_opened_is_an_error_at_once() {
        assert!(LogWriter::start("log", Sink::File("/nonexistent/log".into()), silent).is_err());
    }

    #[test]
    fn a_blocked_pipe_drops_lines_and_does_not_hold_up_the_end() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pipe");
        rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
        let _reader = OpenOptions::new().read(true).write(true).open(&path).unwrap();
        let writer = LogWriter::start("log", Sink::File(path), silent).unwrap();
        let sender = writer.sender();
        let batch = vec![b'\n'; 64 << 10];
        let taken = (0..QUEUE * 3).filter(|_| sender.send(batch.clone(), Severity::Info)).count();
        assert!((QUEUE..QUEUE * 2).contains(&taken), "{taken} batches taken");
        let start = Instant::now();
        writer.close();
        assert!(start.elapsed() < CLOSE_TIMEOUT + Duration::from_secs(1));
    }

    #[test]
    fn lines_that_a_full_disk_does_not_take_are_counted() {
        static LOST: AtomicU64 = AtomicU64::new(0);
        let complain = |error: &io::Error, lost: u64| {
            assert_eq!(error.kind(), io::ErrorKind::StorageFull);
            LOST.fetch_add(lost, Ordering::SeqCst);
        };
        let writer = LogWriter::start("log", Sink::File("/dev/full".into()), complain).unwrap();
        assert!(writer.sender().send(b"one\ntwo\nthree\n".to_vec(), Severity::Info));
        writer.close();
        assert_eq!(LOST.load(Ordering::SeqCst), 3);
    }

    #[test]
    fn a_line_after_a_torn_one_begins_anew() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let file = OpenOptions::new().append(true).create(true).open(&path).unwrap();
        let mut opened = Opened::File { file, is_torn: true };
        opened.write(b"whole\n", Severity::Info).unwrap();
        opened.write(b"another\n", Severity::Info).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "\nwhole\nanother\n");
    }
}
