//! The changes of a response's head.

use hcrs_http::{ResponseHead, ResponseHeadWriter};

use crate::coding::Coding;

const ACCEPT_ENCODING: &[u8] = b"accept-encoding";

/// Returns the head of a response whose body is encoded: with `content-encoding` and `vary`, a weak entity tag, without
/// `accept-ranges`, and with the length of the encoded body if it is known.
pub fn coded_head(head: &ResponseHead, coding: Coding, length: Option<u64>) -> ResponseHead {
    rewritten(head, |writer, block| {
        writer.field(block, b"content-encoding", coding.name().as_bytes());
        if let Some(length) = length {
            writer.field(block, b"content-length", length.to_string().as_bytes());
        }
        true
    })
}

/// Returns the head of a response that is encoded for other clients: with `vary`.
pub fn varied_head(head: &ResponseHead) -> ResponseHead {
    rewritten(head, |_, _| false)
}

/// Returns the head of a response without a body (304) that stands for one which would be encoded: with `vary` and a
/// weak entity tag, which is that of the encoded body.
pub fn revalidated_head(head: &ResponseHead) -> ResponseHead {
    rewritten(head, |_, _| true)
}

/// Returns the head with `vary`. `add` adds fields and returns whether the body is an encoded one.
fn rewritten(
    head: &ResponseHead,
    add: impl FnOnce(&mut ResponseHeadWriter, &mut Vec<u8>) -> bool,
) -> ResponseHead {
    let mut block = Vec::with_capacity(512);
    let mut writer = ResponseHeadWriter::begin(&mut block, head.status());
    let mut has_vary = varies(head);
    let is_coded = add(&mut writer, &mut block);
    for (name, value) in head.fields() {
        let is = |known: &[u8]| name.eq_ignore_ascii_case(known);
        if is_coded && (is(b"content-length") || is(b"accept-ranges")) {
            continue;
        }
        if is_coded && is(b"etag") && value.trim_ascii_start().starts_with(b"\"") {
            writer.field(&mut block, name, &[b"W/", value.trim_ascii_start()].concat());
        } else if !has_vary && is(b"vary") && !value.trim_ascii().is_empty() {
            has_vary = true;
            writer.field(&mut block, name, &[value, b", ", ACCEPT_ENCODING].concat());
        } else {
            writer.field(&mut block, name, value);
        }
    }
    if !has_vary {
        writer.field(&mut block, b"vary", ACCEPT_ENCODING);
    }
    writer.finish(&mut block);
    ResponseHead::parse(block.into()).expect("invariant: a head just written has its form")
}

/// Whether `vary` names `accept-encoding`, or everything.
fn varies(head: &ResponseHead) -> bool {
    let is_named = |element: &[u8]| {
        let element = element.trim_ascii();
        element == b"*" || element.eq_ignore_ascii_case(ACCEPT_ENCODING)
    };
    let mut vary = head.fields().filter(|(name, _)| name.eq_ignore_ascii_case(b"vary"));
    vary.any(|(_, value)| value.split(|&byte| byte == b',').any(is_named))
}

#[cfg(test)]
mod tests {
    use super::*;

    type Head<'a> = &'a [(&'a str, &'a str)];

    fn head(fields: Head<'_>) -> ResponseHead {
        ResponseHead::new(200, fields.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes())))
    }

    fn lines(head: &ResponseHead) -> Vec<String> {
        let line = |(name, value)| format!("{}: {}", text(name), text(value));
        let mut lines: Vec<_> = head.fields().map(line).collect();
        lines.sort();
        lines
    }

    fn text(bytes: &[u8]) -> &str {
        std::str::from_utf8(bytes).unwrap()
    }

    #[test]
    fn the_head_of_an_encoded_body_has_another_length_and_a_weak_tag() {
        let before = head(&[
            ("Content-Type", "text/html"),
            ("Content-Length", "5000"),
            ("ETag", "\"a\""),
            ("accept-ranges", "bytes"),
            ("x", "1"),
        ]);
        let common = ["Content-Type: text/html", "ETag: W/\"a\"", "content-encoding: gzip"];
        let streamed = lines(&coded_head(&before, Coding::Gzip, None));
        assert_eq!(streamed, [&common[..], &["vary: accept-encoding", "x: 1"]].concat());
        let whole = lines(&coded_head(&before, Coding::Gzip, Some(700)));
        assert_eq!(whole, [&common[..], &["content-length: 700", "vary: accept-encoding", "x: 1"]].concat());
        let before = head(&[("etag", "W/\"a\""), ("vary", "cookie")]);
        let expected = ["content-encoding: br", "etag: W/\"a\"", "vary: cookie, accept-encoding"];
        assert_eq!(lines(&coded_head(&before, Coding::Brotli, None)), expected);
    }

    #[test]
    fn vary_is_merged_and_named_once() {
        for (before, after) in [
            (vec![], vec!["vary: accept-encoding"]),
            (vec![("vary", "Cookie")], vec!["vary: Cookie, accept-encoding"]),
            (vec![("vary", "")], vec!["vary: ", "vary: accept-encoding"]),
            (vec![("vary", "Accept-Encoding")], vec!["vary: Accept-Encoding"]),
            (vec![("vary", "cookie,ACCEPT-encoding , x")], vec!["vary: cookie,ACCEPT-encoding , x"]),
            (vec![("vary", "*")], vec!["vary: *"]),
            (
                vec![("vary", "cookie"), ("vary", "accept-encoding")],
                vec!["vary: accept-encoding", "vary: cookie"],
            ),
            (vec![("vary", "a"), ("vary", "b")], vec!["vary: a, accept-encoding", "vary: b"]),
        ] {
            assert_eq!(lines(&varied_head(&head(&before))), after);
        }
        let kept = head(&[("etag", "\"a\""), ("content-length", "9"), ("accept-ranges", "bytes")]);
        assert_eq!(
            lines(&varied_head(&kept)),
            ["accept-ranges: bytes", "content-length: 9", "etag: \"a\"", "vary: accept-encoding"]
        );
    }
}
