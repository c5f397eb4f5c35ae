use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6, UdpSocket};
use std::sync::Arc;

use quinn::{AsyncUdpSocket, Runtime as _, TokioRuntime};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::sync::watch;

use super::composite::{CompositeSocket, Member, Reach};
use super::interfaces;
use crate::Bind;
use crate::seam::Sockets;

/// Kernel buffers asked for, each way, in bytes; the system may give less.
const BUFFER_BYTES: usize = 2 << 20;
/// Most interfaces (or addresses) one endpoint is bound to.
const MEMBERS: usize = 16;
/// How often to try another free port, if a port that one family gave is taken in the other.
const PORT_TRIES: usize = 16;

/// The system's UDP sockets.
///
/// [`Bind::All`] is one dual-stack socket, or one of IPv4 on a machine without IPv6. [`Bind::Loopback`] is one
/// per family, [`Bind::Interfaces`] one dual-stack socket per interface (bound to the device, so that it stays
/// good when addresses change; where the system does not allow that, one per address). Several sockets have
/// the same port and stand behind one [`CompositeSocket`].
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
            Bind::All => bind_all(port),
            Bind::Loopback => bind_loopback(port),
            Bind::Interfaces(names) => bind_interfaces(names, port),
        }
    }

    fn addresses(&self, bind: &Bind) -> watch::Receiver<Arc<Vec<IpAddr>>> {
        interfaces::watch_addresses(bind)
    }

    fn runtime(&self) -> Arc<dyn quinn::Runtime> {
        Arc::new(TokioRuntime)
    }
}

fn bind_all(port: u16) -> io::Result<Arc<dyn AsyncUdpSocket>> {
    match udp(SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), port), Stack::Dual, None) {
        Ok(socket) => TokioRuntime.wrap_udp_socket(socket),
        Err(error) if no_such_family(&error) => {
            tracing::debug!(%error, "no dual-stack socket; IPv4 only");
            let socket = udp(SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), port), Stack::Single, None)?;
            TokioRuntime.wrap_udp_socket(socket)
        }
        Err(error) => Err(error),
    }
}

fn bind_loopback(port: u16) -> io::Result<Arc<dyn AsyncUdpSocket>> {
    let member = |ip: IpAddr| {
        move |port| {
            let socket = udp(SocketAddr::new(ip, port), Stack::Single, None)?;
            Ok(Part { socket, reach: Reach::family_of(ip) })
        }
    };
    let v4 = member(Ipv4Addr::LOCALHOST.into());
    let v6 = member(Ipv6Addr::LOCALHOST.into());
    bind_parts(&[&v4, &v6], port)
}

fn bind_interfaces(names: &[String], port: u16) -> io::Result<Arc<dyn AsyncUdpSocket>> {
    // By name, so that an interface with several addresses is bound once.
    let mut found: BTreeMap<String, Vec<if_addrs::Interface>> = BTreeMap::new();
    for interface in interfaces::chosen(&Bind::Interfaces(names.to_vec())) {
        found.entry(interface.name.clone()).or_default().push(interface);
    }
    if found.is_empty() {
        let message = format!("none of the interfaces {} is up", names.join(", "));
        return Err(io::Error::new(io::ErrorKind::AddrNotAvailable, message));
    }
    let by_device: Vec<_> = found
        .iter()
        .take(MEMBERS)
        .map(|(name, addresses)| {
            move |port| {
                let address = SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), port);
                let device = Some(name.as_str());
                let (socket, v6) = match udp(address, Stack::Dual, device) {
                    Err(error) if no_such_family(&error) => {
                        let address = SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), port);
                        (udp(address, Stack::Single, device)?, false)
                    }
                    result => (result?, true),
                };
                let index = addresses.iter().find_map(|a| a.index).unwrap_or(0);
                Ok(Part { socket, reach: Reach { v4: true, v6, device: Some(index), address: None } })
            }
        })
        .collect();
    let parts: Vec<&BindPart> = by_device.iter().map(|part| part as &BindPart).collect();
    match bind_parts(&parts, port) {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => Err(error),
        Err(error) => {
            tracing::debug!(%error, "sockets cannot be bound to interfaces; binding their addresses");
            bind_addresses(found.into_values().flatten().collect(), port)
        }
        bound => bound,
    }
}

