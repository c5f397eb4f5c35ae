//! Messages of the pair protocol.
