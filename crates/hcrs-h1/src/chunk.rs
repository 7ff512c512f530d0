//! Decodes a chunked body and its trailer section (RFC 9112 §7.1), byte by byte.
//!
//! The decoder is stricter than the grammar: a size has one to sixteen hexadecimal digits and no blank near
//! it. Extensions are counted against their limit and dropped; the trailer section is kept.

mod extension;

use bytes::{Buf as _, BytesMut};
use hcrs_http::{Fault, ResponseHead, is_field_name, is_trailer_name};

use crate::Settings;
use extension::Extension;

/// The expected next byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    SizeStart,
    Size { digits: u8 },
    Extension(Extension),
    SizeLineFeed,
    Data,
    DataReturn,
    DataLineFeed,
    TrailerStart,
    TrailerName,
    TrailerValue,
    TrailerLineFeed,
    LastLineFeed,
    Done,
}

/// A decoder for one body.
#[derive(Debug)]
pub(crate) struct ChunkDecoder {
    state: State,
    /// The size as read so far, then the number of bytes that are left of the chunk's data.
    size: u64,
    extension_bytes: usize,
    /// The lines of the trailer section, as far as they have been read.
    trailers: Vec<u8>,
    trailer_fields: usize,
}

const MAX_SIZE_DIGITS: u8 = 16;

impl ChunkDecoder {
    pub(crate) fn new() -> Self {
        Self { state: State::SizeStart, size: 0, extension_bytes: 0, trailers: Vec::new(), trailer_fields: 0 }
    }

    /// Whether the last chunk and its trailers have been read.
    pub(crate) fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// Whether there is a trailer section that was not taken.
    pub(crate) fn has_trailers(&self) -> bool {
        !self.trailers.is_empty()
    }

    /// Takes the trailers of a body that is done, as a head without a status: in lower case, and without the fields that
    /// may not stand there.
    pub(crate) fn take_trailers(&mut self) -> ResponseHead {
        let trailers = std::mem::take(&mut self.trailers);
        let lines = trailers.split(|&byte| byte == b'\n').filter(|line| !line.is_empty());
        let fields: Vec<_> = lines
            .filter_map(|line| {
                let colon = line.iter().position(|&byte| byte == b':')?;
                let (name, value) = (line[..colon].to_ascii_lowercase(), line[colon + 1..].trim_ascii());
                (is_trailer_name(&name) && u16::try_from(colon).is_ok()).then_some((name, value))
            })
            .collect();
        let fields = fields.iter().map(|(name, value)| (&name[..], *value));
        ResponseHead::new(0, fields)
    }

    /// Removes framing from the front of `input` and returns the number of bytes of data that are there now.
    /// The data of all chunks in `input` is moved together, so that many small chunks make one piece.
    pub(crate) fn decode(&mut self, input: &mut BytesMut, settings: &Settings) -> Result<usize, Fault> {
        let mut data = 0;
        let mut at = 0;
        while at < input.len() && self.state != State::Done {
            if self.state != State::Data {
                self.step(input[at], settings)?;
                at += 1;
                continue;
            }
            let len = usize::try_from(self.size).unwrap_or(usize::MAX).min(input.len() - at);
            if data == 0 {
                // No data precedes the framing, so it can be dropped without moving anything.
                input.advance(at);
                at = 0;
            } else {
                input.copy_within(at..at + len, data);
            }
            data += len;
            at += len;
            self.size -= len as u64;
            if self.size == 0 {
                self.state = State::DataReturn;
            }
        }
        close_gap(input, data, at);
        Ok(data)
    }

