//! Circles: groups of devices that trust each other.

mod view;

pub use view::{CircleView, CirclesView, Grant, Member};

/// Most services a guest may be granted by name.
pub const GRANT_SERVICES: usize = 16;
