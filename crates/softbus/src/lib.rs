//! softbus
