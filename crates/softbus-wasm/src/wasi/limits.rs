//! Bounds of what a program may have of the host.

/// Of a path, in bytes.
pub const PATH_BYTES: u32 = 4096;
/// Of a name in a path.
pub const NAME_BYTES: usize = 255;
/// Directories that a path may lead through.
pub const PATH_DEPTH: usize = 128;
/// Open descriptors.
pub const DESCRIPTORS: usize = 1024;
/// Files and directories.
pub const NODES: usize = 65_536;
/// Bytes in all files together, unless the task was granted less.
pub const FILE_BYTES: u64 = 1 << 30;
/// Bytes of a pipe that wait to be read, or to be taken away by the host.
pub const PIPE_BYTES: usize = 1 << 20;
/// Things that one call waits for.
pub const SUBSCRIPTIONS: u32 = 1024;
/// Arguments and environment, in bytes together.
pub const ARGUMENT_BYTES: usize = 1 << 20;
