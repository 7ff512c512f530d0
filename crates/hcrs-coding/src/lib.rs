#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod accept;
mod coding;
mod encoder;
mod encoders;
mod head;
mod settings;
mod types;
mod verdict;

pub use accept::{Accepted, Preference};
pub use coding::Coding;
pub use encoder::EncodeError;
pub use encoders::{ConnectionEncoders, Encoder, Encoders, STEP_MAX, WHOLE_MAX};
pub use head::{coded_head, revalidated_head, varied_head};
pub use settings::Settings;
pub use types::{MalformedType, TypePattern};
pub use verdict::{BodyLength, Verdict, judge};
