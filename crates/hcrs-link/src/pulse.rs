//! The messages of the edge's supervisor and a worker beside the links, over a socket that preserves message
//! boundaries: whether each layer of the worker responds, and the stacks of a worker of which one does not.

/// Length of the longest text of stacks, in bytes: it has to pass through the socket as one message.
pub const STACKS_MAX: usize = 64 << 10;

/// Length of the longest message, in bytes.
pub const PULSE_MAX: usize = 1 + STACKS_MAX;

/// A layer of a worker, in order from the lowest. A layer that is blocked blocks all layers above it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Layer {
    /// The process: a thread that never touches Python answers.
    Process,
    /// The interpreter: a thread answers that takes the GIL.
    Interpreter,
    /// The event loop, or a pool of threads in which one is free or has completed a request.
    Loop,
}

impl Layer {
    /// All layers, the lowest first.
    pub const ALL: [Self; 3] = [Self::Process, Self::Interpreter, Self::Loop];
}

/// A message from the edge to a worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    /// Asks each layer to answer with this number, or with that of a later ping.
    Ping(u32),
    /// Asks for the stacks of all threads and tasks.
    Stacks,
}

/// A message from a worker to the edge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer<'a> {
    /// The layer responds, and has read the ping of this number.
    Turns(Layer, u32),
    /// The stacks of all threads and tasks.
    Stacks(&'a [u8]),
}

const PING: u8 = 1;
const STACKS: u8 = 2;
const TURNS: [u8; 3] = [3, 4, 5];

impl Asked {
    /// Returns the message.
    pub fn to_bytes(self) -> [u8; 5] {
        match self {
            Self::Ping(number) => numbered(PING, number),
            Self::Stacks => numbered(STACKS, 0),
        }
    }

    /// Parses a message; `None` if it is malformed.
    pub fn parse(message: &[u8]) -> Option<Self> {
        match message.split_first()? {
            (&PING, number) => Some(Self::Ping(u32::from_le_bytes(number.try_into().ok()?))),
            (&STACKS, _) => Some(Self::Stacks),
            _ => None,
        }
    }
}

impl<'a> Answer<'a> {
    /// Returns the message.
    pub fn to_bytes(self) -> Vec<u8> {
        match self {
            Self::Turns(layer, number) => numbered(TURNS[layer as usize], number).to_vec(),
            Self::Stacks(text) => [&[STACKS], &text[..text.len().min(STACKS_MAX)]].concat(),
        }
    }

    /// Parses a message; `None` if it is malformed.
    pub fn parse(message: &'a [u8]) -> Option<Self> {
        let (&kind, rest) = message.split_first()?;
        if kind == STACKS {
            return Some(Self::Stacks(rest));
        }
        let layer = TURNS.iter().position(|&turns| turns == kind)?;
        Some(Self::Turns(Layer::ALL[layer], u32::from_le_bytes(rest.try_into().ok()?)))
    }
}

fn numbered(kind: u8, number: u32) -> [u8; 5] {
    let mut message = [kind; 5];
    message[1..].copy_from_slice(&number.to_le_bytes());
    message
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_read_back_as_they_were_written() {
        for asked in [Asked::Ping(0), Asked::Ping(u32::MAX), Asked::Stacks] {
            assert_eq!(Asked::parse(&asked.to_bytes()), Some(asked));
        }
        let turns = Layer::ALL.map(|layer| Answer::Turns(layer, 70_000));
        for answer in turns.into_iter().chain([Answer::Stacks(b"Thread 1"), Answer::Stacks(b"")]) {
            assert_eq!(Answer::parse(&answer.to_bytes()), Some(answer));
        }
    }

    #[test]
    fn stacks_are_cut_to_what_a_message_takes() {
        let message = Answer::Stacks(&vec![b'x'; STACKS_MAX + 1]).to_bytes();
        assert_eq!(message.len(), PULSE_MAX);
    }

    #[test]
    fn what_is_no_message_is_recognized() {
        for message in [&b""[..], b"\x01", b"\x01abcde", b"\x09abcd", b"\x03", b"\x05abcdef"] {
            assert_eq!(Asked::parse(message), None, "{message:?}");
            assert_eq!(Answer::parse(message), None, "{message:?}");
        }
    }
}
