//! The memory of connections, in bytes of the allocator.

use allocation_counter::measure;
use hcrs_ws::{Compression, Connection, DeflateTerms, MessageKind, Settings};

use crate::driver::{
    CONTINUATION, Client, FIN, NO_TAKEOVER, RSV1, Seen, Server, TAKEOVER, TEXT, frame, packing, ping, pool,
    sample, saw_text, text,
};

const KIB: i64 = 1024;

/// Returns the number of bytes that the result of `run` holds.
fn held<T>(run: impl FnOnce() -> T) -> i64 {
    let mut kept = None;
    let info = measure(|| kept = Some(run()));
    drop(kept);
    info.bytes_current
}

/// Returns the most bytes that were held at a time during `run`.
fn most(run: impl FnOnce()) -> u64 {
    measure(run).bytes_max
}

/// A message there and back, compressed if that was agreed.
fn exchange(server: &mut Server, terms: DeflateTerms) {
    let message = sample(3000);
    let packed = Client::new(terms).pack(message.as_bytes());
    assert_eq!(server.feed(&frame(FIN | RSV1 | TEXT, &packed)), [saw_text(&message)]);
    server.send(MessageKind::Text, message.as_bytes());
    assert_eq!(server.sent()[0].first, FIN | RSV1 | TEXT);
    (server.input, server.out) = Default::default();
}

#[test]
fn a_quiet_connection_holds_next_to_nothing() {
    assert!(size_of::<Connection>() <= 640, "{}", size_of::<Connection>());
    let settings = packing(&Compression::default());
    let pool = pool(&settings);
    // The pool's own memory.
    exchange(&mut Server::in_pool(&settings, Some(NO_TAKEOVER), &pool), NO_TAKEOVER);
    let bytes = held(|| {
        let mut server = Server::in_pool(&settings, Some(NO_TAKEOVER), &pool);
        exchange(&mut server, NO_TAKEOVER);
        server
    });
    assert!(bytes < KIB, "{bytes}");
}

#[test]
fn a_pool_is_empty_until_it_is_used_and_bounded_afterwards() {
    let settings = packing(&Compression::default());
    assert!(held(|| pool(&settings)) < 2 * KIB);
    let bytes = held(|| {
        let pool = pool(&settings);
        let mut servers: Vec<Server> =
            (0..50).map(|_| Server::in_pool(&settings, Some(NO_TAKEOVER), &pool)).collect();
        let packed = Client::new(NO_TAKEOVER).pack(sample(3000).as_bytes());
        // All in the middle of a message in both directions, then all at rest.
        for server in &mut servers {
            server.feed(&frame(RSV1 | TEXT, &packed[..50]));
            server.connection.write_fragment(MessageKind::Text, b"begun", false, &mut server.out).unwrap();
        }
        for server in &mut servers {
            server.feed(&frame(FIN | CONTINUATION, &packed[50..]));
            server.connection.write_fragment(MessageKind::Text, b"ended", true, &mut server.out).unwrap();
            (server.input, server.out) = Default::default();
        }
        (servers, pool)
    });
    assert!(bytes < 700 * KIB, "one compressor and four decompressors: {bytes}");
}

/// Returns the memory of one more connection after an exchange, without the pool's own.
fn held_with(compression: &Compression, terms: DeflateTerms, is_shed: bool) -> i64 {
    let settings = packing(compression);
    let pool = pool(&settings);
    let mut others = Vec::new();
    for terms in
        [terms, DeflateTerms { server_context_takeover: false, client_context_takeover: false, ..terms }]
    {
        let mut other = Server::in_pool(&settings, Some(terms), &pool);
        exchange(&mut other, terms);
        others.push(other);
    }
    held(|| {
        let mut server = Server::in_pool(&settings, Some(terms), &pool);
        // Not the pool's own compressor.
        let mut another = Server::in_pool(&settings, Some(terms), &pool);
        another
            .connection
            .write_fragment(MessageKind::Text, b"begun", false, &mut another.out)
            .expect("open");
        exchange(&mut server, terms);
        if is_shed {
            server.connection.shed_context();
        }
        server
    })
}

#[test]
fn context_takeover_costs_what_the_settings_say() {
    let server_only = DeflateTerms { client_context_takeover: false, ..TAKEOVER };
    let client_only = DeflateTerms { server_context_takeover: false, ..TAKEOVER };
    let compressor = held_with(&Compression::default(), server_only, false);
    assert!((360 * KIB..385 * KIB).contains(&compressor), "{compressor}");
    let shed = held_with(&Compression::default(), server_only, true);
    assert!(shed < KIB, "{shed}");
    let decompressor = held_with(&Compression::default(), client_only, false);
    assert!((35 * KIB..50 * KIB).contains(&decompressor), "{decompressor}");
    let smallest = Compression { mem_level: 1, ..Compression::default() };
    let smallest = held_with(&smallest, DeflateTerms { server_max_window_bits: 9, ..server_only }, false);
    assert!((130 * KIB..150 * KIB).contains(&smallest), "{smallest}");
}

#[test]
fn announced_bytes_are_not_held_before_they_come() {
    let mut server = Server::new();
    let bytes = most(|| {
        server.feed(b"\x82\xff\0\0\0\0\x01\0\0\0\0\0\0\0");
        server.feed(&[0; 100]);
    });
    assert!(bytes < 1024, "{bytes}");
}

#[test]
fn a_bomb_takes_no_more_than_the_limit() {
    let settings = Settings { max_message_size: 1 << 20, ..packing(&Compression::default()) };
    let bomb = frame(FIN | RSV1 | TEXT, &Client::new(TAKEOVER).pack(&vec![b'a'; 64 << 20]));
    let mut server = Server::with(&settings, Some(TAKEOVER));
    server.input.extend_from_slice(&bomb);
    let bytes = most(|| assert_eq!(server.feed(b""), [Seen::Failed(1009)]));
    assert!(bytes < 3 << 20, "the message, twice while it grows: {bytes}");
}

#[test]
fn floods_of_small_frames_are_flat() {
    let mut server = Server::new();
    server.feed(&frame(TEXT, b""));
    let fragments = [frame(CONTINUATION, b""), ping(b"flood")].concat().repeat(1000);
    server.feed(&fragments);
    server.out.clear();
    let bytes = held(|| {
        for _ in 0..20 {
            server.feed(&fragments);
            server.out.clear();
        }
    });
    assert!(bytes <= 0, "{bytes}");
    // Unread answers: the latest only.
    let mut server = Server::new();
    let pings = ping(&[7; 125]).repeat(1000);
    server.input.reserve(pings.len());
    let bytes = held(|| {
        for _ in 0..20 {
            server.input.extend_from_slice(&pings);
            while server.connection.poll_event(&mut server.input).unwrap().is_some() {}
        }
    });
    assert!(bytes < KIB, "{bytes}");
}

#[test]
fn what_a_message_grew_is_given_away_with_it() {
    let mut server = Server::new();
    let wire = text(&"a".repeat(1 << 20));
    let bytes = held(|| {
        for piece in wire.chunks(5000) {
            server.feed(piece);
        }
        server.input = bytes::BytesMut::new();
    });
    assert!(bytes < KIB, "{bytes}");
}
