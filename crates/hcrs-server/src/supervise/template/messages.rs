//! The messages between the supervisor and a template. Each has a head of eight bytes: the version, the kind,
//! the number of descriptors that come with it, and the length of what follows; numbers are big-endian.
//! `hcrs/template.py` is the other end.

use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd};

use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};

use crate::origin::app::WorkerId;
use crate::process_title;
use crate::supervise::worker::{self, Plan};

/// The version of the messages. Both ends are installed together, so there is only one.
const VERSION: u8 = 1;
/// The bytes of a head.
const HEAD: usize = 8;
/// The most descriptors in one message; the system allows 253.
const DESCRIPTORS_MAX: usize = 128;
/// The longest text of a report, in bytes.
const TEXT_MAX: usize = 64 << 10;
/// The longest report.
const REPORT_MAX: usize = TEXT_MAX + size_of::<u64>();

/// The most bytes of a worker's names in an order; the end of longer ones is cut off.
const NAMES_MAX: usize = 2048;
/// The bit of an order that announces a crash file, which every worker gets.
const HAS_CRASH: u8 = 1 << 2;
/// The bit of an order that announces a pipe for the output.
const HAS_OUTPUT: u8 = 1 << 3;

/// The kinds of messages to the template.
const LINKS: u8 = 1;
const FORK: u8 = 2;
/// The kinds of messages from the template.
const LOADED: u8 = 1;
const FAILED: u8 = 2;
const FORKED: u8 = 3;
const NOT_FORKED: u8 = 4;

/// The facts of a worker that its order states.
#[derive(Debug)]
pub(super) struct Seat {
    /// The number of its slot, from 1 on.
    slot: u32,
    /// The number of workers.
    workers: u32,
    /// Its title, and its short name.
    names: [String; 2],
}

impl Seat {
    pub(super) fn of(plan: &Plan<'_>) -> Self {
        let slot = worker::number_of(plan.slot) as u32;
        let names = process_title::of_worker(plan.proc_name, plan.slot, plan.app);
        Self { slot, workers: plan.workers as u32, names }
    }
}

/// The order to fork a worker.
#[derive(Debug)]
pub(super) struct Fork {
    /// The worker's number.
    pub worker: WorkerId,
    /// Its slot and its names.
    pub seat: Seat,
    /// Whether it gets a pipe for loaded files.
    pub has_loaded_files: bool,
    /// Whether it gets a pulse.
    pub has_pulse: bool,
    /// Whether it gets a pipe for its output.
    pub has_output: bool,
}

impl Fork {
    /// Sends the order with the worker's descriptors: those of the links first, then the pipe, the pulse, the
    /// crash file and the pipe of the output. Does not wait for room: at most one order is on its way.
    pub(super) fn send(self, socket: impl AsFd, descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
        let socket = socket.as_fd();
        let mut rest = descriptors;
        while rest.len() > DESCRIPTORS_MAX {
            let (now, later) = rest.split_at(DESCRIPTORS_MAX);
            send(socket, LINKS, &[], now)?;
            rest = later;
        }
        let mut payload = self.worker.to_be_bytes().to_vec();
        let Seat { slot, workers, names } = self.seat;
        payload.extend(slot.to_be_bytes());
        payload.extend(workers.to_be_bytes());
        let output = if self.has_output { HAS_OUTPUT } else { 0 };
        payload.push(u8::from(self.has_loaded_files) | u8::from(self.has_pulse) << 1 | HAS_CRASH | output);
        payload.extend(names.join("\0").bytes().take(NAMES_MAX));
        send(socket, FORK, &payload, rest)
    }
}

