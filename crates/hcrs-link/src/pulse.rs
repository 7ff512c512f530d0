//! What the edge's supervisor and a worker say to each other beside the links, over a socket that keeps messages apart: whether
//! each layer of the worker still turns, and where it stands if one does not.

/// The longest text of stacks, in bytes: it has to pass through the socket as one message.
pub const STACKS_MAX: usize = 64 << 10;

/// Bytes of the longest message.
pub const PULSE_MAX: usize = 1 + STACKS_MAX;

/// The layers of a worker, from the lowest. One that stands still holds up all above it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Layer {
    /// The process: a thread that never touches Python answers.
    Process,
    /// The interpreter: a thread answers that needs the GIL for it.
    Interpreter,
    /// The event loop, or a pool of threads of which one is free or has ended a request.
    Loop,
}

impl Layer {
    /// All of them, the lowest first.
    pub const ALL: [Self; 3] = [Self::Process, Self::Interpreter, Self::Loop];
}

/// From the edge to a worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    /// Every layer that turns is to answer with this number, or a later one's.
    Ping(u32),
    /// The stacks of all threads and tasks are to be told.
    Stacks,
}

/// From a worker to the edge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer<'a> {
    /// The layer turns, and has seen the ping of this number.
    Turns(Layer, u32),
    /// Where all threads and tasks stand.
    Stacks(&'a [u8]),
}

const PING: u8 = 1;
const STACKS: u8 = 2;
const TURNS: [u8; 3] = [3, 4, 5];

impl Asked {
    /// The message.
    pub fn to_bytes(self) -> [u8; 5] {
        match self {
            Self::Ping(number) => numbered(PING, number),
            Self::Stacks => numbered(STACKS, 0),
        }
    }

    /// Reads a message; `None` if it is none.
    pub fn parse(message: &[u8]) -> Option<Self> {
        match message.split_first()? {
            (&PING, number) => Some(Self::Ping(u32::from_le_bytes(number.try_into().ok()?))),
            (&STACKS, _) => Some(Self::Stacks),
            _ => None,
        }
    }
}

impl<'a> Answer<'a> {
    /// The message.
    pub fn to_bytes(self) -> Vec<u8> {
        match self {
            Self::Turns(layer, number) => numbered(TURNS[layer as usize], number).to_vec(),
            Self::Stacks(text) => [&[STACKS], &text[..text.len().min(STACKS_MAX)]].concat(),
        }
    }

    /// Reads a message; `None` if it is none.
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
    fn what_is_no_message_is_told_apart() {
        for message in [&b""[..], b"\x01", b"\x01abcde", b"\x09abcd", b"\x03", b"\x05abcdef"] {
            assert_eq!(Asked::parse(message), None, "{message:?}");
            assert_eq!(Answer::parse(message), None, "{message:?}");
        }
    }
}
