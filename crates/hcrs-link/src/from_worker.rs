//! The frames from a worker to the edge.

use crate::frame::{FrameHeader, LinkError, begin_frame, end_flag, finish_frame, push_frame};
use crate::{FilePart, MessageKind, StreamId};

/// Most `Interim` frames of one stream.
pub const INTERIM_MAX: u8 = 16;

/// Most `Push` frames of one stream.
pub const PUSH_MAX: u8 = 16;

/// Length of the longest payload of an `Interim` or a `Push` frame, in bytes.
pub const HINT_LEN_MAX: usize = 16 << 10;

const READY: u8 = 64;
const FAILED: u8 = 65;
const BEGUN: u8 = 66;
const FINISHED: u8 = 67;
const INTERIM: u8 = 68;
const PUSH: u8 = 69;
const RESPONSE: u8 = 70;
const ACCEPT: u8 = 71;
const DATA: u8 = 72;
const BLOCK: u8 = 73;
const FILE: u8 = 74;
const TRAILERS: u8 = 75;
const TEXT: u8 = 76;
const BINARY: u8 = 77;
const CLOSE: u8 = 78;
const CREDIT: u8 = 79;
const AWAITS_BODY: u8 = 80;
const HEARD_CLOSE: u8 = 81;
const APP_FAILED: u8 = 82;
const DONE: u8 = 83;

/// A frame of a worker. Each frame of a stream implies that the request was begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FromWorker<'a> {
    /// The app is loaded and its lifespan startup complete.
    Ready,
    /// The app cannot be served.
    Failed {
        /// The message for the operator, UTF-8.
        why: &'a [u8],
    },
    /// Requests were begun; the claim table has which.
    Begun,
    /// The app's work on requests is over, and its shutdown begins.
    Finished {
        /// Every stream has ended, and no frame follows. Otherwise requests are still running though their
        /// time is up.
        all: bool,
    },
    /// An interim response's head (103), before the final one.
    Interim {
        /// The request's stream.
        stream: StreamId,
        /// The head.
        head: &'a [u8],
    },
    /// A request that the edge should promise to the client and make itself, in the form that
    /// [`split_promise`](crate::split_promise) reads.
    Push {
        /// The stream of the request that the promise belongs to.
        stream: StreamId,
        /// The path and the fields of the promised request.
        promise: &'a [u8],
    },
    /// A response's head.
    Response {
        /// The request's stream.
        stream: StreamId,
        /// The head.
        head: &'a [u8],
        /// The response is complete.
        end: bool,
    },
    /// The app accepts the WebSocket that the request asks for. The status of the head is ignored: the
    /// client's protocol decides it.
    Accept {
        /// The request's stream.
        stream: StreamId,
        /// The fields, as a response's head.
        head: &'a [u8],
    },
    /// Bytes of a response's body, the last ones if `end`.
    Data {
        /// The response's stream.
        stream: StreamId,
        /// The bytes.
        bytes: &'a [u8],
        /// The response is complete.
        end: bool,
    },
    /// Bytes of a response's body in a block of the link's memory.
    Block {
        /// The response's stream.
        stream: StreamId,
        /// The block's number.
        block: u16,
        /// Number of bytes in the block.
        len: usize,
        /// The response is complete.
        end: bool,
    },
    /// A part of a file as bytes of a response's body. The descriptor comes with the frame.
    File {
        /// The response's stream.
        stream: StreamId,
        /// The part.
        part: FilePart,
        /// The response is complete.
        end: bool,
    },
    /// The fields after the body, which end the response.
    Trailers {
        /// The response's stream.
        stream: StreamId,
        /// The fields, in the form of a response's head.
        fields: &'a [u8],
    },
    /// A piece of a WebSocket's message.
    Message {
        /// The WebSocket's stream.
        stream: StreamId,
        /// The kind of the message.
        kind: MessageKind,
        /// The bytes of the piece.
        bytes: &'a [u8],
        /// The message is complete.
        end: bool,
    },
    /// The app closes the WebSocket.
    Close {
        /// The WebSocket's stream.
        stream: StreamId,
        /// The close code.
        code: u16,
        /// The reason, UTF-8.
        reason: &'a [u8],
    },
    /// The app has taken a part of the request's window, which may be spent again.
    Credit {
        /// The request's stream.
        stream: StreamId,
        /// The cost that is added to the window.
        amount: u32,
    },
    /// The app waits for a body that the client holds back until it gets `100 Continue`.
    AwaitsBody {
        /// The request's stream.
        stream: StreamId,
    },
    /// The app has received [`FromEdge::Close`](crate::FromEdge::Close), and has answered the messages before
    /// it.
    HeardClose {
        /// The WebSocket's stream.
        stream: StreamId,
    },
    /// The app failed before its response was complete. The stream's last frame.
    AppFailed {
        /// The request's stream.
        stream: StreamId,
    },
    /// The app's task has ended, where no other frame implies it: after the edge's
    /// [`FromEdge::Reset`](crate::FromEdge::Reset), and after a WebSocket. The stream's last frame.
    Done {
        /// The request's stream.
        stream: StreamId,
    },
}

