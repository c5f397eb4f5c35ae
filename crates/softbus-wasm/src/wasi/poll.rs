//! Waiting for several things at once.

use super::descriptors::Object;
use super::errno::Errno;
use super::guest::Guest;
use super::{Moment, Outcome, Wasi, limits};

/// Sizes of `$subscription` and `$event`.
const SUBSCRIPTION_BYTES: u32 = 48;
const EVENT_BYTES: u32 = 32;

/// What one subscription waits for.
enum Awaited {
    /// The task's time.
    Time(u64),
    Read(u32),
    Write(u32),
}

impl Wasi {
    /// `poll_oneoff`. A wait that is cut short and begun anew ends when it would have ended: a time that it counts from its
    /// begin is counted once.
    pub fn poll_oneoff(
        &mut self,
        guest: &mut Guest<'_>,
        now: Moment,
        subscriptions: u32,
        events: u32,
        count: u32,
        happened: u32,
    ) -> Outcome {
        match self.poll(guest, now, subscriptions, events, count, happened) {
            Ok(None) => {
                self.waits_since = None;
                Outcome::Done(Errno::Success)
            }
            Ok(Some(until)) => Outcome::Wait { until },
            Err(errno) => {
                self.waits_since = None;
                Outcome::Done(errno)
            }
        }
    }

    /// Nothing, or until when to wait at most.
    fn poll(
        &mut self,
        guest: &mut Guest<'_>,
        now: Moment,
        subscriptions: u32,
        events: u32,
        count: u32,
        happened: u32,
    ) -> Result<Option<Option<u64>>, Errno> {
        if count == 0 || count > limits::SUBSCRIPTIONS {
            return Err(Errno::Invalid);
        }
        guest.get(subscriptions, count * SUBSCRIPTION_BYTES)?;
        guest.get(events, count * EVENT_BYTES)?;
        guest.get(happened, 4)?;
        let (monotonic, wall) = self.clock.at(now);
        // Times are counted from when the wait began first.
        let (begun, begun_wall) = *self.waits_since.get_or_insert((monotonic, wall));
        let mut found: Vec<[u8; EVENT_BYTES as usize]> = Vec::new();
        let mut until: Option<u64> = None;
        for number in 0..count {
            let at = subscriptions + number * SUBSCRIPTION_BYTES;
            let user = guest.u64(at)?;
            let kind = guest.u8(at + 8)?;
            let awaited = match kind {
                0 => {
                    let (clock, timeout) = (guest.u32(at + 16)?, guest.u64(at + 24)?);
                    let absolute = guest.u16(at + 40)? & 1 != 0;
                    match (clock, absolute) {
                        (1, true) => Ok(Awaited::Time(timeout)),
                        // A wall clock that is set does not end a wait sooner or later than it was asked for.
                        (0, true) => {
                            Ok(Awaited::Time(begun.saturating_add(timeout.saturating_sub(begun_wall))))
                        }
                        (0 | 1, false) => Ok(Awaited::Time(begun.saturating_add(timeout))),
                        _ => Err(Errno::Invalid),
                    }
                }
                1 => Ok(Awaited::Read(guest.u32(at + 16)?)),
                2 => Ok(Awaited::Write(guest.u32(at + 16)?)),
                _ => return Err(Errno::Invalid),
            };
            let ready = match awaited {
                Err(errno) => Some((errno, 0, false)),
                Ok(Awaited::Time(time)) if time <= monotonic => Some((Errno::Success, 0, false)),
                Ok(Awaited::Time(time)) => {
                    until = Some(until.map_or(time, |until| until.min(time)));
                    None
                }
                Ok(Awaited::Read(fd)) => self.readable(fd),
                Ok(Awaited::Write(fd)) => self.writable(fd),
            };
            if let Some((errno, bytes, hangup)) = ready {
                let mut event = [0; EVENT_BYTES as usize];
                event[..8].copy_from_slice(&user.to_le_bytes());
                event[8..10].copy_from_slice(&(errno as u16).to_le_bytes());
                event[10] = kind;
                event[16..24].copy_from_slice(&u64::to_le_bytes(bytes));
                event[24] = u8::from(hangup);
                found.push(event);
            }
        }
        if found.is_empty() {
            return Ok(Some(until));
        }
        for (number, event) in (0u32..).zip(&found) {
            guest.put(events + number * EVENT_BYTES, event)?;
        }
        guest.put_u32(happened, found.len() as u32)?;
        Ok(None)
    }

    /// Error, bytes at hand, and whether nothing more comes.
    fn readable(&self, fd: u32) -> Option<(Errno, u64, bool)> {
        match self.descriptor(fd) {
            Err(errno) => Some((errno, 0, false)),
            Ok(descriptor) => match descriptor.object {
                Object::Stdin if self.stdin.len() > 0 => {
                    Some((Errno::Success, self.stdin.len() as u64, false))
                }
                Object::Stdin if self.stdin.closed => Some((Errno::Success, 0, true)),
                Object::Stdin => None,
                Object::Stdout | Object::Stderr => Some((Errno::BadFd, 0, false)),
                Object::File { node, offset } => {
                    let left =
                        self.tree.file(node).map_or(0, |bytes| (bytes.len() as u64).saturating_sub(offset));
                    Some((Errno::Success, left, false))
                }
                Object::Directory { .. } => Some((Errno::BadFd, 0, false)),
            },
        }
    }

    fn writable(&self, fd: u32) -> Option<(Errno, u64, bool)> {
        match self.descriptor(fd) {
            Err(errno) => Some((errno, 0, false)),
            Ok(descriptor) => {
                let pipe = match descriptor.object {
                    Object::Stdout => &self.stdout,
                    Object::Stderr => &self.stderr,
                    Object::File { .. } => return Some((Errno::Success, 0, false)),
                    Object::Stdin | Object::Directory { .. } => return Some((Errno::BadFd, 0, false)),
                };
                if pipe.closed {
                    Some((Errno::Success, 0, true))
                } else {
                    Some(pipe.room() as u64)
                        .filter(|room| *room > 0)
                        .map(|room| (Errno::Success, room, false))
                }
            }
        }
    }
}
