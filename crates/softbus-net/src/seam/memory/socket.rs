use std::future::Future;
use std::io::{self, IoSliceMut};
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use quinn::udp::{RecvMeta, Transmit};
use quinn::{AsyncTimer, AsyncUdpSocket, UdpPoller};
use tokio::sync::watch;
use tokio::time::{Instant, Sleep};

use super::life::Life;
use super::lock;
use super::net::{HostId, MemoryNet};
use super::tap::Fate;
use super::wire::Outgoing;
use crate::Bind;
use crate::seam::{Sockets, mapped};

/// The sockets of one run of a host on a [`MemoryNet`]. All interfaces are one; a socket is dual-stack.
#[derive(Clone)]
pub struct MemorySockets {
    net: MemoryNet,
    host: HostId,
    life: Life,
}

impl MemorySockets {
    pub(super) fn new(net: MemoryNet, host: HostId, life: Life) -> Self {
        Self { net, host, life }
    }
}

impl Sockets for MemorySockets {
    fn bind(&self, _bind: &Bind, port: u16) -> io::Result<Arc<dyn AsyncUdpSocket>> {
        if self.life.is_over() {
            return Err(io::Error::new(io::ErrorKind::NetworkDown, "this run of the host is over"));
        }
        let (port, slot) = self.net.bind(self.host, port).ok_or(io::ErrorKind::AddrInUse)?;
        Ok(Arc::new(MemorySocket {
            net: self.net.clone(),
            host: self.host,
            life: self.life.clone(),
            port,
            slot,
            timer: Mutex::new(None),
        }))
    }

    fn addresses(&self, bind: &Bind) -> watch::Receiver<Arc<Vec<IpAddr>>> {
        self.net.watch_addresses(self.host, *bind == Bind::Loopback)
    }

    fn runtime(&self) -> Arc<dyn quinn::Runtime> {
        Arc::new(MemoryRuntime(self.life.clone()))
    }
}

/// quinn's timers and tasks on tokio; the tasks end with the run of the host.
#[derive(Clone)]
pub struct MemoryRuntime(Life);

impl std::fmt::Debug for MemoryRuntime {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("MemoryRuntime")
    }
}

impl quinn::Runtime for MemoryRuntime {
    fn new_timer(&self, at: std::time::Instant) -> Pin<Box<dyn AsyncTimer>> {
        quinn::Runtime::new_timer(&quinn::TokioRuntime, at)
    }

    fn spawn(&self, future: Pin<Box<dyn Future<Output = ()> + Send>>) {
        let life = self.0.clone();
        tokio::spawn(async move { life.within(future).await });
    }

    fn wrap_udp_socket(&self, _socket: std::net::UdpSocket) -> io::Result<Arc<dyn AsyncUdpSocket>> {
        Err(io::Error::new(io::ErrorKind::Unsupported, "the network in memory has no sockets of the system"))
    }

    fn now(&self) -> std::time::Instant {
        Instant::now().into_std()
    }
}

struct MemorySocket {
    net: MemoryNet,
    host: HostId,
    life: Life,
    port: u16,
    /// Where what comes to it is kept.
    slot: usize,
    /// Goes off when the first of that is due.
    timer: Mutex<Option<Pin<Box<Sleep>>>>,
}

impl std::fmt::Debug for MemorySocket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "MemorySocket({:?}, {})", self.host, self.port)
    }
}

impl Drop for MemorySocket {
    fn drop(&mut self) {
        self.net.unbind(self.host, self.slot);
    }
}

impl AsyncUdpSocket for MemorySocket {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        Box::pin(AlwaysWritable)
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        if self.life.is_over() {
            return Ok(());
        }
        let to = SocketAddr::new(transmit.destination.ip().to_canonical(), transmit.destination.port());
        let source = transmit.src_ip.map(|ip| ip.to_canonical());
        let segment = transmit.segment_size.unwrap_or(transmit.contents.len()).max(1);
        let mut net = self.net.lock();
        let now = net.now();
        for bytes in transmit.contents.chunks(segment) {
            let (host, port, ecn) = (self.host, self.port, transmit.ecn);
            net.send(now, &Outgoing { host, port, source, to, ecn, bytes });
        }
        Ok(())
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        if self.life.is_over() {
            return Poll::Pending;
        }
        loop {
            let due = {
                let mut net = self.net.lock();
                let now = net.now();
                let mut count = 0;
                while count < bufs.len().min(meta.len())
                    && let Some(datagram) = net.receive(now, self.slot)
                {
                    let len = datagram.bytes.len();
                    let Some(buf) = bufs[count].get_mut(..len) else {
                        net.arrived(now, self.host, datagram, Fate::TooLong);
                        continue;
                    };
                    buf.copy_from_slice(&datagram.bytes);
                    meta[count] = RecvMeta {
                        addr: mapped(datagram.from),
                        len,
                        stride: len,
                        ecn: datagram.ecn,
                        dst_ip: Some(datagram.to.ip()),
                    };
                    net.arrived(now, self.host, datagram, Fate::Delivered);
                    count += 1;
                }
                if count > 0 {
                    return Poll::Ready(Ok(count));
                }
                net.wait(self.slot, cx.waker())
            };
            let Some(due) = due else { return Poll::Pending };
            let timer = &mut *lock(&self.timer);
            let timer = timer.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(due)));
            if timer.deadline() != due {
                timer.as_mut().reset(due);
            }
            if Future::poll(timer.as_mut(), cx).is_pending() {
                return Poll::Pending;
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), self.port))
    }

    fn max_transmit_segments(&self) -> usize {
        8
    }

    fn may_fragment(&self) -> bool {
        false
    }
}

#[derive(Debug)]
struct AlwaysWritable;

impl UdpPoller for AlwaysWritable {
    fn poll_writable(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
