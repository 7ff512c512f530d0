//! The load of the benchmark's WebSocket scenarios (tests/bench): a closed loop on many connections to an
//! echo.
//!
//! `echo_load PORT CONNECTIONS BYTES MESSAGES` opens the connections, has each send a text of that many
//! bytes, wait for its echo and send again, until that many messages have come back, and prints the results
//! as JSON. It is meant to use little of the machine: one thread, one read and one write for each message,
//! and each frame masked once.
#![allow(clippy::print_stdout, reason = "what it prints is its result")]

use std::error::Error;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Ipv4Addr, TcpStream};
use std::time::{Duration, Instant};

use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};

/// Time without a byte after which the server has failed the remaining messages.
const PATIENCE: Duration = Duration::from_secs(10);

const MASKING_KEY: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];
const TEXT: u8 = 0x81;
const MASKED: u8 = 0x80;
const LENGTH_16: u8 = 126;
const LENGTH_64: u8 = 127;

struct Client {
    socket: TcpStream,
    sent_at: Instant,
    /// Bytes of the echo that have come.
    received: usize,
    failed: bool,
}

/// State shared by all clients.
struct Load {
    request: Vec<u8>,
    echo: Vec<u8>,
    /// Messages that are still to be sent.
    left: usize,
    /// The duration of each, in µs.
    took: Vec<u32>,
    buffer: Vec<u8>,
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<usize> =
        std::env::args().skip(1).map(|word| word.parse()).collect::<Result<_, _>>()?;
    let &[port, connections, bytes, messages] = arguments.as_slice() else {
        return Err("usage: echo_load PORT CONNECTIONS BYTES MESSAGES".into());
    };
    let (port, connections) = (u16::try_from(port)?, connections.min(messages));
    let text: Vec<u8> = (b'a'..=b'z').cycle().take(bytes).collect();
    let mut load = Load {
        request: frame(&text, Some(MASKING_KEY)),
        echo: frame(&text, None),
        left: messages,
        took: Vec::with_capacity(messages),
        buffer: vec![0; 64 << 10],
    };
    let mut clients = (0..connections).map(|_| Client::open(port)).collect::<Result<Vec<_>, _>>()?;
    let begun = Instant::now();
    load.run(&mut clients)?;
    let seconds = begun.elapsed().as_secs_f64();
    load.took.sort_unstable();
    let (done, took) = (load.took.len(), &load.took);
    let mean = took.iter().map(|&took| u64::from(took)).sum::<u64>() / done.max(1) as u64;
    let at = |share: usize| took.get((done * share / 100).min(done.saturating_sub(1))).copied().unwrap_or(0);
    println!(
        r#"{{"done": {done}, "seconds": {seconds:.6}, "mean_us": {mean}, "p50_us": {}, "p99_us": {}}}"#,
        at(50),
        at(99)
    );
    Ok(())
}

impl Load {
    fn run(&mut self, clients: &mut [Client]) -> Result<(), Box<dyn Error>> {
        let poll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        for (number, client) in clients.iter_mut().enumerate() {
            client.socket.set_nonblocking(true)?;
            epoll::add(
                &poll,
                &client.socket,
                epoll::EventData::new_u64(number as u64),
                epoll::EventFlags::IN,
            )?;
            self.send(client);
        }
        let patience = Timespec { tv_sec: PATIENCE.as_secs().try_into()?, tv_nsec: 0 };
        let mut events = Vec::with_capacity(clients.len());
        while clients.iter().any(|client| !client.failed) && self.took.len() < self.took.capacity() {
            events.clear();
            if epoll::wait(&poll, spare_capacity(&mut events), Some(&patience))? == 0 {
                break;
            }
            for event in &events {
                let client = &mut clients[event.data.u64() as usize];
                if self.receive(client) {
                    self.send(client);
                } else if client.failed {
                    epoll::delete(&poll, &client.socket)?;
                }
            }
        }
        Ok(())
    }

    fn send(&mut self, client: &mut Client) {
        if self.left == 0 {
            return;
        }
        self.left -= 1;
        client.received = 0;
        client.sent_at = Instant::now();
        // A socket whose last message was answered has room for the next.
        client.failed |= !client.socket.write(&self.request).is_ok_and(|n| n == self.request.len());
    }

    /// Whether the echo is complete.
    fn receive(&mut self, client: &mut Client) -> bool {
        let n = match client.socket.read(&mut self.buffer) {
            Ok(n) if n > 0 => n,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return false,
            Ok(_) | Err(_) => {
                client.failed = true;
                return false;
            }
        };
        let expected = self.echo.get(client.received..client.received + n);
        if expected != Some(&self.buffer[..n]) {
            client.failed = true;
            return false;
        }
        client.received += n;
        let is_complete = client.received == self.echo.len();
        if is_complete {
            self.took.push(u32::try_from(client.sent_at.elapsed().as_micros()).unwrap_or(u32::MAX));
        }
        is_complete
    }
}

impl Client {
    /// Returns a WebSocket whose handshake is done. Nothing is offered, and so nothing compressed.
    fn open(port: u16) -> Result<Self, Box<dyn Error>> {
        let mut socket = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
        socket.set_nodelay(true)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        let request = format!(
            "GET /ws HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\nupgrade: websocket\r\nconnection: Upgrade\r\n\
             sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        );
        socket.write_all(request.as_bytes())?;
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            // Byte by byte: what follows the head is not to be lost, and this is done once.
            let mut byte = [0];
            socket.read_exact(&mut byte)?;
            head.extend_from_slice(&byte);
        }
        if !head.starts_with(b"HTTP/1.1 101") {
            return Err(format!("refused: {}", String::from_utf8_lossy(&head)).into());
        }
        Ok(Self { socket, sent_at: Instant::now(), received: 0, failed: false })
    }
}

/// Returns a text as one frame.
fn frame(text: &[u8], key: Option<[u8; 4]>) -> Vec<u8> {
    let masked = if key.is_some() { MASKED } else { 0 };
    let mut frame = vec![TEXT];
    match text.len() {
        len @ 0..=125 => frame.push(masked | len as u8),
        len @ 126..=0xffff => {
            frame.push(masked | LENGTH_16);
            frame.extend_from_slice(&(len as u16).to_be_bytes());
        }
        len => {
            frame.push(masked | LENGTH_64);
            frame.extend_from_slice(&(len as u64).to_be_bytes());
        }
    }
    let key = key.inspect(|key| frame.extend_from_slice(key)).unwrap_or_default();
    frame.extend(text.iter().zip(key.iter().cycle()).map(|(byte, key)| byte ^ key));
    frame
}
