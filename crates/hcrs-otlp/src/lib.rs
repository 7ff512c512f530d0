#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

#[cfg(feature = "export")]
mod client;
mod endpoint;
mod exporter;
#[cfg(feature = "export")]
mod json;
mod span;

pub use endpoint::Endpoint;
pub use exporter::{Exporter, SpanSender, SpanTotals};
pub use span::{Span, SpanId};

/// The settings of the export.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OtlpSettings {
    /// The collector; `None` for no export.
    pub endpoint: Option<Endpoint>,
    /// The name under which the spans are shown (`service.name`).
    pub service_name: String,
}

impl Default for OtlpSettings {
    fn default() -> Self {
        Self { endpoint: None, service_name: "hcrs".to_owned() }
    }
}
