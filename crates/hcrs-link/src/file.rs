//! A part of a file that a worker passes to the edge.

/// The range of a file's bytes. The file's descriptor passes beside the frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FilePart {
    /// Start of the part, in bytes.
    pub offset: u64,
    /// Length of the part, in bytes.
    pub len: u64,
}

impl FilePart {
    /// Parses a payload; `None` if it is malformed or the part is empty.
    pub(crate) fn parse(payload: &[u8]) -> Option<Self> {
        let bytes: &[u8; 16] = payload.try_into().ok()?;
        let (offset, len) = bytes.split_first_chunk()?;
        let (offset, len) = (u64::from_le_bytes(*offset), u64::from_le_bytes(len.try_into().ok()?));
        (len > 0).then_some(Self { offset, len })
    }

    /// Returns the payload.
    pub(crate) fn to_bytes(self) -> [u8; 16] {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&self.offset.to_le_bytes());
        bytes[8..].copy_from_slice(&self.len.to_le_bytes());
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_is_read_back_as_it_was_written() {
        let part = FilePart { offset: 1 << 40, len: u64::MAX };
        assert_eq!(FilePart::parse(&part.to_bytes()), Some(part));
        assert_eq!(FilePart::parse(&part.to_bytes()[1..]), None);
        assert_eq!(FilePart::parse(&FilePart { offset: 1, len: 0 }.to_bytes()), None);
    }
}
