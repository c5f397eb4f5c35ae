//! The operating system's seam.
