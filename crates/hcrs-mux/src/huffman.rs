//! The Huffman code of HPACK and QPACK (RFC 7541 §5.2, Appendix B).
//!
//! Decoding walks an automaton with a step for each half of a byte: no code is shorter than five bits, so a
//! step ends at most one code. The automaton is built from the table of codes when the crate is compiled.

/// Lengths of the codes of each byte, and of the end of a string, in bits. The code is canonical: codes of the same
/// length are consecutive numbers, in the order of their bytes.
#[rustfmt::skip]
const LENS: [u8; 257] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28,
    28, 28, 28, 28, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 28,
    6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6,
    5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10,
    13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7,
    7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6,
    15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5,
    6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28,
    20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23,
    24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24,
    22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23,
    21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23,
    26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25,
    19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27,
    20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23,
    26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26,
    30,
];

/// The code of each byte, and of the end of a string: its bits, right-aligned, and their number.
const CODES: [(u32, u8); 257] = codes();

const fn codes() -> [(u32, u8); 257] {
    let mut codes = [(0, 0); 257];
    let (mut code, mut len) = (0, 1);
    while len <= 30 {
        let mut at = 0;
        while at < LENS.len() {
            if LENS[at] == len {
                codes[at] = (code, len);
                code += 1;
            }
            at += 1;
        }
        code <<= 1;
        len += 1;
    }
    codes
}

/// Index of the code that stands for the end of a string. It never appears in one.
const EOS: u16 = 256;

/// Number of inner nodes of the tree of codes: one less than there are codes.
const NODES: usize = CODES.len() - 1;

/// The effect of half a byte in a state of the automaton.
#[derive(Debug, Clone, Copy)]
struct Step {
    /// The next state: an inner node of the tree.
    next: u16,
    /// The byte whose code has ended, if `emits`.
    byte: u8,
    emits: bool,
    /// The code of the end has ended, which is an error.
    fails: bool,
}

/// A branch of the tree: a leaf has this added to the index of its code.
const LEAF: u16 = 1 << 15;

const fn tree() -> [[u16; 2]; NODES] {
    let mut nodes = [[0; 2]; NODES];
    let mut used = 1;
    let mut code = 0;
    while code < CODES.len() {
        let (bits, len) = CODES[code];
        let mut node = 0;
        let mut left = len;
        while left > 1 {
            left -= 1;
            let bit = (bits >> left & 1) as usize;
            if nodes[node][bit] == 0 {
                nodes[node][bit] = used;
                used += 1;
            }
            node = nodes[node][bit] as usize;
        }
        nodes[node][(bits & 1) as usize] = LEAF | code as u16;
        code += 1;
    }
    nodes
}

#[allow(clippy::large_stack_arrays, reason = "it runs in the compiler")]
const fn automaton() -> [[Step; 16]; NODES] {
    let nodes = tree();
    let mut steps = [[Step { next: 0, byte: 0, emits: false, fails: false }; 16]; NODES];
    let mut state = 0;
    while state < NODES {
        let mut half = 0;
        while half < 16 {
            let mut step = Step { next: state as u16, byte: 0, emits: false, fails: false };
            let mut bit = 4;
            while bit > 0 {
                bit -= 1;
                let branch = nodes[step.next as usize][half >> bit & 1];
                if branch & LEAF == 0 {
                    step.next = branch;
                } else {
                    let code = branch & !LEAF;
                    step.fails |= code == EOS;
                    step.byte = code as u8;
                    step.emits = true;
                    step.next = 0;
                }
            }
            steps[state][half] = step;
            half += 1;
        }
        state += 1;
    }
    steps
}

/// The states in which a string may end: the bits since the last code are the beginning of that of the end,
/// and fewer than eight.
const fn ends() -> [bool; NODES] {
    let nodes = tree();
    let mut ends = [false; NODES];
    let (mut node, mut depth) = (0, 0);
    while depth < 8 {
        ends[node] = true;
        node = nodes[node][1] as usize;
        depth += 1;
    }
    ends
}

static AUTOMATON: [[Step; 16]; NODES] = automaton();
static ENDS: [bool; NODES] = ends();

/// Appends the decoded form of `bytes` to `out`. Returns false if they are no string of the code.
pub(crate) fn decode(bytes: &[u8], out: &mut Vec<u8>) -> bool {
    // The shortest code has five bits.
    out.reserve(bytes.len() * 8 / 5);
    let mut state = 0;
    for &byte in bytes {
        for half in [byte >> 4, byte & 15] {
            let step = AUTOMATON[usize::from(state)][usize::from(half)];
            if step.emits {
                if step.fails {
                    return false;
                }
                out.push(step.byte);
            }
            state = step.next;
        }
    }
    ENDS[usize::from(state)]
}

/// Returns the number of bytes that `text` has in the code.
pub(crate) fn encoded_len(text: &[u8]) -> usize {
    let bits: usize = text.iter().map(|&byte| usize::from(CODES[usize::from(byte)].1)).sum();
    bits.div_ceil(8)
}

/// Appends `text` in the code.
pub(crate) fn encode(text: &[u8], out: &mut Vec<u8>) {
    let (mut bits, mut count) = (0u64, 0);
    for &byte in text {
        let (code, len) = CODES[usize::from(byte)];
        bits = bits << len | u64::from(code);
        count += len;
        while count >= 8 {
            count -= 8;
            out.push((bits >> count) as u8);
        }
    }
    if count > 0 {
        // The padding is the beginning of the code of the end: ones.
        out.push((bits << (8 - count)) as u8 | 0xff >> count);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn decoded(bytes: &[u8]) -> Option<Vec<u8>> {
        let mut out = Vec::new();
        decode(bytes, &mut out).then_some(out)
    }

    #[test]
    fn the_codes_are_those_of_the_tables_sum() {
        // A complete prefix code: the fractions that its codes take of all strings add up to one.
        let sum: u64 = CODES.iter().map(|&(_, len)| 1u64 << (30 - len)).sum();
        assert_eq!(sum, 1 << 30);
    }

    #[test]
    fn padding_is_ones_and_shorter_than_a_byte() {
        assert_eq!(decoded(&[0x1f]).as_deref(), Some(&b"a"[..]));
        assert_eq!(decoded(&[0x18]), None, "padded with zeros");
        assert_eq!(decoded(&[0x1f, 0xff]), None, "a byte of padding");
        assert_eq!(decoded(&[0xff, 0xff, 0xff, 0xff]), None, "the end of the string in the string");
        assert_eq!(decoded(&[]).as_deref(), Some(&b""[..]));
    }

    proptest! {
        #[test]
        fn what_is_encoded_is_decoded(text in proptest::collection::vec(any::<u8>(), 0..80)) {
            let mut out = Vec::new();
            encode(&text, &mut out);
            prop_assert_eq!(out.len(), encoded_len(&text));
            prop_assert_eq!(decoded(&out), Some(text));
        }

        #[test]
        fn what_is_decoded_is_encoded_alike(bytes in proptest::collection::vec(any::<u8>(), 0..20)) {
            if let Some(text) = decoded(&bytes) {
                let mut out = Vec::new();
                encode(&text, &mut out);
                prop_assert_eq!(out, bytes);
            }
        }
    }
}
