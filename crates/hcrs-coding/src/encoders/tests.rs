use std::io::{Read as _, Write as _};

use proptest::prelude::*;

use super::*;

const CODINGS: [Coding; 3] = Coding::ALL;

/// A decoder as a client has it, which is fed as bytes arrive.
enum Decoder {
    Zstd(zstd_safe::DCtx<'static>),
    Brotli(Box<brotli::DecompressorWriter<Vec<u8>>>),
    Gzip(zlib_rs::Inflate),
}

impl Decoder {
    fn new(coding: Coding) -> Self {
        match coding {
            Coding::Zstd => Self::Zstd(zstd_safe::DCtx::create()),
            Coding::Brotli => Self::Brotli(Box::new(brotli::DecompressorWriter::new(Vec::new(), 4096))),
            // With 16 added to the window's bits gzip is expected.
            Coding::Gzip => Self::Gzip(zlib_rs::Inflate::new(true, 15 + 16)),
        }
    }

    /// Returns all that can be decoded once these bytes have arrived.
    fn decode(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut decoded = Vec::with_capacity(1 << 20);
        match self {
            Self::Zstd(context) => {
                let mut input = zstd_safe::InBuffer::around(bytes);
                let mut output = zstd_safe::OutBuffer::around(&mut decoded);
                while input.pos() < bytes.len() {
                    context.decompress_stream(&mut output, &mut input).unwrap();
                }
            }
            Self::Brotli(writer) => {
                writer.write_all(bytes).unwrap();
                decoded = std::mem::take(writer.get_mut());
            }
            Self::Gzip(inflate) => {
                decoded.resize(1 << 20, 0);
                let before = inflate.total_out();
                inflate.decompress(bytes, &mut decoded, zlib_rs::InflateFlush::SyncFlush).unwrap();
                decoded.truncate((inflate.total_out() - before) as usize);
            }
        }
        decoded
    }
}

/// Decodes a complete body, and fails if its end is missing.
fn decoded(coding: Coding, bytes: &[u8]) -> Vec<u8> {
    match coding {
        Coding::Zstd => {
            let mut out = Vec::with_capacity(1 << 20);
            let (mut context, mut input) = (zstd_safe::DCtx::create(), zstd_safe::InBuffer::around(bytes));
            let mut output = zstd_safe::OutBuffer::around(&mut out);
            let left = context.decompress_stream(&mut output, &mut input).unwrap();
            assert_eq!((left, input.pos()), (0, bytes.len()), "the frame is complete");
            out
        }
        Coding::Brotli => {
            let mut out = Vec::new();
            brotli::Decompressor::new(bytes, 4096).read_to_end(&mut out).unwrap();
            out
        }
        Coding::Gzip => {
            let (mut out, mut inflate) = (vec![0; 1 << 20], zlib_rs::Inflate::new(true, 15 + 16));
            let status = inflate.decompress(bytes, &mut out, zlib_rs::InflateFlush::Finish).unwrap();
            assert_eq!((status, inflate.total_in()), (zlib_rs::Status::StreamEnd, bytes.len() as u64));
            out.truncate(inflate.total_out() as usize);
            out
        }
    }
}

fn connection() -> Rc<ConnectionEncoders> {
    Rc::new(ConnectionEncoders::new(Rc::default()))
}

/// Returns text that becomes shorter.
fn text(len: usize) -> Vec<u8> {
    (0..)
        .flat_map(|n: u32| format!("{{\"id\": {n}, \"name\": \"item {}\"}},\n", n * 7919 % 1000).into_bytes())
        .take(len)
        .collect()
}

/// Returns bytes that do not become shorter.
fn noise(len: usize) -> Vec<u8> {
    let mut state = 1u64;
    let next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    };
    std::iter::repeat_with(next).take(len).collect()
}

#[test]
fn whole_bodies_come_back_as_they_were_unless_they_gain_nothing() {
    let encoders = Encoders::default();
    for coding in CODINGS {
        for len in [100, 1 << 10, 10 << 10, WHOLE_MAX] {
            let body = text(len);
            let encoded = encoders.encode_whole(coding, &body).expect("it is shorter");
            assert!(encoded.len() < len);
            assert_eq!(decoded(coding, &encoded), body, "{coding:?} {len}");
        }
        assert_eq!(encoders.encode_whole(coding, &noise(10 << 10)), None, "{coding:?}");
        assert_eq!(encoders.encode_whole(coding, b"a"), None);
    }
}

#[test]
fn each_step_of_a_stream_can_be_decoded_at_once() {
    let connection = connection();
    for coding in CODINGS {
        let (mut encoder, mut decoder) = (connection.begin(coding).unwrap(), Decoder::new(coding));
        let mut all = Vec::new();
        for len in [1, 2, 30, 1000, 1, STEP_MAX, 100] {
            for body in [text(len), noise(len)] {
                let bytes = encoder.step(&[&body], false).unwrap();
                assert_eq!(decoder.decode(&bytes), body, "{coding:?} {len}");
                assert!(bytes.len() <= len + 256, "{coding:?} {len}: {}", bytes.len());
                all.extend(bytes);
            }
        }
        let last: [&[u8]; 0] = [];
        all.extend(encoder.step(&last, true).unwrap());
        let expected: Vec<u8> = [1, 2, 30, 1000, 1, STEP_MAX, 100]
            .into_iter()
            .flat_map(|len| [text(len), noise(len)].concat())
            .collect();
        assert_eq!(decoded(coding, &all), expected);
        assert!(encoder.step(&[b"more"], false).unwrap().is_empty(), "the body has ended");
    }
}

