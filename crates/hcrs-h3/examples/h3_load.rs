//! Loads a server over HTTP/3, as h2load does over HTTP/2: the client of the benchmark.
//!
//! ```text
//! h3_load -n REQUESTS -c CONNECTIONS -m STREAMS [-d FILE] [-H 'NAME: VALUE']… [--hold] --log-file=LOG URL
//! ```
//!
//! The log has a line for each request: its start in microseconds since the epoch, its status, and its duration in
//! microseconds. Certificates are not verified. One thread, as h2load with `-t 1`. With `--hold` the connections stay open
//! until standard input ends, and the number of those that the server has closed since is printed.

use std::cell::{Cell, RefCell};
use std::error::Error;
use std::fmt::Write as _;
use std::io::Write as _;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs as _};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use quinn::crypto::rustls::QuicClientConfig;
use quinn::{ClientConfig, Connection, Endpoint, RecvStream, SendStream, TransportConfig, VarInt};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{DigitallySignedStruct, SignatureScheme};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// Frame types of RFC 9114 §7.2.
const DATA: u64 = 0x00;
const HEADERS: u64 = 0x01;

/// The largest head of a response, in bytes.
const HEAD_MAX: usize = 64 << 10;

/// What is sent, and how.
struct Plan {
    requests: usize,
    connections: usize,
    streams: usize,
    address: SocketAddr,
    host: String,
    /// The HEADERS frame of each request.
    head: Vec<u8>,
    /// The body of each request, in its DATA frame; empty for none.
    body: Vec<u8>,
    log: Option<String>,
    /// Whether the connections stay open when all responses are there.
    hold: bool,
}

/// A response that has ended.
struct Done {
    start: u128,
    status: u16,
    took: Duration,
}

/// The state of a run.
struct Run {
    plan: Plan,
    left: Cell<usize>,
    done: RefCell<Vec<Done>>,
    body_bytes: Cell<u64>,
}

fn main() -> Result<()> {
    let plan = plan(std::env::args().skip(1))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let begun = Instant::now();
    let run = Rc::new(Run {
        left: Cell::new(plan.requests),
        done: RefCell::new(Vec::with_capacity(plan.requests)),
        body_bytes: Cell::new(0),
        plan,
    });
    runtime.block_on(tokio::task::LocalSet::new().run_until(load(Rc::clone(&run))))?;
    let done = run.done.borrow();
    if let Some(path) = &run.plan.log {
        let mut lines = String::with_capacity(done.len() * 32);
        for Done { start, status, took } in &*done {
            writeln!(lines, "{start}\t{status}\t{}", took.as_micros())?;
        }
        std::fs::write(path, lines)?;
    }
    let good = done.iter().filter(|done| done.status / 100 == 2).count();
    let (asked, seconds, bytes) = (run.plan.requests, begun.elapsed().as_secs_f64(), run.body_bytes.get());
    writeln!(
        std::io::stdout(),
        "{good} of {asked} requests got 2xx in {seconds:.3} s\ntraffic: ({bytes}) data"
    )?;
    Ok(())
}

