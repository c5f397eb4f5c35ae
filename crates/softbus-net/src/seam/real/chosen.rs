//! The sockets of chosen interfaces, which come and go with them: one that is not there at the start gets its socket
//! as soon as it is, and one that went gives it back.

use std::io;
use std::net::{IpAddr, SocketAddr, SocketAddrV6, UdpSocket};
use std::sync::{Arc, Weak};

use if_addrs::Interface;
use quinn::{AsyncUdpSocket, Runtime as _, TokioRuntime};
use tokio::sync::oneshot;

use super::composite::{CompositeSocket, MEMBERS, Member, Reach};
use super::interfaces::{self, notice::Notices};
use super::sockets::{Stack, may_bind_devices, no_such_family, on_free_port, udp, udp_any, udp_best};
use crate::Bind;

/// One socket on each of these interfaces that is up, now and from now on; none of them needs to be up now.
pub(super) fn bind(names: &[String], port: u16) -> io::Result<Arc<dyn AsyncUdpSocket>> {
    let names = Bind::Interfaces(names.to_vec());
    on_free_port(port, || start(&names, port))
}

fn start(names: &Bind, port: u16) -> io::Result<Arc<dyn AsyncUdpSocket>> {
    // Before the first look, so that no change falls between the two.
    let notices = Notices::open();
    let (chosen, socket, dropped) = Chosen::new(port)?;
    let socket = Arc::new(socket);
    // Now, while somebody waits for it, an interface that has no room for us is an error.
    let failed = chosen.look(&socket, &interfaces::read(names)?)?;
    if let Some((place, error)) = failed.into_iter().next() {
        return Err(io::Error::new(error.kind(), format!("interface {}: {error}", place.name)));
    }
    if socket.members().is_empty() {
        tracing::warn!(?names, "none of the chosen interfaces is up; waiting for them");
    }
    tokio::spawn(chosen.follow(names.clone(), notices, Arc::downgrade(&socket), dropped));
    Ok(socket)
}

/// How sockets of chosen interfaces are bound.
struct Chosen {
    port: u16,
    /// To the interface rather than to its addresses, so that they may change.
    by_device: bool,
    /// Whether the machine has IPv6.
    v6: bool,
}

/// Where one socket is to be bound.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct Place {
    name: String,
    /// Index of the interface.
    device: u32,
    /// Its address, if sockets are not bound to interfaces.
    address: Option<IpAddr>,
}

impl Place {
    fn is_of(&self, member: &Member) -> bool {
        member.reach.device == Some(self.device) && member.reach.address == self.address
    }
}

impl Chosen {
    /// With the composite that has no members yet, and a receiver that closes when it is dropped.
    fn new(port: u16) -> io::Result<(Self, CompositeSocket, oneshot::Receiver<()>)> {
        // A socket that is good for nothing but to see what this machine can do, and which port is free.
        let (trial, v6) = udp_best(0)?;
        let mut local = trial.local_addr()?;
        if port != 0 {
            local.set_port(port);
        }
        let by_device = may_bind_devices(&trial);
        if !by_device {
            tracing::debug!("sockets cannot be bound to interfaces; binding their addresses");
        }
        let like = TokioRuntime.wrap_udp_socket(trial)?;
        let (socket, dropped) = CompositeSocket::following(local, &*like);
        Ok((Self { port: local.port(), by_device, v6 }, socket, dropped))
    }

    /// Looks after the members until the composite is dropped.
    async fn follow(
        self,
        names: Bind,
        notices: Notices,
        socket: Weak<CompositeSocket>,
        mut dropped: oneshot::Receiver<()>,
    ) {
        // Said once, not at every look.
        let mut told: Vec<Place> = Vec::new();
        loop {
            // Without a pause after a notice: who hears of new addresses, a moment later, finds the sockets there.
            tokio::select! {
                biased;
                _ = &mut dropped => return,
                () = notices.next() => {}
                () = tokio::time::sleep(interfaces::LOOK_EVERY) => {}
            }
            let Some(socket) = socket.upgrade() else { return };
            let looked = interfaces::read(&names).and_then(|found| self.look(&socket, &found));
            let failed = looked.unwrap_or_else(|error| {
                tracing::warn!(%error, "the interfaces of this machine cannot be read");
                Vec::new()
            });
            for (place, error) in &failed {
                if !told.contains(place) {
                    tracing::warn!(%error, interface = place.name, port = self.port, "no socket yet; trying on");
                }
            }
            told = failed.into_iter().map(|(place, _)| place).collect();
        }
    }

    /// Gives each place among these interfaces its socket, and takes those away whose place is gone. Gives back the
    /// places that get none.
    fn look(&self, socket: &CompositeSocket, found: &[Interface]) -> io::Result<Vec<(Place, io::Error)>> {
        let places = self.places(found);
        let before = socket.members();
        let here = |member: &Member| !member.is_broken() && places.iter().any(|place| place.is_of(member));
        let mut members: Vec<Arc<Member>> = before.iter().filter(|member| here(member)).cloned().collect();
        if members.len() < before.len() {
            // Before others are bound: one that failed is closed first if it is to be bound anew.
            socket.set(members.clone())?;
        }
        let kept = members.len();
        drop(before);
        let mut failed = Vec::new();
        for place in places {
            if members.iter().any(|member| place.is_of(member)) {
                continue;
            }
            if members.len() >= MEMBERS {
                failed.push((place, io::Error::other(format!("{MEMBERS} sockets are the most"))));
                continue;
            }
            match self.bind_at(&place) {
                Ok((udp, reach)) => members.push(Member::new(TokioRuntime.wrap_udp_socket(udp)?, reach)),
                Err(error) if is_passing(&error) => {
                    tracing::debug!(%error, ?place, "gone, or not ready yet; looking again");
                }
                Err(error) => failed.push((place, error)),
            }
        }
        if members.len() > kept {
            socket.set(members)?;
        }
        Ok(failed)
    }

