//! Bounds of programs, by name.

use serde::{Deserialize, Serialize};

/// Of a module, in bytes.
pub const MODULE_BYTES: u64 = 64 << 20;
/// Of all its functions together, in bytes. With [`FUNCTION_BYTES`] it bounds how long a module is compiled, and the memory that takes.
pub const CODE_BYTES: u64 = 32 << 20;
/// Of one function, in bytes.
pub const FUNCTION_BYTES: u64 = 1 << 20;
/// Functions of a module.
pub const FUNCTIONS: u64 = 100_000;
/// Types, imports, tables, globals, exports and segments of a module, together.
pub const PARTS: u64 = 200_000;
/// Of all frames of a program that is stopped, in bytes.
pub const FRAME_BYTES: usize = 128 << 20;
/// Of all files that a program leaves behind, names included.
pub const RESULT_BYTES: u64 = 256 << 20;
/// What the engine may take beside, to unwind a program.
pub(crate) const ENGINE_BYTES: usize = 16 << 20;
/// Of the stack that a running program has, in bytes of address space; only what it uses takes memory.
pub const STACK_BYTES: usize = 64 << 20;
/// Of all its tables.
pub const TABLE_ELEMENTS: usize = 1 << 20;
/// Memories of one program.
pub const MEMORIES: usize = 8;
/// Most bytes of memory that a program may be granted: all that 32 bits can address.
pub const MEMORY_BYTES: u64 = 1 << 32;
/// Most that a program may print, in bytes per second, and the least that one may be granted.
pub const OUTPUT_BYTES_PER_S: u64 = 32 << 20;
/// See [`OUTPUT_BYTES_PER_S`].
pub const OUTPUT_BYTES_PER_S_LEAST: u64 = 1 << 10;
/// Modules that go on with frames and that a running program has linked: past it it is unwound and goes on in a machine of its
/// own, without them.
pub(crate) const LINKED: usize = 512;
/// Modules that go on with frames and are kept compiled, of one program.
pub(crate) const RESTS: usize = 256;

/// What one program was granted.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Limits {
    /// Of all its memories together, in bytes.
    pub memory_bytes: u64,
    /// Of all its files together, in bytes.
    pub file_bytes: u64,
    /// Of one processor, in thousandths: so much of the time it runs, and otherwise stands still.
    pub cpu_permille: u16,
    /// Of what it prints, in bytes per second; one second's worth may leave at once. Past that it waits until what it prints may
    /// leave.
    pub output_bytes_per_s: u64,
}

impl Limits {
    /// Not more than there can be.
    pub(crate) fn clamped(&self) -> Self {
        Self {
            memory_bytes: self.memory_bytes.min(MEMORY_BYTES),
            file_bytes: self.file_bytes.min(crate::wasi::limits::FILE_BYTES),
            cpu_permille: self.cpu_permille.clamp(1, 1000),
            output_bytes_per_s: self.output_bytes_per_s.clamp(OUTPUT_BYTES_PER_S_LEAST, OUTPUT_BYTES_PER_S),
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            memory_bytes: 256 << 20,
            file_bytes: 256 << 20,
            cpu_permille: 1000,
            output_bytes_per_s: OUTPUT_BYTES_PER_S,
        }
    }
}
