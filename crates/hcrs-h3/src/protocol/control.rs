//! The control streams of both ends, and settings (RFC 9114 §6.2.1, §7.2.4).

use bytes::Bytes;

use crate::error::ErrorCode;
use crate::frame::{self, FrameReader, GOAWAY, SETTINGS, setting, stream};
use crate::qpack::{self, DecoderStream, EncoderStream};
use crate::settings::Settings;
use crate::transport::{Transport, Write};
use crate::varint;

/// Length of the longest frame of the control stream that is taken, in bytes.
pub(super) const CONTROL_FRAME_MAX: u64 = 4 << 10;

/// The greatest number of a request stream: GOAWAY with it announces the end and rejects nothing.
pub(super) const LAST_ID: u64 = varint::MAX - 3;

/// A unidirectional stream of the client.
#[derive(Debug)]
pub(super) struct Uni {
    pub(super) id: u64,
    pub(super) kind: Kind,
    /// The stream is among those that are to be read.
    pub(super) is_queued: bool,
}

/// The type of a unidirectional stream, with what has come of it.
#[derive(Debug)]
pub(super) enum Kind {
    /// The type has not come, or not all of it.
    Unknown(Vec<u8>),
    Control(FrameReader),
    Encoder(EncoderStream),
    Decoder(DecoderStream),
}

/// A unidirectional stream of the server, which is opened once there is something to send.
#[derive(Debug)]
pub(super) struct Outgoing {
    kind: u64,
    /// The stream's number, once it was opened.
    id: Option<u64>,
    /// Bytes that wait for the transport.
    waiting: Vec<u8>,
    pub(super) is_blocked: bool,
}

/// Most bytes that may wait on a stream of the server: a client that takes less than it causes is no honest one.
const WAITING_MAX: usize = 16 << 10;

impl Outgoing {
    pub(super) fn new(kind: u64) -> Self {
        Self { kind, id: None, waiting: Vec::new(), is_blocked: false }
    }

    /// Whether the stream has this number.
    pub(super) fn is(&self, id: u64) -> bool {
        self.id == Some(id)
    }

    /// Whether the client takes less than it causes.
    pub(super) fn is_overfull(&self) -> bool {
        self.waiting.len() > WAITING_MAX
    }

    pub(super) fn append(&mut self, bytes: &[u8]) {
        self.waiting.extend_from_slice(bytes);
    }

    /// Writes what waits, as far as the transport takes it.
    pub(super) fn write(&mut self, io: &mut dyn Transport) {
        if self.waiting.is_empty() || self.is_blocked {
            return;
        }
        let mut bytes = Vec::new();
        if self.id.is_none() {
            self.id = io.open_uni();
            varint::put(&mut bytes, self.kind);
        }
        let Some(id) = self.id else { return };
        bytes.append(&mut self.waiting);
        let mut chunks = [Bytes::from(bytes)];
        while !chunks[0].is_empty() {
            if io.write(id, &mut chunks) != Write::Taken {
                self.is_blocked = true;
                break;
            }
        }
        self.waiting.extend_from_slice(&chunks[0]);
    }
}

/// The server's control stream, and what the client's has said.
#[derive(Debug)]
pub(super) struct Control {
    /// The server's stream: its settings, and two GOAWAY frames at most.
    pub(super) out: Outgoing,
    /// The client has sent its settings.
    pub(super) has_settings: bool,
    /// The client has sent GOAWAY.
    pub(super) peer_leaves: bool,
    /// The number in the last GOAWAY.
    pub(super) last_push: Option<u64>,
    pub(super) max_push: Option<u64>,
}

impl Control {
    /// Begins the stream with the settings.
    pub(super) fn new(settings: &Settings) -> Self {
        let mut payload = Vec::new();
        let mut entry = |id, value| {
            varint::put(&mut payload, id);
            varint::put(&mut payload, value);
        };
        entry(setting::QPACK_MAX_TABLE_CAPACITY, qpack::TABLE_CAPACITY);
        entry(setting::MAX_FIELD_SECTION_SIZE, u64::from(settings.max_header_list_size));
        if settings.extended_connect {
            // The head's check allows it for WebSocket alone (RFC 9220).
            entry(setting::ENABLE_CONNECT_PROTOCOL, 1);
        }
        let mut out = Outgoing::new(stream::CONTROL);
        frame::put(&mut out.waiting, FIRST_UNI, SETTINGS, &payload);
        Self { out, has_settings: false, peer_leaves: false, last_push: None, max_push: None }
    }

    /// Appends GOAWAY with the first request that is not served.
    pub(super) fn goaway(&mut self, id: u64) {
        let mut payload = Vec::new();
        varint::put(&mut payload, id);
        frame::put(&mut self.out.waiting, FIRST_UNI, GOAWAY, &payload);
    }
}

/// The number of the first unidirectional stream of a server, for the log.
const FIRST_UNI: u64 = 3;

/// Checks the payload of SETTINGS. None of the client's settings has an effect on the server, whose
/// encoder uses no dynamic table.
pub(super) fn parse_settings(payload: &[u8]) -> Result<(), ErrorCode> {
    let (mut rest, mut seen) = (payload, Vec::new());
    while !rest.is_empty() {
        let id = varint::take(&mut rest).ok_or(ErrorCode::FRAME_ERROR)?;
        let value = varint::take(&mut rest).ok_or(ErrorCode::FRAME_ERROR)?;
        let is_switch = matches!(id, setting::ENABLE_CONNECT_PROTOCOL | setting::H3_DATAGRAM);
        if setting::is_of_http2(id) || seen.contains(&id) || is_switch && value > 1 {
            return Err(ErrorCode::SETTINGS_ERROR);
        }
        seen.push(id);
    }
    Ok(())
}

/// Returns the number that a payload consists of.
pub(super) fn whole_varint(payload: &[u8]) -> Result<u64, ErrorCode> {
    let mut rest = payload;
    let value = varint::take(&mut rest).ok_or(ErrorCode::FRAME_ERROR)?;
    if rest.is_empty() { Ok(value) } else { Err(ErrorCode::FRAME_ERROR) }
}
