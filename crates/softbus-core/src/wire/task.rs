//! Messages of the task protocol.
