use serde::{Deserialize, Serialize};

/// What a piece of work or a channel asks of the bus.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct QoS {
    /// How soon it matters.
    pub latency: Latency,
    /// What may get lost.
    pub reliability: Reliability,
    /// Least rate that makes sense, in bytes per second; 0 asks for nothing.
    pub min_rate_bytes_per_s: u64,
    /// Where it may go.
    pub privacy: Privacy,
}

/// How soon it matters.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Latency {
    /// When convenient.
    Background,
    /// A person waits, patiently.
    #[default]
    Normal,
    /// A person waits for each reaction.
    Interactive,
}

/// What may get lost. All channels are reliable streams so far, so [`Lossy`](Reliability::Lossy) is a permission that
/// nobody makes use of yet.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reliability {
    /// Old data may be dropped for new.
    Lossy,
    /// Everything arrives, in order.
    #[default]
    Reliable,
}

/// Where work and its data may go.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Privacy {
    /// Only this device.
    Device,
    /// Only devices that are owners of the circle.
    Owners,
    /// Any member of the circle (not guests).
    #[default]
    Circle,
    /// Whoever offers it, guests included. So far no task comes to one: how guests are is told to nobody.
    Anyone,
}
