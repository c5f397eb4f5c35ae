use std::io::{self, IoSliceMut};
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use if_addrs::{IfAddr, Interface};
use quinn::udp::{RecvMeta, Transmit};
use quinn::{AsyncUdpSocket, UdpPoller};
use tokio::time::Instant;

use super::interfaces;

/// Most sockets behind one composite (their states are bits of a `u32`).
const MEMBERS: usize = 32;
/// How long what was read of the interfaces counts, when choosing one to send by.
const TABLE_AGE: Duration = Duration::from_secs(1);

/// What one socket is good for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reach {
    pub(super) v4: bool,
    pub(super) v6: bool,
    /// Index of the interface it is bound to.
    pub(super) device: Option<u32>,
    /// The address it is bound to.
    pub(super) address: Option<IpAddr>,
}

impl Reach {
    pub(super) fn family_of(ip: IpAddr) -> Self {
        Self { v4: ip.is_ipv4(), v6: ip.is_ipv6(), device: None, address: None }
    }
}

#[derive(Debug)]
pub(super) struct Member {
    pub(super) socket: Arc<dyn AsyncUdpSocket>,
    pub(super) reach: Reach,
}

/// Several UDP sockets of one port that look like one to a quinn endpoint.
///
/// Datagrams leave by the socket that has their source address or, while the source is still open, by the one
/// whose interface is nearest to the destination; they are received from all in turn. If any socket is of
/// IPv6 the whole looks like a dual-stack socket, and IPv4 addresses are mapped at its border.
#[derive(Debug)]
pub struct CompositeSocket {
    members: Vec<Member>,
    local: SocketAddr,
    /// Whose turn it is to be read first.
    turn: AtomicUsize,
    /// Members (bits) whose last datagram did not fit into their buffer.
    blocked: AtomicU32,
    /// Members (bits) that failed for good.
    broken: AtomicU32,
    table: Mutex<Table>,
}

/// The machine's interfaces as last read.
#[derive(Debug, Default)]
struct Table {
    read: Option<Instant>,
    interfaces: Vec<Interface>,
}

impl CompositeSocket {
    pub(super) fn new(members: Vec<Member>) -> io::Result<Self> {
        if members.is_empty() || members.len() > MEMBERS {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "1 to 32 sockets make a composite"));
        }
        let local =
            members.iter().map(|member| member.socket.local_addr()).collect::<io::Result<Vec<_>>>()?;
        let local = local.iter().find(|address| address.is_ipv6()).or(local.first()).copied();
        let local = local.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(Self {
            members,
            local,
            turn: AtomicUsize::new(0),
            blocked: AtomicU32::new(0),
            broken: AtomicU32::new(0),
            table: Mutex::default(),
        })
    }

    /// The member to send by; `None` if none has the family.
    fn route(&self, to: SocketAddr, source: Option<IpAddr>) -> Option<usize> {
        let broken = self.broken.load(Ordering::Relaxed);
        let fits = |reach: &Reach| if to.is_ipv4() { reach.v4 } else { reach.v6 };
        let all = || {
            let members = self.members.iter().enumerate();
            members.filter(move |(i, m)| fits(&m.reach) && broken & (1 << i) == 0).map(|(i, m)| (i, m.reach))
        };
        let mut candidates = all();
        let first = candidates.next()?;
        if candidates.next().is_none() {
            return Some(first.0);
        }
        if let Some(source) = source
            && let Some((index, _)) = all().find(|(_, reach)| reach.address == Some(source))
        {
            return Some(index);
        }
        let scope = match to {
            SocketAddr::V6(v6) if interfaces::is_link_local(v6.ip()) => Some(v6.scope_id()),
            _ => None,
        };
        if let Some((index, _)) = all().find(|(_, reach)| scope.is_some() && reach.device == scope) {
            return Some(index);
        }
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        table.refresh();
        // By whom has the source, then by who is on the destination's subnet, then by who leaves loopback.
        let by = |pick: &dyn Fn(&Interface) -> bool| {
            let device = table.interfaces.iter().find(|interface| pick(interface))?.index;
            all().find(|(_, reach)| reach.device == device).map(|(index, _)| index)
        };
        let mine = |interface: &Interface| all().any(|(_, reach)| reach.device == interface.index);
        by(&|interface| source == Some(interface.ip()))
            .or_else(|| by(&|interface| mine(interface) && same_subnet(interface, to.ip())))
            .or_else(|| by(&|interface| mine(interface) && interface.is_loopback() == to.ip().is_loopback()))
            .or(Some(first.0))
    }
}

impl Table {
    fn refresh(&mut self) {
        let now = Instant::now();
        if self.read.is_none_or(|read| now.duration_since(read) >= TABLE_AGE) {
            self.read = Some(now);
            match if_addrs::get_if_addrs() {
                Ok(interfaces) => self.interfaces = interfaces,
                Err(error) => tracing::warn!(%error, "the interfaces of this machine cannot be read"),
            }
        }
    }
}

fn same_subnet(interface: &Interface, ip: IpAddr) -> bool {
    match (&interface.addr, ip) {
        (IfAddr::V4(own), IpAddr::V4(ip)) => {
            let mask = own.netmask.to_bits();
            own.ip.to_bits() & mask == ip.to_bits() & mask
        }
        (IfAddr::V6(own), IpAddr::V6(ip)) => {
            let mask = own.netmask.to_bits();
            own.ip.to_bits() & mask == ip.to_bits() & mask
        }
        _ => false,
    }
}

