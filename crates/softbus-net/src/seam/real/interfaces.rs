//! Which addresses this machine has, and when that changes.
//!
//! The truth is always read anew (getifaddrs); a netlink socket only says when to look, and where there is
//! none we look every two seconds.

use std::io;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;

use if_addrs::Interface;
use softbus_core::limits;
use tokio::sync::watch;

use crate::Bind;

/// How often to look without being told to.
pub(super) const LOOK_EVERY: Duration = Duration::from_secs(2);
/// After a change, wait for its siblings (an interface that comes up gets several addresses in a row).
const SETTLE: Duration = Duration::from_millis(50);

/// Addresses of `bind` now and from now on. Needs a tokio runtime with I/O and time; the watch ends when the
/// last receiver is dropped.
pub(super) fn watch_addresses(bind: &Bind) -> watch::Receiver<Arc<Vec<IpAddr>>> {
    // Before the first look, so that no change falls between the two.
    let notices = notice::Notices::open();
    let (send, receive) = watch::channel(Arc::new(now(bind)));
    tokio::spawn(follow(bind.clone(), notices, send));
    receive
}

async fn follow(bind: Bind, notices: notice::Notices, send: watch::Sender<Arc<Vec<IpAddr>>>) {
    loop {
        tokio::select! {
            biased;
            () = send.closed() => return,
            () = notices.next() => tokio::time::sleep(SETTLE).await,
            () = tokio::time::sleep(LOOK_EVERY) => {}
        }
        let addresses = now(&bind);
        send.send_if_modified(|known| {
            let changed = **known != addresses;
            if changed {
                tracing::debug!(?addresses, "this device's addresses changed");
                *known = Arc::new(addresses);
            }
            changed
        });
    }
}

/// Addresses of `bind` now, best first: IPv4, then IPv6, then IPv6 that is only good on its own link.
pub(super) fn now(bind: &Bind) -> Vec<IpAddr> {
    select(bind, chosen(bind))
}

/// The interfaces of `bind` that are up. Empty if they cannot be read.
fn chosen(bind: &Bind) -> Vec<Interface> {
    read(bind).unwrap_or_else(|error| {
        tracing::warn!(%error, "the interfaces of this machine cannot be read");
        Vec::new()
    })
}

/// The interfaces of `bind` that are up, once for each address.
pub(super) fn read(bind: &Bind) -> io::Result<Vec<Interface>> {
    let mut all = if_addrs::get_if_addrs()?;
    all.retain(|interface| {
        interface.is_oper_up()
            && match bind {
                Bind::All => true,
                Bind::Loopback => interface.is_loopback(),
                Bind::Interfaces(names) => names.contains(&interface.name),
            }
    });
    Ok(all)
}

fn select(bind: &Bind, mut interfaces: Vec<Interface>) -> Vec<IpAddr> {
    if *bind == Bind::All && interfaces.iter().any(|interface| !interface.is_loopback()) {
        interfaces.retain(|interface| !interface.is_loopback());
    }
    let mut addresses: Vec<(u8, u32, IpAddr)> = interfaces
        .iter()
        .map(|interface| (rank(interface.ip()), interface.index.unwrap_or(u32::MAX), interface.ip()))
        .filter(|(_, _, ip)| !ip.is_unspecified() && !ip.is_multicast())
        .collect();
    addresses.sort();
    let mut addresses: Vec<IpAddr> = addresses.into_iter().map(|(_, _, ip)| ip).collect();
    let mut seen = std::collections::BTreeSet::new();
    addresses.retain(|ip| seen.insert(*ip));
    addresses.truncate(limits::PEER_ADDRESSES);
    addresses
}

fn rank(ip: IpAddr) -> u8 {
    match ip {
        IpAddr::V4(v4) if v4.is_link_local() => 2,
        IpAddr::V4(_) => 0,
        IpAddr::V6(v6) if is_link_local(&v6) => 3,
        IpAddr::V6(_) => 1,
    }
}

/// fe80::/10: good on one link only, so it needs a scope.
pub(super) fn is_link_local(v6: &Ipv6Addr) -> bool {
    v6.is_unicast_link_local()
}

#[cfg(any(target_os = "linux", target_os = "android"))]
pub(super) mod notice {
    use std::os::fd::OwnedFd;

