#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod append;
mod authority;
mod base64;
pub mod close_code;
mod content_length;
mod endpoints;
mod fault;
mod fields;
mod normal_path;
mod path_prefix;
mod priority;
mod promise;
mod reason_phrase;
mod request;
mod response;
pub mod trace_context;

pub use append::{PIECE, append};
pub use authority::is_authority;
pub use base64::{BASE64_ALPHABET, base64};
pub use content_length::{content_length, request_content_length, response_content_length};
pub use endpoints::{Address, Endpoints};
pub use fault::{Blame, Fault, FaultLogLevel, H2Code, Reach};
pub use fields::{Field, Fields, is_connection_specific, is_field_name, is_field_value, is_trailer_name};
pub use normal_path::{NormalPath, percent_decoded};
pub use path_prefix::{PATH_PREFIX_MAX, PathPrefix, path_prefix};
pub use priority::Priority;
pub use promise::{is_promise_name, is_promise_path};
pub use reason_phrase::reason_phrase;
pub use request::{METHOD_MAX, REQUEST_HEAD_MAX, RequestHead, RequestLine, RequestView, Scheme, Version};
pub use response::{ResponseHead, ResponseHeadWriter};

/// The error for a block of bytes that does not have the form of a head.
///
/// Heads are checked where they enter a process, so this means that the other end of a link is broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("malformed head block")]
pub struct MalformedHead;
