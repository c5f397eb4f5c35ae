//! softbus program
fn main() {}
