//! softbus-placement