/// Without the IPv4-in-IPv6 form; scope ids stay.
fn canonical(address: SocketAddr) -> SocketAddr {
    match address.ip().to_canonical() {
        IpAddr::V4(v4) => SocketAddr::new(v4.into(), address.port()),
        IpAddr::V6(_) => address,
    }
}

fn mapped(address: SocketAddr) -> SocketAddr {
    match address {
        SocketAddr::V4(v4) => SocketAddr::new(v4.ip().to_ipv6_mapped().into(), v4.port()),
        v6 => v6,
    }
}

impl AsyncUdpSocket for CompositeSocket {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        let pollers = self.members.iter().map(|member| member.socket.clone().create_io_poller()).collect();
        Box::pin(Poller { socket: self, pollers })
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        let destination = canonical(transmit.destination);
        let src_ip = transmit.src_ip.map(|ip| ip.to_canonical());
        // What cannot be sent is lost, as on the way: an error would end the whole connection.
        let Some(index) = self.route(destination, src_ip) else { return Ok(()) };
        let member = &self.members[index];
        // A dual-stack member takes IPv4 destinations mapped; one of a single family in their own form.
        let destination = if member.reach.v6 { mapped(destination) } else { destination };
        let src_ip = if member.reach.address.is_some() { None } else { src_ip };
        let result = member.socket.try_send(&Transmit {
            destination,
            ecn: transmit.ecn,
            contents: transmit.contents,
            segment_size: transmit.segment_size,
            src_ip,
        });
        match result {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.blocked.fetch_or(1 << index, Ordering::Relaxed);
                Err(error)
            }
            Err(error) => {
                tracing::debug!(%error, %destination, "a datagram could not be sent");
                Ok(())
            }
            Ok(()) => Ok(()),
        }
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        let begin = self.turn.fetch_add(1, Ordering::Relaxed);
        let room = bufs.len().min(meta.len());
        let mut count = 0;
        let mut failure = None;
        for offset in 0..self.members.len() {
            if count == room {
                break;
            }
            let index = begin.wrapping_add(offset) % self.members.len();
            if self.broken.load(Ordering::Relaxed) & (1 << index) != 0 {
                continue;
            }
            // Again after an error of some former datagram (ICMP), until it waits or gives.
            loop {
                match self.members[index].socket.poll_recv(cx, &mut bufs[count..room], &mut meta[count..room])
                {
                    Poll::Ready(Ok(received)) => {
                        if self.local.is_ipv6() {
                            meta[count..count + received]
                                .iter_mut()
                                .for_each(|meta| meta.addr = mapped(meta.addr));
                        }
                        count += received;
                    }
                    Poll::Ready(Err(error)) => match error.kind() {
                        io::ErrorKind::ConnectionReset
                        | io::ErrorKind::ConnectionRefused
                        | io::ErrorKind::HostUnreachable
                        | io::ErrorKind::NetworkUnreachable
                        | io::ErrorKind::NetworkDown
                        | io::ErrorKind::Interrupted => continue,
                        _ => {
                            tracing::warn!(%error, socket = ?self.members[index].reach, "a socket failed");
                            self.broken.fetch_or(1 << index, Ordering::Relaxed);
                            failure = Some(error);
                        }
                    },
                    Poll::Pending => {}
                }
                break;
            }
        }
        if count > 0 {
            return Poll::Ready(Ok(count));
        }
        let all = u32::MAX >> (32 - self.members.len());
        if self.broken.load(Ordering::Relaxed) & all == all {
            let gone = || io::Error::new(io::ErrorKind::NotConnected, "all sockets failed");
            return Poll::Ready(Err(failure.unwrap_or_else(gone)));
        }
        Poll::Pending
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.local)
    }

    fn max_transmit_segments(&self) -> usize {
        self.members.iter().map(|member| member.socket.max_transmit_segments()).min().unwrap_or(1)
    }

    /// Sizes the buffers datagrams are received into, so the most of all counts.
    fn max_receive_segments(&self) -> usize {
        self.members.iter().map(|member| member.socket.max_receive_segments()).max().unwrap_or(1)
    }

    fn may_fragment(&self) -> bool {
        self.members.iter().any(|member| member.socket.may_fragment())
    }
}

/// Waits until those sockets that refused a datagram take some again.
#[derive(Debug)]
struct Poller {
    socket: Arc<CompositeSocket>,
    pollers: Vec<Pin<Box<dyn UdpPoller>>>,
}

impl UdpPoller for Poller {
    fn poll_writable(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let blocked = self.socket.blocked.load(Ordering::Relaxed);
        let socket = self.socket.clone();
        let mut waits = false;
        for (index, poller) in self.pollers.iter_mut().enumerate() {
            let bit = 1 << index;
            if blocked & bit == 0 {
                continue;
            }
            match poller.as_mut().poll_writable(cx) {
                Poll::Ready(_) => {
                    socket.blocked.fetch_and(!bit, Ordering::Relaxed);
                }
                Poll::Pending => waits = true,
            }
        }
        if waits { Poll::Pending } else { Poll::Ready(Ok(())) }
    }
}
