//! Interfaces, routes, ports, multicast and firewalls.
#![allow(
    clippy::disallowed_methods,
    reason = "the program is where the real world is (law 2): it tries its sockets"
)]

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::path::Path;
use std::time::Duration;

use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use super::Finding;
use crate::config::Interfaces;

/// mDNS (RFC 6762).
const MDNS_V4: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 251);
const MDNS_V6: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0xfb);
const MDNS_PORT: u16 = 5353;
/// How long our own packet may take to come back.
const ECHO: Duration = Duration::from_millis(700);
/// Most interfaces looked at.
const INTERFACES: usize = 32;
/// Most packets of others passed over while waiting for ours.
const OTHERS: usize = 256;

/// What to look at.
pub(super) struct Scope {
    pub interfaces: Interfaces,
    pub discovery: bool,
    pub port: u16,
    /// Whether a node runs, which then has the port itself.
    pub running: bool,
}

pub(super) fn check(scope: &Scope) -> Vec<Finding> {
    let all = match if_addrs::get_if_addrs() {
        Ok(all) => all,
        Err(e) => {
            return vec![Finding::bad("interfaces", format!("cannot be listed: {e}"), "is /proc mounted?")];
        }
    };
    let used: Vec<(String, IpAddr)> = all
        .iter()
        .filter(|i| match &scope.interfaces {
            Interfaces::All => !i.is_loopback(),
            Interfaces::Loopback => i.is_loopback(),
            Interfaces::Named(names) => names.contains(&i.name),
        })
        .map(|i| (i.name.clone(), i.ip()))
        .take(INTERFACES)
        .collect();
    let mut findings = vec![interfaces(scope, &used), ipv6(scope, &used)];
    if scope.interfaces == Interfaces::All {
        findings.push(route());
    }
    findings.push(port(scope));
    if scope.discovery {
        let on_ipv6 = all.iter().filter(|i| i.ip().is_ipv6() && !i.is_loopback());
        let mut v6: Vec<(String, u32)> = on_ipv6
            .filter(|i| used.iter().any(|(name, _)| *name == i.name))
            .filter_map(|i| Some((i.name.clone(), i.index?)))
            .take(INTERFACES)
            .collect();
        v6.sort();
        v6.dedup();
        findings.push(multicast(&used, &v6));
    } else {
        findings.push(Finding::warn(
            "multicast",
            "discovery is off",
            "other devices are found by static peers only",
        ));
    }
    if scope.interfaces != Interfaces::Loopback {
        findings.extend(firewall(Path::new("/"), scope.port));
    }
    findings
}

fn interfaces(scope: &Scope, used: &[(String, IpAddr)]) -> Finding {
    const CHECK: &str = "interfaces";
    let mut names: Vec<&str> = used.iter().map(|(name, _)| name.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    if let Interfaces::Named(wanted) = &scope.interfaces {
        let missing: Vec<&str> = wanted.iter().map(String::as_str).filter(|w| !names.contains(w)).collect();
        if !missing.is_empty() {
            return Finding::bad(
                CHECK,
                format!("no interface with an address is called {}", missing.join(", ")),
                "`ip addr` lists them; correct `bind` in the configuration, or bring it up: a node takes it as soon as it is there",
            );
        }
    }
    match (names.is_empty(), &scope.interfaces) {
        (true, Interfaces::Loopback) => {
            Finding::bad(CHECK, "the loopback interface is down", "ip link set lo up")
        }
        (true, _) => Finding::bad(
            CHECK,
            "no interface has an address: this machine is on no network",
            "join a network; to try softbus on this machine alone: softbus up --bind loopback",
        ),
        (false, Interfaces::Loopback) => {
            Finding::good(CHECK, "loopback only: nobody but this machine sees the node")
        }
        (false, _) => Finding::good(CHECK, names.join(", ")),
    }
}

fn ipv6(scope: &Scope, used: &[(String, IpAddr)]) -> Finding {
    const CHECK: &str = "IPv6";
    let bound = Socket::new(Domain::IPV6, Type::DGRAM, Some(Protocol::UDP))
        .and_then(|s| s.bind(&SocketAddr::from((Ipv6Addr::LOCALHOST, 0)).into()));
    match bound {
        Err(e) => Finding::warn(
            CHECK,
            format!("not available ({e})"),
            "softbus works over IPv4 alone; nothing to do",
        ),
        Ok(()) if scope.interfaces != Interfaces::Loopback && !used.iter().any(|(_, ip)| ip.is_ipv6()) => {
            Finding::warn(
                CHECK,
                "no interface has an IPv6 address",
                "softbus works over IPv4 alone; nothing to do",
            )
        }
        Ok(()) => Finding::good(CHECK, "available"),
    }
}

/// Whether the kernel would know a way out. Connecting a datagram socket sends nothing.
fn route() -> Finding {
    let reach = |to: SocketAddr| {
        let domain = if to.is_ipv4() { Domain::IPV4 } else { Domain::IPV6 };
        Socket::new(domain, Type::DGRAM, Some(Protocol::UDP)).and_then(|s| s.connect(&to.into()))
    };
    // Addresses for documentation (RFC 5737, RFC 3849): nobody's.
    let v4 = reach(SocketAddr::from((Ipv4Addr::new(192, 0, 2, 1), 9)));
    let v6 = reach(SocketAddr::from((Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1), 9)));
    judge_route(v4, v6)
}

