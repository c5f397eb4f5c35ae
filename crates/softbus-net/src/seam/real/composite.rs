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

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::task::Waker;

    use super::*;

    /// A socket that gives what it is told to and notes what is sent.
    #[derive(Debug)]
    struct Fake {
        local: SocketAddr,
        segments: usize,
        incoming: Mutex<VecDeque<io::Result<(SocketAddr, u8)>>>,
        sent: Mutex<Vec<(SocketAddr, Option<IpAddr>)>>,
        /// How many sends are refused before one is taken; writable again once it is 0.
        refuses: AtomicUsize,
    }

    impl Fake {
        fn new(local: &str, segments: usize) -> Arc<Self> {
            Arc::new(Self {
                local: local.parse().unwrap(),
                segments,
                incoming: Mutex::default(),
                sent: Mutex::default(),
                refuses: AtomicUsize::new(0),
            })
        }

        fn gives(&self, from: &str, byte: u8) {
            self.incoming.lock().unwrap().push_back(Ok((from.parse().unwrap(), byte)));
        }

        fn fails(&self, kind: io::ErrorKind) {
            self.incoming.lock().unwrap().push_back(Err(kind.into()));
        }

        fn sent(&self) -> Vec<(SocketAddr, Option<IpAddr>)> {
            std::mem::take(&mut self.sent.lock().unwrap())
        }
    }

    impl AsyncUdpSocket for Fake {
        fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
            Box::pin(FakePoller(self))
        }

        fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
            if self.refuses.load(Ordering::Relaxed) > 0 {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            self.sent.lock().unwrap().push((transmit.destination, transmit.src_ip));
            Ok(())
        }

        fn poll_recv(
            &self,
            _: &mut Context<'_>,
            bufs: &mut [IoSliceMut<'_>],
            meta: &mut [RecvMeta],
        ) -> Poll<io::Result<usize>> {
            match self.incoming.lock().unwrap().pop_front() {
                None => Poll::Pending,
                Some(Err(error)) => Poll::Ready(Err(error)),
                Some(Ok((addr, byte))) => {
                    bufs[0][0] = byte;
                    meta[0] = RecvMeta { addr, len: 1, stride: 1, ecn: None, dst_ip: None };
                    Poll::Ready(Ok(1))
                }
            }
        }

        fn local_addr(&self) -> io::Result<SocketAddr> {
            Ok(self.local)
        }

        fn max_transmit_segments(&self) -> usize {
            self.segments
        }

        fn max_receive_segments(&self) -> usize {
            self.segments
        }

        fn may_fragment(&self) -> bool {
            self.segments == 1
        }
    }

    #[derive(Debug)]
    struct FakePoller(Arc<Fake>);

    impl UdpPoller for FakePoller {
        fn poll_writable(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            if self.0.refuses.load(Ordering::Relaxed) > 0 { Poll::Pending } else { Poll::Ready(Ok(())) }
        }
    }

    fn composite(members: &[(&Arc<Fake>, Reach)]) -> Arc<CompositeSocket> {
        let members = members.iter().map(|(fake, reach)| Member { socket: (*fake).clone(), reach: *reach });
        Arc::new(CompositeSocket::new(members.collect()).unwrap())
    }

    fn loopback() -> (Arc<Fake>, Arc<Fake>, Arc<CompositeSocket>) {
        let (v4, v6) = (Fake::new("127.0.0.1:9", 64), Fake::new("[::1]:9", 1));
        let both = composite(&[
            (&v4, Reach::family_of([127, 0, 0, 1].into())),
            (&v6, Reach::family_of(std::net::Ipv6Addr::LOCALHOST.into())),
        ]);
        (v4, v6, both)
    }

    fn send(socket: &CompositeSocket, to: &str, src_ip: Option<&str>) -> io::Result<()> {
        socket.try_send(&Transmit {
            destination: to.parse().unwrap(),
            ecn: None,
            contents: b"x",
            segment_size: None,
            src_ip: src_ip.map(|ip| ip.parse().unwrap()),
        })
    }

    fn receive(socket: &CompositeSocket, most: usize) -> Poll<Result<Vec<(SocketAddr, u8)>, io::ErrorKind>> {
        let mut bytes = [[0u8; 4]; 8];
        let mut bufs: Vec<IoSliceMut<'_>> = bytes.iter_mut().take(most).map(|b| IoSliceMut::new(b)).collect();
        let mut meta = [RecvMeta::default(); 8];
        let mut cx = Context::from_waker(Waker::noop());
        socket.poll_recv(&mut cx, &mut bufs, &mut meta).map(|received| {
            let received = received.map_err(|error| error.kind())?;
            Ok((0..received).map(|i| (meta[i].addr, bufs[i][0])).collect())
        })
    }

    #[test]
    fn families_are_routed_and_mapped_at_the_border() {
        let (v4, v6, both) = loopback();
        assert_eq!(both.local_addr().unwrap(), "[::1]:9".parse().unwrap());
        send(&both, "[::ffff:127.0.0.1]:5", Some("::ffff:127.0.0.1")).unwrap();
        send(&both, "127.0.0.1:6", None).unwrap();
        send(&both, "[::1]:7", Some("::1")).unwrap();
        let ip = |text: &str| Some(text.parse::<IpAddr>().unwrap());
        assert_eq!(
            v4.sent(),
            [("127.0.0.1:5".parse().unwrap(), ip("127.0.0.1")), ("127.0.0.1:6".parse().unwrap(), None)]
        );
        assert_eq!(v6.sent(), [("[::1]:7".parse().unwrap(), ip("::1"))]);
        v4.gives("127.0.0.1:5", 1);
        assert_eq!(receive(&both, 8), Poll::Ready(Ok(vec![("[::ffff:127.0.0.1]:5".parse().unwrap(), 1)])));
        assert_eq!(
            (both.max_transmit_segments(), both.max_receive_segments(), both.may_fragment()),
            (1, 64, true)
        );
        // A family that nobody has: lost, not an error that would end the connection.
        let only = composite(&[(&v4, Reach::family_of([127, 0, 0, 1].into()))]);
        send(&only, "[::1]:7", None).unwrap();
        assert_eq!(v4.sent(), []);
    }

    #[test]
    fn a_socket_of_the_source_or_the_scope_is_taken() {
        let (a, b) = (Fake::new("[fe80::1]:9", 1), Fake::new("[fe80::2]:9", 1));
        let reach = |ip: &str, device| {
            let ip: IpAddr = ip.parse().unwrap();
            Reach { device: Some(device), address: Some(ip), ..Reach::family_of(ip) }
        };
        let both = composite(&[(&a, reach("fe80::1", 1001)), (&b, reach("fe80::2", 1002))]);
        send(&both, "[fd00::9]:1", Some("fe80::2")).unwrap();
        send(&both, "[fe80::9%1002]:1", None).unwrap();
        assert_eq!((a.sent().len(), b.sent().len()), (0, 2));
        send(&both, "[fe80::9%1001]:1", None).unwrap();
        send(&both, "[fe80::9%77]:1", None).unwrap();
        assert_eq!((a.sent().len(), b.sent().len()), (2, 0), "the first, if nothing is nearer");
    }

    #[test]
    fn all_are_read_in_turn() {
        let (v4, v6, both) = loopback();
        for n in 0..10 {
            v4.gives("127.0.0.1:5", n);
            v6.gives("[::1]:5", 100 + n);
        }
        // With room for one at a time neither starves.
        let mut first_ten = Vec::new();
        for _ in 0..10 {
            let Poll::Ready(Ok(received)) = receive(&both, 1) else { panic!() };
            first_ten.extend(received.into_iter().map(|(_, byte)| byte));
        }
        assert_eq!(first_ten.iter().filter(|byte| **byte >= 100).count(), 5, "{first_ten:?}");
        let Poll::Ready(Ok(received)) = receive(&both, 8) else { panic!() };
        assert_eq!(received.len(), 2, "one of each at once");
    }

    #[test]
    fn one_that_fails_does_not_take_the_others_along() {
        let (v4, v6, both) = loopback();
        v4.fails(io::ErrorKind::ConnectionRefused);
        v4.gives("127.0.0.1:5", 1);
        v6.fails(io::ErrorKind::InvalidInput);
        let Poll::Ready(Ok(received)) = receive(&both, 8) else { panic!() };
        assert_eq!(received.len(), 1);
        assert_eq!(receive(&both, 8), Poll::Pending);
        send(&both, "[::1]:7", None).unwrap();
        assert_eq!(v6.sent(), [], "the broken one is not used any more");
        v4.fails(io::ErrorKind::InvalidInput);
        assert_eq!(receive(&both, 8), Poll::Ready(Err(io::ErrorKind::InvalidInput)));
    }

    #[test]
    fn only_a_socket_that_refused_is_waited_for() {
        let (v4, v6, both) = loopback();
        let mut poller = both.clone().create_io_poller();
        let mut cx = Context::from_waker(Waker::noop());
        v6.refuses.store(1, Ordering::Relaxed);
        assert!(poller.as_mut().poll_writable(&mut cx).is_ready(), "nothing was refused yet");
        assert_eq!(send(&both, "[::1]:7", None).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        assert!(poller.as_mut().poll_writable(&mut cx).is_pending());
        send(&both, "127.0.0.1:5", None).unwrap();
        assert_eq!(v4.sent().len(), 1);
        v6.refuses.store(0, Ordering::Relaxed);
        assert!(poller.as_mut().poll_writable(&mut cx).is_ready());
        send(&both, "[::1]:7", None).unwrap();
    }
}
