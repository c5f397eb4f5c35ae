//! Stands where firmware would: core with `alloc` and nothing else, on any target. If core or a dependency pulls in
//! std, the panic handler below is there twice, and the build fails.
//!
//! ```text
//! cargo build --manifest-path crates/softbus-core/no_std/Cargo.toml
//! ```
#![no_std]

use core::alloc::{GlobalAlloc, Layout};
use core::panic::PanicInfo;

/// Firmware's allocator. This one has no memory: nothing here is ever run.
struct Empty;

// SAFETY: a null pointer says that there is no memory, which is always allowed; so there is nothing to give back.
unsafe impl GlobalAlloc for Empty {
    unsafe fn alloc(&self, _: Layout) -> *mut u8 {
        core::ptr::null_mut()
    }

    unsafe fn dealloc(&self, _: *mut u8, _: Layout) {}
}

#[global_allocator]
static MEMORY: Empty = Empty;

#[panic_handler]
fn panic(_: &PanicInfo) -> ! {
    loop {}
}

/// Something of core, so that it is linked: whether a byte is a message.
#[unsafe(no_mangle)]
pub extern "C" fn softbus_is_hello(first: u8) -> bool {
    softbus_core::decode::<softbus_core::wire::link::Hello>(&[first]).is_ok()
}
