//! What is on its way to sockets.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::task::Waker;
use std::time::Duration;

use quinn::udp::EcnCodepoint;

use super::net::HostId;

/// Most datagrams on the way to one socket; further ones are lost, as in a kernel's buffer.
const INBOX_DATAGRAMS: usize = 8192;
/// Most bytes of them.
const INBOX_BYTES: usize = 8 << 20;
/// Buffers kept for the next datagrams.
const SPARE_BUFFERS: usize = 1024;

/// A datagram on its way.
pub(super) struct Datagram {
    pub(super) from_host: HostId,
    pub(super) from: SocketAddr,
    pub(super) to: SocketAddr,
    pub(super) ecn: Option<EcnCodepoint>,
    pub(super) bytes: Vec<u8>,
}

/// What is on its way to a socket, by time of arrival, since the network began.
pub(super) struct Inbox {
    pub(super) host: HostId,
    /// Nearly always the next one comes last: cheaper than a heap, and what is due at the same time keeps its order.
    queue: VecDeque<(Duration, Datagram)>,
    bytes: usize,
    waker: Option<Waker>,
}

impl Inbox {
    pub(super) fn new(host: HostId) -> Self {
        Self { host, queue: VecDeque::new(), bytes: 0, waker: None }
    }

    /// Takes in what arrives at `due`; gives it back if there is no room.
    pub(super) fn put(&mut self, due: Duration, datagram: Datagram) -> Result<(), Datagram> {
        if self.queue.len() >= INBOX_DATAGRAMS || self.bytes + datagram.bytes.len() > INBOX_BYTES {
            return Err(datagram);
        }
        self.bytes += datagram.bytes.len();
        let at = match self.queue.back() {
            Some((last, _)) if *last > due => self.queue.partition_point(|(other, _)| *other <= due),
            _ => self.queue.len(),
        };
        self.queue.insert(at, (due, datagram));
        if at == 0 {
            self.wake();
        }
        Ok(())
    }

    pub(super) fn take_due(&mut self, now: Duration) -> Option<Datagram> {
        if self.queue.front()?.0 > now {
            return None;
        }
        let (_, datagram) = self.queue.pop_front()?;
        self.bytes -= datagram.bytes.len();
        Some(datagram)
    }

    /// What became due after `from` and until `to`.
    pub(super) fn take_between(&mut self, from: Duration, to: Duration) -> Vec<Datagram> {
        let begin = self.queue.partition_point(|(due, _)| *due <= from);
        let end = self.queue.partition_point(|(due, _)| *due <= to);
        let taken: Vec<Datagram> = self.queue.drain(begin..end).map(|(_, datagram)| datagram).collect();
        self.bytes -= taken.iter().map(|datagram| datagram.bytes.len()).sum::<usize>();
        taken
    }

    /// Wakes who waits here, if something came before what it waits for.
    pub(super) fn wake(&mut self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    /// Somebody waits; gives back when the first is due.
    pub(super) fn wait(&mut self, waker: &Waker) -> Option<Duration> {
        match &mut self.waker {
            Some(known) => known.clone_from(waker),
            None => self.waker = Some(waker.clone()),
        }
        self.queue.front().map(|(due, _)| *due)
    }
}

/// The inboxes of all sockets. A number is used again once its socket is gone.
#[derive(Default)]
pub(super) struct Inboxes {
    slots: Vec<Option<Inbox>>,
    free: Vec<usize>,
    /// Buffers of datagrams that were read, to save allocations.
    spare: Vec<Vec<u8>>,
}

impl Inboxes {
    pub(super) fn add(&mut self, inbox: Inbox) -> usize {
        let slot = self.free.pop().unwrap_or(self.slots.len());
        if slot == self.slots.len() {
            self.slots.push(None);
        }
        self.slots[slot] = Some(inbox);
        slot
    }

    pub(super) fn remove(&mut self, slot: usize) {
        if self.slots[slot].take().is_some() {
            self.free.push(slot);
        }
    }

    pub(super) fn get_mut(&mut self, slot: usize) -> Option<&mut Inbox> {
        self.slots[slot].as_mut()
    }

    /// A buffer with these bytes.
    pub(super) fn buffer(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut buffer = self.spare.pop().unwrap_or_default();
        buffer.extend_from_slice(bytes);
        buffer
    }

    pub(super) fn give_back(&mut self, mut buffer: Vec<u8>) {
        if self.spare.len() < SPARE_BUFFERS {
            buffer.clear();
            self.spare.push(buffer);
        }
    }
}
