use core::time::Duration;

use crate::error::{Error, cap, check, given, len};
use crate::{nanoseconds, raw};

/// Messages to a service of the mesh, and its answers in the order of the messages. Closed when it is dropped.
#[derive(Debug)]
pub struct Channel(u32);

impl Channel {
    /// A channel to a service, such as `echo/1`. Asks nobody yet.
    ///
    /// # Errors
    /// [`Error::NotGranted`]; [`Error::TooManyChannels`]; [`Error::Invalid`], if that is no service name.
    pub fn open(service: &str) -> Result<Self, Error> {
        let (service, mut channel) = (service.as_bytes(), 0);
        // SAFETY: the address and the length are those of a text, the other address that of a number; both live as long as
        // the call.
        check(unsafe { raw::softbus_channel_open(service.as_ptr(), len(service)?, &raw mut channel) })?;
        Ok(Self(channel))
    }

    /// Sends a message, and returns at once. After a move or the loss of a device it is asked again if it was not answered;
    /// a device that answered it already does not do it twice.
    ///
    /// # Errors
    /// [`Error::Again`], if too much is unanswered; [`Error::TooLong`].
    pub fn send(&self, message: &[u8]) -> Result<(), Error> {
        // SAFETY: the address and the length are those of a slice that lives as long as the call.
        check(unsafe { raw::softbus_channel_send(self.0, message.as_ptr(), len(message)?) })
    }

    /// Waits for the answer to the first message whose answer was not taken, and puts it into `room`.
    ///
    /// # Errors
    /// [`Error::TimedOut`] and [`Error::NoRoom`]: it can still be taken. All others stand in its place.
    pub fn recv<'r>(&self, room: &'r mut [u8], timeout: Duration) -> Result<&'r mut [u8], Error> {
        let (mut answer_len, timeout) = (0, nanoseconds(timeout));
        // SAFETY: the address and the length are those of a slice, the other address that of a number; both live as long as
        // the call.
        let number = unsafe {
            raw::softbus_channel_recv(self.0, room.as_mut_ptr(), cap(room), &raw mut answer_len, timeout)
        };
        given(number, room, answer_len)
    }
}

impl Drop for Channel {
    fn drop(&mut self) {
        // SAFETY: it takes a number.
        let _ = unsafe { raw::softbus_channel_close(self.0) };
    }
}

/// What a model says to a prompt, as far as there is room for it, and how long all of it is.
///
/// # Errors
/// [`Error::NotGranted`]; [`Error::NotSupported`] where nobody has a model, as it is always for now.
pub fn infer<'r>(
    prompt: &str,
    room: &'r mut [u8],
    timeout: Duration,
) -> Result<(&'r mut [u8], usize), Error> {
    let (mut answer_len, timeout, prompt) = (0, nanoseconds(timeout), prompt.as_bytes());
    // SAFETY: addresses and lengths are those of a text, a slice and a number that live as long as the call.
    check(unsafe {
        let room = (room.as_mut_ptr(), cap(room));
        raw::softbus_infer(prompt.as_ptr(), len(prompt)?, room.0, room.1, &raw mut answer_len, timeout)
    })?;
    let cut = room.len().min(answer_len as usize);
    Ok((&mut room[..cut], answer_len as usize))
}
