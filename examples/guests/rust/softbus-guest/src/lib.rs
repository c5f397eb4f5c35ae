//! What programs on the bus have beside WASI preview 1: a log, a map that moves with them, channels to services, inference.
//!
//! ```ignore
//! use softbus_guest::{Channel, FOREVER, Level, kv, log};
//!
//! softbus_guest::main!(run);
//!
//! fn run() -> i32 {
//!     log(Level::Info, "here I am, wherever that is");
//!     let mut room = [0; 1024];
//!     let Ok(channel) = Channel::open("echo/1") else { return 1 };
//!     let asked = channel.send(b"hello").and_then(|()| channel.recv(&mut room, FOREVER));
//!     match asked.and_then(|answer| kv::set(b"answer", answer)) {
//!         Ok(()) => 0,
//!         Err(_) => 1,
//!     }
//! }
//! ```
//!
//! Built as a `cdylib` for `wasm32-wasip1`, and run with `softbus run program.wasm --grant service:echo/1`. A program with a
//! `main` of its own can use all of it, too; then it needs no [`main!`].
//!
//! The program may be moved to another device at any instant, in the midst of these calls too: it does not notice. Limits are
//! those of `softbus.h`, beside which this crate stands; the two say the same.
#![cfg_attr(not(test), no_std)]
#![deny(unsafe_op_in_unsafe_fn, missing_docs)]

mod channel;
mod error;
pub mod kv;
mod raw;

use core::time::Duration;

pub use channel::{Channel, infer};
pub use error::Error;

/// No end of waiting, but that after a minute nobody answers.
pub const FOREVER: Duration = Duration::MAX;
/// Most bytes of a message, an answer or a prompt.
pub const MESSAGE_BYTES: usize = 256 << 10;

/// How grave a line of the log is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[repr(u32)]
pub enum Level {
    /// Something failed.
    Error = 0,
    /// Something is not as it should be.
    Warn = 1,
    /// What a person wants to know.
    Info = 2,
    /// What helps to find a fault.
    Debug = 3,
    /// All else.
    Trace = 4,
}

/// Says a line to whoever watches the program. What is longer than 4096 bytes is cut off.
pub fn log(level: Level, text: &str) {
    let mut cut = text.len().min(4096);
    while !text.is_char_boundary(cut) {
        cut -= 1;
    }
    // SAFETY: the address and the length are those of a text that lives as long as the call.
    let _ = unsafe { raw::softbus_log(level as u32, text.as_ptr(), cut as u32) };
}

/// Waits, by the task's own time, which stands still while the task does.
pub fn sleep(duration: Duration) {
    // SAFETY: it takes a number.
    let _ = unsafe { raw::softbus_sleep(nanoseconds(duration)) };
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// Makes a function what the bus calls: its result is the exit status of the task.
#[macro_export]
macro_rules! main {
    ($run:path) => {
        #[unsafe(no_mangle)]
        extern "C" fn softbus_main() -> i32 {
            let run: fn() -> i32 = $run;
            run()
        }
    };
}

#[cfg(test)]
mod tests;
