//! The deadlines of a connection that was idle before: they fire as early as on a new one, however long the
//! connection might have stayed idle.

use super::*;

/// How long a connection may stay without a request.
const KEPT: Duration = Duration::from_secs(3600);

/// HEADERS with `END_STREAM`: GET http / of host `h`.
const GET: &[u8] = b"\0\0\x06\x01\x05\0\0\0\x01\x82\x86\x84\x41\x01h";

/// Runs a client whose connection has been idle for longer than the interval of checks.
fn run_idle<D: Future<Output = ()> + 'static, C: Future<Output = ()>>(
    setup: Setup,
    hello: &'static [u8],
    drive: impl FnOnce(Client, DuplexStream) -> D,
    talk: impl FnOnce(DuplexStream, Rc<ThreadState>) -> C,
) {
    let has_app = setup.has_app;
    let keep = |settings: &mut Settings| settings.connection.keep_alive_timeout = KEPT;
    run_with(setup, keep, drive, |mut io, shared| async move {
        if has_app {
            tokio::time::pause();
        }
        io.write_all(hello).await.unwrap();
        tokio::time::sleep(super::super::lifecycle::TICK * 3).await;
        if has_app {
            tokio::time::resume();
        }
        talk(io, shared).await;
    });
}

fn assert_in_time(began: Instant, limit: u64) {
    let took = began.elapsed().as_secs();
    assert!((limit..limit + 3).contains(&took), "{took} s for a deadline of {limit} s");
}

#[test]
fn half_an_h1_head_gets_408() {
    run_idle(without_app(4096), b"", h1, |mut io, _| async move {
        let began = Instant::now();
        io.write_all(b"GET / HTTP/1.1\r\n").await.unwrap();
        let mut seen = [0; 12];
        io.read_exact(&mut seen).await.unwrap();
        assert_eq!(&seen, b"HTTP/1.1 408");
        assert_in_time(began, 10);
    });
}

#[test]
fn half_an_h1_body_gets_408() {
    run_idle(with_app(4096), b"", h1, |mut io, shared| async move {
        let worker = attach(&shared).await;
        let began = Instant::now();
        io.write_all(b"POST / HTTP/1.1\r\nhost: h\r\ncontent-length: 5\r\n\r\n").await.unwrap();
        claim(&shared, &worker).await;
        let mut seen = [0; 12];
        io.read_exact(&mut seen).await.unwrap();
        assert_eq!(&seen, b"HTTP/1.1 408");
        assert_in_time(began, 60);
    });
}

#[test]
fn an_h1_client_that_reads_nothing_is_given_up() {
    run_idle(without_app(16), b"", h1, |mut io, shared| async move {
        let began = Instant::now();
        io.write_all(b"GET / HTTP/1.1\r\nhost: h\r\n\r\n").await.unwrap();
        while !shared.connections.borrow().is_empty() {
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
        assert_in_time(began, 60);
    });
}

#[test]
fn an_h2_header_block_without_end_closes_the_connection() {
    run_idle(without_app(4096), HELLO, super::super::h2::drive, |mut io, _| async move {
        let began = Instant::now();
        io.write_all(b"\0\0\x01\x01\0\0\0\0\x01\x82").await.unwrap();
        until_closed(&mut io).await;
        assert_in_time(began, 10);
    });
}

#[test]
fn half_an_h2_body_ends_its_stream() {
    run_idle(with_app(4096), HELLO, super::super::h2::drive, |mut io, shared| async move {
        let worker = attach(&shared).await;
        let began = Instant::now();
        io.write_all(POST).await.unwrap();
        claim(&shared, &worker).await;
        let mut seen = BytesMut::new();
        // HEADERS of the 408 with END_STREAM, on stream 1.
        while !seen.windows(6).any(|bytes| bytes == b"\x01\x05\0\0\0\x01") {
            assert!(io.read_buf(&mut seen).await.unwrap() > 0, "closed without an answer: {seen:?}");
        }
        assert_in_time(began, 60);
    });
}

#[test]
fn an_h2_client_that_reads_nothing_is_given_up() {
    run_idle(without_app(128), HELLO, super::super::h2::drive, |mut io, shared| async move {
        let began = Instant::now();
        io.write_all(GET).await.unwrap();
        while !shared.connections.borrow().is_empty() {
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
        assert_in_time(began, 60);
    });
}
