//! Escapes text of clients for a log line: no control character reaches a terminal, and no byte ends the
//! line.

/// The treatment of `"` and `\`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Quotes {
    /// Both stay as they are.
    AsTheyAre,
    /// Both get a `\` in front, because the text is between quotes.
    Escaped,
}

/// Appends `text`; control characters and bytes that are not UTF-8 become `\xNN`.
pub(crate) fn push_escaped(out: &mut Vec<u8>, text: &[u8], quotes: Quotes) {
    let escapes =
        |b: u8| !(0x20..0x7f).contains(&b) || (quotes == Quotes::Escaped && matches!(b, b'"' | b'\\'));
    let Some(first) = text.iter().position(|&b| escapes(b)) else {
        out.extend_from_slice(text);
        return;
    };
    out.extend_from_slice(&text[..first]);
    for chunk in text[first..].utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '"' | '\\' if quotes == Quotes::Escaped => out.extend_from_slice(&[b'\\', c as u8]),
                c if is_unfit(c) => {
                    for byte in c.encode_utf8(&mut [0; 4]).bytes() {
                        push_hex(out, byte);
                    }
                }
                c => out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
            }
        }
        for &byte in chunk.invalid() {
            push_hex(out, byte);
        }
    }
}

/// Appends `text` as a JSON string (RFC 8259 §7), quotes included. Control characters become `\u00NN`, and
/// bytes that are not UTF-8 the four characters `\xNN`, because JSON cannot express them.
pub(crate) fn push_json_string(out: &mut Vec<u8>, text: &[u8]) {
    out.push(b'"');
    let escapes = |b: u8| !(0x20..0x7f).contains(&b) || matches!(b, b'"' | b'\\');
    let first = text.iter().position(|&b| escapes(b)).unwrap_or(text.len());
    out.extend_from_slice(&text[..first]);
    for chunk in text[first..].utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '"' | '\\' => out.extend_from_slice(&[b'\\', c as u8]),
                c if is_unfit(c) => out.extend_from_slice(format!("\\u{:04x}", u32::from(c)).as_bytes()),
                c => out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
            }
        }
        for &byte in chunk.invalid() {
            out.push(b'\\');
            push_hex(out, byte);
        }
    }
    out.push(b'"');
}

/// Whether the character is a control character (C0, DEL, C1), a line end of Unicode, or a mark that changes
/// the direction of the text.
fn is_unfit(c: char) -> bool {
    c.is_control() || matches!(c, '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

fn push_hex(out: &mut Vec<u8>, byte: u8) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    out.extend_from_slice(&[b'\\', b'x', DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn escaped(text: &[u8], quotes: Quotes) -> String {
        let mut out = Vec::new();
        push_escaped(&mut out, text, quotes);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn plain_text_and_utf8_stand_as_they_are() {
        assert_eq!(
            escaped("/caf\u{e9} \u{65e5}\u{672c}".as_bytes(), Quotes::Escaped),
            "/caf\u{e9} \u{65e5}\u{672c}"
        );
        assert_eq!(escaped(b"a \"b\" \\", Quotes::AsTheyAre), "a \"b\" \\");
    }

    #[test]
    fn controls_quotes_and_broken_utf8_are_escaped() {
        assert_eq!(escaped(b"a\nb\x1b[1m\x7f\0", Quotes::AsTheyAre), "a\\x0ab\\x1b[1m\\x7f\\x00");
        assert_eq!(escaped(b"\" \\ \xff\xc3", Quotes::Escaped), "\\\" \\\\ \\xff\\xc3");
        assert_eq!(
            escaped("\u{9b}2J \u{2028}\u{202e}".as_bytes(), Quotes::AsTheyAre),
            "\\xc2\\x9b2J \\xe2\\x80\\xa8\\xe2\\x80\\xae"
        );
    }

    #[test]
    fn json_strings_are_read_back_by_a_parser() {
        let json = |text: &[u8]| {
            let mut out = Vec::new();
            push_json_string(&mut out, text);
            String::from_utf8(out).unwrap()
        };
        assert_eq!(json(b"/a?b"), r#""/a?b""#);
        assert_eq!(json(b"\"\\\n\x7f"), r#""\"\\\u000a\u007f""#);
        assert_eq!(json("\u{9b}\u{2028}caf\u{e9}".as_bytes()), "\"\\u009b\\u2028caf\u{e9}\"");
        assert_eq!(json(b"\xff\xc3"), r#""\\xff\\xc3""#);
        let text: String = ('\0'..='\u{2fff}').collect();
        assert_eq!(serde_json::from_str::<String>(&json(text.as_bytes())).unwrap(), text);
    }
}