fn judge_route(v4: io::Result<()>, v6: io::Result<()>) -> Finding {
    match (v4, v6) {
        (Err(e), Err(_)) => Finding::warn(
            "route",
            format!("no route leaves this network ({e})"),
            "devices on the same network are reached all the same; for static peers elsewhere join a network with a router",
        ),
        _ => Finding::good("route", "other networks can be reached"),
    }
}

fn port(scope: &Scope) -> Finding {
    const CHECK: &str = "port";
    if scope.running {
        return Finding::good(CHECK, format!("the node has UDP port {}", scope.port));
    }
    if scope.port == 0 {
        return Finding::good(CHECK, "any free UDP port will do");
    }
    let ip =
        if scope.interfaces == Interfaces::Loopback { Ipv4Addr::LOCALHOST } else { Ipv4Addr::UNSPECIFIED };
    let bound = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))
        .and_then(|s| s.bind(&SocketAddr::from((ip, scope.port)).into()));
    match bound {
        Ok(()) => Finding::good(CHECK, format!("UDP port {} is free", scope.port)),
        Err(e) if e.kind() == io::ErrorKind::AddrInUse => Finding::bad(
            CHECK,
            format!("another program has UDP port {}", scope.port),
            format!(
                "find it with: ss -ulpn 'sport = :{}'; or set another `port` in the configuration (0: any)",
                scope.port
            ),
        ),
        Err(e) => Finding::bad(
            CHECK,
            format!("UDP port {}: {e}", scope.port),
            "choose a port above 1023, or 0 for any",
        ),
    }
}

/// Sends an mDNS question and listens for it on each interface, over IPv4 and over IPv6, as a responder would.
fn multicast(used: &[(String, IpAddr)], v6: &[(String, u32)]) -> Finding {
    let mut works = Vec::new();
    let mut fails = Vec::new();
    for (name, ip) in used {
        let IpAddr::V4(ip) = ip else { continue };
        match echo(*ip) {
            Ok(()) => works.push(name.clone()),
            Err(e) => fails.push(format!("{name}: {e}")),
        }
    }
    for (name, index) in v6 {
        match echo_v6(*index) {
            Ok(()) => works.push(format!("{name} (IPv6)")),
            Err(e) => fails.push(format!("{name} (IPv6): {e}")),
        }
    }
    judge_multicast(&works, &fails)
}

fn judge_multicast(works: &[String], fails: &[String]) -> Finding {
    const CHECK: &str = "multicast";
    let advice = "allow UDP port 5353 and the groups 224.0.0.251 and ff02::fb in the firewall; in containers use the host's network; \
                  on Wi-Fi switch \"client isolation\" off. Devices with known addresses: `peers` in the configuration";
    match (works.is_empty(), fails.is_empty()) {
        (true, true) => Finding::warn(CHECK, "not tried: no interface has an address", advice),
        (false, true) => Finding::good(CHECK, format!("an mDNS packet comes back on {}", works.join(", "))),
        (false, false) => Finding::warn(
            CHECK,
            format!("works on {}, but not on {}", works.join(", "), fails.join("; ")),
            advice,
        ),
        (true, false) => Finding::bad(CHECK, format!("blocked: {}", fails.join("; ")), advice),
    }
}

fn echo(ip: Ipv4Addr) -> io::Result<()> {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
    // Responders share the port.
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    socket.bind(&SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, MDNS_PORT).into())?;
    socket.join_multicast_v4(&MDNS_V4, &ip)?;
    socket.set_multicast_if_v4(&ip)?;
    socket.set_multicast_loop_v4(true)?;
    socket.set_multicast_ttl_v4(1)?;
    comes_back(&socket, &SocketAddrV4::new(MDNS_V4, MDNS_PORT).into())
}

fn echo_v6(index: u32) -> io::Result<()> {
    let socket = Socket::new(Domain::IPV6, Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_only_v6(true)?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    socket.bind(&SocketAddrV6::new(Ipv6Addr::UNSPECIFIED, MDNS_PORT, 0, 0).into())?;
    socket.join_multicast_v6(&MDNS_V6, index)?;
    socket.set_multicast_if_v6(index)?;
    socket.set_multicast_loop_v6(true)?;
    socket.set_multicast_hops_v6(1)?;
    comes_back(&socket, &SocketAddrV6::new(MDNS_V6, MDNS_PORT, 0, index).into())
}

/// Whether a question to a group that the socket has joined is heard by the socket itself.
fn comes_back(mut socket: &Socket, group: &SockAddr) -> io::Result<()> {
    socket.set_read_timeout(Some(ECHO))?;
    let question = question();
    socket.send_to(&question, group)?;
    let mut buffer = [0u8; 1500];
    for _ in 0..OTHERS {
        let len = match io::Read::read(&mut socket, &mut buffer) {
            Ok(len) => len,
            Err(e) if matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                return Err(io::Error::other("sent, but nothing came back"));
            }
            Err(e) => return Err(e),
        };
        if buffer[..len] == question[..] {
            return Ok(());
        }
    }
    Err(io::Error::other("drowned in packets of others"))
}

