//! WASI preview 1 (`wasi_snapshot_preview1`) over a world that belongs to the task: its arguments, its files, its pipes,
//! its clock and its random numbers. Nothing of the device shows through, and all of it moves with the task.
//!
//! Pure: it owns no file, socket, clock or thread. A call takes the program's memory and what time it is, and says
//! what comes of it: an error number, the end of the program, or that the program has to wait. A call that waits is made
//! anew later with the same arguments, here or on another device; what was left of its time is kept.

mod descriptors;
mod errno;
mod files;
mod guest;
pub mod limits;
mod paths;
mod poll;
mod tree;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub use descriptors::Stream;
use descriptors::{Descriptor, Object, Pipe};
pub use errno::Errno;
pub use guest::Guest;
pub use paths::Opening;
use tree::{ROOT, Tree};

use crate::bus::Bus;

/// What comes of a call.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// It is done.
    Done(Errno),
    /// The program has to wait: call anew when one of its pipes has changed, or at the task's time `until`, in
    /// nanoseconds.
    Wait {
        /// `None`: for a pipe only.
        until: Option<u64>,
    },
    /// The program has ended with this status.
    Exit(u32),
}

impl From<Result<(), Errno>> for Outcome {
    fn from(result: Result<(), Errno>) -> Self {
        Self::Done(result.err().unwrap_or(Errno::Success))
    }
}

/// What time it is on the device, in nanoseconds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Moment {
    /// By a clock that only goes on; from where it counts does not matter.
    pub monotonic: u64,
    /// Since 1970.
    pub wall: u64,
}

/// A device's clocks.
pub trait Now: Send + Sync {
    /// What time it is.
    fn now(&self) -> Moment;
}

/// What a program starts with.
#[derive(Clone, Debug, Default)]
pub struct Start {
    /// The name of the program, and its arguments.
    pub args: Vec<String>,
    /// `NAME=value`.
    pub env: Vec<String>,
    /// Its random numbers come from this.
    pub seed: [u8; 32],
    /// Bytes that its files may have together.
    pub file_bytes: u64,
}

/// The world of a program.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Wasi {
    args: Vec<Vec<u8>>,
    env: Vec<Vec<u8>>,
    tree: Tree,
    open: BTreeMap<u32, Descriptor>,
    stdin: Pipe,
    stdout: Pipe,
    stderr: Pipe,
    seed: [u8; 32],
    /// Random bytes given out.
    drawn: u64,
    clock: Clock,
    /// When the call that waits now began, by the task's time and by the wall clock.
    waits_since: Option<(u64, u64)>,
    /// What it has of the bus. Stands behind the world where that is written.
    #[serde(skip)]
    pub(crate) bus: Bus,
}

/// The task's own time.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
struct Clock {
    /// Of the task when it was last looked at.
    monotonic: u64,
    wall: u64,
    /// Of the device then; not told elsewhere.
    #[serde(skip)]
    device: Option<u64>,
}

impl Clock {
    /// The task's time goes on by as much as the device's does. On another device it goes on from where it stood.
    fn at(&mut self, now: Moment) -> (u64, u64) {
        let passed = self.device.map_or(0, |before| now.monotonic.saturating_sub(before));
        self.device = Some(self.device.map_or(now.monotonic, |before| before.max(now.monotonic)));
        self.monotonic = self.monotonic.saturating_add(passed);
        // The wall clocks of two devices differ; it never goes back.
        self.wall = self.wall.max(now.wall);
        (self.monotonic, self.wall)
    }
}

impl Wasi {
    /// A world with an empty tree, given to the program as `/`.
    ///
    /// # Errors
    /// Arguments and environment are too long, or hold a zero byte.
    pub fn new(start: &Start) -> Result<Self, Errno> {
        let texts = |texts: &[String]| -> Result<Vec<Vec<u8>>, Errno> {
            let bytes = texts.iter().map(|text| {
                if text.contains('\0') { Err(Errno::Invalid) } else { Ok(text.as_bytes().to_vec()) }
            });
            bytes.collect()
        };
        let (args, env) = (texts(&start.args)?, texts(&start.env)?);
        let total: usize = args.iter().chain(&env).map(|text| text.len() + 1).sum();
        if total > limits::ARGUMENT_BYTES {
            return Err(Errno::NoSpace);
        }
        let mut tree = Tree::new(start.file_bytes.min(limits::FILE_BYTES));
        tree.hold(ROOT, true);
        let mut open = BTreeMap::new();
        for (fd, object) in [Object::Stdin, Object::Stdout, Object::Stderr].into_iter().enumerate() {
            open.insert(fd as u32, Descriptor::stream(object));
        }
        open.insert(3, Descriptor::given(ROOT));
        Ok(Self {
            args,
            env,
            tree,
            open,
            stdin: Pipe::default(),
            stdout: Pipe::default(),
            stderr: Pipe::default(),
            seed: start.seed,
            drawn: 0,
            clock: Clock { monotonic: 0, wall: 0, device: None },
            waits_since: None,
            bus: Bus::default(),
        })
    }