/// The kind of a head that is written in place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HeadKind {
    /// The head of a [`FromWorker::Response`].
    Response,
    /// The head of a [`FromWorker::Accept`].
    Accept,
}

/// Begins a frame whose head the caller appends to `out`. Returns its start, for [`finish_head`].
#[inline]
pub(crate) fn begin_head(out: &mut Vec<u8>, kind: HeadKind, stream: StreamId) -> usize {
    let kind = match kind {
        HeadKind::Response => RESPONSE,
        HeadKind::Accept => ACCEPT,
    };
    begin_frame(out, FrameHeader::new(kind, 0, 0, Some(stream)))
}

/// Ends the frame that [`begin_head`] began at `start` and whose head ends with `out`.
#[inline]
pub(crate) fn finish_head(out: &mut [u8], start: usize) {
    finish_frame(out, start);
}

impl<'a> FromWorker<'a> {
    /// Appends the frame to `out`.
    #[inline]
    pub fn write(&self, out: &mut Vec<u8>) {
        let frame = |kind, flags, stream| FrameHeader::new(kind, flags, 0, Some(stream));
        let link = |kind| FrameHeader::new(kind, 0, 0, None);
        match *self {
            Self::Ready => push_frame(out, link(READY), &[]),
            Self::Failed { why } => push_frame(out, link(FAILED), why),
            Self::Begun => push_frame(out, link(BEGUN), &[]),
            Self::Finished { all } => {
                push_frame(out, FrameHeader::new(FINISHED, end_flag(all), 0, None), &[]);
            }
            Self::Interim { stream, head } => push_frame(out, frame(INTERIM, 0, stream), head),
            Self::Push { stream, promise } => push_frame(out, frame(PUSH, 0, stream), promise),
            Self::Response { stream, head, end } => {
                push_frame(out, frame(RESPONSE, end_flag(end), stream), head);
            }
            Self::Accept { stream, head } => push_frame(out, frame(ACCEPT, 0, stream), head),
            Self::Data { stream, bytes, end } => push_frame(out, frame(DATA, end_flag(end), stream), bytes),
            Self::Block { stream, block, len, end } => {
                let header = FrameHeader::new(BLOCK, end_flag(end), block, Some(stream));
                push_frame(out, header, &(len as u32).to_le_bytes());
            }
            Self::File { stream, part, end } => {
                push_frame(out, frame(FILE, end_flag(end), stream), &part.to_bytes());
            }
            Self::Trailers { stream, fields } => push_frame(out, frame(TRAILERS, 0, stream), fields),
            Self::Message { stream, kind, bytes, end } => {
                let kind = match kind {
                    MessageKind::Text => TEXT,
                    MessageKind::Binary => BINARY,
                };
                push_frame(out, frame(kind, end_flag(end), stream), bytes);
            }
            Self::Close { stream, code, reason } => {
                push_frame(out, FrameHeader::new(CLOSE, 0, code, Some(stream)), reason);
            }
            Self::Credit { stream, amount } => {
                push_frame(out, frame(CREDIT, 0, stream), &amount.to_le_bytes());
            }
            Self::AwaitsBody { stream } => push_frame(out, frame(AWAITS_BODY, 0, stream), &[]),
            Self::HeardClose { stream } => push_frame(out, frame(HEARD_CLOSE, 0, stream), &[]),
            Self::AppFailed { stream } => push_frame(out, frame(APP_FAILED, 0, stream), &[]),
            Self::Done { stream } => push_frame(out, frame(DONE, 0, stream), &[]),
        }
    }

