//! The settings of labels.

/// The labels that requests get, by which logs and traces of several programs are joined.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LabelSettings {
    /// The treatment of `traceparent`.
    pub trace_context: TraceContext,
    /// The share of new traces that are sampled.
    pub sample_ratio: SampleRatio,
    /// The name, in lower case, of the field with the id of a request; `None` for no ids.
    pub request_id: Option<Box<[u8]>>,
}

/// The treatment of `traceparent` (W3C Trace Context).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum TraceContext {
    /// It is a field like others.
    #[default]
    Off,
    /// A valid one is passed on, any other replaced by that of a new trace.
    All,
    /// The same, but only trusted proxies' are passed on.
    Trusted,
}

impl TraceContext {
    /// Returns the name that the configuration uses.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::All => "all",
            Self::Trusted => "trusted",
        }
    }
}

/// The share of new traces that are sampled. It is decided by the trace's id, so that programs with the same
/// ratio decide the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SampleRatio {
    /// The number of values of an id's random part that are sampled.
    sampled: u64,
}

impl SampleRatio {
    /// The number of bits of a trace's id that level 2 of W3C Trace Context calls random.
    const RANDOM_BITS: u32 = 56;

    /// Returns the ratio; `None` unless it is from 0 to 1.
    pub fn new(ratio: f64) -> Option<Self> {
        #[expect(clippy::cast_sign_loss, clippy::cast_precision_loss, reason = "0 to 2 to the power of 56")]
        let sampled = (ratio * (1u64 << Self::RANDOM_BITS) as f64) as u64;
        (0.0..=1.0).contains(&ratio).then_some(Self { sampled })
    }

    /// Whether a new trace with this id is sampled.
    pub(crate) fn takes(self, trace_id: u128) -> bool {
        let unsampled = (1 << Self::RANDOM_BITS) - self.sampled;
        trace_id as u64 & ((1 << Self::RANDOM_BITS) - 1) >= unsampled
    }
}

impl Default for SampleRatio {
    fn default() -> Self {
        Self { sampled: 1 << Self::RANDOM_BITS }
    }
}
