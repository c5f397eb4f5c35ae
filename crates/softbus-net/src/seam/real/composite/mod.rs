use std::io::{self, IoSliceMut};
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use if_addrs::{IfAddr, Interface};
use quinn::udp::{RecvMeta, Transmit};
use quinn::{AsyncUdpSocket, UdpPoller};
use tokio::sync::futures::OwnedNotified;
use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;

use super::interfaces;
use crate::seam::{canonical, mapped};

/// Most sockets behind one composite: interfaces, or addresses where the system binds no socket to an interface.
pub(super) const MEMBERS: usize = 16;
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

/// One of the sockets behind a composite.
#[derive(Debug)]
pub(super) struct Member {
    socket: Arc<dyn AsyncUdpSocket>,
    pub(super) reach: Reach,
    /// Its last datagram did not fit into its buffer.
    blocked: AtomicBool,
    /// It failed for good.
    broken: AtomicBool,
}

impl Member {
    pub(super) fn new(socket: Arc<dyn AsyncUdpSocket>, reach: Reach) -> Arc<Self> {
        Arc::new(Self { socket, reach, blocked: AtomicBool::new(false), broken: AtomicBool::new(false) })
    }

    pub(super) fn is_broken(&self) -> bool {
        self.broken.load(Ordering::Relaxed)
    }
}

/// Who is behind a composite at one moment.
pub(super) type Members = Arc<[Arc<Member>]>;

/// Several UDP sockets of one port that look like one to a quinn endpoint.
///
/// Datagrams leave by the socket that has their source address or, while the source is still open, by the one
/// whose interface is nearest to the destination; they are received from all in turn. If any socket is of
/// IPv6 the whole looks like a dual-stack socket, and IPv4 addresses are mapped at its border.
///
/// The sockets may come and go under a running endpoint. Without any, what is sent is lost and nothing comes in.
#[derive(Debug)]
pub struct CompositeSocket {
    members: RwLock<Members>,
    /// Who is behind it changed: for those who wait to send. There is one of them for each connection.
    changed: Arc<Notify>,
    /// The endpoint, which waits for datagrams of the members that it knew when it asked last.
    reader: Mutex<Option<Waker>>,
    local: SocketAddr,
    /// quinn asks for these once only, so they count for members to come, too.
    receive_segments: usize,
    may_fragment: bool,
    /// Its members come and go; whoever sees to that ends when this is dropped.
    follower: Option<oneshot::Sender<()>>,
    /// Whose turn it is to be read first.
    turn: AtomicUsize,
    table: Mutex<Table>,
}

/// The machine's interfaces as last read.
#[derive(Debug, Default)]
struct Table {
    read: Option<Instant>,
    interfaces: Vec<Interface>,
}

