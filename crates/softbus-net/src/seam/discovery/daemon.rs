//! The mDNS daemon of this process, and the thread that reads what it finds.
//!
//! A daemon has one subscription per service type, so all discoveries of one process that use the same
//! interfaces share it.
#![allow(
    clippy::disallowed_methods,
    reason = "this adapts the real world: a thread and its clock, apart from any runtime"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr, SocketAddrV6};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use mdns_sd::{IfKind, Receiver, RecvTimeoutError, ResolvedService, ScopedIp, ServiceDaemon, ServiceEvent};
use softbus_core::limits;
use tokio::sync::watch;

use super::{rank, txt};
use crate::Bind;
use crate::seam::Announcement;

/// The service type.
pub(super) const SERVICE: &str = "_softbus._udp.local.";
/// Most devices that are kept in sight; further ones are not seen.
const DEVICES: usize = 1024;
/// Longest instance name, in bytes (RFC 6763, section 4.1.1).
const KEY_BYTES: usize = 63;
/// Pause before browsing again after the subscription closed; doubles up to the next.
const REBROWSE_FIRST: Duration = Duration::from_millis(100);
const REBROWSE_LAST: Duration = Duration::from_secs(30);
/// After browsing anew, what was not heard of again by then is gone.
const SWEEP_AFTER: Duration = Duration::from_secs(10);
/// How often the daemon looks for changed interfaces, in seconds.
const INTERFACES_EVERY_S: u32 = 2;

/// A device in sight.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Device {
    pub(super) addresses: Vec<SocketAddr>,
    pub(super) announcement: Announcement,
}

/// What is in sight is published so often at most, since the whole of it is copied each time.
const PUBLISH_EVERY: Duration = Duration::from_millis(100);

/// Devices in sight, by instance name.
pub(super) type InSight = Arc<BTreeMap<String, Arc<Device>>>;

pub(super) struct Daemon {
    pub(super) mdns: ServiceDaemon,
    in_sight: Arc<watch::Sender<InSight>>,
}

impl Daemon {
    /// The daemon of this process for these interfaces.
    pub(super) fn shared(bind: &Bind) -> Result<Arc<Self>, mdns_sd::Error> {
        static DAEMONS: Mutex<BTreeMap<String, Weak<Daemon>>> = Mutex::new(BTreeMap::new());
        let mut daemons = DAEMONS.lock().unwrap_or_else(PoisonError::into_inner);
        daemons.retain(|_, daemon| daemon.strong_count() > 0);
        let scope = format!("{bind:?}");
        if let Some(daemon) = daemons.get(&scope).and_then(Weak::upgrade) {
            return Ok(daemon);
        }
        let daemon = Arc::new(Self::start(bind)?);
        daemons.insert(scope, Arc::downgrade(&daemon));
        Ok(daemon)
    }

    /// One more daemon.
    pub(super) fn start(bind: &Bind) -> Result<Self, mdns_sd::Error> {
        let mdns = listen(bind)?;
        let in_sight = Arc::new(watch::Sender::new(InSight::default()));
        let reader = Reader::new(mdns.clone(), in_sight.clone());
        let thread = std::thread::Builder::new().name("softbus-mdns".into()).spawn(move || reader.run());
        match thread {
            Ok(_) => Ok(Self { mdns, in_sight }),
            Err(error) => {
                let _ = mdns.shutdown();
                Err(mdns_sd::Error::Msg(format!("no thread for mDNS: {error}")))
            }
        }
    }

    pub(super) fn in_sight(&self) -> watch::Receiver<InSight> {
        self.in_sight.subscribe()
    }
}

