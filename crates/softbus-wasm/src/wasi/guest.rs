//! The program's memory, as calls read and write it. Every address is the program's word: nothing is believed of it.

use super::errno::Errno;

/// Most pieces of one reading or writing (`IOV_MAX` of POSIX systems).
const PIECES: u32 = 1024;

/// The memory of the program that calls.
pub struct Guest<'m> {
    bytes: &'m mut [u8],
}

impl<'m> Guest<'m> {
    /// Of these bytes.
    pub fn new(bytes: &'m mut [u8]) -> Self {
        Self { bytes }
    }

    pub(crate) fn get(&self, at: u32, len: u32) -> Result<&[u8], Errno> {
        let at = at as usize;
        self.bytes.get(at..).and_then(|rest| rest.get(..len as usize)).ok_or(Errno::Fault)
    }

    pub(super) fn get_mut(&mut self, at: u32, len: u32) -> Result<&mut [u8], Errno> {
        let at = at as usize;
        self.bytes.get_mut(at..).and_then(|rest| rest.get_mut(..len as usize)).ok_or(Errno::Fault)
    }

    pub(crate) fn put(&mut self, at: u32, bytes: &[u8]) -> Result<(), Errno> {
        let len = u32::try_from(bytes.len()).map_err(|_| Errno::Fault)?;
        self.get_mut(at, len)?.copy_from_slice(bytes);
        Ok(())
    }

    pub(super) fn u8(&self, at: u32) -> Result<u8, Errno> {
        Ok(self.get(at, 1)?[0])
    }

    pub(super) fn u16(&self, at: u32) -> Result<u16, Errno> {
        self.get(at, 2)?.try_into().map(u16::from_le_bytes).map_err(|_| Errno::Fault)
    }

    pub(super) fn u32(&self, at: u32) -> Result<u32, Errno> {
        self.get(at, 4)?.try_into().map(u32::from_le_bytes).map_err(|_| Errno::Fault)
    }

    pub(super) fn u64(&self, at: u32) -> Result<u64, Errno> {
        self.get(at, 8)?.try_into().map(u64::from_le_bytes).map_err(|_| Errno::Fault)
    }

    pub(crate) fn put_u32(&mut self, at: u32, value: u32) -> Result<(), Errno> {
        self.put(at, &value.to_le_bytes())
    }

    pub(super) fn put_u64(&mut self, at: u32, value: u64) -> Result<(), Errno> {
        self.put(at, &value.to_le_bytes())
    }

    /// A path or a name.
    pub(crate) fn text(&self, at: u32, len: u32) -> Result<&str, Errno> {
        if len > super::limits::PATH_BYTES {
            return Err(Errno::NameTooLong);
        }
        std::str::from_utf8(self.get(at, len)?).map_err(|_| Errno::IllegalSequence)
    }

    /// Addresses and lengths of the pieces of a reading or writing, each within the memory.
    pub(super) fn pieces(&self, at: u32, count: u32) -> Result<Vec<(u32, u32)>, Errno> {
        if count > PIECES {
            return Err(Errno::Invalid);
        }
        let mut pieces = Vec::with_capacity(count as usize);
        let mut total = 0u32;
        for piece in 0..count {
            let entry = at.checked_add(piece * 8).ok_or(Errno::Fault)?;
            let (start, len) = (self.u32(entry)?, self.u32(entry.checked_add(4).ok_or(Errno::Fault)?)?);
            self.get(start, len)?;
            total = total.checked_add(len).ok_or(Errno::Invalid)?;
            pieces.push((start, len));
        }
        Ok(pieces)
    }
}