fn plan(mut arguments: impl Iterator<Item = String>) -> Result<Plan> {
    let (mut requests, mut connections, mut streams) = (1, 1, 1);
    let (mut body, mut fields, mut log, mut url, mut hold) = (Vec::new(), Vec::new(), None, None, false);
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().ok_or(format!("{argument} wants a value"));
        match argument.as_str() {
            "-n" => requests = value()?.parse()?,
            "-c" => connections = value()?.parse()?,
            "-m" => streams = value()?.parse()?,
            "-d" => body = std::fs::read(value()?)?,
            "-H" => fields.push(value()?),
            "--hold" => hold = true,
            // h2load's threads and timeout.
            "-t" | "-N" => drop(value()?),
            text => match text.strip_prefix("--log-file=") {
                Some(path) => log = Some(path.to_owned()),
                None => url = Some(text.to_owned()),
            },
        }
    }
    let url = url.ok_or("no URL")?;
    let rest = url.strip_prefix("https://").ok_or("HTTP/3 has https:// only")?;
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let (host, _) = authority.rsplit_once(':').ok_or("the URL has no port")?;
    // Some servers want a name in the handshake.
    let host = if host.parse::<IpAddr>().is_ok() { "localhost" } else { host }.to_owned();
    let address = authority.to_socket_addrs()?.next().ok_or("no such host")?;
    let mut head = vec![0, 0];
    // Lines of the static table (RFC 9204, appendix A): GET or POST, and https.
    head.push(0xc0 | if body.is_empty() { 0x11 } else { 0x14 });
    head.push(0xc0 | 0x17);
    for (index, value) in [(0, authority), (1, if path.is_empty() { "/" } else { path })] {
        head.push(0x50 | index);
        string(&mut head, 0, 7, value);
    }
    let length = (!body.is_empty()).then(|| format!("content-length: {}", body.len()));
    for field in fields.iter().chain(&length) {
        let (name, value) = field.split_once(':').ok_or("-H wants NAME: VALUE")?;
        string(&mut head, 0x20, 3, name);
        string(&mut head, 0, 7, value.trim());
    }
    let body = if body.is_empty() { body } else { frame(DATA, &body) };
    let head = frame(HEADERS, &head);
    Ok(Plan { requests, connections, streams, address, host, head, body, log, hold })
}

/// Appends a string without Huffman's code; its length has a prefix of `bits` bits.
fn string(out: &mut Vec<u8>, flags: u8, bits: u32, text: &str) {
    let max = (1 << bits) - 1;
    if text.len() < max {
        out.push(flags | text.len() as u8);
    } else {
        out.push(flags | max as u8);
        let mut left = text.len() - max;
        while left >= 128 {
            out.push(left as u8 | 128);
            left >>= 7;
        }
        out.push(left as u8);
    }
    out.extend_from_slice(text.as_bytes());
}

fn frame(kind: u64, payload: &[u8]) -> Vec<u8> {
    let mut frame = Vec::with_capacity(payload.len() + 9);
    frame.push(kind as u8);
    frame.extend_from_slice(&(payload.len() as u64 | 3 << 62).to_be_bytes());
    frame.extend_from_slice(payload);
    frame
}

async fn load(run: Rc<Run>) -> Result<()> {
    let mut endpoint = Endpoint::client(([0, 0, 0, 0], 0).into())?;
    endpoint.set_default_client_config(config()?);
    let mut connections = Vec::new();
    for _ in 0..run.plan.connections {
        let connection = endpoint.connect(run.plan.address, &run.plan.host)?.await?;
        let mut control = connection.open_uni().await?;
        // The control stream with empty SETTINGS: no dynamic table.
        control.write_all(&[0, 4, 0]).await?;
        connections.push((connection, control));
    }
    let mut tasks = Vec::new();
    for _ in 0..run.plan.streams {
        for (connection, _) in &connections {
            tasks.push(tokio::task::spawn_local(ask(Rc::clone(&run), connection.clone())));
        }
    }
    for task in tasks {
        task.await?;
    }
    if run.plan.hold {
        writeln!(std::io::stdout(), "holding {} connections", connections.len())?;
        tokio::task::spawn_blocking(|| std::io::copy(&mut std::io::stdin(), &mut std::io::sink())).await??;
        let lost = connections.iter().filter(|(connection, _)| connection.close_reason().is_some()).count();
        writeln!(std::io::stdout(), "lost {lost}")?;
    }
    for (connection, _) in connections {
        connection.close(VarInt::from_u32(0x100), b"");
    }
    Ok(())
}

/// Sends requests, one after the other.
async fn ask(run: Rc<Run>, connection: Connection) {
    while run.left.get() > 0 {
        run.left.set(run.left.get() - 1);
        let start = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_micros();
        let begun = Instant::now();
        let status = exchange(&run, &connection).await.unwrap_or(0);
        run.done.borrow_mut().push(Done { start, status, took: begun.elapsed() });
        if status == 0 && connection.close_reason().is_some() {
            return;
        }
    }
}

