//! Linux: userfaultfd's asynchronous write protection, and `PAGEMAP_SCAN`. All `unsafe` of this crate is here.
//!
//! Why none of it can harm: registering a range in this mode, protecting pages and asking which were written change neither
//! what is in memory nor whether it can be read or written, whatever the range; a write to a protected page is let through by
//! the kernel itself (`UFFD_FEATURE_WP_ASYNC`), so that nothing ever waits for this process to answer. The kernel checks
//! each range. What it writes goes into structures that are passed by exclusive reference, and into an array of which
//! it is told the length.
#![allow(unsafe_code)]

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::fd::OwnedFd;

use rustix::ioctl::{Opcode, Updater, ioctl, opcode};
use rustix::mm::{UserfaultfdFlags, userfaultfd};

/// include/uapi/linux/userfaultfd.h
const API: u64 = 0xAA;
const USER_MODE_ONLY: u32 = 1;
const FEATURE_PAGEFAULT_FLAG_WP: u64 = 1;
const FEATURE_WP_HUGETLBFS_SHMEM: u64 = 1 << 12;
const FEATURE_WP_UNPOPULATED: u64 = 1 << 13;
const FEATURE_WP_ASYNC: u64 = 1 << 15;
const REGISTER_MODE_WP: u64 = 1 << 1;
const UFFDIO_API: Opcode = opcode::read_write::<UffdioApi>(0xAA, 0x3F);
const UFFDIO_REGISTER: Opcode = opcode::read_write::<UffdioRegister>(0xAA, 0x00);
const UFFDIO_UNREGISTER: Opcode = opcode::read::<UffdioRange>(0xAA, 0x01);

/// include/uapi/linux/fs.h
const PAGEMAP_SCAN: Opcode = opcode::read_write::<ScanArg>(b'f', 16);
const SCAN_WP_MATCHING: u64 = 1;
const SCAN_CHECK_WPASYNC: u64 = 1 << 1;
const PAGE_IS_WRITTEN: u64 = 1 << 1;
const PAGE_IS_PRESENT: u64 = 1 << 3;

/// Regions that are told at once.
const REGIONS: usize = 512;

#[repr(C)]
struct UffdioApi {
    api: u64,
    features: u64,
    ioctls: u64,
}

#[repr(C)]
struct UffdioRange {
    start: u64,
    len: u64,
}

#[repr(C)]
struct UffdioRegister {
    range: UffdioRange,
    mode: u64,
    ioctls: u64,
}

#[repr(C)]
struct ScanArg {
    size: u64,
    flags: u64,
    start: u64,
    end: u64,
    walk_end: u64,
    vec: u64,
    vec_len: u64,
    max_pages: u64,
    category_inverted: u64,
    category_mask: u64,
    category_anyof_mask: u64,
    return_mask: u64,
}

#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Region {
    start: u64,
    end: u64,
    categories: u64,
}

/// Closing the descriptor ends all that was registered.
#[derive(Debug)]
pub struct Kernel {
    faults: OwnedFd,
    pagemap: File,
    page: usize,
}

impl Kernel {
    pub fn new() -> io::Result<Self> {
        // Faults of the kernel itself are settled by the kernel in this mode, too: so the flag that every user may have is enough.
        let flags = UserfaultfdFlags::CLOEXEC | UserfaultfdFlags::from_bits_retain(USER_MODE_ONLY);
        // SAFETY: the call itself is safe; what is done with the descriptor see at the top.
        let faults = unsafe { userfaultfd(flags) }?;
        let features = FEATURE_PAGEFAULT_FLAG_WP
            | FEATURE_WP_HUGETLBFS_SHMEM
            | FEATURE_WP_UNPOPULATED
            | FEATURE_WP_ASYNC;
        let mut api = UffdioApi { api: API, features, ioctls: 0 };
        // SAFETY: UFFDIO_API reads and writes a `struct uffdio_api`, of which `UffdioApi` has the layout.
        unsafe { ioctl(&faults, Updater::<UFFDIO_API, _>::new(&mut api)) }?;
        let pagemap = File::open("/proc/self/pagemap")?;
        Ok(Self { faults, pagemap, page: rustix::param::page_size() })
    }

