//! Messages of the circle protocol.
