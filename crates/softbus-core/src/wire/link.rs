//! Messages of the link protocol.
