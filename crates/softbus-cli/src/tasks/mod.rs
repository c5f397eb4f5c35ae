//! The task types that the program brings along.
//!
//! All of them start from the same [`Job`] and make a file, so that `softbus run` needs to know none of them.

mod checksum;
pub mod picture;
mod primes;

use std::collections::BTreeMap;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use softbus::{Task, TaskFailure};

pub use checksum::Checksum;
pub use picture::Picture;
pub use primes::Primes;
use softbus::task::Buffer;

/// What the program's tasks start from.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Job {
    /// Content of the input file; empty if there was none.
    pub file: Buffer,
    /// Settings, by name.
    pub params: BTreeMap<String, String>,
}

impl Job {
    /// A setting that may be left out.
    fn param<T: FromStr>(&self, name: &str, default: T) -> Result<T, TaskFailure> {
        match self.params.get(name) {
            None => Ok(default),
            Some(text) => text.parse().map_err(|_| {
                TaskFailure::new(format!("--param {name}={text}: `{text}` is no value of that setting"))
            }),
        }
    }

    /// Complains of settings that the task does not know.
    fn known(&self, names: &[&str]) -> Result<(), TaskFailure> {
        match self.params.keys().find(|name| !names.contains(&name.as_str())) {
            None => Ok(()),
            Some(wrong) if names.is_empty() => {
                Err(TaskFailure::new(format!("--param {wrong}: this task has no settings")))
            }
            Some(wrong) => Err(TaskFailure::new(format!(
                "--param {wrong}: there is no such setting; there {} {}",
                if names.len() == 1 { "is" } else { "are" },
                names.join(", ")
            ))),
        }
    }
}

/// Checks a job before it is submitted, and makes it ready to travel: a person should hear of a bad input at
/// once, and not from a distant device.
pub fn prepare(task_type: &str, job: Job) -> Result<Job, TaskFailure> {
    match task_type.split('/').next() {
        Some(Primes::NAME) => Primes::start(job.clone()).map(|_| job),
        Some(Checksum::NAME) => Checksum::start(job.clone()).map(|_| job),
        Some(Picture::NAME) => picture::prepare(job),
        _ => Ok(job),
    }
}