    /// In order, and each once.
    fn places(&self, found: &[Interface]) -> Vec<Place> {
        let mut places: Vec<Place> = found
            .iter()
            .map(|interface| Place {
                name: interface.name.clone(),
                device: interface.index.unwrap_or(0),
                address: (!self.by_device).then(|| interface.ip()),
            })
            .collect();
        places.sort();
        places.dedup();
        places
    }

    fn bind_at(&self, place: &Place) -> io::Result<(UdpSocket, Reach)> {
        let device = Some(place.device);
        match place.address {
            None => {
                let socket = udp_any(self.v6, self.port, Some(&place.name))?;
                Ok((socket, Reach { v4: true, v6: self.v6, device, address: None }))
            }
            Some(ip) => {
                let address = match ip {
                    IpAddr::V6(v6) if interfaces::is_link_local(&v6) => {
                        SocketAddr::V6(SocketAddrV6::new(v6, self.port, 0, place.device))
                    }
                    ip => SocketAddr::new(ip, self.port),
                };
                let socket = udp(address, Stack::Single, None)?;
                Ok((socket, Reach { device, address: Some(ip), ..Reach::family_of(ip) }))
            }
        }
    }
}

/// An interface that went between look and bind, or an address that is not to be used yet (RFC 4862, section 5.4).
fn is_passing(error: &io::Error) -> bool {
    no_such_family(error) || error.raw_os_error() == Some(rustix::io::Errno::NODEV.raw_os_error())
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn lo() -> Vec<Interface> {
        interfaces::read(&Bind::Loopback).unwrap()
    }

    fn chosen(by_device: bool) -> (Chosen, CompositeSocket) {
        let (chosen, socket, _) = Chosen::new(0).unwrap();
        (Chosen { by_device: by_device && chosen.by_device, ..chosen }, socket)
    }

    /// What the members are bound to.
    fn bound(socket: &CompositeSocket) -> Vec<(Option<u32>, Option<IpAddr>)> {
        socket.members().iter().map(|member| (member.reach.device, member.reach.address)).collect()
    }

    #[tokio::test]
    async fn sockets_come_and_go_with_their_interfaces() {
        for by_device in [true, false] {
            let (chosen, socket) = chosen(by_device);
            let local = socket.local_addr().unwrap();
            assert_ne!(local.port(), 0, "a port is there before any interface");
            assert!(chosen.look(&socket, &[]).unwrap().is_empty());
            assert_eq!(bound(&socket), []);

            let lo = lo();
            assert!(chosen.look(&socket, &lo).unwrap().is_empty());
            let expected = if chosen.by_device { 1 } else { lo.len() };
            assert_eq!(socket.members().len(), expected, "by device: {}", chosen.by_device);
            // The same again: the same sockets.
            let before = socket.members();
            chosen.look(&socket, &lo).unwrap();
            assert!(before.iter().zip(&*socket.members()).all(|(a, b)| Arc::ptr_eq(a, b)));
            drop(before);

            // Gone, and back on the same port, which was given back meanwhile.
            chosen.look(&socket, &[]).unwrap();
            assert_eq!(bound(&socket), []);
            let other = std::net::UdpSocket::bind((Ipv4Addr::LOCALHOST, local.port())).unwrap();
            let failed = chosen.look(&socket, &lo).unwrap();
            assert!(failed.iter().all(|(_, error)| error.kind() == io::ErrorKind::AddrInUse), "{failed:?}");
            assert_eq!((failed.is_empty(), socket.members().len()), (false, expected - 1));
            drop(other);
            assert!(chosen.look(&socket, &lo).unwrap().is_empty());
            assert_eq!((socket.members().len(), socket.local_addr().unwrap()), (expected, local));
        }
    }

    #[tokio::test]
    async fn there_are_only_so_many() {
        let (chosen, socket) = chosen(false);
        let v4 = lo().into_iter().find(|interface| interface.ip().is_ipv4()).unwrap();
        let alias = |last: u8| {
            let ip = Ipv4Addr::new(127, 0, 1, last);
            let addr =
                if_addrs::Ifv4Addr { ip, netmask: [255, 0, 0, 0].into(), prefixlen: 8, broadcast: None };
            Interface { addr: if_addrs::IfAddr::V4(addr), ..v4.clone() }
        };
        let most = u8::try_from(MEMBERS).unwrap();
        let all: Vec<Interface> = (1..=most + 3).map(alias).collect();
        let failed = chosen.look(&socket, &all[3..]).unwrap();
        assert_eq!((failed.len(), socket.members().len()), (0, MEMBERS));
        // Those that are there are not displaced by others that come before them.
        let failed = chosen.look(&socket, &all).unwrap();
        assert_eq!(failed.len(), 3);
        let first = failed.first().map(|(place, _)| place.address);
        assert_eq!(first, Some(Some(Ipv4Addr::new(127, 0, 1, 1).into())));
        // One goes: there is room for one of them.
        assert_eq!(chosen.look(&socket, &all[..all.len() - 1]).unwrap().len(), 2);
    }
}
