//! A part of a file that a worker has open, by which the edge finds it.

/// The payload of a `File` frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FilePart {
    /// Where the part begins.
    pub offset: u64,
    /// Its bytes.
    pub len: u64,
    /// The process that has the file open.
    pub process: u32,
    /// Its descriptor there.
    pub descriptor: u32,
}

impl FilePart {
    /// Reads a payload; `None` if it does not have the form.
    pub fn parse(payload: &[u8]) -> Option<Self> {
        let bytes: &[u8; 24] = payload.try_into().ok()?;
        let (offset, rest) = bytes.split_first_chunk()?;
        let (len, rest) = rest.split_first_chunk()?;
        let (process, rest) = rest.split_first_chunk()?;
        let descriptor = rest.try_into().ok()?;
        Some(Self {
            offset: u64::from_le_bytes(*offset),
            len: u64::from_le_bytes(*len),
            process: u32::from_le_bytes(*process),
            descriptor: u32::from_le_bytes(descriptor),
        })
    }

    /// The payload.
    pub fn to_bytes(self) -> [u8; 24] {
        let mut bytes = [0; 24];
        bytes[..8].copy_from_slice(&self.offset.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.len.to_le_bytes());
        bytes[16..20].copy_from_slice(&self.process.to_le_bytes());
        bytes[20..].copy_from_slice(&self.descriptor.to_le_bytes());
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_is_read_back_as_it_was_written() {
        let part = FilePart { offset: 1 << 40, len: u64::MAX, process: 4_000_000, descriptor: 7 };
        assert_eq!(FilePart::parse(&part.to_bytes()), Some(part));
        assert_eq!(FilePart::parse(&part.to_bytes()[1..]), None);
    }
}