/// Speaks mDNS on these interfaces.
fn listen(bind: &Bind) -> Result<ServiceDaemon, mdns_sd::Error> {
    let mdns = ServiceDaemon::new()?;
    match bind {
        Bind::All => {}
        Bind::Loopback => {
            mdns.disable_interface(IfKind::All)?;
            mdns.enable_interface(vec![IfKind::LoopbackV4, IfKind::LoopbackV6])?;
        }
        Bind::Interfaces(names) => {
            mdns.disable_interface(IfKind::All)?;
            mdns.enable_interface(names.iter().map(IfKind::from).collect::<Vec<_>>())?;
        }
    }
    mdns.set_ip_check_interval(INTERFACES_EVERY_S)?;
    Ok(mdns)
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // Its queue may be full for a moment. The reader ends with it.
        for _ in 0..10 {
            match self.mdns.shutdown() {
                Err(mdns_sd::Error::Again) => std::thread::sleep(Duration::from_millis(10)),
                _ => return,
            }
        }
    }
}

/// What is in sight, and whether others know. Pure.
#[derive(Default)]
struct Sights {
    devices: BTreeMap<String, Arc<Device>>,
    /// Since when there is something that was not published, or the earliest time to publish it.
    due: Option<Instant>,
    published: Option<Instant>,
    /// There was no room for somebody.
    full: bool,
}

impl Sights {
    fn seen(&mut self, now: Instant, key: String, device: Device) {
        if self.devices.get(&key).is_some_and(|known| **known == device) {
            return;
        }
        if self.devices.len() >= DEVICES && !self.devices.contains_key(&key) {
            // Said once: somebody may be making names up.
            if !std::mem::replace(&mut self.full, true) {
                tracing::warn!(limit = DEVICES, "too many devices in sight; further ones are not seen");
            }
            return;
        }
        self.devices.insert(key, Arc::new(device));
        self.changed(now);
    }

    fn gone(&mut self, now: Instant, key: &str) {
        if self.devices.remove(key).is_some() {
            self.full = false;
            self.changed(now);
        }
    }

    fn changed(&mut self, now: Instant) {
        let earliest = self.published.map_or(now, |published| published + PUBLISH_EVERY);
        self.due.get_or_insert(earliest.max(now));
    }

    /// A copy to publish, if it is time.
    fn publish(&mut self, now: Instant) -> Option<InSight> {
        self.due.filter(|due| now >= *due)?;
        self.due = None;
        self.published = Some(now);
        Some(Arc::new(self.devices.clone()))
    }
}

/// Reads the daemon's events and keeps what is in sight.
struct Reader {
    mdns: ServiceDaemon,
    in_sight: Arc<watch::Sender<InSight>>,
    sights: Sights,
    /// What was in sight when browsing began anew and has not been heard of since.
    stale: BTreeSet<String>,
    sweep: Option<Instant>,
    /// [`SWEEP_AFTER`], but for tests.
    sweep_after: Duration,
}

impl Reader {
    fn new(mdns: ServiceDaemon, in_sight: Arc<watch::Sender<InSight>>) -> Self {
        Self {
            mdns,
            in_sight,
            sights: Sights::default(),
            stale: BTreeSet::new(),
            sweep: None,
            sweep_after: SWEEP_AFTER,
        }
    }

    fn run(mut self) {
        let mut pause = REBROWSE_FIRST;
        loop {
            match self.mdns.browse(SERVICE) {
                Ok(events) => {
                    let began = Instant::now();
                    self.read(&events);
                    if began.elapsed() > REBROWSE_LAST {
                        pause = REBROWSE_FIRST;
                    }
                }
                Err(mdns_sd::Error::DaemonShutdown) => return,
                Err(error) => tracing::warn!(%error, "mDNS cannot browse"),
            }
            tracing::debug!(?pause, "the mDNS subscription closed; browsing again");
            std::thread::sleep(pause);
            pause = (pause * 2).min(REBROWSE_LAST);
            self.stale = self.sights.devices.keys().cloned().collect();
            self.sweep = Some(Instant::now() + self.sweep_after);
        }
    }

