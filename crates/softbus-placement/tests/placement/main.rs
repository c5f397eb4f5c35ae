//! Placement against independent restatements of its promises.
#![allow(missing_docs, clippy::unwrap_used)]

mod explain;
mod extreme;
mod filter;
mod home;
mod lease;
mod model;
mod stable;