#[test]
fn the_pieces_of_a_step_are_flushed_once() {
    let connection = connection();
    for coding in CODINGS {
        let (mut encoder, mut decoder) = (connection.begin(coding).unwrap(), Decoder::new(coding));
        let body = text(4000);
        let pieces: Vec<_> = body.chunks(10).chain([&[][..]]).collect();
        let bytes = encoder.step(&pieces, false).unwrap();
        assert_eq!(decoder.decode(&bytes), body);
        assert!(bytes.len() < body.len() / 2, "{coding:?}: {}", bytes.len());
        let nothing: [&[u8]; 1] = [&[]];
        assert!(encoder.step(&nothing, false).unwrap().is_empty());
    }
}

#[test]
fn an_encoder_is_used_again_and_remembers_nothing() {
    let connection = connection();
    for coding in CODINGS {
        let first = text(3000);
        // Interrupted in the middle of a body.
        connection.begin(coding).unwrap().step(&[&first], false).unwrap();
        let encoded = connection.begin(coding).unwrap().step(&[&first], true).unwrap();
        assert_eq!(decoded(coding, &encoded), first, "{coding:?}");
    }
    let thread = connection.of_thread();
    assert_eq!((thread.zstd.borrow().len(), thread.gzip.borrow().len()), (1, 1));
    thread.release_spares();
    assert_eq!((thread.zstd.borrow().len(), thread.gzip.borrow().len()), (0, 0));
}

#[test]
fn the_number_of_encoders_is_bounded_by_connection_and_thread() {
    let thread = Rc::new(Encoders::default());
    let mut held = Vec::new();
    for _ in 0..THREAD_MAX / CONNECTION_MAX {
        let connection = Rc::new(ConnectionEncoders::new(Rc::clone(&thread)));
        held.extend((0..CONNECTION_MAX).map(|_| connection.begin(Coding::Gzip).unwrap()));
        assert!(connection.begin(Coding::Gzip).is_none());
    }
    let another = Rc::new(ConnectionEncoders::new(Rc::clone(&thread)));
    assert!(another.begin(Coding::Gzip).is_none());
    // One whose body has ended holds nothing, whether it is dropped or not.
    held[0].step(&[b"last"], true).unwrap();
    drop(another.begin(Coding::Gzip).unwrap());
    drop(held);
    assert_eq!(thread.streams(), 0);
    assert!(thread.gzip.borrow().len() <= SPARES);
}

#[test]
fn the_memory_of_an_encoder_is_bounded() {
    /// The memory of an encoder, in bytes.
    const MAX: u64 = 768 << 10;
    for coding in [Coding::Brotli, Coding::Gzip] {
        let connection = connection();
        let mut kept = None;
        let held = allocation_counter::measure(|| {
            let encoder = kept.insert(connection.begin(coding).unwrap());
            for n in 0..64 {
                let body = if n % 2 == 0 { text(STEP_MAX) } else { noise(STEP_MAX) };
                encoder.step(&[&body], false).unwrap();
            }
            connection.of_thread().buffer.take();
        });
        let bytes = u64::try_from(held.bytes_current).unwrap();
        assert!((100 << 10..=MAX).contains(&bytes), "{coding:?}: {held:?}");
    }
    let (mut zstd, mut out) = (ZstdEncoder::new().unwrap(), Vec::new());
    for _ in 0..64 {
        out.clear();
        zstd.encode(&text(STEP_MAX), Then::Flush, &mut out).unwrap();
    }
    assert!(zstd.memory() as u64 <= MAX, "{}", zstd.memory());
}

#[test]
fn a_turn_has_a_share() {
    let connection = connection();
    let thread = connection.of_thread();
    let mut encoder = connection.begin(Coding::Zstd).unwrap();
    encoder.step(&[vec![0; PER_TURN - 1]], false).unwrap();
    assert!(!thread.has_used_its_share());
    thread.encode_whole(Coding::Zstd, &[0; 100]);
    assert!(thread.has_used_its_share());
    thread.begin_turn();
    assert!(!thread.has_used_its_share());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]
    #[test]
    fn any_body_in_any_steps_comes_back(steps in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..300), 0..8)) {
        for coding in CODINGS {
            let mut encoder = connection().begin(coding).unwrap();
            let mut all = Vec::new();
            for step in &steps {
                all.extend(encoder.step(&[step], false).unwrap());
            }
            let last: [&[u8]; 0] = [];
            all.extend(encoder.step(&last, true).unwrap());
            prop_assert_eq!(decoded(coding, &all), steps.concat());
        }
    }
}
