//! The map of a program: bytes by keys, in order of the keys.

use std::ops::Bound;

use super::{Bus, limits};
use crate::wasi::{Errno, Guest, Outcome};

/// A key where one must be.
fn key<'g>(guest: &'g Guest<'_>, at: u32, len: u32) -> Result<&'g [u8], Errno> {
    if len as usize > limits::KEY_BYTES {
        return Err(Errno::NameTooLong);
    }
    match guest.get(at, len)? {
        [] => Err(Errno::Invalid),
        key => Ok(key),
    }
}

/// Gives bytes out, with their length; if there is no room for them, their length alone.
pub(super) fn give(
    guest: &mut Guest<'_>,
    (at, room): (u32, u32),
    len: u32,
    bytes: &[u8],
) -> Result<(), Errno> {
    // All of it must be the program's, whatever is given.
    guest.get(at, room)?;
    guest.put_u32(len, bytes.len() as u32)?;
    if bytes.len() > room as usize {
        return Err(Errno::Overflow);
    }
    guest.put(at, bytes)
}

impl Bus {
    /// `kv_get`
    pub fn kv_get(
        &self,
        guest: &mut Guest<'_>,
        (at, len): (u32, u32),
        value: (u32, u32),
        value_len: u32,
    ) -> Outcome {
        let mut get = || {
            let found = self.map.get(key(guest, at, len)?).ok_or(Errno::NoEntry)?;
            give(guest, value, value_len, found)
        };
        get().into()
    }

    /// `kv_set`
    pub fn kv_set(&mut self, guest: &Guest<'_>, (at, len): (u32, u32), value: (u32, u32)) -> Outcome {
        let mut set = || {
            let key = key(guest, at, len)?;
            if value.1 as usize > limits::VALUE_BYTES {
                return Err(Errno::FileTooBig);
            }
            let value = guest.get(value.0, value.1)?;
            let old = self.map.get(key).map(|old| key.len() + old.len());
            let bytes = self.map_bytes - old.unwrap_or(0) + key.len() + value.len();
            if bytes > limits::MAP_BYTES || (old.is_none() && self.map.len() >= limits::KEYS) {
                return Err(Errno::NoSpace);
            }
            self.map.insert(key.to_vec(), value.to_vec());
            self.map_bytes = bytes;
            Ok(())
        };
        set().into()
    }

    /// `kv_delete`
    pub fn kv_delete(&mut self, guest: &Guest<'_>, at: u32, len: u32) -> Outcome {
        let mut delete = || {
            let key = key(guest, at, len)?;
            let old = self.map.remove(key).ok_or(Errno::NoEntry)?;
            self.map_bytes -= key.len() + old.len();
            Ok(())
        };
        delete().into()
    }

    /// `kv_next`: the first key that comes after one, which need not be there; after the empty one comes the first of all.
    pub fn kv_next(
        &self,
        guest: &mut Guest<'_>,
        (at, len): (u32, u32),
        next: (u32, u32),
        next_len: u32,
    ) -> Outcome {
        let mut find = || {
            if len as usize > limits::KEY_BYTES {
                return Err(Errno::NameTooLong);
            }
            let after: &[u8] = guest.get(at, len)?;
            let mut rest = self.map.range::<[u8], _>((Bound::Excluded(after), Bound::Unbounded));
            let (found, _) = rest.next().ok_or(Errno::NoEntry)?;
            give(guest, next, next_len, found)
        };
        find().into()
    }
}