/// A question that nobody answers: PTR of a name of our own (RFC 1035, section 4.1).
fn question() -> Vec<u8> {
    let nonce = format!("_softbus-doctor-{}", std::process::id());
    let mut packet = vec![0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in [nonce.as_str(), "_udp", "local"] {
        packet.push(label.len() as u8); // labels here are far below 64 bytes
        packet.extend_from_slice(label.as_bytes());
    }
    packet.extend_from_slice(&[0, 0, 12, 0, 1]);
    packet
}

/// Firewalls that are known to be on. What they let through cannot be told without rights.
fn firewall(root: &Path, port: u16) -> Option<Finding> {
    let ufw = std::fs::read_to_string(root.join("etc/ufw/ufw.conf"))
        .is_ok_and(|text| text.lines().any(|l| l.trim().eq_ignore_ascii_case("enabled=yes")));
    let firewalld = root.join("run/firewalld").exists();
    let fixed = if port == 0 {
        "a fixed `port` from the configuration".to_string()
    } else {
        format!("UDP port {port} (a fixed `port` in the configuration keeps it)")
    };
    if ufw {
        let allow = if port == 0 { "PORT".to_string() } else { port.to_string() };
        return Some(Finding::warn(
            "firewall",
            format!("ufw is on: it must let in UDP 5353 and {fixed}"),
            format!("sudo ufw allow 5353/udp && sudo ufw allow {allow}/udp"),
        ));
    }
    firewalld.then(|| {
        Finding::warn(
            "firewall",
            format!("firewalld is on: it must let in mDNS and {fixed}"),
            "sudo firewall-cmd --permanent --add-service=mdns, and --add-port=PORT/udp; then --reload",
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Level;

    #[test]
    fn multicast_works_on_loopback() {
        let finding = multicast(&[("lo".into(), IpAddr::V4(Ipv4Addr::LOCALHOST))], &[]);
        assert_eq!(finding.level, Level::Good, "{finding:?}");
    }

    #[test]
    fn multicast_over_ipv6_counts_too() {
        // No interface has this index.
        let finding = multicast(&[], &[("gone0".into(), u32::MAX >> 1)]);
        assert_eq!(finding.level, Level::Bad, "{finding:?}");
        assert!(finding.found.contains("gone0 (IPv6)"), "{finding:?}");
        let half = judge_multicast(&["eth0".into()], &["eth0 (IPv6): sent, but nothing came back".into()]);
        assert_eq!(half.level, Level::Warn);
        assert!(half.found.contains("works on eth0, but not on eth0 (IPv6)"), "{half:?}");
        assert!(half.advice.unwrap().contains("ff02::fb"));
        assert_eq!(judge_multicast(&[], &[]).level, Level::Warn, "nothing to try it on");
    }

    #[test]
    fn one_way_out_is_enough() {
        let none = || Err(io::Error::from_raw_os_error(101));
        assert_eq!(judge_route(none(), none()).level, Level::Warn);
        assert_eq!(judge_route(Ok(()), none()).level, Level::Good);
        assert_eq!(judge_route(none(), Ok(())).level, Level::Good);
    }

    #[test]
    fn a_taken_port_is_found() {
        let taken = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP)).unwrap();
        taken.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into()).unwrap();
        let port_number = taken.local_addr().unwrap().as_socket().unwrap().port();
        let scope =
            Scope { interfaces: Interfaces::Loopback, discovery: true, port: port_number, running: false };
        assert_eq!(port(&scope).level, Level::Bad);
        drop(taken);
        assert_eq!(port(&scope).level, Level::Good);
    }

    #[test]
    fn missing_interfaces_are_named() {
        let scope = Scope {
            interfaces: Interfaces::Named(vec!["nosuch0".into()]),
            discovery: true,
            port: 0,
            running: false,
        };
        let finding = interfaces(&scope, &[]);
        assert_eq!(finding.level, Level::Bad);
        assert!(finding.found.contains("nosuch0"));
    }

    #[test]
    fn firewalls_are_recognised() {
        let root = tempfile::tempdir().unwrap();
        assert_eq!(firewall(root.path(), 4433), None);
        std::fs::create_dir_all(root.path().join("etc/ufw")).unwrap();
        std::fs::write(root.path().join("etc/ufw/ufw.conf"), "# x\nENABLED=yes\n").unwrap();
        let finding = firewall(root.path(), 4433).unwrap();
        assert!(finding.advice.unwrap().contains("ufw allow 4433/udp"));
        let other = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(other.path().join("run/firewalld")).unwrap();
        assert!(firewall(other.path(), 0).unwrap().found.contains("firewalld"));
    }
}