    /// Until the subscription closes.
    fn read(&mut self, events: &Receiver<ServiceEvent>) {
        loop {
            if let Some(in_sight) = self.sights.publish(Instant::now()) {
                self.in_sight.send_replace(in_sight);
            }
            let next = self.sweep.into_iter().chain(self.sights.due).min();
            let event = match next {
                None => events.recv().map_err(|_| RecvTimeoutError::Disconnected),
                Some(at) => events.recv_deadline(at),
            };
            match event {
                Ok(ServiceEvent::ServiceResolved(service)) => self.seen(&service),
                Ok(ServiceEvent::ServiceRemoved(_, fullname)) => {
                    if let Some(key) = key(&fullname) {
                        self.gone(&key);
                    }
                }
                Ok(ServiceEvent::SearchStopped(_)) => return,
                Ok(_) => {}
                Err(RecvTimeoutError::Timeout) if self.sweep.is_none_or(|at| Instant::now() < at) => {}
                Err(RecvTimeoutError::Timeout) => {
                    self.sweep = None;
                    for key in std::mem::take(&mut self.stale) {
                        self.gone(&key);
                    }
                }
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    fn seen(&mut self, service: &ResolvedService) {
        let Some(key) = key(&service.fullname) else { return };
        self.stale.remove(&key);
        let Some(device) = device(service) else {
            tracing::debug!(%key, "a record that makes no sense");
            self.gone(&key);
            return;
        };
        self.sights.seen(Instant::now(), key, device);
    }

    fn gone(&mut self, key: &str) {
        self.sights.gone(Instant::now(), key);
    }
}

/// The instance name within a full name; `None` for names that no softbus device has.
fn key(fullname: &str) -> Option<String> {
    let name = fullname.len().checked_sub(SERVICE.len() + 1)?;
    let (name, rest) = fullname.split_at_checked(name)?;
    let plain = name.len() <= KEY_BYTES && name.bytes().all(|byte| byte.is_ascii_graphic());
    let ours = rest.strip_prefix('.').is_some_and(|rest| rest.eq_ignore_ascii_case(SERVICE));
    (plain && ours && !name.is_empty()).then(|| name.to_ascii_lowercase())
}

/// What a foreign record says; `None` if it is none of a softbus device, or names nowhere to go.
fn device(service: &ResolvedService) -> Option<Device> {
    let entries = service.txt_properties.iter();
    let entries = entries.map(|entry| (entry.key().as_bytes(), entry.val().unwrap_or_default()));
    let mut announcement = txt::from_entries(entries)?;
    if service.port == 0 {
        return None;
    }
    announcement.port = service.port;
    let mut addresses: Vec<SocketAddr> =
        service.addresses.iter().filter_map(|ip| address(ip, service.port)).collect();
    addresses.sort_by_key(|address| (rank(address), *address));
    addresses.dedup();
    // Loopback is good only if there is nothing else: from afar it would lead to ourselves.
    if addresses.iter().any(|address| !address.ip().is_loopback()) {
        addresses.retain(|address| !address.ip().is_loopback());
    }
    addresses.truncate(limits::PEER_ADDRESSES);
    announcement.addresses = addresses.iter().map(SocketAddr::ip).collect();
    (!addresses.is_empty()).then_some(Device { addresses, announcement })
}

fn address(ip: &ScopedIp, port: u16) -> Option<SocketAddr> {
    match ip {
        ScopedIp::V6(v6) if v6.addr().is_unicast_link_local() => {
            let scope = v6.scope_id().index;
            (scope != 0).then(|| SocketAddrV6::new(*v6.addr(), port, 0, scope).into())
        }
        ip => {
            let ip = ip.to_ip_addr().to_canonical();
            let broadcast = matches!(ip, IpAddr::V4(v4) if v4.is_broadcast());
            (!ip.is_unspecified() && !ip.is_multicast() && !broadcast).then(|| SocketAddr::new(ip, port))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_in_sight_is_copied_now_and_then() {
        let device = |n: u16| Device {
            addresses: vec![([10, 0, 0, 1], n).into()],
            announcement: Announcement::default(),
        };
        let (mut sights, start) = (Sights::default(), Instant::now());
        sights.seen(start, "a".into(), device(0));
        assert_eq!(sights.publish(start).map(|seen| seen.len()), Some(1), "the first one at once");
        assert!(sights.publish(start).is_none(), "nothing new");
        let mut copies = 0;
        for ms in 1..=1000 {
            let now = start + Duration::from_millis(ms);
            for n in 0..10 {
                sights.seen(now, format!("{}", n * ms), device(ms as u16));
            }
            copies += u32::from(sights.publish(now).is_some());
        }
        assert_eq!(copies, 10);
        let later = start + Duration::from_secs(9);
        sights.seen(later, "0".into(), device(9999));
        let all = sights.publish(later).unwrap();
        assert_eq!(all.len(), DEVICES);
        sights.gone(later, "0");
        sights.gone(later, "no such");
        assert_eq!(sights.due, Some(later + PUBLISH_EVERY));
        let fewer = sights.publish(later + PUBLISH_EVERY).unwrap();
        assert_eq!((fewer.len(), fewer.contains_key("0")), (DEVICES - 1, false));
    }

    /// The subscription of a reader closes. It browses again: what was gone meanwhile goes out of sight, what is
    /// still there stays, and what comes is seen.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn browsing_begins_again_when_the_subscription_closes() {
        use crate::seam::{Discovery as _, MdnsDiscovery};
        const LONG: Duration = Duration::from_secs(20);
        let entropy = crate::seam::real::SystemEntropy::new().unwrap();
        let announced = |port| {
            let mdns = MdnsDiscovery::apart(&Bind::Loopback, &entropy).unwrap();
            mdns.announce(&Announcement { port, versions: (1, 1), ..Announcement::default() }).unwrap();
            mdns
        };
        let mdns = listen(&Bind::Loopback).unwrap();
        let mut reader = Reader::new(mdns.clone(), Arc::new(watch::Sender::new(InSight::default())));
        reader.sweep_after = Duration::from_secs(2);
        let phantom =
            Device { addresses: vec![([127, 0, 0, 1], 1).into()], announcement: Announcement::default() };
        reader.sights.seen(Instant::now(), "phantom".into(), phantom);
        let mut in_sight = reader.in_sight.subscribe();
        let mut until = async |what: &str, so: &dyn Fn(&InSight) -> bool| {
            let seen = tokio::time::timeout(LONG, in_sight.wait_for(|seen| so(seen))).await;
            seen.unwrap_or_else(|_| panic!("never {what}")).unwrap().clone()
        };
        let thread = std::thread::spawn(move || reader.run());
        let first = announced(4441);
        until("seen", &|seen| seen.contains_key(first.key()) && seen.contains_key("phantom")).await;

        mdns.stop_browse(SERVICE).unwrap();
        let seen = until("rid of who is gone", &|seen| !seen.contains_key("phantom")).await;
        assert!(seen.contains_key(first.key()), "what is still there stays");
        let second = announced(4442);
        until("both seen", &|seen| [&first, &second].iter().all(|mdns| seen.contains_key(mdns.key()))).await;

        // Its end is the reader's.
        mdns.shutdown().unwrap();
        tokio::time::timeout(LONG, async {
            while !thread.is_finished() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        })
        .await
        .expect("the reader ends");
        thread.join().unwrap();
    }

    #[test]
    fn keys_are_plain_instance_names() {
        assert_eq!(key("Ab12._softbus._udp.local.").as_deref(), Some("ab12"));
        assert_eq!(key("ab._SOFTBUS._udp.local.").as_deref(), Some("ab"));
        for name in ["._softbus._udp.local.", "_softbus._udp.local.", "a b._softbus._udp.local.", "", "é"] {
            assert_eq!(key(name), None, "{name}");
        }
        assert_eq!(key(&format!("{}._softbus._udp.local.", "a".repeat(64))), None);
        assert_eq!(key("x._other._udp.local."), None);
    }
}
