#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod forwarded;
mod network;
mod proxy_protocol;

pub use forwarded::{ForwardedStyle, Forwarding, without_forwarded};
pub use network::{Network, NetworkError, Trust};
pub use proxy_protocol::{PROXY_HEADER_MAX, Proxied, ProxyHeaderError, parse_proxy_header};
