//! WebSockets: other connections make progress meanwhile, and unfinished messages are bounded.

use std::os::unix::net::UnixStream;

use super::*;

/// The inflated size of the message.
const INFLATED: usize = 15 << 20;

/// A request that is refused without a worker.
const BAD: &[u8] = b"GET / HTTP/1.1\r\n\r\n";

/// Returns a compressed message that repeats one byte: a block of fixed codes, and the head of an empty one
/// (RFC 1951 §3.2.6).
fn bomb() -> Vec<u8> {
    let mut bits: Vec<bool> = vec![false, true, false];
    let code = |bits: &mut Vec<bool>, code: u32, len: u32| {
        bits.extend((0..len).rev().map(|at| code >> at & 1 == 1));
    };
    code(&mut bits, 0x30 + u32::from(b'a'), 8);
    for _ in 0..INFLATED / 258 {
        // 258 bytes, copied from one byte before.
        code(&mut bits, 0b1100_0101, 8);
        code(&mut bits, 0, 5);
    }
    code(&mut bits, 0, 7);
    code(&mut bits, 0, 3);
    let byte = |bits: &[bool]| bits.iter().rev().fold(0, |byte, &bit| byte << 1 | u8::from(bit));
    let packed: Vec<u8> = bits.chunks(8).map(byte).collect();
    // A binary message in one frame whose mask changes nothing.
    [&[0xc2, 0xff][..], &(packed.len() as u64).to_be_bytes(), &[0; 4], &packed].concat()
}

fn upgrade() -> Vec<u8> {
    b"GET / HTTP/1.1\r\nhost: h\r\nconnection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n\
      sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\nsec-websocket-extensions: permessage-deflate\r\n\r\n"
        .to_vec()
}

/// Returns an extended CONNECT, its fields as literals without indexing (RFC 8441 §4, RFC 7541 §6.2.2).
fn connect() -> Vec<u8> {
    let fields = [
        (":method", "CONNECT"),
        (":protocol", "websocket"),
        (":scheme", "http"),
        (":path", "/"),
        (":authority", "h"),
        ("sec-websocket-version", "13"),
        ("sec-websocket-extensions", "permessage-deflate"),
    ];
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        for text in [name, value] {
            block.push(text.len() as u8);
            block.extend_from_slice(text.as_bytes());
        }
    }
    // The windows of the server's settings apply once they are acknowledged.
    [HELLO, b"\0\0\0\x04\x01\0\0\0\0", &h2_frame(1, 4, &block)].concat()
}

fn h2_frame(kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
    let [_, len @ ..] = (payload.len() as u32).to_be_bytes();
    [&len[..], &[kind, flags, 0, 0, 0, 1], payload].concat()
}

/// Opens a WebSocket, which the worker accepts.
async fn open(
    io: &mut DuplexStream,
    shared: &Rc<ThreadState>,
    worker: &(UnixStream, ClaimTable),
    is_h2: bool,
) {
    io.write_all(&if is_h2 { connect() } else { upgrade() }).await.unwrap();
    let stream = claim(shared, worker).await;
    send_frames(&worker.0, &[FromWorker::Accept { stream, head: &[101, 0, 0, 0] }]);
    let mut seen = BytesMut::new();
    // HEADERS with the response's head, or the end of it.
    let answer: &[u8] = if is_h2 { b"\x01\x04\0\0\0\x01" } else { b"\r\n\r\n" };
    while !seen.windows(answer.len()).any(|bytes| bytes == answer) {
        assert!(io.read_buf(&mut seen).await.unwrap() > 0, "closed without an answer: {seen:?}");
    }
}

/// Returns the number of bytes that were sent to the worker since the last call.
fn sent_to(worker: &UnixStream) -> usize {
    let (mut sent, mut bytes) = (0, vec![0; 1 << 16]);
    while let Ok(n) = std::io::Read::read(&mut &*worker, &mut bytes) {
        sent += n;
    }
    sent
}

#[test]
fn others_are_served_while_a_message_is_inflated() {
    for is_h2 in [false, true] {
        let drive = move |client, io| async move {
            if is_h2 { super::super::h2::drive(client, io).await } else { h1(client, io).await }
        };
        run(with_app(1 << 20), drive, move |mut io, shared| async move {
            let worker = attach(&shared).await;
            open(&mut io, &shared, &worker, is_h2).await;
            let (near, mut other) = duplex(4096);
            tokio::task::spawn_local(h1(client(&shared), near));
            other.write_all(BAD).await.unwrap();
            other.read_exact(&mut [0; 12]).await.unwrap();
            let _before = sent_to(&worker.0);

            let message = bomb();
            let wire = if is_h2 {
                message.chunks(16_384).flat_map(|piece| h2_frame(0, 0, piece)).collect()
            } else {
                message
            };
            io.write_all(&wire).await.unwrap();
            for served in 0..3 {
                let (near, mut other) = duplex(4096);
                tokio::task::spawn_local(h1(client(&shared), near));
                other.write_all(BAD).await.unwrap();
                let mut status = [0; 12];
                other.read_exact(&mut status).await.unwrap();
                assert_eq!(&status, b"HTTP/1.1 400");
                assert!(
                    sent_to(&worker.0) < 1000,
                    "the message was whole before {served} others were served"
                );
            }
            let (mut sent, began) = (0, std::time::Instant::now());
            while sent < 65_536 {
                assert!(began.elapsed() < Duration::from_secs(60), "the message does not come: {sent}");
                sent += sent_to(&worker.0);
                tokio::task::yield_now().await;
            }
        });
    }
}

#[test]
fn others_are_served_while_a_client_sends_without_end() {
    const SENT: usize = 1 << 20;
    run(with_app(SENT), h1, |mut io, shared| async move {
        let worker = attach(&shared).await;
        open(&mut io, &shared, &worker, false).await;
        let pings = b"\x89\x80\0\0\0\0".repeat(SENT / 6);
        io.write_all(&pings).await.unwrap();
        let (near, mut other) = duplex(4096);
        tokio::task::spawn_local(h1(client(&shared), near));
        other.write_all(BAD).await.unwrap();
        let mut status = [0; 12];
        other.read_exact(&mut status).await.unwrap();
        assert_eq!(&status, b"HTTP/1.1 400");
        // As many bytes as were read can be written again.
        let read = io.write(&pings).await.unwrap();
        assert!(read <= SENT / 4, "{read} bytes were read before another connection had its turn");
    });
}

#[test]
fn a_message_that_does_not_go_on_is_given_up_after_the_body_timeout_whatever_else_comes() {
    run(with_app(1 << 16), h1, |mut io, shared| async move {
        let worker = attach(&shared).await;
        open(&mut io, &shared, &worker, false).await;
        let began = Instant::now();
        // The first fragment of a message, and then pings.
        io.write_all(b"\x02\x83\0\0\0\0abc").await.unwrap();
        let mut seen = BytesMut::new();
        let close = [&b"\x88\x1f"[..], &1008u16.to_be_bytes()].concat();
        while !seen.windows(close.len()).any(|bytes| bytes == close) {
            assert!(began.elapsed() < Duration::from_secs(70), "{seen:?}");
            io.write_all(b"\x89\x80\0\0\0\0").await.unwrap();
            let _more = tokio::time::timeout(Duration::from_secs(2), async {
                while io.read_buf(&mut seen).await.unwrap() > 0 {}
            })
            .await;
        }
        assert!((60..66).contains(&began.elapsed().as_secs()), "{:?}", began.elapsed());
    });
}
