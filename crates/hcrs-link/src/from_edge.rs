//! The frames from the edge to a worker.

use crate::frame::{CANCEL, END, EXPECT, FILES, FrameHeader, LinkError, end_flag, push_frame};
use crate::{MessageKind, StreamId};

const REQUEST: u8 = 1;
const DATA: u8 = 2;
const TEXT: u8 = 3;
const BINARY: u8 = 4;
const CLOSE: u8 = 5;
const CREDIT: u8 = 6;
const HALF_CLOSE: u8 = 7;
const RESET: u8 = 8;
const TLS: u8 = 9;
const STOPPING: u8 = 10;
const DRAIN: u8 = 11;

/// A frame of the edge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FromEdge<'a> {
    /// A request, to be claimed before it is begun.
    Request(Request<'a>),
    /// Bytes of a request's body, the last ones if `end`. Each byte costs one of the request's window.
    Data {
        /// The request's stream.
        stream: StreamId,
        /// The bytes.
        bytes: &'a [u8],
        /// The body is complete.
        end: bool,
    },
    /// A piece of a WebSocket's message. It costs [`piece_cost`](crate::piece_cost) of the request's window.
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
    /// The client's side has closed the WebSocket.
    Close {
        /// The WebSocket's stream.
        stream: StreamId,
        /// The close code.
        code: u16,
        /// The reason, UTF-8.
        reason: &'a [u8],
    },
    /// The client has taken a part of the response's window, which may be spent again.
    Credit {
        /// The response's stream.
        stream: StreamId,
        /// The cost that is added to the window.
        amount: u32,
    },
    /// The client has closed its side of the connection after the whole request. The app gets
    /// `http.disconnect`; its response is still wanted.
    HalfClose {
        /// The request's stream.
        stream: StreamId,
    },
    /// The client is gone, or the request was withdrawn. A request that was begun is answered by
    /// [`FromWorker::Done`](crate::FromWorker::Done), unless its stream has ended already.
    Reset {
        /// The request's stream.
        stream: StreamId,
        /// The app's task is cancelled, because its time is up.
        cancel: bool,
    },
    /// The TLS info of all later requests with this number, as encoded by [`TlsInfo`](crate::TlsInfo).
    Tls {
        /// The number.
        number: u16,
        /// The encoded info.
        info: &'a [u8],
    },
    /// The worker has to stop: no new requests come, and those in flight are finished. The app's own handler
    /// of the signal, if it has one, is called.
    Stopping {
        /// The signal's number.
        signal: u16,
    },
    /// The last frame. Once every link of the worker has sent it, the worker finishes the work of the app
    /// within the time that is left, runs the lifespan shutdown and exits.
    Drain {
        /// Milliseconds after which remaining work is cancelled.
        left_ms: u32,
    },
}

/// A request as encoded on the link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Request<'a> {
    /// The request's stream.
    pub stream: StreamId,
    /// The request's claim slot.
    pub slot: u16,
    /// The whole head.
    pub head: &'a [u8],
    /// A body follows.
    pub has_body: bool,
    /// The client sends the body only after `100 Continue`: the worker sends
    /// [`FromWorker::AwaitsBody`](crate::FromWorker::AwaitsBody) when the app waits for it.
    pub expects_continue: bool,
    /// [`FromWorker::File`](crate::FromWorker::File) may be a part of the response.
    pub takes_files: bool,
}

impl<'a> FromEdge<'a> {
    /// Appends the frame to `out`.
    #[inline]
    pub fn write(&self, out: &mut Vec<u8>) {
        let frame = |kind, flags, stream| FrameHeader::new(kind, flags, 0, Some(stream));
        match *self {
            Self::Request(Request { stream, slot, head, has_body, expects_continue, takes_files }) => {
                let flags = end_flag(!has_body)
                    | if expects_continue { EXPECT } else { 0 }
                    | if takes_files { FILES } else { 0 };
                push_frame(out, FrameHeader::new(REQUEST, flags, slot, Some(stream)), head);
            }
            Self::Data { stream, bytes, end } => push_frame(out, frame(DATA, end_flag(end), stream), bytes),
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
            Self::HalfClose { stream } => push_frame(out, frame(HALF_CLOSE, 0, stream), &[]),
            Self::Reset { stream, cancel } => {
                push_frame(out, frame(RESET, if cancel { CANCEL } else { 0 }, stream), &[]);
            }
            Self::Tls { number, info } => push_frame(out, FrameHeader::new(TLS, 0, number, None), info),
            Self::Stopping { signal } => push_frame(out, FrameHeader::new(STOPPING, 0, signal, None), &[]),
            Self::Drain { left_ms } => {
                push_frame(out, FrameHeader::new(DRAIN, 0, 0, None), &left_ms.to_le_bytes());
            }
        }
    }

