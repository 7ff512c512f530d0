//! Encrypted private keys, written here with the schemes that deployments have.

use pkcs8::der::Encode as _;
use pkcs8::der::asn1::OctetStringRef;
use pkcs8::der::oid::ObjectIdentifier;
use pkcs8::pkcs5::pbes2::{Kdf, Parameters, Pbkdf2Params, Pbkdf2Prf, Salt, ScryptParams};
use pkcs8::pkcs5::{EncryptionScheme, scrypt};
use pkcs8::{AlgorithmIdentifierRef, EncryptedPrivateKeyInfoRef, LineEnding};

use super::*;

const PASSWORD: &str = "correct horse";
const IV: [u8; 16] = [7; 16];
const SALT: &[u8] = b"a salt of its own";
const ROUNDS: u32 = 16;

/// Settings for localhost, with the key encrypted by the scheme.
fn encrypted(pki: &Pki, scheme: Parameters, password: Option<&str>) -> Settings {
    let mut settings = pki.localhost();
    let PrivateKeyDer::Pkcs8(key) = PrivateKeyDer::from_pem_file(&settings.keyfile).unwrap() else {
        panic!("the key is PKCS #8")
    };
    let data = scheme.encrypt(PASSWORD, key.secret_pkcs8_der()).unwrap();
    let info = EncryptedPrivateKeyInfoRef {
        encryption_algorithm: EncryptionScheme::Pbes2(scheme),
        encrypted_data: OctetStringRef::new(&data).unwrap(),
    };
    settings.keyfile = pki.write("encrypted.pem", pem_block(&info.to_der().unwrap()));
    settings.keyfile_password = password.map(Password::from);
    settings
}

fn pem_block(der: &[u8]) -> String {
    pkcs8::der::pem::encode_string("ENCRYPTED PRIVATE KEY", LineEnding::LF, der).unwrap()
}

fn aes() -> Parameters {
    Parameters::generate_pbkdf2_sha256_aes256cbc(ROUNDS, SALT, IV).unwrap()
}

fn pbkdf2(prf: Pbkdf2Prf) -> Kdf {
    Kdf::Pbkdf2(Pbkdf2Params {
        salt: Salt::new(SALT).unwrap(),
        iteration_count: ROUNDS,
        key_length: None,
        prf,
    })
}

#[test]
fn keys_of_every_common_scheme_are_decrypted() {
    use pkcs8::pkcs5::pbes2::EncryptionScheme as Cipher;
    let pki = Pki::new();
    let scrypt = ScryptParams::from_params_and_salt(scrypt::Params::new(4, 8, 1).unwrap(), SALT).unwrap();
    for (label, scheme) in [
        ("PBKDF2 with SHA-256, AES-256-CBC", aes()),
        (
            "PBKDF2 with SHA-1, AES-128-CBC",
            Parameters { kdf: pbkdf2(Pbkdf2Prf::HmacWithSha1), encryption: Cipher::Aes128Cbc { iv: IV } },
        ),
        (
            "PBKDF2 with SHA-1, 3DES",
            Parameters {
                kdf: pbkdf2(Pbkdf2Prf::HmacWithSha1),
                encryption: Cipher::DesEde3Cbc { iv: [7; 8] },
            },
        ),
        (
            "scrypt, AES-256-CBC",
            Parameters { kdf: Kdf::Scrypt(scrypt), encryption: Cipher::Aes256Cbc { iv: IV } },
        ),
    ] {
        let settings = encrypted(&pki, scheme, Some(PASSWORD));
        let server = server_config(&settings).unwrap_or_else(|error| panic!("{label}: {error}"));
        handshake(&server, &pki.trusting_client(None), "localhost").unwrap();
    }
}

#[test]
fn the_key_may_stand_behind_the_certificate_in_one_file() {
    let pki = Pki::new();
    let mut settings = encrypted(&pki, aes(), Some(PASSWORD));
    let both =
        fs::read_to_string(&settings.certfile).unwrap() + &fs::read_to_string(&settings.keyfile).unwrap();
    settings.keyfile = pki.write("both.pem", both);
    settings.certfile = settings.keyfile.clone();
    server_config(&settings).unwrap();
}

