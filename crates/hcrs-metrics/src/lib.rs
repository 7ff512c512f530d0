#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod active;
mod counters;
mod exposition;
mod families;
#[cfg(test)]
mod generated;
mod histogram;
mod label;
mod server;
mod snapshot;
mod totals;
mod values;

pub use active::{ActiveRequest, METHOD_SHOWN_MAX, PATH_SHOWN_MAX, Stage, WorkerName};
pub use counters::{Counters, EndedRequest};
pub use exposition::{Format, exposition};
pub use histogram::{BOUNDS, Histogram};
pub use label::{
    ConnectionProtocol, HandshakeFailure, Label, Protocol, RestartCause, ShedReason, Stall, StatusClass,
    WorkerState,
};
pub use server::{NamedCertificateFacts, ServerFacts, SlotName, SpanFacts, WorkerFacts, WorkerRestarts};
pub use snapshot::{ACTIVE_MAX, OTHER_UPSTREAMS, QueueFacts, ThreadSnapshot, UPSTREAMS_MAX, UpstreamFacts};
pub use totals::{SlotTotals, Totals};
pub use values::{By, Counter, Level, Stalls};