fn send(socket: BorrowedFd<'_>, kind: u8, payload: &[u8], descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
    let mut message = Vec::with_capacity(HEAD + payload.len());
    message.extend([VERSION, kind]);
    message.extend((descriptors.len() as u16).to_be_bytes());
    message.extend((payload.len() as u32).to_be_bytes());
    message.extend(payload);
    let rights = SendAncillaryMessage::ScmRights(descriptors);
    let mut space = vec![MaybeUninit::uninit(); rights.size()];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() && !ancillary.push(rights) {
        return Err(io::Error::other("the descriptors of a worker do not fit into a message"));
    }
    let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
    let sent = sendmsg(socket, &[IoSlice::new(&message)], &mut ancillary, flags)?;
    if sent < message.len() {
        return Err(io::Error::other("the template does not read its orders"));
    }
    Ok(())
}

/// A report of a template.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Report {
    /// It has loaded the app.
    Loaded,
    /// It cannot load the app, for this reason.
    Failed(String),
    /// It has forked a worker, which has this process id.
    Forked(WorkerId, i32),
    /// It cannot fork a worker, for this reason.
    NotForked(WorkerId, String),
}

/// The bytes that a template has sent and that are not a whole report yet.
#[derive(Debug, Default)]
pub(super) struct Reports {
    bytes: Vec<u8>,
}

impl Reports {
    /// Adds bytes that have arrived.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// Returns the next whole report.
    pub(super) fn next(&mut self) -> io::Result<Option<Report>> {
        let Some((head, rest)) = self.bytes.split_first_chunk::<HEAD>() else { return Ok(None) };
        let &[version, kind, _, _, a, b, c, d] = head;
        let length = u32::from_be_bytes([a, b, c, d]) as usize;
        if version != VERSION || length > REPORT_MAX {
            return Err(io::Error::other("the template is of another version of hcrs; restart the server"));
        }
        let Some(payload) = rest.get(..length) else { return Ok(None) };
        let report = Report::parse(kind, payload);
        self.bytes.drain(..HEAD + length);
        report.map(Some).ok_or_else(|| io::Error::other("the template has sent an invalid report"))
    }
}

impl Report {
    fn parse(kind: u8, payload: &[u8]) -> Option<Self> {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        match kind {
            LOADED => payload.is_empty().then_some(Self::Loaded),
            FAILED => Some(Self::Failed(text(payload))),
            FORKED => {
                let (worker, pid) = payload.split_first_chunk()?;
                let pid = i32::from_be_bytes(pid.try_into().ok()?);
                (pid > 0).then_some(Self::Forked(WorkerId::from_be_bytes(*worker), pid))
            }
            NOT_FORKED => {
                let (worker, why) = payload.split_first_chunk()?;
                Some(Self::NotForked(WorkerId::from_be_bytes(*worker), text(why)))
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(kind: u8, payload: &[u8]) -> Vec<u8> {
        let mut bytes = vec![VERSION, kind, 0, 0];
        bytes.extend((payload.len() as u32).to_be_bytes());
        bytes.extend(payload);
        bytes
    }

    #[test]
    fn reports_are_read_in_whatever_pieces_they_arrive() {
        let mut forked = 7u64.to_be_bytes().to_vec();
        forked.extend(300i32.to_be_bytes());
        let all = [report(LOADED, b""), report(FORKED, &forked), report(FAILED, "naïve".as_bytes())].concat();
        for size in 1..all.len() {
            let (mut reports, mut found) = (Reports::default(), Vec::new());
            for piece in all.chunks(size) {
                reports.push(piece);
                while let Some(report) = reports.next().unwrap() {
                    found.push(report);
                }
            }
            assert_eq!(found, [Report::Loaded, Report::Forked(7, 300), Report::Failed("naïve".into())]);
            assert!(reports.bytes.is_empty());
        }
    }

    #[test]
    fn what_is_no_report_is_an_error() {
        let mut of_another_version = report(LOADED, b"");
        of_another_version[0] += 1;
        let too_long = [VERSION, FAILED, 0, 0, 1, 0, 0, 0].to_vec();
        let without_pid = report(FORKED, &[0; 12]);
        for bytes in [of_another_version, too_long, without_pid, report(9, b""), report(NOT_FORKED, b"x")] {
            let mut reports = Reports::default();
            reports.push(&bytes);
            assert!(reports.next().is_err(), "{bytes:?}");
        }
    }
}