    fn step(&mut self, byte: u8, settings: &Settings) -> Result<(), Fault> {
        self.state = match (self.state, byte) {
            (State::SizeStart, _) => match hex_digit(byte) {
                Some(digit) => {
                    self.size = digit;
                    State::Size { digits: 1 }
                }
                None => return Err(Fault::BadRequest("chunk without a size")),
            },
            (State::Size { .. }, b'\r') => State::SizeLineFeed,
            (State::Size { .. }, b';') => State::Extension(Extension::BeforeName),
            (State::Extension(place), b'\r') if place.may_end() => State::SizeLineFeed,
            (State::Size { digits }, _) => match hex_digit(byte) {
                Some(digit) if digits < MAX_SIZE_DIGITS => {
                    self.size = (self.size << 4) | digit;
                    State::Size { digits: digits + 1 }
                }
                Some(_) => return Err(Fault::BadRequest("chunk size too large")),
                None => return Err(Fault::BadRequest("malformed chunk size")),
            },
            (State::Extension(place), _) => {
                self.extension_bytes += 1;
                if self.extension_bytes > settings.max_chunk_extension_bytes {
                    return Err(Fault::BadRequest("too many bytes of chunk extensions"));
                }
                State::Extension(place.next(byte).ok_or(Fault::BadRequest("malformed chunk extension"))?)
            }
            (State::SizeLineFeed, b'\n') if self.size > 0 => State::Data,
            (State::SizeLineFeed, b'\n') => State::TrailerStart,
            (State::DataReturn, b'\r') => State::DataLineFeed,
            (State::DataLineFeed, b'\n') => State::SizeStart,
            (State::TrailerStart, b'\r') => State::LastLineFeed,
            (State::LastLineFeed, b'\n') => State::Done,
            (State::TrailerStart | State::TrailerName | State::TrailerValue | State::TrailerLineFeed, _) => {
                self.trailer_byte(byte, settings)?
            }
            (State::SizeLineFeed | State::LastLineFeed, _) => {
                return Err(Fault::BadRequest("malformed line end in chunked body"));
            }
            (State::DataReturn | State::DataLineFeed, _) => {
                return Err(Fault::BadRequest("chunk longer than its size"));
            }
            (State::Data | State::Done, _) => {
                unreachable!("data and what follows the body are not stepped through")
            }
        };
        Ok(())
    }

    fn trailer_byte(&mut self, byte: u8, settings: &Settings) -> Result<State, Fault> {
        if self.trailers.len() == settings.max_trailer_bytes {
            return Err(Fault::HeadTooLarge);
        }
        self.trailers.push(byte);
        match (self.state, byte) {
            (State::TrailerStart, _) if is_field_name(&[byte]) => {
                self.trailer_fields += 1;
                if self.trailer_fields > settings.max_fields {
                    return Err(Fault::HeadTooLarge);
                }
                Ok(State::TrailerName)
            }
            (State::TrailerName, b':') => Ok(State::TrailerValue),
            (State::TrailerName, _) if is_field_name(&[byte]) => Ok(State::TrailerName),
            (State::TrailerValue, b'\r') => Ok(State::TrailerLineFeed),
            (State::TrailerValue, _) if is_text(byte) => Ok(State::TrailerValue),
            (State::TrailerLineFeed, b'\n') => Ok(State::TrailerStart),
            _ => Err(Fault::BadRequest("malformed trailer field")),
        }
    }
}

/// Removes the framing between the `data` bytes at the front and `at`, the place up to which bytes were read.
fn close_gap(input: &mut BytesMut, data: usize, at: usize) {
    if data == 0 {
        input.advance(at);
    } else if at > data {
        // The shorter side moves: otherwise pipelined requests behind many small bodies would be moved again
        // and again.
        if data <= input.len() - at {
            input.copy_within(..data, at - data);
            input.advance(at - data);
        } else {
            let rest = input.len() - at;
            input.copy_within(at.., data);
            input.truncate(data + rest);
        }
    }
}

fn hex_digit(byte: u8) -> Option<u64> {
    char::from(byte).to_digit(16).map(u64::from)
}

/// Whether a field value, or an extension's quoted string, may have the byte: visible, blank or beyond ASCII.
fn is_text(byte: u8) -> bool {
    (byte >= b' ' && byte != 0x7f) || byte == b'\t'
}

#[cfg(test)]
mod tests {
    use super::*;

    const SETTINGS: Settings =
        Settings { max_head_bytes: 0, max_fields: 2, max_chunk_extension_bytes: 8, max_trailer_bytes: 40 };

    /// Decodes `wire` in pieces of `step` bytes. Returns the data, and the rest of the input if the body is
    /// complete.
    fn decode(wire: &[u8], step: usize) -> Result<(Vec<u8>, Option<Vec<u8>>), Fault> {
        let mut decoder = ChunkDecoder::new();
        let mut input = BytesMut::new();
        let mut data = Vec::new();
        for piece in wire.chunks(step) {
            input.extend_from_slice(piece);
            let len = decoder.decode(&mut input, &SETTINGS)?;
            data.extend_from_slice(&input.split_to(len));
        }
        Ok((data, decoder.is_done().then(|| input.to_vec())))
    }

