//! Several hosts on one machine: each a network namespace, joined by bridges in a namespace of their own, so that
//! nothing of a test reaches the machine's real interfaces. Needs the right to make namespaces and iproute2.

use std::ffi::OsStr;
use std::io::Write as _;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

/// Bridges, hosts and the cables between them. Gone when dropped.
pub struct Lab {
    tag: String,
    hosts: Vec<String>,
}

/// One host of a lab.
#[derive(Clone)]
pub struct Host {
    namespace: String,
    lab: String,
}

/// Labs of one process do not share names.
static LABS: AtomicU32 = AtomicU32::new(0);

impl Lab {
    /// An empty lab, or the reason why this process cannot have one.
    pub fn new() -> Result<Self, String> {
        let tag = format!("sb{}x{}", std::process::id(), LABS.fetch_add(1, Ordering::Relaxed));
        let lab = Self { tag, hosts: Vec::new() };
        ip(["netns", "add", &lab.switch()])?;
        lab.in_switch(["link", "set", "lo", "up"])?;
        // All that the tests need later, so that where it cannot be had they are skipped and do not fail.
        lab.segment(255)?;
        lab.in_switch(["link", "add", "probe", "type", "veth", "peer", "name", "probe2"])?;
        lab.in_switch(["link", "del", "probe"])?;
        lab.in_switch(["link", "del", "br255"])?;
        Ok(lab)
    }

    /// The lab, or `None` after printing why there is none: for tests that need it.
    pub fn or_skip(test: &str) -> Option<Self> {
        match Self::new() {
            Ok(lab) => Some(lab),
            Err(reason) => {
                // Not by `eprintln!`, which the test harness keeps to itself.
                let _ = writeln!(std::io::stderr(), "skipped {test}: no network namespaces here ({reason})");
                None
            }
        }
    }

    /// A segment: a bridge that carries multicast between its hosts, with an address of its own so that it can
    /// route between segments (`10.77.N.254/24`).
    pub fn segment(&self, n: u8) -> Result<(), String> {
        let bridge = format!("br{n}");
        // Snooping off: without a querier on the segment a bridge would stop to forward mDNS after a while.
        self.in_switch(["link", "add", &bridge, "type", "bridge", "mcast_snooping", "0"])?;
        self.in_switch(["addr", "add", &format!("10.77.{n}.254/24"), "dev", &bridge])?;
        self.in_switch(["link", "set", &bridge, "up"])?;
        let forward = "echo 1 > /proc/sys/net/ipv4/ip_forward";
        ip(["netns", "exec", &self.switch(), "sh", "-c", forward])
    }

    /// A host with one cable to a segment, its address `10.77.N.LAST/24` and a route to the other segments.
    pub fn host(&mut self, name: &str, segment: u8, last: u8) -> Result<Host, String> {
        let host = self.bare_host(name)?;
        self.plug(&host, "eth0", segment, last)?;
        Ok(host)
    }

    /// A host without a cable.
    pub fn bare_host(&mut self, name: &str) -> Result<Host, String> {
        let namespace = format!("{}{name}", self.tag);
        ip(["netns", "add", &namespace])?;
        self.hosts.push(namespace.clone());
        let host = Host { namespace, lab: self.tag.clone() };
        host.ip(["link", "set", "lo", "up"])?;
        Ok(host)
    }

    /// Another cable of a host.
    pub fn plug(&self, host: &Host, interface: &str, segment: u8, last: u8) -> Result<(), String> {
        self.lay(host, interface, segment, last)?;
        host.ip(["addr", "add", &format!("10.77.{segment}.{last}/24"), "dev", interface])?;
        host.ip(["link", "set", interface, "up"])?;
        let _ = host.ip(["route", "add", "10.77.0.0/16", "via", &format!("10.77.{segment}.254")]);
        // mDNS needs a route for its groups where there is no default route.
        let _ = host.ip(["route", "add", "224.0.0.0/4", "dev", interface]);
        Ok(())
    }