    /// Parses a frame from its header and payload.
    #[inline]
    pub fn parse(header: &FrameHeader, payload: &'a [u8]) -> Result<Self, LinkError> {
        let malformed = LinkError::Unexpected(name(header.kind).ok_or(LinkError::UnknownKind(header.kind))?);
        let Some(stream) = header.stream else {
            return match header.kind {
                READY => Ok(Self::Ready),
                FAILED => Ok(Self::Failed { why: payload }),
                BEGUN => Ok(Self::Begun),
                FINISHED => Ok(Self::Finished { all: header.is_end() }),
                _ => Err(malformed),
            };
        };
        let end = header.is_end();
        let number = || payload.try_into().map(u32::from_le_bytes).map_err(|_| malformed);
        Ok(match header.kind {
            INTERIM => Self::Interim { stream, head: payload },
            PUSH => Self::Push { stream, promise: payload },
            RESPONSE => Self::Response { stream, head: payload, end },
            ACCEPT => Self::Accept { stream, head: payload },
            DATA => Self::Data { stream, bytes: payload, end },
            BLOCK => Self::Block { stream, block: header.argument, len: number()? as usize, end },
            FILE => Self::File { stream, part: FilePart::parse(payload).ok_or(malformed)?, end },
            TRAILERS => Self::Trailers { stream, fields: payload },
            TEXT => Self::Message { stream, kind: MessageKind::Text, bytes: payload, end },
            BINARY => Self::Message { stream, kind: MessageKind::Binary, bytes: payload, end },
            CLOSE => Self::Close { stream, code: header.argument, reason: payload },
            CREDIT => Self::Credit { stream, amount: number()? },
            AWAITS_BODY => Self::AwaitsBody { stream },
            HEARD_CLOSE => Self::HeardClose { stream },
            APP_FAILED => Self::AppFailed { stream },
            DONE => Self::Done { stream },
            _ => return Err(malformed),
        })
    }

    /// Returns the frame's name, for errors.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Ready => "Ready",
            Self::Failed { .. } => "Failed",
            Self::Begun => "Begun",
            Self::Finished { .. } => "Finished",
            Self::Interim { .. } => "Interim",
            Self::Push { .. } => "Push",
            Self::Response { .. } => "Response",
            Self::Accept { .. } => "Accept",
            Self::Data { .. } => "Data",
            Self::Block { .. } => "Block",
            Self::File { .. } => "File",
            Self::Trailers { .. } => "Trailers",
            Self::Message { .. } => "Message",
            Self::Close { .. } => "Close",
            Self::Credit { .. } => "Credit",
            Self::AwaitsBody { .. } => "AwaitsBody",
            Self::HeardClose { .. } => "HeardClose",
            Self::AppFailed { .. } => "AppFailed",
            Self::Done { .. } => "Done",
        }
    }
}

fn name(kind: u8) -> Option<&'static str> {
    Some(match kind {
        READY => "Ready",
        FAILED => "Failed",
        BEGUN => "Begun",
        FINISHED => "Finished",
        INTERIM => "Interim",
        PUSH => "Push",
        RESPONSE => "Response",
        ACCEPT => "Accept",
        DATA => "Data",
        BLOCK => "Block",
        FILE => "File",
        TRAILERS => "Trailers",
        TEXT | BINARY => "Message",
        CLOSE => "Close",
        CREDIT => "Credit",
        AWAITS_BODY => "AwaitsBody",
        HEARD_CLOSE => "HeardClose",
        APP_FAILED => "AppFailed",
        DONE => "Done",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_worker_writes_is_what_the_edge_reads() {
        let stream = StreamId::new(5).unwrap();
        let frames = [
            FromWorker::Ready,
            FromWorker::Failed { why: b"no app" },
            FromWorker::Begun,
            FromWorker::Finished { all: true },
            FromWorker::Finished { all: false },
            FromWorker::Interim { stream, head: b"h" },
            FromWorker::Push { stream, promise: b"p" },
            FromWorker::Response { stream, head: b"h", end: true },
            FromWorker::Accept { stream, head: b"h" },
            FromWorker::Data { stream, bytes: b"b", end: false },
            FromWorker::Block { stream, block: 63, len: 65_536, end: true },
            FromWorker::File { stream, part: FilePart { offset: 1 << 40, len: 7 }, end: true },
            FromWorker::Trailers { stream, fields: b"f" },
            FromWorker::Message { stream, kind: MessageKind::Text, bytes: b"", end: true },
            FromWorker::Message { stream, kind: MessageKind::Binary, bytes: b"b", end: false },
            FromWorker::Close { stream, code: 4999, reason: b"" },
            FromWorker::Credit { stream, amount: 1 },
            FromWorker::AwaitsBody { stream },
            FromWorker::HeardClose { stream },
            FromWorker::AppFailed { stream },
            FromWorker::Done { stream },
        ];
        for frame in frames {
            let mut wire = Vec::new();
            frame.write(&mut wire);
            let (header, payload) = FrameHeader::split(&wire).unwrap().unwrap();
            assert_eq!(FromWorker::parse(&header, payload), Ok(frame));
            assert_eq!(name(header.kind), Some(frame.name()));
        }
    }

    #[test]
    fn the_edge_and_a_worker_have_no_kind_in_common() {
        for kind in 0..=255 {
            let header = FrameHeader::new(kind, 0, 0, StreamId::new(1));
            let both = FromWorker::parse(&header, b"1234").is_ok()
                && crate::FromEdge::parse(&header, b"1234").is_ok();
            assert!(!both, "kind {kind} means something in each direction");
        }
    }
}
