//! Which device: hard filters, predicted completion time, hysteresis for moves, leases on capacity — and an
//! explanation of each decision that a person can read.
//!
//! Everything here is a pure function of its arguments or a plain state machine: no clock, socket, disk or
//! random source may enter, and no floating point, so that two devices (and a simulation) that know the same
//! decide the same. Time is counted in microseconds (`_us`), work in operations of the reference kernel
//! (`ops`, see the roster's calibration), and all arithmetic saturates: absurd numbers from a foreign profile
//! lead to an absurd estimate of that device, never to a panic.
//!
//! ```
//! use softbus_core::DeviceId;
//! use softbus_placement::{Candidate, Preferences, Weights, Work, place};
//!
//! let work = Work { ops: 8_000_000_000, memory_bytes: 200 << 20, ..Work::default() };
//! let here = Candidate::local(DeviceId([1; 32]), None); // a profile comes from the roster
//! let decision = place(&work, &[here], &Weights::default(), &Preferences::default());
//! assert_eq!(decision.chosen, None);
//! assert!(decision.explanation.to_string().contains("no profile"));
//! ```
#![warn(missing_docs)]

mod candidate;
mod cost;
mod explain;
mod filter;
mod lease;
mod place;
mod show;
mod weights;
mod work;

pub use candidate::{Candidate, Known, Link, Presence, Reach, Reserved, Trust};
pub use cost::{Terms, predict};
pub use explain::{Because, Explanation, Held, Row, Verdict};
pub use filter::{Refusal, refusals};
pub use lease::{Grant, Lease, LeaseError, LeaseId, LeaseLimits, LeaseRequest, Leases};
pub use place::{Action, Decision, place, rank};
pub use softbus_core::AcceleratorNeed;
pub use weights::{Preferences, Weights};
pub use work::{Needs, Running, Work};
