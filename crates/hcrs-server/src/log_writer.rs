//! A thread that appends batches of lines to a log, each by one write, so that nobody who logs ever waits
//! for a disk or a pipe. The channel to it is bounded; who finds it full keeps count of what was lost.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::fd::AsFd as _;
use std::path::PathBuf;
use std::sync::mpsc::{self, Receiver, SyncSender, TrySendError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};

/// Batches that may wait to be written.
const QUEUE: usize = 64;
/// How long the end of a run waits for a log that cannot be written.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);
/// The shortest time between two complaints about a log that cannot be written.
pub(crate) const COMPLAINT_INTERVAL: Duration = Duration::from_secs(10);

/// Where a log's bytes go.
#[derive(Debug)]
pub(crate) enum Sink {
    /// Standard output.
    Output,
    /// Standard error.
    Error,
    /// Appended to the file.
    File(PathBuf),
}

impl Sink {
    fn open(&self) -> io::Result<File> {
        match self {
            Self::Output => Ok(io::stdout().as_fd().try_clone_to_owned()?.into()),
            Self::Error => Ok(io::stderr().as_fd().try_clone_to_owned()?.into()),
            Self::File(path) => OpenOptions::new().append(true).create(true).open(path),
        }
    }
}

#[derive(Debug)]
enum Message {
    Lines(Vec<u8>),
    Reopen,
    Close,
}

/// The writing thread, owned by the run.
#[derive(Debug)]
pub(crate) struct LogWriter {
    queue: SyncSender<Message>,
    closed: Receiver<()>,
}

impl LogWriter {
    /// Opens the log and starts its thread, which tells `complain` about what it could not write.
    pub(crate) fn start(name: &str, sink: Sink, complain: fn(&str)) -> io::Result<Self> {
        let file = sink.open()?;
        let (queue, messages) = mpsc::sync_channel(QUEUE);
        let (at_end, closed) = mpsc::sync_channel(1);
        thread::Builder::new().name(name.to_owned()).spawn(move || {
            write_until_closed(messages, file, &sink, complain);
            let _nobody_waits = at_end.send(());
        })?;
        Ok(Self { queue, closed })
    }

    /// A way to this writer's queue.
    pub(crate) fn sender(&self) -> LogSender {
        LogSender { queue: self.queue.clone() }
    }

    /// Opens the file anew, for those who moved it away.
    pub(crate) fn reopen(&self) {
        // A full queue means that the file cannot be written anyway; the next signal will find it otherwise.
        let _full = self.queue.try_send(Message::Reopen);
    }

    /// Writes what is queued, for two seconds at most, and ends the thread.
    pub(crate) fn close(self) {
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

/// The queue's inlet.
#[derive(Debug, Clone)]
pub(crate) struct LogSender {
    queue: SyncSender<Message>,
}

impl LogSender {
    /// Queues whole lines; false if they were dropped because the queue is full or the log closed.
    #[must_use]
    pub(crate) fn send(&self, lines: Vec<u8>) -> bool {
        self.queue.try_send(Message::Lines(lines)).is_ok()
    }
}

fn write_until_closed(messages: Receiver<Message>, mut file: File, sink: &Sink, complain: fn(&str)) {
    let mut last_complaint: Option<Instant> = None;
    for message in messages {
        let outcome = match message {
            Message::Lines(lines) => append(&mut file, &lines),
            Message::Reopen => match sink.open() {
                Ok(opened) => {
                    file = opened;
                    Ok(())
                }
                Err(error) => Err(error),
            },
            Message::Close => return,
        };
        if let Err(error) = outcome
            && last_complaint.is_none_or(|at| at.elapsed() >= COMPLAINT_INTERVAL)
        {
            last_complaint = Some(Instant::now());
            complain(&error.to_string());
        }
    }
}

/// Writes all of it, also to a pipe that somebody else has set to be non-blocking.
fn append(file: &mut File, mut lines: &[u8]) -> io::Result<()> {
    while !lines.is_empty() {
        match file.write(lines) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => lines = &lines[written..],
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                poll(&mut [PollFd::new(file, PollFlags::OUT)], None)?;
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn silent(_: &str) {}

    #[test]
    fn what_is_queued_when_the_log_closes_is_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        std::fs::write(&path, "before\n").unwrap();
        let writer = LogWriter::start("log", Sink::File(path.clone()), silent).unwrap();
        let sender = writer.sender();
        for number in 0..QUEUE / 2 {
            assert!(sender.send(format!("{number}\n").into_bytes()));
        }
        writer.close();
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.starts_with("before\n0\n1\n"), "{text}");
        assert_eq!(text.lines().count(), 1 + QUEUE / 2);
        assert!(!sender.send(b"late\n".to_vec()));
    }

    #[test]
    fn reopening_follows_a_file_that_was_moved() {
        let folder = tempfile::tempdir().unwrap();
        let (path, moved) = (folder.path().join("log"), folder.path().join("log.1"));
        let writer = LogWriter::start("log", Sink::File(path.clone()), silent).unwrap();
        assert!(writer.sender().send(b"old\n".to_vec()));
        std::fs::rename(&path, &moved).unwrap();
        writer.reopen();
        assert!(writer.sender().send(b"new\n".to_vec()));
        writer.close();
        assert_eq!(std::fs::read_to_string(&moved).unwrap(), "old\n");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "new\n");
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
        let taken = (0..QUEUE * 3).filter(|_| sender.send(batch.clone())).count();
        assert!((QUEUE..QUEUE * 2).contains(&taken), "{taken} batches taken");
        let start = Instant::now();
        writer.close();
        assert!(start.elapsed() < CLOSE_TIMEOUT + Duration::from_secs(1));
    }
}
