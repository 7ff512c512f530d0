//! Back-pressure, and pings in both directions.

use std::time::{Duration, Instant};

use hcrs_ws::{PongMissing, Settings};

use crate::driver::{
    CONTINUATION, FIN, PING, PONG, Seen, Server, TEXT, binary, close, closed_with, frame, frames, ping,
    pong_frame, saw_binary, saw_close, saw_ping, saw_pong, saw_text, text,
};

#[test]
fn pings_are_answered_while_messages_wait() {
    let mut server = Server::new();
    let seen = server.feed_paused(&[text("one"), ping(b"1"), text("two"), frame(FIN | PONG, b"2")].concat());
    assert_eq!(seen, [saw_ping(b"1"), saw_pong(b"2")]);
    assert_eq!(server.sent(), [pong_frame(b"1")]);
    assert_eq!(server.feed_paused(&[ping(b"3"), text("three")].concat()), [saw_ping(b"3")]);
    // Then the messages come, and no event is repeated.
    assert_eq!(
        server.feed(&ping(b"4")),
        [saw_text("one"), saw_text("two"), saw_text("three"), saw_ping(b"4")]
    );
    assert_eq!(server.sent(), [pong_frame(b"3"), pong_frame(b"4")]);
    assert!(server.input.is_empty());
}

#[test]
fn a_ping_behind_half_a_frame_is_found() {
    let wire = binary(&[7; 10_000]);
    let mut server = Server::new();
    assert!(server.feed(&wire[..3000]).is_empty());
    assert!(server.feed_paused(&wire[3000..9000]).is_empty());
    assert_eq!(server.feed_paused(&[&wire[9000..], &ping(b"behind")].concat()), [saw_ping(b"behind")]);
    assert_eq!(server.feed(b""), [saw_binary(&[7; 10_000])]);
    assert!(server.input.is_empty());
}

#[test]
fn a_ping_between_fragments_is_found() {
    let mut server = Server::new();
    let wire = [frame(TEXT, b"a"), ping(b""), frame(CONTINUATION, b"b"), ping(b"x")].concat();
    let seen: Vec<Seen> = wire.iter().flat_map(|byte| server.feed_paused(&[*byte])).collect();
    assert_eq!(seen, [saw_ping(b""), saw_ping(b"x")]);
    assert_eq!(server.feed(&frame(FIN | CONTINUATION, b"c")), [saw_text("abc")]);
}

#[test]
fn pings_at_the_front_are_not_kept() {
    let mut server = Server::new();
    for _ in 0..1000 {
        assert_eq!(server.feed_paused(&ping(b"idle")), [saw_ping(b"idle")]);
        assert!(server.input.is_empty());
    }
    assert!(server.feed_paused(&ping(b"half")[..7]).is_empty());
    assert_eq!(server.feed_paused(&ping(b"half")[7..]), [saw_ping(b"half")]);
}

#[test]
fn a_close_is_told_after_the_messages_before_it() {
    let mut server = Server::new();
    assert!(server.feed_paused(&[text("last words"), close(1000, "")].concat()).is_empty());
    assert!(server.out.is_empty());
    assert_eq!(server.feed(b""), [saw_text("last words"), saw_close(1000, "")]);
    let mut server = Server::new();
    assert_eq!(server.feed_paused(&close(4000, "at the front")), [saw_close(4000, "at the front")]);
}

#[test]
fn faults_are_told_after_the_messages_before_them() {
    for fault in [frame(0x83, b""), frame(FIN | PING, &[0; 126]), b"\x89\x00".to_vec()] {
        let mut server = Server::new();
        assert!(server.feed_paused(&[text("good"), fault.clone(), ping(b"")].concat()).is_empty());
        assert_eq!(server.feed(b""), [saw_text("good"), Seen::Failed(1002)]);
        let mut server = Server::new();
        assert_eq!(server.feed_paused(&fault), [Seen::Failed(1002)]);
        assert_eq!(closed_with(&server.sent()), 1002);
    }
}

const INTERVAL: Duration = Duration::from_secs(20);
const TIMEOUT: Duration = Duration::from_secs(5);

fn pinging() -> Server {
    let settings = Settings { ping_interval: Some(INTERVAL), ping_timeout: TIMEOUT, ..Settings::default() };
    Server::with(&settings, None)
}

/// Ticks. Returns the payload of the ping that was sent, if one was, and the instant of the next tick.
fn tick(server: &mut Server, now: Instant) -> Result<(Option<Vec<u8>>, Option<Instant>), PongMissing> {
    let mut out = Vec::new();
    let next = server.connection.tick(now, true, &mut out)?;
    let ping = frames(&out).pop().map(|frame| {
        assert_eq!(frame.first, FIN | PING);
        frame.payload
    });
    Ok((ping, next))
}

#[test]
fn the_pong_with_the_pings_payload_answers_it() {
    let start = Instant::now();
    let mut server = pinging();
    let (payload, next) = tick(&mut server, start).unwrap();
    assert_eq!(next, Some(start + TIMEOUT));
    server.feed(&frame(FIN | PONG, &payload.expect("a ping at once")));
    assert_eq!(tick(&mut server, start + TIMEOUT / 2), Ok((None, Some(start + INTERVAL))));
    let (payload, next) = tick(&mut server, start + INTERVAL).unwrap();
    assert_eq!(next, Some(start + INTERVAL + TIMEOUT));
    // Behind a message that waits.
    server.feed_paused(&[text("waits"), frame(FIN | PONG, &payload.expect("the next ping"))].concat());
    assert_eq!(tick(&mut server, start + INTERVAL + TIMEOUT), Ok((None, Some(start + INTERVAL * 2))));
}

#[test]
fn silence_is_death_and_a_long_message_is_not() {
    let start = Instant::now();
    let mut server = pinging();
    tick(&mut server, start).unwrap();
    server.feed(&text("a long message")[..10]);
    assert_eq!(tick(&mut server, start + TIMEOUT), Ok((None, Some(start + TIMEOUT * 2))));
    assert_eq!(tick(&mut server, start + TIMEOUT * 2), Err(PongMissing));
}

#[test]
fn pings_stop_when_the_connection_closes() {
    let start = Instant::now();
    let mut server = pinging();
    server.connection.write_close(1000, "", &mut server.out).unwrap();
    assert_eq!(tick(&mut server, start), Ok((None, None)));
    let mut server = pinging();
    server.feed(&close(1000, ""));
    assert_eq!(tick(&mut server, start), Ok((None, None)));
    let mut server = Server::new();
    assert_eq!(tick(&mut server, start), Ok((None, None)), "off by default");
}
