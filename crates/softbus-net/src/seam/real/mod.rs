//! The operating system's seam: sockets, a data folder, threads, clocks and the system's randomness.
//!
//! Here, and only here, the room touches the real world directly.
#![allow(clippy::disallowed_methods, reason = "this adapts the real world")]

mod atomic;
mod blobs;
mod chosen;
mod clock;
mod composite;
mod compute;
mod entropy;
mod folder;
mod interfaces;
#[cfg(test)]
#[cfg(target_os = "linux")]
mod netns;
mod sockets;
mod storage;
#[cfg(test)]
mod tests;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use blobs::{read_segment, write_segment};
pub use clock::SystemClock;
pub use composite::CompositeSocket;
pub use compute::ThreadCompute;
pub use entropy::SystemEntropy;
pub use sockets::SystemSockets;
pub use storage::{DATABASE, FileStorage, check_database};

use super::discovery::MdnsDiscovery;
use super::{Discovery, Seam, Sensors};
use crate::Bind;

/// Why the operating system's seam could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum SeamError {
    /// Another process uses the data folder.
    #[error(
        "the data folder {folder} is in use{}: stop the softbus that runs there, or choose another data folder",
        .pid.map(|pid| format!(" by process {pid}")).unwrap_or_default()
    )]
    InUse {
        /// The folder.
        folder: PathBuf,
        /// The process, if known.
        pid: Option<u32>,
    },
    /// Others may change or read what only this device may.
    #[error(
        "{path} {problem} (its mode is {mode:03o}): run `chmod {wanted:o} '{path}'`, and consider whether somebody \
         has already misused it",
        path = .path.display()
    )]
    Exposed {
        /// File or folder.
        path: PathBuf,
        /// What is wrong.
        problem: &'static str,
        /// The mode it has.
        mode: u32,
        /// The mode it should have.
        wanted: u32,
    },
    /// The data folder is somebody else's.
    #[error(
        "the data folder {folder} belongs to user {owner}, this softbus runs as user {user}: run it as its owner, or \
         choose another data folder"
    )]
    NotOurs {
        /// The folder.
        folder: PathBuf,
        /// User id of its owner.
        owner: u32,
        /// Our own.
        user: u32,
    },
    /// The system refused something.
    #[error("cannot {what} {path}: {source}", path = .path.display())]
    Io {
        /// What was tried.
        what: &'static str,
        /// On what.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// No randomness, no keys.
    #[error("the system gives no randomness: {0}")]
    Entropy(String),
    /// Discovery could not start.
    #[error("mDNS discovery cannot start: {0}; turn discovery off to go without it")]
    Discovery(io::Error),
}

impl SeamError {
    fn io(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { what, path: path.to_owned(), source }
    }
}

impl From<SeamError> for io::Error {
    fn from(error: SeamError) -> Self {
        let kind = match &error {
            SeamError::InUse { .. } => io::ErrorKind::ResourceBusy,
            SeamError::Exposed { .. } | SeamError::NotOurs { .. } => io::ErrorKind::PermissionDenied,
            SeamError::Io { source, .. } | SeamError::Discovery(source) => source.kind(),
            SeamError::Entropy(_) => io::ErrorKind::Other,
        };
        Self::new(kind, error)
    }
}

/// Opens the operating system's [`Seam`] on a data folder.
pub struct RealSeam {
    folder: PathBuf,
    sensors: Arc<dyn Sensors>,
    discovery: Option<Arc<dyn Discovery>>,
    bind: Bind,
    work_threads: usize,
}

impl RealSeam {
    /// On this data folder (made if missing), with these sensors (the roster room has the machine's).
    pub fn new(folder: impl Into<PathBuf>, sensors: Arc<dyn Sensors>) -> Self {
        Self { folder: folder.into(), sensors, discovery: None, bind: Bind::All, work_threads: 0 }
    }

    /// Interfaces that mDNS is spoken on; the sockets' are named when they are bound. Default: all.
    pub fn bind(mut self, bind: Bind) -> Self {
        self.bind = bind;
        self
    }

    /// Another discovery than mDNS, or several ([`Many`](super::Many)), or none ([`Silent`](super::Silent)).
    pub fn discovery(mut self, discovery: Arc<dyn Discovery>) -> Self {
        self.discovery = Some(discovery);
        self
    }

    /// Threads for CPU-heavy work; 0, the default, for as many as there are cores.
    pub fn work_threads(mut self, threads: usize) -> Self {
        self.work_threads = threads;
        self
    }

    /// Opens it. The data folder is this process's until the last clone of the seam is dropped.
    ///
    /// # Errors
    /// See [`SeamError`].
    pub fn open(self) -> Result<Seam, SeamError> {
        let storage = FileStorage::open(&self.folder)?;
        let entropy: Arc<dyn super::Entropy> = Arc::new(SystemEntropy::new()?);
        let discovery = match self.discovery {
            Some(discovery) => discovery,
            None => Arc::new(MdnsDiscovery::new(self.bind, &*entropy).map_err(SeamError::Discovery)?),
        };
        Ok(Seam {
            sockets: Arc::new(SystemSockets::new()),
            discovery,
            storage: Arc::new(storage),
            entropy,
            clock: Arc::new(SystemClock::new()),
            sensors: self.sensors,
            compute: Arc::new(ThreadCompute::new(self.work_threads)),
        })
    }
}
