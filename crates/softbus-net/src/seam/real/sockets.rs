use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::Arc;

use quinn::{AsyncUdpSocket, Runtime as _, TokioRuntime};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::sync::watch;

use super::composite::{CompositeSocket, Member, Reach};
use super::{chosen, interfaces};
use crate::Bind;
use crate::seam::Sockets;

/// Kernel buffers asked for, each way, in bytes; the system may give less.
const BUFFER_BYTES: usize = 2 << 20;
/// How often to try another free port, if one that was free for one socket is taken for another.
const PORT_TRIES: usize = 16;

/// The system's UDP sockets.
///
/// [`Bind::All`] is one dual-stack socket, or one of IPv4 on a machine without IPv6. [`Bind::Loopback`] is one
/// per family, [`Bind::Interfaces`] one dual-stack socket per interface that is up (bound to the device, so that it
/// stays good when addresses change; where the system does not allow that, one per address), as they come and go.
/// Several sockets have the same port and stand behind one [`CompositeSocket`].
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemSockets(());

impl SystemSockets {
    /// One of it.
    pub fn new() -> Self {
        Self(())
    }
}

impl Sockets for SystemSockets {
    fn bind(&self, bind: &Bind, port: u16) -> io::Result<Arc<dyn AsyncUdpSocket>> {
        match bind {
            Bind::All => TokioRuntime.wrap_udp_socket(udp_best(port)?.0),
            Bind::Loopback => on_free_port(port, || bind_loopback(port)),
            Bind::Interfaces(names) => chosen::bind(names, port),
        }
    }

    fn addresses(&self, bind: &Bind) -> watch::Receiver<Arc<Vec<IpAddr>>> {
        interfaces::watch_addresses(bind)
    }

    fn runtime(&self) -> Arc<dyn quinn::Runtime> {
        Arc::new(TokioRuntime)
    }
}

/// Binds several sockets to one port: again, if the port may be any (0) and one that was free for one socket is taken
/// for another.
pub(super) fn on_free_port<T>(port: u16, mut bind: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    let mut tries = if port == 0 { PORT_TRIES } else { 1 };
    loop {
        tries -= 1;
        match bind() {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && tries > 0 => {}
            result => return result,
        }
    }
}

/// Both families on the same port. One that the machine does not have is left out.
fn bind_loopback(mut port: u16) -> io::Result<Arc<dyn AsyncUdpSocket>> {
    let mut bound = Vec::new();
    let mut missing = None;
    for ip in [IpAddr::from(Ipv4Addr::LOCALHOST), IpAddr::from(Ipv6Addr::LOCALHOST)] {
        match udp(SocketAddr::new(ip, port), Stack::Single, None) {
            Ok(socket) => {
                port = socket.local_addr()?.port();
                bound.push((TokioRuntime.wrap_udp_socket(socket)?, Reach::family_of(ip)));
            }
            Err(error) if no_such_family(&error) => missing = Some(error),
            Err(error) => return Err(error),
        }
    }
    match (bound.len(), missing) {
        (0, Some(error)) => Err(error),
        (1, _) => Ok(bound.remove(0).0),
        _ => {
            let members = bound.into_iter().map(|(socket, reach)| Member::new(socket, reach));
            Ok(Arc::new(CompositeSocket::new(members.collect())?))
        }
    }
}

pub(super) fn no_such_family(error: &io::Error) -> bool {
    // EAFNOSUPPORT has no kind of its own: a kernel without IPv6.
    error.kind() == io::ErrorKind::AddrNotAvailable
        || error.raw_os_error() == Some(rustix::io::Errno::AFNOSUPPORT.raw_os_error())
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Stack {
    /// IPv6 that takes IPv4 as well.
    Dual,
    /// The address's family alone.
    Single,
}

pub(super) fn udp(address: SocketAddr, stack: Stack, device: Option<&str>) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    if address.is_ipv6() {
        socket.set_only_v6(stack == Stack::Single)?;
    }
    if let Some(device) = device {
        bind_device(&socket, device)?;
    }
    // Bulk data comes in bursts; what the system does not give it does not give.
    let _ = socket.set_recv_buffer_size(BUFFER_BYTES);
    let _ = socket.set_send_buffer_size(BUFFER_BYTES);
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    Ok(socket.into())
}

/// On any address: of both families, or of IPv4 alone.
pub(super) fn udp_any(v6: bool, port: u16, device: Option<&str>) -> io::Result<UdpSocket> {
    let (ip, stack) = if v6 {
        (Ipv6Addr::UNSPECIFIED.into(), Stack::Dual)
    } else {
        (Ipv4Addr::UNSPECIFIED.into(), Stack::Single)
    };
    udp(SocketAddr::new(ip, port), stack, device)
}

/// On any address of whatever the machine has, and whether that is both families.
pub(super) fn udp_best(port: u16) -> io::Result<(UdpSocket, bool)> {
    match udp_any(true, port, None) {
        Err(error) if no_such_family(&error) => {
            tracing::debug!(%error, "no dual-stack socket; IPv4 only");
            Ok((udp_any(false, port, None)?, false))
        }
        result => Ok((result?, true)),
    }
}

/// Whether sockets such as this one may be bound to interfaces.
#[cfg(any(target_os = "linux", target_os = "android"))]
pub(super) fn may_bind_devices(socket: &UdpSocket) -> bool {
    // To none: it asks for the same right (on Linux before 5.7 CAP_NET_RAW), and changes nothing.
    socket2::SockRef::from(socket).bind_device(None).is_ok()
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub(super) fn may_bind_devices(_: &UdpSocket) -> bool {
    false
}

#[cfg(any(target_os = "linux", target_os = "android"))]
fn bind_device(socket: &Socket, device: &str) -> io::Result<()> {
    socket.bind_device(Some(device.as_bytes()))
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn bind_device(_: &Socket, _: &str) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}
