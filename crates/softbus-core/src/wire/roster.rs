//! Messages of the roster protocol.