    use rustix::net::netlink::SocketAddrNetlink;
    use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType};
    use tokio::io::Interest;
    use tokio::io::unix::AsyncFd;

    /// RTMGRP_LINK, RTMGRP_IPV4_IFADDR and RTMGRP_IPV6_IFADDR (rtnetlink(7)).
    const GROUPS: u32 = 0x1 | 0x10 | 0x100;

    /// The kernel's notices that some interface or address changed. What they say is not read.
    pub(in crate::seam::real) struct Notices(Option<AsyncFd<OwnedFd>>);

    impl Notices {
        pub(in crate::seam::real) fn open() -> Self {
            let open = || -> std::io::Result<AsyncFd<OwnedFd>> {
                let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
                let socket = rustix::net::socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, None)?;
                rustix::net::bind(&socket, &SocketAddrNetlink::new(0, GROUPS))?;
                // Deprecated for what may close its descriptor meanwhile; an `OwnedFd` cannot, and what
                // replaces it is `unsafe`.
                #[allow(deprecated)]
                AsyncFd::with_interest(socket, Interest::READABLE)
            };
            Self(open().inspect_err(|error| tracing::debug!(%error, "no notices of interface changes")).ok())
        }

        /// Returns when something changed; never, if there are no notices.
        pub(in crate::seam::real) async fn next(&self) {
            let Some(socket) = &self.0 else { return std::future::pending().await };
            loop {
                let Ok(mut ready) = socket.readable().await else { return std::future::pending().await };
                let mut buf = [0u8; 8192];
                let mut any = false;
                // Drain: one look covers all. That some were lost (ENOBUFS) is a notice too.
                let drained = ready.try_io(|socket| {
                    loop {
                        match rustix::net::recv(socket.get_ref(), &mut buf[..], RecvFlags::empty()) {
                            Ok(_) | Err(rustix::io::Errno::NOBUFS) => any = true,
                            Err(error) => return Err::<(), _>(std::io::Error::from(error)),
                        }
                    }
                });
                if any {
                    return;
                }
                if let Ok(Err(_)) = drained {
                    // Broken for good; the regular look goes on.
                    return std::future::pending().await;
                }
            }
        }
    }
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub(super) mod notice {
    /// No notices here.
    pub(in crate::seam::real) struct Notices;

    impl Notices {
        pub(in crate::seam::real) fn open() -> Self {
            Self
        }

        pub(in crate::seam::real) async fn next(&self) {
            std::future::pending().await
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn interface(name: &str, index: u32, ip: &str) -> Interface {
        let addr = match ip.parse().unwrap() {
            IpAddr::V4(ip) => if_addrs::IfAddr::V4(if_addrs::Ifv4Addr {
                ip,
                netmask: [255, 255, 255, 0].into(),
                prefixlen: 24,
                broadcast: None,
            }),
            IpAddr::V6(ip) => if_addrs::IfAddr::V6(if_addrs::Ifv6Addr {
                ip,
                netmask: Ipv6Addr::from_bits(!0 << 64),
                prefixlen: 64,
                broadcast: None,
            }),
        };
        Interface {
            name: name.into(),
            addr,
            index: Some(index),
            oper_status: if_addrs::IfOperStatus::Up,
            is_p2p: false,
        }
    }

    #[test]
    fn best_addresses_come_first_and_loopback_only_alone() {
        let lo = interface("lo", 1, "127.0.0.1");
        let all = vec![
            interface("eth0", 2, "fe80::1"),
            interface("eth0", 2, "fd00::1"),
            lo.clone(),
            interface("wlan0", 3, "192.168.1.2"),
            interface("eth0", 2, "10.0.0.1"),
            interface("wlan0", 3, "169.254.1.1"),
        ];
        let ips = |texts: &[&str]| texts.iter().map(|t| t.parse().unwrap()).collect::<Vec<IpAddr>>();
        let expected = ["10.0.0.1", "192.168.1.2", "fd00::1", "169.254.1.1", "fe80::1"];
        assert_eq!(select(&Bind::All, all), ips(&expected));
        assert_eq!(select(&Bind::All, vec![lo]), ips(&["127.0.0.1"]));
    }

    #[tokio::test]
    async fn loopback_is_there_now_and_watched() {
        let receiver = watch_addresses(&Bind::Loopback);
        assert!(receiver.borrow().iter().any(|ip| ip.to_string() == "127.0.0.1"));
        assert!(receiver.borrow().iter().all(IpAddr::is_loopback));
        assert!(!receiver.has_changed().unwrap());
        let none = watch_addresses(&Bind::Interfaces(vec!["no-such-interface".into()]));
        assert!(none.borrow().is_empty());
    }
}
