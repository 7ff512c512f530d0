#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod check;
mod client;
mod domain;
mod http;
mod jose;
mod keys;
mod lock;
mod messages;
mod order;
mod report;
mod runner;
mod schedule;
mod settings;
mod storage;

pub use check::{Finding, Ports, check};
pub use domain::{Domain, DomainError};
pub use report::stored_report;
pub use runner::Acme;
pub use settings::{
    AcmeSettings, ChallengeKind, ChallengePolicy, DirectoryUrl, ExternalAccount, HmacKey, KeyType,
};
pub use storage::{challenge_answer, challenge_digest, create_storage, is_open_to_others};

/// The path below which authorities ask for answers to challenges (RFC 8555 section 8.3).
pub const CHALLENGE_PATH: &str = "/.well-known/acme-challenge/";