    #[test]
    fn accepts_what_is_well_formed_however_it_is_cut() {
        for (wire, data, rest) in [
            ("0\r\n\r\n", "", Some("")),
            ("5\r\nhello\r\n0\r\n\r\n", "hello", Some("")),
            ("1\r\na\r\n2\r\nbc\r\nA\r\n0123456789\r\n0\r\n\r\nGET /", "abc0123456789", Some("GET /")),
            ("1;a=b\r\nx\r\n0;\tc\r\n\r\n", "x", Some("")),
            ("1;a \t= b;c\r\nx\r\n0\r\n\r\n", "x", Some("")),
            ("1;a=\"\"\r\nx\r\n0;d ;e\r\n\r\n", "x", Some("")),
            ("1;a=\";\\\"\"\r\nx\r\n0\r\n\r\n", "x", Some("")),
            ("1;a=\"\u{e9}\t\"\r\nx\r\n0\r\n\r\n", "x", Some("")),
            ("1;12345678\r\nx\r\n0\r\n\r\n", "x", Some("")),
            ("0000000000000001\r\nx\r\n00\r\n\r\n", "x", Some("")),
            ("1\r\nx\r\n0\r\nA: b\r\nc:\r\n\r\nrest", "x", Some("rest")),
            ("3\r\nabc", "abc", None),
            ("ffffffffffffffff\r\nabc", "abc", None),
        ] {
            for step in 1..=wire.len() {
                let (got, left) = decode(wire.as_bytes(), step).expect(wire);
                assert_eq!(got, data.as_bytes(), "{wire:?} by {step}");
                match rest {
                    // In pieces, the bytes after the body are appended to the rest.
                    Some(rest) => assert_eq!(left.as_deref(), Some(rest.as_bytes()), "{wire:?} by {step}"),
                    None => assert_eq!(left, None, "{wire:?} by {step}"),
                }
            }
        }
    }

    #[test]
    fn refuses_what_two_readers_could_understand_differently() {
        for wire in [
            "\r\n",
            ";\r\n",
            "g\r\n",
            " 5\r\n",
            "5 \r\n",
            "5\t\r\n",
            "+5\r\n",
            "-1\r\n",
            "0x5\r\n",
            "5\n",
            "5\rx",
            "5 ;a\r\n",
            "00000000000000001\r\n",
            "5;a\nb\r\n",
            "5;a\0\r\n",
            "5;a\rb\r\n",
            "5;\x7f\r\n",
            "5;\r\n",
            "5;;a\r\n",
            "5; \r\n",
            "5;a \r\n",
            "5;a b\r\n",
            "5;a=\r\n",
            "5;a=b c\r\n",
            "5;a=b=c\r\n",
            "5;=b\r\n",
            "5;\"a\"\r\n",
            "5;\u{e9}\r\n",
            "5;a=\u{e9}\r\n",
            "5;a=\"b\r\n",
            "5;a=\"b\"c\r\n",
            "5;a=b\"c\"\r\n",
            "5;a=\"\\\r\n",
            "5;a=\"\x7f\"\r\n",
            "5;a/b\r\n",
            "1\r\nab\r\n",
            "1\r\na\n",
            "1\r\na\rb",
            "0\r\n\n",
            "0\r\n\rx",
            "0\r\n: b\r\n",
            "0\r\na b: c\r\n",
            "0\r\na\r\n",
            "0\r\na: b\n",
            "0\r\n b\r\n",
            "0\r\na: b\r\n c\r\n",
            "0\r\na: \0\r\n",
            "0\r\na: b\rc",
            "1;1234\r\nx\r\n1;12345\r\n",
            "1;123456789\r\n",
        ] {
            for step in 1..=wire.len() {
                let decoded = decode(wire.as_bytes(), step);
                assert!(matches!(decoded, Err(Fault::BadRequest(_))), "{wire:?} by {step}: {decoded:?}");
            }
        }
    }

    #[test]
    fn trailers_are_limited_in_number_and_bytes() {
        for wire in ["0\r\na:\r\nb:\r\nc:\r\n", "0\r\na: 0123456789012345678901234567890123456789\r\n"] {
            for step in 1..=wire.len() {
                assert_eq!(decode(wire.as_bytes(), step), Err(Fault::HeadTooLarge), "{wire:?} by {step}");
            }
        }
    }
}
