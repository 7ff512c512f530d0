//! The output of workers in the error log, with `capture_output`: what a worker, and the processes that it has
//! started, write to standard output and standard error.
//!
//! Each worker has a pipe of its own. It is read as long as a process has it open, however slow the log is, so
//! that no worker waits for the log; what the log does not accept is dropped and counted there. When a worker
//! has ended, what is left in its pipe is logged before its end is.

use std::io;
use std::os::fd::{AsFd as _, OwnedFd};

use hcrs_log::error_log::log_output;
use tokio::net::unix::pipe;
use tokio::sync::oneshot;

use super::terminal::Terminal;
use crate::{LogSettings, LogTarget};

/// The longest line in bytes; a longer one is logged as several.
const LINE_MAX: usize = 8 << 10;
/// The most lines that the log gets at once: each grows by its time and process there.
const LINES_MAX: usize = 256;
/// The bytes that are read at once.
const READ: usize = 64 << 10;
/// The most bytes that are read when a worker has ended, which is the largest size of a pipe. Other processes
/// may still write to it.
const REST_MAX: usize = 1 << 20;

/// How the output of workers is captured.
#[derive(Debug)]
pub(super) struct Capture {
    /// The server's standard error if that is the error log, which workers write to as well.
    pub log: Option<OwnedFd>,
}

impl Capture {
    /// Returns how the output is captured; `None` if it is not. The worker that has the terminal keeps it for its
    /// output, too: a debugger writes its prompt there.
    pub(super) fn of(settings: &LogSettings, terminal: Option<&Terminal>) -> io::Result<Option<Self>> {
        let Some(target) = settings.error.as_ref().filter(|_| settings.capture_output) else {
            return Ok(None);
        };
        if terminal.is_some() {
            tracing::info!(
                "The output of the worker is not captured: it has the terminal, so that breakpoint() works"
            );
            return Ok(None);
        }
        let log = match target {
            LogTarget::Standard => Some(io::stderr().as_fd().try_clone_to_owned()?),
            LogTarget::File(_) | LogTarget::Syslog(_) => None,
        };
        Ok(Some(Self { log }))
    }
}

/// Returns a pipe for the output of a process: the end that is read, and the process's end.
pub(super) fn pipe() -> io::Result<(pipe::Receiver, OwnedFd)> {
    let (ours, theirs) = io::pipe()?;
    Ok((pipe::Receiver::from_owned_fd(ours.into())?, theirs.into()))
}

/// A task that logs the output of a process.
#[derive(Debug)]
pub(super) struct Forwarding {
    ended: oneshot::Sender<()>,
    drained: oneshot::Receiver<()>,
}

impl Forwarding {
    /// Logs what comes out of the pipe, as the output of the process `pid`.
    pub(super) fn start(pipe: pipe::Receiver, pid: u32) -> Self {
        let (ended, is_ended) = oneshot::channel();
        let (drained, is_drained) = oneshot::channel();
        let reader = Reader { pipe, pid, lines: Lines::default(), buffer: vec![0; READ] };
        tokio::spawn(reader.run(is_ended, drained));
        Self { ended, drained: is_drained }
    }

    /// Returns once all is logged that the process has written, which has ended. What its children write is
    /// logged until they close the pipe.
    pub(super) async fn finish(self) {
        // If the pipe is closed already, the task has ended.
        let _closed = self.ended.send(());
        let _closed = self.drained.await;
    }
}

struct Reader {
    pipe: pipe::Receiver,
    pid: u32,
    lines: Lines,
    buffer: Vec<u8>,
}

/// The result of a read.
enum Read {
    Bytes(usize),
    Nothing,
    End,
}

impl Reader {
    async fn run(mut self, ended: oneshot::Receiver<()>, drained: oneshot::Sender<()>) {
        tokio::pin!(ended);
        let mut drained = Some(drained);
        loop {
            tokio::select! {
                readable = self.pipe.readable() => {
                    if readable.is_err() || matches!(self.read(), Read::End) {
                        return self.log_unfinished();
                    }
                    // Others have their turn, also when a worker writes without a pause.
                    tokio::task::yield_now().await;
                }
                _ = &mut ended, if drained.is_some() => {
                    self.read_rest();
                    self.log_unfinished();
                    let _nobody_waits = drained.take().map(|drained| drained.send(()));
                }
            }
        }
    }

    fn read(&mut self) -> Read {
        let pid = self.pid;
        match self.pipe.try_read(&mut self.buffer) {
            Ok(0) => Read::End,
            Ok(length) => {
                self.lines.push(&self.buffer[..length], |lines| log_output(pid, lines));
                Read::Bytes(length)
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Read::Nothing,
            Err(_) => Read::End,
        }
    }

    /// Reads what is in the pipe, without waiting.
    fn read_rest(&mut self) {
        let mut left = REST_MAX;
        while let Read::Bytes(length) = self.read() {
            match left.checked_sub(length) {
                Some(less) => left = less,
                None => return,
            }
        }
    }

    fn log_unfinished(&mut self) {
        let pid = self.pid;
        self.lines.finish(|lines| log_output(pid, lines));
    }
}

/// The lines of a stream of bytes.
#[derive(Debug, Default)]
struct Lines {
    /// The beginning of a line whose end has not come.
    begun: Vec<u8>,
    /// Whole lines that are to be passed on.
    whole: Vec<u8>,
    /// The number of whole lines.
    count: usize,
}

impl Lines {
    /// Adds bytes, and passes on whole lines, in parts of at most [`LINES_MAX`].
    fn push(&mut self, mut bytes: &[u8], mut log: impl FnMut(&[u8])) {
        while !bytes.is_empty() {
            let room = LINE_MAX - self.begun.len();
            let within = &bytes[..bytes.len().min(room + 1)];
            if let Some(end) = within.iter().position(|&byte| byte == b'\n') {
                self.begun.extend_from_slice(&bytes[..end]);
                bytes = &bytes[end + 1..];
                self.end_line(self.begun.len());
            } else {
                let taken = bytes.len().min(room);
                self.begun.extend_from_slice(&bytes[..taken]);
                bytes = &bytes[taken..];
                if !bytes.is_empty() {
                    self.end_line(end_of_characters(&self.begun));
                }
            }
            if self.count == LINES_MAX {
                self.pass(&mut log);
            }
        }
        self.pass(&mut log);
    }

