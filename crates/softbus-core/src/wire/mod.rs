//! The messages on the wire, a file per protocol. Each travels in the [envelope](crate::Message); each has a
//! golden vector beside it, so that a change of form cannot pass unseen.
//!
//! | kinds | protocol |
//! | --- | --- |
//! | `0x00..` | link (Hello, stream opening) |
//! | `0x01..` | `pair/1` |
//! | `0x02..` | `circle/1` |
//! | `0x03..` | `roster/1` |
//! | `0x04..` | `task/1` |
//! | `0x05..` | `ask/1` |

pub mod ask;
pub mod circle;
pub mod link;
pub mod pair;
pub mod roster;
pub mod saved;
pub mod task;
pub mod task_control;