    /// A cable of a host that has no IPv4 at all: the kernel gives it an address that is good on its own link
    /// (fe80::/10), and if `routed` it has one of `fd77:N::/64` as well.
    pub fn plug_ipv6(
        &self,
        host: &Host,
        interface: &str,
        segment: u8,
        last: u8,
        routed: bool,
    ) -> Result<(), String> {
        self.lay(host, interface, segment, last)?;
        if routed {
            host.ip(["addr", "add", &format!("fd77:{segment}::{last}/64"), "dev", interface, "nodad"])?;
        }
        host.ip(["-4", "addr", "flush", "dev", "lo"])?;
        host.ip(["link", "set", interface, "up"])
    }

    /// A cable between a host and a segment's bridge, its interface not yet up.
    fn lay(&self, host: &Host, interface: &str, segment: u8, last: u8) -> Result<(), String> {
        // Interface names have at most 15 letters; the switch's end only has to be unique within it.
        let end = format!("p{segment}x{last}");
        self.in_switch([
            "link",
            "add",
            &end,
            "type",
            "veth",
            "peer",
            "name",
            interface,
            "netns",
            &host.namespace,
        ])?;
        self.in_switch(["link", "set", &end, "master", &format!("br{segment}"), "up"])
    }

    /// Cuts or mends the cable of `plug(_, _, segment, last)` at the switch: the host still sees its carrier.
    pub fn cable(&self, segment: u8, last: u8, whole: bool) -> Result<(), String> {
        let end = format!("p{segment}x{last}");
        if whole {
            self.in_switch(["link", "set", &end, "master", &format!("br{segment}")])
        } else {
            self.in_switch(["link", "set", &end, "nomaster"])
        }
    }

    fn switch(&self) -> String {
        format!("{}sw", self.tag)
    }

    fn in_switch<const N: usize>(&self, args: [&str; N]) -> Result<(), String> {
        let switch = self.switch();
        let mut all = vec!["-n", switch.as_str()];
        all.extend(args);
        ip(all)
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        for namespace in self.hosts.drain(..) {
            let _ = ip(["netns", "del", &namespace]);
        }
        let _ = ip(["netns", "del", &self.switch()]);
    }
}

impl Host {
    /// A command that runs on this host.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.namespace]).arg(program);
        command
    }

    /// Gives an interface another address, as a network that hands out a new lease does.
    pub fn readdress(&self, interface: &str, segment: u8, old: u8, new: u8) -> Result<(), String> {
        // In this order: the kernel would take a second address of one subnet away together with the first.
        self.ip(["addr", "del", &format!("10.77.{segment}.{old}/24"), "dev", interface])?;
        self.ip(["addr", "add", &format!("10.77.{segment}.{new}/24"), "dev", interface])?;
        let _ = self.ip(["route", "replace", "10.77.0.0/16", "via", &format!("10.77.{segment}.254")]);
        let _ = self.ip(["route", "replace", "224.0.0.0/4", "dev", interface]);
        Ok(())
    }

    /// Takes the IPv6 addresses of an interface away, so that nothing goes round by them.
    pub fn only_ipv4(&self, interface: &str) -> Result<(), String> {
        self.ip(["-6", "addr", "flush", "dev", interface])
    }

    /// Runs `ip` on this host.
    pub fn ip<const N: usize>(&self, args: [&str; N]) -> Result<(), String> {
        let mut all = vec!["-n", self.namespace.as_str()];
        all.extend(args);
        ip(all)
    }

    /// The lab's tag, for messages.
    pub fn lab(&self) -> &str {
        &self.lab
    }
}

fn ip<'a>(args: impl IntoIterator<Item = &'a str>) -> Result<(), String> {
    let args: Vec<&str> = args.into_iter().collect();
    let output =
        Command::new("ip").args(&args).stdin(Stdio::null()).output().map_err(|e| format!("ip: {e}"))?;
    if output.status.success() {
        Ok(())
    } else {
        Err(format!("ip {}: {}", args.join(" "), String::from_utf8_lossy(&output.stderr).trim()))
    }
}
