#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod conditions;
mod content_type;
mod hashed_name;
mod name;
mod named_by_app;
mod ranges;
mod validators;

pub use conditions::{Verdict, judge};
pub use content_type::content_type;
pub use hashed_name::has_content_hash;
pub use name::{FileName, file_name};
pub use named_by_app::{accel_path, sendfile_rest};
pub use ranges::{Part, RANGES_MAX};
pub use validators::Validators;
