//! The `softbus` program. See the library of this crate.
fn main() {}