fn bind_addresses(addresses: Vec<if_addrs::Interface>, port: u16) -> io::Result<Arc<dyn AsyncUdpSocket>> {
    let by_address: Vec<_> = addresses
        .into_iter()
        .take(MEMBERS)
        .map(|interface| {
            move |port| {
                let index = interface.index.unwrap_or(0);
                let address = match interface.ip() {
                    IpAddr::V6(v6) if interfaces::is_link_local(&v6) => {
                        SocketAddr::V6(SocketAddrV6::new(v6, port, 0, index))
                    }
                    ip => SocketAddr::new(ip, port),
                };
                let socket = udp(address, Stack::Single, None)?;
                let family = Reach::family_of(address.ip());
                Ok(Part {
                    socket,
                    reach: Reach { device: Some(index), address: Some(address.ip()), ..family },
                })
            }
        })
        .collect();
    let parts: Vec<&BindPart> = by_address.iter().map(|part| part as &BindPart).collect();
    bind_parts(&parts, port)
}

/// A socket bound, and what it is good for.
struct Part {
    socket: UdpSocket,
    reach: Reach,
}

/// Binds one part on a port.
type BindPart<'a> = dyn Fn(u16) -> io::Result<Part> + 'a;

/// Binds all parts on the same port. A part whose family or address the machine does not have is left out, as
/// long as one remains.
fn bind_parts(parts: &[&BindPart<'_>], port: u16) -> io::Result<Arc<dyn AsyncUdpSocket>> {
    let mut tries = if port == 0 { PORT_TRIES } else { 1 };
    loop {
        tries -= 1;
        match try_bind_parts(parts, port) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && tries > 0 => continue,
            Err(error) => return Err(error),
            Ok(bound) => {
                let members = bound.into_iter().map(|part| {
                    Ok(Member { socket: TokioRuntime.wrap_udp_socket(part.socket)?, reach: part.reach })
                });
                let mut members: Vec<Member> = members.collect::<io::Result<_>>()?;
                return match members.len() {
                    1 => Ok(members.remove(0).socket),
                    _ => Ok(Arc::new(CompositeSocket::new(members)?)),
                };
            }
        }
    }
}

fn try_bind_parts(parts: &[&BindPart<'_>], port: u16) -> io::Result<Vec<Part>> {
    let mut port = port;
    let mut bound: Vec<Part> = Vec::new();
    let mut missing = None;
    for part in parts {
        match part(port) {
            Ok(part) => {
                port = part.socket.local_addr()?.port();
                bound.push(part);
            }
            Err(error) if no_such_family(&error) => missing = Some(error),
            Err(error) => return Err(error),
        }
    }
    match (bound.is_empty(), missing) {
        (true, Some(error)) => Err(error),
        _ => Ok(bound),
    }
}

fn no_such_family(error: &io::Error) -> bool {
    // EAFNOSUPPORT has no kind of its own: a kernel without IPv6.
    error.kind() == io::ErrorKind::AddrNotAvailable
        || error.raw_os_error() == Some(rustix::io::Errno::AFNOSUPPORT.raw_os_error())
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stack {
    /// IPv6 that takes IPv4 as well.
    Dual,
    /// The address's family alone.
    Single,
}

fn udp(address: SocketAddr, stack: Stack, device: Option<&str>) -> io::Result<UdpSocket> {
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

#[cfg(any(target_os = "linux", target_os = "android"))]
fn bind_device(socket: &Socket, device: &str) -> io::Result<()> {
    socket.bind_device(Some(device.as_bytes()))
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn bind_device(_: &Socket, _: &str) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}
