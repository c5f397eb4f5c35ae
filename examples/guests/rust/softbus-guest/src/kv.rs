//! The program's map: values by keys. It moves with its task, and ends with it.

use crate::error::{Error, cap, check, given, len};
use crate::raw;

/// Most bytes of a key.
pub const KEY_BYTES: usize = 256;
/// Most bytes of a value.
pub const VALUE_BYTES: usize = 64 << 10;

/// The value of a key, in `room`.
///
/// # Errors
/// [`Error::NotFound`]; [`Error::NoRoom`], with how much it needs.
pub fn get<'r>(key: &[u8], room: &'r mut [u8]) -> Result<&'r mut [u8], Error> {
    let mut value_len = 0;
    // SAFETY: addresses and lengths are those of slices and of a number that live as long as the call.
    let number = unsafe {
        raw::softbus_kv_get(key.as_ptr(), len(key)?, room.as_mut_ptr(), cap(room), &raw mut value_len)
    };
    given(number, room, value_len)
}

/// Gives a key a value, in place of the one that it had.
///
/// # Errors
/// The map is full, one of them is too long, or the key is empty.
pub fn set(key: &[u8], value: &[u8]) -> Result<(), Error> {
    // SAFETY: addresses and lengths are those of slices that live as long as the call.
    check(unsafe { raw::softbus_kv_set(key.as_ptr(), len(key)?, value.as_ptr(), len(value)?) })
}

/// Takes a key out.
///
/// # Errors
/// [`Error::NotFound`].
pub fn delete(key: &[u8]) -> Result<(), Error> {
    // SAFETY: the address and the length are those of a slice that lives as long as the call.
    check(unsafe { raw::softbus_kv_delete(key.as_ptr(), len(key)?) })
}

/// The first key after `after` in the order of their bytes; after the empty one, the first of all. A key that is given need
/// not be there, so keys may be taken out on the way.
///
/// # Errors
/// [`Error::NotFound`] after the last.
pub fn next<'r>(after: &[u8], room: &'r mut [u8]) -> Result<&'r mut [u8], Error> {
    let mut key_len = 0;
    // SAFETY: addresses and lengths are those of slices and of a number that live as long as the call.
    let number = unsafe {
        raw::softbus_kv_next(after.as_ptr(), len(after)?, room.as_mut_ptr(), cap(room), &raw mut key_len)
    };
    given(number, room, key_len)
}
