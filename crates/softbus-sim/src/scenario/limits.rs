//! Bounds of scenarios: what is read from a file never takes more than these allow.

/// Longest file, in bytes.
pub const FILE_BYTES: usize = 1 << 20;
/// Longest all files of a scenario together, in bytes.
pub const TOTAL_BYTES: usize = 8 << 20;
/// Deepest that files include files.
pub const INCLUDE_DEPTH: usize = 32;
/// Most files of a scenario.
pub const FILES: usize = 64;
/// Most segments, and most joins of them, counted out.
pub const SEGMENTS: usize = 10_000;
/// Most links that a scenario says something of.
pub const LINKS: usize = 100_000;
/// Most circles, counted out.
pub const CIRCLES: usize = 10_000;
/// Most devices, counted out.
pub const DEVICES: usize = 100_000;
/// Most tasks, counted out.
pub const TASKS: usize = 1_000_000;
/// Most arguments of a program, and the longest of them, in bytes.
pub const ARGS: (usize, usize) = (16, 256);
/// Most events, written and drawn.
pub const EVENTS: usize = 1_000_000;
/// Most names in the groups of all partitions together.
pub const GROUPED: usize = 4_000_000;
/// Longest span of time, in days.
pub const DAYS: u64 = 366;
