//! softbus-roster
