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
    let members = members.iter().map(|(fake, reach)| Member::new((*fake).clone(), *reach));
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

type Received = Poll<Result<Vec<(SocketAddr, u8)>, io::ErrorKind>>;

fn receive(socket: &CompositeSocket, most: usize) -> Received {
    receive_by(socket, most, Waker::noop())
}

fn receive_by(socket: &CompositeSocket, most: usize, waker: &Waker) -> Received {
    let mut bytes = [[0u8; 4]; 8];
    let mut bufs: Vec<IoSliceMut<'_>> = bytes.iter_mut().take(most).map(|b| IoSliceMut::new(b)).collect();
    let mut meta = [RecvMeta::default(); 8];
    let mut cx = Context::from_waker(waker);
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

/// Counts how often it is woken.
#[derive(Default)]
struct Woken(AtomicUsize);

impl std::task::Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

impl Woken {
    fn take(&self) -> usize {
        self.0.swap(0, Ordering::Relaxed)
    }
}

#[test]
fn members_come_and_go_and_whoever_waits_is_woken() {
    let (like, v4, v6) = (Fake::new("[::]:9", 64), Fake::new("127.0.0.1:9", 1), Fake::new("[::1]:9", 1));
    let (socket, mut dropped) = CompositeSocket::following("[::]:9".parse().unwrap(), &*like);
    let socket = Arc::new(socket);
    let member = |fake: &Arc<Fake>| Member::new(fake.clone(), Reach::family_of(fake.local.ip()));
    let (reader, writer) = (Arc::new(Woken::default()), Arc::new(Woken::default()));
    let read = |socket: &CompositeSocket| receive_by(socket, 1, &Waker::from(reader.clone()));
    // None at all: nothing comes in, what is sent is lost, and neither is an error.
    assert_eq!(read(&socket), Poll::Pending);
    send(&socket, "[::1]:7", None).unwrap();
    assert_eq!((socket.max_transmit_segments(), socket.max_receive_segments()), (1, 64));
    let mut poller = socket.clone().create_io_poller();
    let waker = Waker::from(writer.clone());
    let mut cx = Context::from_waker(&waker);
    assert!(poller.as_mut().poll_writable(&mut cx).is_ready());

    // One comes: the reader is told, and what is sent leaves by it.
    socket.set(vec![member(&v6)]).unwrap();
    assert_eq!(reader.take(), 1);
    v6.gives("[::1]:5", 1);
    assert_eq!(read(&socket), Poll::Ready(Ok(vec![("[::1]:5".parse().unwrap(), 1)])));
    send(&socket, "[::1]:7", None).unwrap();
    assert_eq!(v6.sent().len(), 1);

    // It refuses, is waited for, and goes: who waited is told, and waits for it no more.
    v6.refuses.store(1, Ordering::Relaxed);
    send(&socket, "[::1]:7", None).unwrap_err();
    assert!(poller.as_mut().poll_writable(&mut cx).is_pending());
    assert_eq!((read(&socket), writer.take()), (Poll::Pending, 0));
    socket.set(vec![member(&v4)]).unwrap();
    assert_eq!((reader.take(), writer.take()), (1, 1));
    assert!(poller.as_mut().poll_writable(&mut cx).is_ready());
    assert_eq!(Arc::strong_count(&v6), 1, "nobody keeps it, and so its port, open");

    // A change that falls between two looks of the poller is noticed at the next wait.
    v4.refuses.store(1, Ordering::Relaxed);
    send(&socket, "127.0.0.1:7", None).unwrap_err();
    let blocked = socket.members();
    socket.set(blocked.to_vec()).unwrap();
    assert!(poller.as_mut().poll_writable(&mut cx).is_pending());
    socket.set(Vec::new()).unwrap();
    assert_eq!(writer.take(), 1);

    // All fail: it waits for others instead of ending the endpoint.
    socket.set(vec![member(&v6)]).unwrap();
    v6.fails(io::ErrorKind::InvalidInput);
    assert_eq!(read(&socket), Poll::Pending);
    assert!(socket.members()[0].is_broken());
    assert!(socket.set((0..=MEMBERS).map(|_| member(&v6)).collect()).is_err(), "bounded");

    assert_eq!(dropped.try_recv(), Err(oneshot::error::TryRecvError::Empty));
    drop((poller, socket));
    assert_eq!(dropped.try_recv(), Err(oneshot::error::TryRecvError::Closed));
}