    fn list(texts: &[Vec<u8>], guest: &mut Guest<'_>, pointers: u32, bytes: u32) -> Result<(), Errno> {
        let mut at = bytes;
        for (number, text) in (0u32..).zip(texts) {
            guest.put_u32(pointers.checked_add(number * 4).ok_or(Errno::Fault)?, at)?;
            guest.put(at, text)?;
            at = at.checked_add(text.len() as u32).ok_or(Errno::Fault)?;
            guest.put(at, &[0])?;
            at = at.checked_add(1).ok_or(Errno::Fault)?;
        }
        Ok(())
    }

    fn list_sizes(texts: &[Vec<u8>], guest: &mut Guest<'_>, count: u32, bytes: u32) -> Result<(), Errno> {
        guest.put_u32(count, texts.len() as u32)?;
        guest.put_u32(bytes, texts.iter().map(|text| text.len() as u32 + 1).sum())
    }

    /// `args_get`
    pub fn args_get(&self, guest: &mut Guest<'_>, pointers: u32, bytes: u32) -> Outcome {
        Self::list(&self.args, guest, pointers, bytes).into()
    }

    /// `args_sizes_get`
    pub fn args_sizes_get(&self, guest: &mut Guest<'_>, count: u32, bytes: u32) -> Outcome {
        Self::list_sizes(&self.args, guest, count, bytes).into()
    }

    /// `environ_get`
    pub fn environ_get(&self, guest: &mut Guest<'_>, pointers: u32, bytes: u32) -> Outcome {
        Self::list(&self.env, guest, pointers, bytes).into()
    }

    /// `environ_sizes_get`
    pub fn environ_sizes_get(&self, guest: &mut Guest<'_>, count: u32, bytes: u32) -> Outcome {
        Self::list_sizes(&self.env, guest, count, bytes).into()
    }

    /// `clock_res_get`: a microsecond, whatever the device can do.
    pub fn clock_res_get(&self, guest: &mut Guest<'_>, clock: u32, resolution: u32) -> Outcome {
        if clock > 1 {
            return Outcome::Done(Errno::Invalid);
        }
        guest.put_u64(resolution, 1000).into()
    }

    /// `clock_time_get`: of the wall (0), or since the task began (1), by the task's own time.
    pub fn clock_time_get(&mut self, guest: &mut Guest<'_>, now: Moment, clock: u32, time: u32) -> Outcome {
        let (monotonic, wall) = self.clock.at(now);
        match clock {
            0 => guest.put_u64(time, wall).into(),
            1 => guest.put_u64(time, monotonic).into(),
            _ => Outcome::Done(Errno::Invalid),
        }
    }

    /// `random_get`: from the task's seed, so that a run that is repeated draws the same.
    pub fn random_get(&mut self, guest: &mut Guest<'_>, at: u32, len: u32) -> Outcome {
        let fill = |guest: &mut Guest<'_>| {
            let mut reader = blake3::Hasher::new_keyed(&self.seed).update(b"random").finalize_xof();
            reader.set_position(self.drawn);
            reader.fill(guest.get_mut(at, len)?);
            Ok(())
        };
        let result: Result<(), Errno> = fill(guest);
        if result.is_ok() {
            self.drawn = self.drawn.saturating_add(u64::from(len));
        }
        result.into()
    }

    /// Whether a world that was read is one that calls made.
    ///
    /// # Errors
    /// It is not.
    pub fn sound(self) -> Result<Self, Errno> {
        let mut held = BTreeMap::new();
        for node in self.open.values().filter_map(Descriptor::node) {
            *held.entry(node).or_insert(0u32) += 1;
        }
        let pipes = [&self.stdin, &self.stdout, &self.stderr].into_iter().all(Pipe::is_sound);
        let sound = pipes && self.open.len() <= limits::DESCRIPTORS && self.tree.is_sound(&held);
        if sound { Ok(self) } else { Err(Errno::Invalid) }
    }

    /// Its files may have so many bytes from here on, together.
    pub fn limit_files(&mut self, most: u64) {
        self.tree.limit(most);
    }

    /// The time until now has passed for the program.
    pub fn passes(&mut self, now: Moment) {
        self.clock.at(now);
    }

    /// The task's time, in nanoseconds since it began.
    pub(crate) fn time(&mut self, now: Moment) -> u64 {
        self.clock.at(now).0
    }

    /// For how long the program has still to wait until a time of its own, in nanoseconds.
    pub fn left_until(&mut self, now: Moment, until: u64) -> u64 {
        until.saturating_sub(self.clock.at(now).0)
    }

    /// `sched_yield`
    pub fn sched_yield(&self) -> Outcome {
        Outcome::Done(Errno::Success)
    }

    /// `proc_exit`
    pub fn proc_exit(&self, status: u32) -> Outcome {
        Outcome::Exit(status)
    }

    /// `proc_raise`, and the sockets, of which a task has none.
    pub fn unsupported(&self) -> Outcome {
        Outcome::Done(Errno::NotSupported)
    }
}

#[cfg(test)]
mod tests;
