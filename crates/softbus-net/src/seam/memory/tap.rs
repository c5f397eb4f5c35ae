//! What an observer of the network in memory is shown: every datagram when it is sent and, if it got that far, again
//! when it arrives. Traces, packet captures and the figures of a simulation are made of nothing else.

use std::net::SocketAddr;
use std::sync::Arc;

use quinn::udp::EcnCodepoint;

/// Sees every datagram of a [`MemoryNet`](super::MemoryNet).
pub trait Tap: Send + Sync + 'static {
    /// A datagram was sent, or arrived. The network is locked meanwhile: it must not be called from here.
    fn datagram(&self, seen: &Seen<'_>);
}

/// Each of them sees it, in this order.
impl Tap for Vec<Arc<dyn Tap>> {
    fn datagram(&self, seen: &Seen<'_>) {
        self.iter().for_each(|tap| tap.datagram(seen));
    }
}

/// A datagram, at one of its ends.
#[derive(Clone, Copy, Debug)]
pub struct Seen<'a> {
    /// Virtual time since the network was made, in nanoseconds.
    pub at_ns: u64,
    /// Who sent it.
    pub from: Party<'a>,
    /// Whom it is for; `None` if nobody has that address.
    pub to: Option<Party<'a>>,
    /// Where it comes from, as on the wire: behind a NAT box, the box.
    pub source: SocketAddr,
    /// Where it goes to, as on the wire: the NAT box when it is sent, the host behind it when it arrives.
    pub destination: SocketAddr,
    /// Congestion mark.
    pub ecn: Option<EcnCodepoint>,
    /// UDP payload.
    pub bytes: &'a [u8],
    /// What became of it.
    pub fate: Fate,
    /// Whether this is the receiver's end. A datagram sent is seen here again, once for each copy that comes as far.
    pub arriving: bool,
}

/// A host, to an observer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Party<'a> {
    /// Hosts are counted from 0, in the order in which they were made.
    pub index: usize,
    /// Its name.
    pub name: &'a str,
}

/// What became of a datagram.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Fate {
    /// It is on its way.
    Sent,
    /// A socket read it.
    Delivered,
    /// Lost by chance.
    Lost,
    /// Lost at a cut, or on its way to an address that its host has left.
    Cut,
    /// A queue before a limited rate was full, or the receiver's buffer.
    Overflowed,
    /// Longer than the way takes.
    TooLong,
    /// Nobody has that address, listens at that port, or can be reached from there.
    Unroutable,
    /// A NAT box did not let it in.
    Filtered,
    /// Its sender or receiver slept.
    Asleep,
}

impl Fate {
    /// One word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Sent => "sent",
            Self::Delivered => "delivered",
            Self::Lost => "lost",
            Self::Cut => "cut",
            Self::Overflowed => "overflowed",
            Self::TooLong => "too-long",
            Self::Unroutable => "unroutable",
            Self::Filtered => "filtered",
            Self::Asleep => "asleep",
        }
    }
}

impl std::fmt::Display for Fate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What one host sent and received so far.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Traffic {
    /// Datagrams handed to the network.
    pub sent: u64,
    /// Bytes of them (UDP payload).
    pub sent_bytes: u64,
    /// Datagrams read by its sockets.
    pub received: u64,
    /// Bytes of them.
    pub received_bytes: u64,
}