    /// Parses a frame from its header and payload.
    #[inline]
    pub fn parse(header: &FrameHeader, payload: &'a [u8]) -> Result<Self, LinkError> {
        let name = match header.kind {
            REQUEST => "Request",
            DATA => "Data",
            TEXT | BINARY => "Message",
            CLOSE => "Close",
            CREDIT => "Credit",
            HALF_CLOSE => "HalfClose",
            RESET => "Reset",
            TLS => "Tls",
            STOPPING => "Stopping",
            DRAIN => "Drain",
            other => return Err(LinkError::UnknownKind(other)),
        };
        let malformed = LinkError::Unexpected(name);
        let number = || payload.try_into().map(u32::from_le_bytes).map_err(|_| malformed);
        let Some(stream) = header.stream else {
            return match header.kind {
                TLS => Ok(Self::Tls { number: header.argument, info: payload }),
                STOPPING => Ok(Self::Stopping { signal: header.argument }),
                DRAIN => Ok(Self::Drain { left_ms: number()? }),
                _ => Err(malformed),
            };
        };
        let end = header.is_end();
        Ok(match header.kind {
            REQUEST => Self::Request(Request {
                stream,
                slot: header.argument,
                head: payload,
                has_body: !end,
                expects_continue: header.flags & EXPECT != 0,
                takes_files: header.flags & FILES != 0,
            }),
            DATA => Self::Data { stream, bytes: payload, end },
            TEXT => Self::Message { stream, kind: MessageKind::Text, bytes: payload, end },
            BINARY => Self::Message { stream, kind: MessageKind::Binary, bytes: payload, end },
            CLOSE => Self::Close { stream, code: header.argument, reason: payload },
            CREDIT => Self::Credit { stream, amount: number()? },
            HALF_CLOSE => Self::HalfClose { stream },
            RESET => Self::Reset { stream, cancel: header.flags & CANCEL != 0 },
            _ => return Err(malformed),
        })
    }
}

const _: () = assert!(END | EXPECT | FILES == 7, "the flags of a request are different bits");

#[cfg(test)]
mod tests {
    use super::*;

    fn stream() -> StreamId {
        StreamId::new(1 << 40).unwrap()
    }

    #[test]
    fn what_the_edge_writes_is_what_the_worker_reads() {
        let stream = stream();
        let request = |has_body, expects_continue, takes_files| {
            FromEdge::Request(Request {
                stream,
                slot: 63,
                head: b"head",
                has_body,
                expects_continue,
                takes_files,
            })
        };
        let frames = [
            request(false, false, false),
            request(true, true, false),
            request(true, false, true),
            FromEdge::Data { stream, bytes: b"body", end: false },
            FromEdge::Data { stream, bytes: b"", end: true },
            FromEdge::Message { stream, kind: MessageKind::Text, bytes: b"t", end: false },
            FromEdge::Message { stream, kind: MessageKind::Binary, bytes: b"b", end: true },
            FromEdge::Close { stream, code: 1001, reason: b"away" },
            FromEdge::Credit { stream, amount: u32::MAX },
            FromEdge::HalfClose { stream },
            FromEdge::Reset { stream, cancel: true },
            FromEdge::Reset { stream, cancel: false },
            FromEdge::Tls { number: 7, info: b"info" },
            FromEdge::Stopping { signal: 15 },
            FromEdge::Drain { left_ms: 60_000 },
        ];
        for frame in frames {
            let mut wire = Vec::new();
            frame.write(&mut wire);
            let (header, payload) = FrameHeader::split(&wire).unwrap().unwrap();
            assert_eq!(FromEdge::parse(&header, payload), Ok(frame));
        }
    }

    #[test]
    fn what_is_about_no_stream_has_none_and_the_rest_has_one() {
        for kind in 0..=255 {
            let without = FromEdge::parse(&FrameHeader::new(kind, 0, 0, None), b"1234");
            let with = FromEdge::parse(&FrameHeader::new(kind, 0, 0, Some(stream())), b"1234");
            assert!(without.is_err() || with.is_err(), "kind {kind} is about one or the other");
        }
        let short = FromEdge::parse(&FrameHeader::new(CREDIT, 0, 0, Some(stream())), b"123");
        assert_eq!(short, Err(LinkError::Unexpected("Credit")));
        let short = FromEdge::parse(&FrameHeader::new(DRAIN, 0, 0, None), b"");
        assert_eq!(short, Err(LinkError::Unexpected("Drain")));
    }
}
