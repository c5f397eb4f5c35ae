//! Bounds of what a program may have of the bus.

/// Services that one program may be granted.
pub const GRANTS: usize = 64;
/// Of a line of the log, in bytes.
pub const LOG_BYTES: u32 = 4096;
/// Keys in a program's map.
pub const KEYS: usize = 4096;
/// Of a key, in bytes.
pub const KEY_BYTES: usize = 256;
/// Of a value, in bytes.
pub const VALUE_BYTES: usize = 64 << 10;
/// Of all keys and values, in bytes.
pub const MAP_BYTES: usize = 4 << 20;
/// Channels open at once.
pub const CHANNELS: usize = 64;
/// Messages of all channels that are not answered, or whose answer was not taken.
pub const MESSAGES: usize = 64;
/// Of a message or an answer, of a prompt or what is said to it, in bytes.
pub const MESSAGE_BYTES: usize = 256 << 10;
/// How long a message may go unanswered, in nanoseconds of the task's time: past it the program is told that nobody answered.
pub const UNANSWERED_NS: u64 = 60_000_000_000;