#[test]
fn a_password_for_a_key_that_is_not_encrypted_is_not_looked_at() {
    let pki = Pki::new();
    server_config(&Settings { keyfile_password: Some("needless".into()), ..pki.localhost() }).unwrap();
}

#[test]
fn wrong_and_missing_passwords_are_told_apart() {
    let pki = Pki::new();
    for (password, words) in [
        (Some("battery staple"), "keyfile_password does not decrypt the key in keyfile "),
        (Some(""), "keyfile_password does not decrypt the key in keyfile "),
        (None, "is encrypted: keyfile_password is needed"),
    ] {
        let settings = encrypted(&pki, aes(), password);
        let error = server_config(&settings).unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
        assert!(error.contains(settings.keyfile.to_str().unwrap()), "{error}");
        assert!(!error.contains("staple"), "{error}");
    }
}

#[test]
fn old_encryption_is_named_with_the_command_that_converts_it() {
    let pki = Pki::new();
    let legacy = "-----BEGIN EC PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n\
                  DEK-Info: AES-128-CBC,00112233445566778899AABBCCDDEEFF\n\nAAAA\n\
                  -----END EC PRIVATE KEY-----\n";
    let pkcs12 = pem_block(&with_scheme("1.2.840.113549.1.12.1.3"));
    let pbes1 = pem_block(&with_scheme("1.2.840.113549.1.5.3"));
    for (name, content, command) in [
        ("legacy.pem", legacy, "openssl pkcs8 -topk8 -in "),
        ("pkcs12.pem", &pkcs12, "openssl pkcs8 -topk8 -v2 aes-256-cbc -in "),
        ("pbes1.pem", &pbes1, "openssl pkcs8 -topk8 -v2 aes-256-cbc -in "),
    ] {
        let path = pki.write(name, content);
        let settings =
            Settings { keyfile: path.clone(), keyfile_password: Some(PASSWORD.into()), ..pki.localhost() };
        let error = server_config(&settings).unwrap_err().to_string();
        let command = format!("{command}{} -out new-key.pem", path.display());
        assert!(error.ends_with(&command), "{error}");
    }
}

/// Returns an encrypted key whose scheme has the identifier and, as those before PBES2 do, a salt and a
/// count.
fn with_scheme(identifier: &str) -> Vec<u8> {
    use pkcs8::der::asn1::{AnyRef, OctetString};
    use pkcs8::der::{Any, Decode as _};
    let octets = |bytes: &[u8]| Any::encode_from(&OctetString::new(bytes).unwrap()).unwrap();
    let parameters = vec![octets(&SALT[..8]), Any::encode_from(&2048_u16).unwrap()].to_der().unwrap();
    let scheme = AlgorithmIdentifierRef {
        oid: ObjectIdentifier::new(identifier).unwrap(),
        parameters: Some(AnyRef::from_der(&parameters).unwrap()),
    };
    vec![Any::encode_from(&scheme).unwrap(), octets(&[0; 32])].to_der().unwrap()
}

#[test]
fn a_damaged_encrypted_key_is_not_taken_for_a_wrong_password() {
    let pki = Pki::new();
    let block = fs::read_to_string(encrypted(&pki, aes(), None).keyfile).unwrap();
    for (name, content) in [("cut.pem", &block[..block.len() / 2]), ("no-der.pem", &pem_block(b"AAAA"))] {
        let keyfile = pki.write(name, content);
        let settings = Settings { keyfile, keyfile_password: Some(PASSWORD.into()), ..pki.localhost() };
        let error = server_config(&settings).unwrap_err();
        assert!(matches!(error, TlsError::Pem { .. }), "{error}");
    }
}

#[test]
fn a_password_is_not_shown() {
    let settings = Settings { keyfile_password: Some(PASSWORD.into()), ..Settings::new("c", "k") };
    let shown = format!("{settings:?}");
    assert!(shown.contains("keyfile_password") && !shown.contains(PASSWORD), "{shown}");
}