    pub fn page(&self) -> usize {
        self.page
    }

    pub fn register(&self, range: Range<usize>) -> io::Result<()> {
        let range = UffdioRange { start: range.start as u64, len: range.len() as u64 };
        let mut register = UffdioRegister { range, mode: REGISTER_MODE_WP, ioctls: 0 };
        // SAFETY: UFFDIO_REGISTER reads and writes a `struct uffdio_register`, of which `UffdioRegister` has the layout.
        unsafe { ioctl(&self.faults, Updater::<UFFDIO_REGISTER, _>::new(&mut register)) }?;
        Ok(())
    }

    pub fn unregister(&self, range: Range<usize>) {
        let mut range = UffdioRange { start: range.start as u64, len: range.len() as u64 };
        // What is not mapped any more needs no end.
        // SAFETY: UFFDIO_UNREGISTER reads a `struct uffdio_range`, of which `UffdioRange` has the layout.
        let _ = unsafe { ioctl(&self.faults, Updater::<UFFDIO_UNREGISTER, _>::new(&mut range)) };
    }

    /// Tells the written pages of a registered range, and protects them anew.
    pub fn scan(&self, range: Range<usize>, tell: &mut dyn FnMut(Range<usize>)) -> io::Result<()> {
        let mut regions = [Region::default(); REGIONS];
        let mut at = range.start as u64;
        let end = range.end as u64;
        while at < end {
            let mut arg = ScanArg {
                size: size_of::<ScanArg>() as u64,
                flags: SCAN_WP_MATCHING | SCAN_CHECK_WPASYNC,
                start: at,
                end,
                walk_end: 0,
                vec: regions.as_mut_ptr() as u64,
                vec_len: REGIONS as u64,
                max_pages: 0,
                category_inverted: 0,
                category_mask: PAGE_IS_WRITTEN,
                category_anyof_mask: 0,
                // Asked for one more than is needed, as for written pages alone the kernel takes a shorter way, which in its first
                // versions took pages that had been swapped out for protected ones.
                return_mask: PAGE_IS_WRITTEN | PAGE_IS_PRESENT,
            };
            // SAFETY: PAGEMAP_SCAN reads and writes a `struct pm_scan_arg`, of which `ScanArg` has the layout, and writes at most
            // `vec_len` of `struct page_region` to `vec`: `regions` has as many of that layout, and outlives the call.
            let told = unsafe { ioctl(&self.pagemap, Scan(&mut arg)) }?;
            for region in regions.iter().take(told) {
                tell(region.start as usize..region.end as usize);
            }
            if arg.walk_end <= at {
                return Err(io::Error::other("the kernel's account of written pages does not get on"));
            }
            at = arg.walk_end;
        }
        Ok(())
    }
}

/// As [`Updater`], but that what the call returns counts.
struct Scan<'a>(&'a mut ScanArg);

// SAFETY: the opcode is that of the structure that is pointed to, which the kernel may write.
unsafe impl rustix::ioctl::Ioctl for Scan<'_> {
    type Output = usize;
    const IS_MUTATING: bool = true;

    fn opcode(&self) -> Opcode {
        PAGEMAP_SCAN
    }

    fn as_ptr(&mut self) -> *mut rustix::ffi::c_void {
        std::ptr::from_mut(self.0).cast()
    }

    unsafe fn output_from_ptr(
        told: rustix::ioctl::IoctlOutput,
        _: *mut rustix::ffi::c_void,
    ) -> rustix::io::Result<Self::Output> {
        Ok(usize::try_from(told).unwrap_or_default().min(REGIONS))
    }
}