    /// Passes on a line that has no end.
    fn finish(&mut self, mut log: impl FnMut(&[u8])) {
        if !self.begun.is_empty() {
            self.end_line(self.begun.len());
            self.pass(&mut log);
        }
    }

    /// Ends a line after this many bytes of those that have come.
    fn end_line(&mut self, length: usize) {
        self.whole.extend(self.begun.drain(..length));
        self.whole.push(b'\n');
        self.count += 1;
    }

    fn pass(&mut self, log: &mut impl FnMut(&[u8])) {
        if self.count > 0 {
            log(&self.whole);
            self.whole.clear();
            self.count = 0;
        }
    }
}

/// Returns the length of a text without the beginning of a character of UTF-8 whose other bytes have not come.
fn end_of_characters(text: &[u8]) -> usize {
    for (back, &byte) in text.iter().rev().take(3).enumerate().map(|(at, byte)| (at + 1, byte)) {
        let needed = match byte {
            0x80..=0xbf => continue,
            0xc0..=0xdf => 2,
            0xe0..=0xef => 3,
            0xf0..=0xff => 4,
            _ => 1,
        };
        return if needed > back { text.len() - back } else { text.len() };
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(pieces: &[&[u8]]) -> Vec<Vec<u8>> {
        let (mut lines, mut passed) = (Lines::default(), Vec::new());
        for piece in pieces {
            lines.push(piece, |whole| passed.push(whole.to_vec()));
        }
        lines.finish(|whole| passed.push(whole.to_vec()));
        passed
    }

    #[test]
    fn lines_are_passed_on_once_they_have_ended() {
        assert_eq!(lines(&[b"a", b"b\n\nc\nd", b"e"]), [b"ab\n\nc\n".to_vec(), b"de\n".to_vec()]);
        assert_eq!(lines(&[b""]), Vec::<Vec<u8>>::new());
        assert_eq!(lines(&[b"a\n"]), [b"a\n"]);
    }

    #[test]
    fn long_lines_are_cut_between_characters() {
        let exact = [vec![b'x'; LINE_MAX], b"\n".to_vec()].concat();
        assert_eq!(lines(&[&exact]).concat(), exact);
        assert_eq!(lines(&[&exact[..LINE_MAX], b"\n"]).concat(), exact, "its end may come later");
        let longer = [&exact[..LINE_MAX], b"y\n"].concat();
        assert_eq!(lines(&[&longer]).concat(), [&exact[..], b"y\n"].concat());
        for letter in ["\u{e9}", "\u{20ac}", "\u{1f600}"] {
            let text = format!("{}{}", "x".repeat(LINE_MAX - 1), letter.repeat(LINE_MAX));
            let found = String::from_utf8(lines(&[text.as_bytes()]).concat()).unwrap();
            assert_eq!(found.replace('\n', ""), text);
            assert!(found.split('\n').all(|line| line.len() <= LINE_MAX));
            assert!(found.starts_with(&format!("{}\n", "x".repeat(LINE_MAX - 1))));
        }
        let no_text = vec![0x80; 3 * LINE_MAX];
        assert_eq!(lines(&[&no_text]).concat().len(), 3 * LINE_MAX + 3);
    }

    #[test]
    fn many_lines_are_passed_on_in_parts() {
        let found = lines(&[&b"\n".repeat(2 * LINES_MAX + 1)]);
        assert_eq!(found.iter().map(Vec::len).collect::<Vec<_>>(), [LINES_MAX, LINES_MAX, 1]);
    }

    #[tokio::test]
    async fn what_a_process_has_written_is_read_although_another_one_has_the_pipe() {
        let (ours, theirs) = pipe().unwrap();
        let mut theirs = std::fs::File::from(theirs);
        let child = theirs.try_clone().unwrap();
        io::Write::write_all(&mut theirs, b"last words").unwrap();
        drop(theirs);
        let forwarding = Forwarding::start(ours, 7);
        tokio::time::timeout(std::time::Duration::from_secs(20), forwarding.finish()).await.unwrap();
        drop(child);
    }

    #[tokio::test]
    async fn a_pipe_that_is_closed_is_not_waited_for() {
        let (ours, theirs) = pipe().unwrap();
        let forwarding = Forwarding::start(ours, 7);
        drop(theirs);
        tokio::task::yield_now().await;
        tokio::time::timeout(std::time::Duration::from_secs(20), forwarding.finish()).await.unwrap();
    }
}
