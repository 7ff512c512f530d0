//! Negotiation of permessage-deflate (RFC 7692 §5 and §7.1).

use hcrs_ws::{Compression, DeflateTerms, Handshake, Opening, Refusal};

/// Returns the terms and the response's value for `values` of `sec-websocket-extensions`.
fn negotiate(values: &[&str], compression: &Compression) -> Result<Option<(DeflateTerms, String)>, Refusal> {
    let version = (&b"sec-websocket-version"[..], &b"13"[..]);
    let extensions = values.iter().map(|value| (&b"sec-websocket-extensions"[..], value.as_bytes()));
    let handshake = Handshake::read(Opening::ExtendedConnect, extensions.chain([version]))?;
    let accepted = handshake.accept(None, Some(compression)).expect("no subprotocol");
    let value = accepted.fields.into_iter().find(|field| field.0 == "sec-websocket-extensions");
    assert_eq!(value.is_some(), accepted.deflate.is_some());
    Ok(accepted.deflate.zip(value.map(|(_, value)| value)))
}

/// A server that leaves everything to the client.
const OPEN: Compression = Compression {
    level: 1,
    mem_level: 8,
    server_max_window_bits: 15,
    client_max_window_bits: 15,
    server_context_takeover: true,
    client_context_takeover: true,
    min_size: 0,
    max_contexts: 64,
};

fn agreed(offer: &str, compression: &Compression) -> String {
    let (_, value) = negotiate(&[offer], compression).expect("well-formed").expect("accepted");
    value.strip_prefix("permessage-deflate").expect("the extension").to_owned()
}

#[test]
fn what_a_client_asks_for_is_granted() {
    for (offer, answer) in [
        ("", ""),
        ("; client_max_window_bits", ""),
        ("; client_max_window_bits=15", ""),
        ("; client_max_window_bits=10", "; client_max_window_bits=10"),
        ("; client_max_window_bits=8", "; client_max_window_bits=8"),
        ("; client_max_window_bits=\"9\"", "; client_max_window_bits=9"),
        ("; server_max_window_bits=15", "; server_max_window_bits=15"),
        ("; server_max_window_bits=9", "; server_max_window_bits=9"),
        ("; server_no_context_takeover", "; server_no_context_takeover"),
        ("; client_no_context_takeover", "; client_no_context_takeover"),
        (
            "; client_max_window_bits; server_max_window_bits=10; client_no_context_takeover; \
             server_no_context_takeover",
            "; server_no_context_takeover; client_no_context_takeover; server_max_window_bits=10",
        ),
    ] {
        assert_eq!(agreed(&format!("permessage-deflate{offer}"), &OPEN), answer, "{offer}");
    }
}

#[test]
fn the_servers_own_terms_are_told() {
    let ours = Compression {
        server_max_window_bits: 12,
        client_max_window_bits: 11,
        server_context_takeover: false,
        client_context_takeover: false,
        ..OPEN
    };
    let flags = "; server_no_context_takeover; client_no_context_takeover";
    for (offer, answer) in [
        ("", "; server_max_window_bits=12"),
        ("; client_max_window_bits", "; server_max_window_bits=12; client_max_window_bits=11"),
        ("; client_max_window_bits=9", "; server_max_window_bits=12; client_max_window_bits=9"),
        ("; server_max_window_bits=10", "; server_max_window_bits=10"),
        ("; server_max_window_bits=15", "; server_max_window_bits=12"),
    ] {
        assert_eq!(
            agreed(&format!("permessage-deflate{offer}"), &ours),
            format!("{flags}{answer}"),
            "{offer}"
        );
    }
    let default = agreed("permessage-deflate; client_max_window_bits", &Compression::default());
    assert_eq!(default, flags, "no connection keeps a window by default");
}

#[test]
fn the_terms_are_those_of_the_response() {
    let (terms, _) =
        negotiate(&["permessage-deflate; server_max_window_bits=9; client_no_context_takeover"], &OPEN)
            .unwrap()
            .unwrap();
    assert_eq!(
        terms,
        DeflateTerms {
            server_max_window_bits: 9,
            client_max_window_bits: 15,
            server_context_takeover: true,
            client_context_takeover: false,
        }
    );
}

#[test]
fn offers_with_wrong_parameters_are_declined() {
    for parameters in [
        "unknown",
        "unknown=1",
        "server_no_context_takeover=true",
        "client_no_context_takeover=1",
        "server_no_context_takeover; server_no_context_takeover",
        "client_no_context_takeover; client_no_context_takeover",
        "client_max_window_bits; client_max_window_bits",
        "client_max_window_bits=10; client_max_window_bits=10",
        "server_max_window_bits=10; server_max_window_bits=10",
        "server_max_window_bits",
        "server_max_window_bits=7",
        "server_max_window_bits=16",
        "server_max_window_bits=010",
        "server_max_window_bits=09",
        "server_max_window_bits=1",
        "server_max_window_bits=+9",
        "server_max_window_bits=9.0",
        "server_max_window_bits=\"0x9\"",
        "client_max_window_bits=7",
        "client_max_window_bits=16",
        "client_max_window_bits=08",
        "client_max_window_bits=256",
        "Server_No_Context_Takeover",
        // No zlib writes it.
        "server_max_window_bits=8",
    ] {
        let offer = format!("permessage-deflate; {parameters}");
        assert_eq!(negotiate(&[&offer], &OPEN), Ok(None), "{offer}");
        // The next one counts.
        let two = format!("{offer}, permessage-deflate");
        assert!(negotiate(&[&two], &OPEN).unwrap().is_some(), "{two}");
        assert!(negotiate(&[&offer, "permessage-deflate"], &OPEN).unwrap().is_some(), "{two}");
    }
}

#[test]
fn the_first_acceptable_offer_wins() {
    for values in [
        &["permessage-deflate; server_max_window_bits=8, \
             permessage-deflate; server_max_window_bits=10, permessage-deflate"][..],
        &[
            "x-webkit-deflate-frame, permessage-deflate; bad",
            "permessage-deflate; server_max_window_bits=10",
            "permessage-deflate",
        ],
        &["permessage-deflate; server_max_window_bits=10, permessage-deflate; server_max_window_bits=11"],
    ] {
        let (terms, value) = negotiate(values, &OPEN).unwrap().unwrap();
        assert_eq!(terms.server_max_window_bits, 10);
        assert_eq!(value, "permessage-deflate; server_max_window_bits=10");
    }
}

#[test]
fn without_terms_or_offers_nothing_is_agreed() {
    for values in [&[][..], &[""], &["permessage-bzip2"], &["Permessage-Deflate"]] {
        assert_eq!(negotiate(values, &OPEN), Ok(None));
    }
    let fields =
        [(&b"sec-websocket-version"[..], &b"13"[..]), (b"sec-websocket-extensions", b"permessage-deflate")];
    let handshake = Handshake::read(Opening::ExtendedConnect, fields).unwrap();
    assert_eq!(handshake.accept(None, None).unwrap().deflate, None);
}

#[test]
fn numbers_outside_their_range_are_brought_inside() {
    let odd = Compression { server_max_window_bits: 3, client_max_window_bits: 99, ..OPEN };
    assert_eq!(agreed("permessage-deflate; client_max_window_bits", &odd), "; server_max_window_bits=9");
}