async fn exchange(run: &Run, connection: &Connection) -> Result<u16> {
    let (mut send, recv) = connection.open_bi().await?;
    send.write_all(&run.plan.head).await?;
    if run.plan.body.is_empty() {
        send.finish()?;
        return response(run, recv).await;
    }
    let upload = async |mut send: SendStream| -> Result<()> {
        send.write_all(&run.plan.body).await?;
        Ok(send.finish()?)
    };
    let mut response = std::pin::pin!(response(run, recv));
    tokio::select! {
        // A server may answer before it has read all, and not read the rest.
        status = &mut response => status,
        _sent_or_stopped = upload(send) => response.await,
    }
}

/// Reads a response to its end, and returns its status.
async fn response(run: &Run, mut recv: RecvStream) -> Result<u16> {
    let mut status = 0;
    // What is not parsed yet, and how many bytes of a frame are to be skipped.
    let (mut buffer, mut skip) = (Vec::new(), 0);
    while let Some(chunk) = recv.read_chunk(usize::MAX, true).await? {
        let mut bytes = &chunk.bytes[..];
        let skipped = bytes.len().min(skip);
        bytes = &bytes[skipped..];
        skip -= skipped;
        buffer.extend_from_slice(bytes);
        let mut at = 0;
        while let Some((kind, len, head)) = frame_head(&buffer[at..]) {
            let rest = &buffer[at + head..];
            if kind == HEADERS {
                let Some(block) = rest.get(..len) else {
                    if len > HEAD_MAX {
                        return Err("a head that is too large".into());
                    }
                    break;
                };
                status = status_of(block).filter(|status| *status >= 200).unwrap_or(status);
            } else if kind == DATA {
                run.body_bytes.set(run.body_bytes.get() + len as u64);
            }
            skip = len - rest.len().min(len);
            at += head + rest.len().min(len);
        }
        buffer.drain(..at);
    }
    Ok(status)
}

/// Returns the type of a frame, the length of its payload, and the length of what is before that.
fn frame_head(bytes: &[u8]) -> Option<(u64, usize, usize)> {
    let (kind, first) = integer(bytes)?;
    let (len, second) = integer(&bytes[first..])?;
    Some((kind, usize::try_from(len).ok()?, first + second))
}

/// Returns an integer of QUIC (RFC 9000 §16) and its length.
fn integer(bytes: &[u8]) -> Option<(u64, usize)> {
    let len = 1 << (bytes.first()? >> 6);
    let value = bytes.get(..len)?.iter().fold(0, |value, &byte| value << 8 | u64::from(byte));
    Some((value & !(3 << (len * 8 - 2)), len))
}

/// Returns the status if the first line of the section has it as an entry of the static table, or in digits.
fn status_of(block: &[u8]) -> Option<u16> {
    const STATUSES: [(u8, u16); 14] = [
        (24, 103),
        (25, 200),
        (26, 304),
        (27, 404),
        (28, 503),
        (63, 100),
        (64, 204),
        (65, 206),
        (66, 302),
        (67, 400),
        (68, 403),
        (69, 421),
        (70, 425),
        (71, 500),
    ];
    let (&first, rest) = block.get(2..)?.split_first()?;
    if first & 0xc0 == 0xc0 {
        let index = if first == 0xff { 63 + rest.first()? } else { first & 0x3f };
        return STATUSES.iter().find(|(at, _)| *at == index).map(|(_, status)| *status);
    }
    // A value without Huffman's code behind the name of the table.
    let value = if first & 0xf0 == 0x50 { rest.iter().position(|&byte| byte == 3)? } else { return None };
    std::str::from_utf8(rest.get(value + 1..value + 4)?).ok()?.parse().ok()
}

fn config() -> Result<ClientConfig> {
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    let provider = Arc::new(provider);
    let verifier = Arc::new(AnyCertificate(provider.signature_verification_algorithms.supported_schemes()));
    let mut tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth();
    tls.alpn_protocols = vec![b"h3".to_vec()];
    let mut config = ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls)?));
    let mut transport = TransportConfig::default();
    transport.stream_receive_window(VarInt::from_u32(8 << 20)).receive_window(VarInt::from_u32(64 << 20));
    transport.send_window(64 << 20);
    config.transport_config(Arc::new(transport));
    Ok(config)
}

/// Takes any certificate: the benchmark makes its own.
#[derive(Debug)]
struct AnyCertificate(Vec<SignatureScheme>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> std::result::Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.clone()
    }
}
