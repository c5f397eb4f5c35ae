//! Who is here and what they can do: signed profiles, presence, change events, sensors.
//!
//! The roster holds this device's view of every device it trusts. What a device *is* (its static profile) it
//! signs itself, and anyone may pass it on; what it can do *right now* (its dynamic profile) goes to its
//! neighbours and to whoever asks; whether it *answers* we see on our own link, or hear from a neighbour that
//! has one.
//!
//! What may not enter here: choosing a device for anything (that is placement), and trust (the
//! [judge](softbus_net::Judge) decides who is in the roster; a profile proves nothing but its own origin).

pub mod calibrate;
mod checked;
mod config;
mod declared;
mod driver;
mod error;
mod events;
pub mod gossip;
pub mod harness;
pub mod limits;
#[cfg(feature = "machine")]
pub mod machine;
mod matters;
mod present;
pub mod profile;
mod roster;
mod shelf;
mod view;

pub use checked::Checked;
pub use config::RosterConfig;
pub use declared::{Declared, Overrides, SampleOverride, Values};
pub use error::{ProfileError, RosterError};
pub use events::{Changes, Event, Numbered, Subscription, Update};
pub use matters::matters;
pub use roster::Roster;
pub use view::{RosterEntry, RosterView, Sampled, Source};
