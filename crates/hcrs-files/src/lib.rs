#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod conditions;
mod content_type;
mod name;
mod ranges;
mod validators;

pub use conditions::{Verdict, judge};
pub use content_type::content_type;
pub use name::{FileName, file_name};
pub use ranges::{Part, RANGES_MAX};
pub use validators::Validators;
