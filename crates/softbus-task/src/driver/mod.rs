//! The driver: executes what the epoch machines decide, on the seam.

pub(crate) mod access;
mod actor;
mod config;
mod contents;
mod follow;
mod inner;
pub(crate) mod instance;
pub(crate) mod placing;
pub(crate) mod promises;
mod proof;
mod quota;
mod saves;
mod service;
mod shared;
mod tasks;
mod transfer;
mod warm;

pub use access::OpenGrant;
pub use config::TasksConfig;
pub use contents::ContentsStatus;
pub(crate) use inner::Inner;
pub use service::parse_opening;
pub use tasks::{Filling, TaskEvents, TaskHandle, Tasks};