impl CompositeSocket {
    /// Of these sockets, from now until its end.
    pub(super) fn new(members: Vec<Arc<Member>>) -> io::Result<Self> {
        let sockets = || members.iter().map(|member| &member.socket);
        let local = sockets().map(|socket| socket.local_addr()).collect::<io::Result<Vec<_>>>()?;
        let local = local.iter().find(|address| address.is_ipv6()).or(local.first()).copied();
        let local =
            local.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "a composite of no sockets"))?;
        // Sizes the buffers datagrams are received into, so the most of all counts.
        let receive_segments = sockets().map(|socket| socket.max_receive_segments()).max().unwrap_or(1);
        let may_fragment = sockets().any(|socket| socket.may_fragment());
        let socket = Self::empty(local, receive_segments, may_fragment, None);
        socket.set(members)?;
        Ok(socket)
    }

    /// Of none yet: they come and go by [`CompositeSocket::set`]. What quinn asks only once is answered as `like` does,
    /// a socket of the same machine, and `local` is the address that the whole shows. The receiver closes when it is
    /// dropped.
    pub(super) fn following(local: SocketAddr, like: &dyn AsyncUdpSocket) -> (Self, oneshot::Receiver<()>) {
        let (alive, dropped) = oneshot::channel();
        (Self::empty(local, like.max_receive_segments(), like.may_fragment(), Some(alive)), dropped)
    }

    fn empty(
        local: SocketAddr,
        receive_segments: usize,
        may_fragment: bool,
        follower: Option<oneshot::Sender<()>>,
    ) -> Self {
        Self {
            members: RwLock::new(Members::default()),
            changed: Arc::default(),
            reader: Mutex::default(),
            local,
            receive_segments,
            may_fragment,
            follower,
            turn: AtomicUsize::new(0),
            table: Mutex::default(),
        }
    }

    /// Who is behind it now.
    pub(super) fn members(&self) -> Members {
        self.members.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Other sockets from now on; whoever waits for one that is not among them any more waits for the others.
    pub(super) fn set(&self, members: Vec<Arc<Member>>) -> io::Result<()> {
        if members.len() > MEMBERS {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "too many sockets for one composite"));
        }
        *self.members.write().unwrap_or_else(PoisonError::into_inner) = members.into();
        // After the change: both look at the members only once they are sure to be told of a later one.
        self.changed.notify_waiters();
        let reader = self.reader.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(reader) = reader {
            reader.wake();
        }
        // What is on which subnet is another matter now.
        self.table.lock().unwrap_or_else(PoisonError::into_inner).read = None;
        Ok(())
    }

    /// The member to send by; `None` if none has the family.
    fn route(&self, members: &[Arc<Member>], to: SocketAddr, source: Option<IpAddr>) -> Option<usize> {
        let fits = |reach: &Reach| if to.is_ipv4() { reach.v4 } else { reach.v6 };
        let all = || {
            let members = members.iter().enumerate();
            members.filter(move |(_, m)| fits(&m.reach) && !m.is_broken()).map(|(i, m)| (i, m.reach))
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

    /// Wakes the reader when other members come. Before it looks at them, so that no change falls between the two.
    fn wake_on_change(&self, cx: &Context<'_>) {
        let mut reader = self.reader.lock().unwrap_or_else(PoisonError::into_inner);
        if !reader.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            *reader = Some(cx.waker().clone());
        }
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

impl AsyncUdpSocket for CompositeSocket {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        let changed = Box::pin(self.changed.clone().notified_owned());
        Box::pin(Poller { socket: self, changed, waits: Vec::new() })
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        let destination = canonical(transmit.destination);
        let src_ip = transmit.src_ip.map(|ip| ip.to_canonical());
        // What cannot be sent is lost, as on the way: an error would end the whole connection.
        let members = self.members();
        let Some(index) = self.route(&members, destination, src_ip) else { return Ok(()) };
        let member = &members[index];
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
                member.blocked.store(true, Ordering::Relaxed);
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
        self.wake_on_change(cx);
        let members = self.members();
        let begin = self.turn.fetch_add(1, Ordering::Relaxed);
        let room = bufs.len().min(meta.len());
        let mut count = 0;
        let mut failure = None;
        for offset in 0..members.len() {
            if count == room {
                break;
            }
            let member = &members[begin.wrapping_add(offset) % members.len()];
            if member.is_broken() {
                continue;
            }
            // Again after an error of some former datagram (ICMP), until it waits or gives.
            loop {
                match member.socket.poll_recv(cx, &mut bufs[count..room], &mut meta[count..room]) {
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
                            tracing::warn!(%error, socket = ?member.reach, "a socket failed");
                            member.broken.store(true, Ordering::Relaxed);
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
        // Where members come and go, one that failed is bound anew before long.
        if self.follower.is_none() && members.iter().all(|member| member.is_broken()) {
            let gone = || io::Error::new(io::ErrorKind::NotConnected, "all sockets failed");
            return Poll::Ready(Err(failure.unwrap_or_else(gone)));
        }
        Poll::Pending
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.local)
    }

    fn max_transmit_segments(&self) -> usize {
        self.members().iter().map(|member| member.socket.max_transmit_segments()).min().unwrap_or(1)
    }

    fn max_receive_segments(&self) -> usize {
        self.receive_segments
    }

    fn may_fragment(&self) -> bool {
        self.may_fragment
    }
}

/// Waits until those sockets that refused a datagram take some again, or are not behind the composite any more.
struct Poller {
    socket: Arc<CompositeSocket>,
    /// Made before the members are looked at, so that no change falls between the two.
    changed: Pin<Box<OwnedNotified>>,
    /// Members that are waited for. Only as long as they are: this keeps their sockets, and so their port, open.
    waits: Vec<Wait>,
}

type Wait = (Arc<Member>, Pin<Box<dyn UdpPoller>>);

impl std::fmt::Debug for Poller {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Poller").field("waits", &self.waits).finish_non_exhaustive()
    }
}

impl UdpPoller for Poller {
    fn poll_writable(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        loop {
            let members = this.socket.members();
            let blocked = |member: &Arc<Member>| member.blocked.load(Ordering::Relaxed);
            for member in members.iter().filter(|member| blocked(member)) {
                if !this.waits.iter().any(|(waited, _)| Arc::ptr_eq(waited, member)) {
                    this.waits.push((member.clone(), member.socket.clone().create_io_poller()));
                }
            }
            // Who is gone, or took a datagram of another connection meanwhile, is not waited for.
            this.waits.retain_mut(|(member, poller)| {
                let here = members.iter().any(|other| Arc::ptr_eq(other, member));
                let waits = here && blocked(member) && poller.as_mut().poll_writable(cx).is_pending();
                if !waits {
                    member.blocked.store(false, Ordering::Relaxed);
                }
                waits
            });
            if this.waits.is_empty() {
                return Poll::Ready(Ok(()));
            }
            if this.changed.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            this.changed.set(this.socket.changed.clone().notified_owned());
        }
    }
}

#[cfg(test)]
mod tests;
