#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod credentials;
mod error_pages;
mod field_changes;
mod password_file;
mod rate;
mod remembered;

pub use credentials::{Credentials, is_realm};
pub use error_pages::{ErrorPages, StatusPattern};
pub use field_changes::{FieldChange, FieldChanges, FieldMistake};
pub use password_file::{PASSWORD_FILE_MAX, PasswordFile, PasswordFileError, PasswordLineError};
pub use rate::{Limit, Limiter, Rate, RateError, Verdict};
pub use remembered::{PairKey, Remembered};
