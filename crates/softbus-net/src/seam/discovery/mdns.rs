use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use data_encoding::HEXLOWER;
use mdns_sd::{IfKind, ServiceInfo};
use tokio::sync::{mpsc, watch};

use super::daemon::{Daemon, Device, InSight, SERVICE};
use super::{SIGHTINGS, txt};
use crate::Bind;
use crate::seam::{Announcement, BoxFuture, Discovery, Entropy, Sighting};

/// A device that was asked whether it is still there (twice, a second apart) and has not answered after this time is
/// gone (RFC 6762, section 10.4, which speaks of ten seconds for networks of any kind).
const CONFIRM: Duration = Duration::from_secs(5);
/// Longest wait for a goodbye to be sent.
const GOODBYE: Duration = Duration::from_secs(1);
/// The daemon repeats a goodbye once, 120 ms after the first.
const GOODBYE_REPEATED: Duration = Duration::from_millis(150);

/// Multicast DNS service discovery (RFC 6762, RFC 6763), as `_softbus._udp.local.`
///
/// Instance and host name are random for each instance of this, so that nobody can follow a device by them.
/// That is also why names are not probed before use: probing (RFC 6762, section 8.1) finds out whether a
/// name that a person chose is taken already, and takes 750 ms; of 128 random bits no two are equal.
///
/// Instances on the same interfaces share one daemon of the process. An instance does not see itself.
pub struct MdnsDiscovery {
    daemon: Arc<Daemon>,
    /// Instance name, without the type.
    name: String,
    host: String,
    announced: Mutex<Option<Announcement>>,
    /// Ends the browses.
    stopped: watch::Sender<bool>,
}

impl MdnsDiscovery {
    /// Speaks mDNS on these interfaces.
    ///
    /// # Errors
    /// If the system gives no thread or no poll. That no socket can be had shows only in that nobody is seen.
    pub fn new(bind: Bind, entropy: &dyn Entropy) -> io::Result<Self> {
        Ok(Self::on(Daemon::shared(&bind).map_err(to_io)?, entropy))
    }

    /// With a daemon of its own, as if it were another process.
    #[cfg(test)]
    pub(super) fn apart(bind: &Bind, entropy: &dyn Entropy) -> io::Result<Self> {
        Ok(Self::on(Arc::new(Daemon::start(bind).map_err(to_io)?), entropy))
    }

    fn on(daemon: Arc<Daemon>, entropy: &dyn Entropy) -> Self {
        let mut random = [0; 32];
        entropy.fill(&mut random);
        let (name, host) = random.split_at(16);
        Self {
            daemon,
            name: HEXLOWER.encode(name),
            host: format!("{}.local.", HEXLOWER.encode(host)),
            announced: Mutex::new(None),
            stopped: watch::Sender::new(false),
        }
    }

    /// The name of this instance, which is its key in the sightings of others.
    pub fn key(&self) -> &str {
        &self.name
    }

    fn record(&self, announcement: &Announcement) -> Result<ServiceInfo, mdns_sd::Error> {
        let entries = txt::entries(announcement);
        let addresses = announcement.addresses.as_slice();
        let mut info =
            ServiceInfo::new(SERVICE, &self.name, &self.host, addresses, announcement.port, Txt(entries))?;
        // Those of the interfaces, now and as they change. Those that are named, too: the daemon looks for new
        // interfaces now and then, and what had been registered before it found one would never be said there.
        info = info.enable_addr_auto();
        if !addresses.is_empty() {
            info.set_interfaces(addresses.iter().copied().map(IfKind::Addr).collect());
        }
        info.set_requires_probe(false);
        Ok(info)
    }
}

struct Txt(Vec<(&'static str, Vec<u8>)>);

impl mdns_sd::IntoTxtProperties for Txt {
    fn into_txt_properties(self) -> mdns_sd::TxtProperties {
        let properties: Vec<mdns_sd::TxtProperty> = self.0.into_iter().map(Into::into).collect();
        properties.into_txt_properties()
    }
}

fn to_io(error: mdns_sd::Error) -> io::Error {
    match error {
        mdns_sd::Error::Again => {
            io::Error::new(io::ErrorKind::WouldBlock, "the mDNS daemon is busy: try again")
        }
        mdns_sd::Error::DaemonShutdown => {
            io::Error::new(io::ErrorKind::NotConnected, "the mDNS daemon of this process ended")
        }
        error => io::Error::other(error.to_string()),
    }
}

impl Discovery for MdnsDiscovery {
    fn browse(&self) -> io::Result<mpsc::Receiver<Sighting>> {
        let (send, receive) = mpsc::channel(SIGHTINGS);
        let stopped = self.stopped.subscribe();
        if !*stopped.borrow() {
            tokio::spawn(feed(self.daemon.in_sight(), self.name.clone(), stopped, send));
        }
        Ok(receive)
    }

    fn announce(&self, announcement: &Announcement) -> io::Result<()> {
        let mut announced = self.announced.lock().unwrap_or_else(PoisonError::into_inner);
        if announced.as_ref() == Some(announcement) {
            return Ok(());
        }
        // Registering again replaces the record without a goodbye: its parts carry the cache-flush bit
        // (RFC 6762, section 10.2).
        self.daemon.mdns.register(self.record(announcement).map_err(to_io)?).map_err(to_io)?;
        *announced = Some(announcement.clone());
        Ok(())
    }

    fn confirm(&self, key: &str) {
        // A full queue means that the daemon is busy: whoever asked will ask again.
        let _ = self.daemon.mdns.verify(format!("{key}.{SERVICE}"), CONFIRM);
    }

    fn goodbye(&self) -> BoxFuture<'_, ()> {
        let announced = self.announced.lock().unwrap_or_else(PoisonError::into_inner).take();
        Box::pin(async move {
            self.stopped.send_replace(true);
            if announced.is_none() {
                return;
            }
            let fullname = format!("{}.{SERVICE}", self.name);
            let sent = async {
                loop {
                    match self.daemon.mdns.unregister(&fullname) {
                        Ok(status) => {
                            let _ = status.recv_async().await;
                            return tokio::time::sleep(GOODBYE_REPEATED).await;
                        }
                        Err(mdns_sd::Error::Again) => tokio::time::sleep(Duration::from_millis(20)).await,
                        Err(_) => return,
                    }
                }
            };
            let _ = tokio::time::timeout(GOODBYE, sent).await;
        })
    }
}

impl Drop for MdnsDiscovery {
    fn drop(&mut self) {
        // Without waiting; a shared daemon would go on announcing.
        let announced = self.announced.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        if announced.is_some() {
            let _ = self.daemon.mdns.unregister(&format!("{}.{SERVICE}", self.name));
        }
    }
}

/// Tells one reader what comes into sight, changes and goes, by the difference to what it was told before.
/// Bounded however slow it is: what changed several times in between is told once.
async fn feed(
    mut in_sight: watch::Receiver<InSight>,
    own: String,
    mut stopped: watch::Receiver<bool>,
    send: mpsc::Sender<Sighting>,
) {
    let mut told: BTreeMap<String, Arc<Device>> = BTreeMap::new();
    loop {
        let now = in_sight.borrow_and_update().clone();
        let mut news = Vec::new();
        for (key, device) in now.iter().filter(|(key, _)| **key != own) {
            if told.get(key) != Some(device) {
                told.insert(key.clone(), device.clone());
                news.push(Sighting::Seen {
                    key: key.as_str().into(),
                    addresses: device.addresses.as_slice().into(),
                    announcement: device.announcement.clone().into(),
                });
            }
        }
        let gone: Vec<String> = told.keys().filter(|key| !now.contains_key(*key)).cloned().collect();
        for key in gone {
            told.remove(&key);
            news.push(Sighting::Gone { key: key.into() });
        }
        let fresh = !news.is_empty();
        for sighting in news {
            tokio::select! {
                biased;
                _ = stopped.changed() => return,
                sent = send.send(sighting) => if sent.is_err() { return },
            }
        }
        if fresh {
            continue;
        }
        tokio::select! {
            biased;
            _ = stopped.changed() => return,
            () = send.closed() => return,
            changed = in_sight.changed() => if changed.is_err() { return },
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use softbus_core::DeviceKind;
    use tokio::time::timeout;

    use super::*;
    use crate::seam::memory::SeededEntropy;
    use crate::seam::real::SystemEntropy;

    /// Generous: the machine may be busy.
    const LONG: Duration = Duration::from_secs(10);

    fn device(number: u16) -> Arc<Device> {
        let announcement = Announcement { port: number, versions: (1, 1), ..Announcement::default() };
        Arc::new(Device { addresses: vec![SocketAddr::from(([10, 0, 0, 1], number))], announcement })
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_reader_gets_the_newest_and_nothing_piles_up() {
        let in_sight = watch::Sender::new(InSight::default());
        let (stop, stopped) = watch::channel(false);
        let (send, mut receive) = mpsc::channel(1);
        tokio::spawn(feed(in_sight.subscribe(), "own".into(), stopped, send));
        let set = |devices: &[(&str, u16)]| {
            let map = devices.iter().map(|(key, number)| ((*key).to_owned(), device(*number))).collect();
            in_sight.send_replace(Arc::new(map));
        };
        for number in 1..=100 {
            set(&[("own", 1), ("a", number), ("b", 7)]);
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        set(&[("own", 1), ("a", 100)]);
        let mut ports = Vec::new();
        while let Ok(Some(sighting)) = timeout(Duration::from_secs(1), receive.recv()).await {
            match sighting {
                Sighting::Seen { key, announcement, .. } => ports.push((key, announcement.port)),
                Sighting::Gone { key } => ports.push((key, 0)),
            }
        }
        assert!(ports.len() <= 8, "{ports:?}");
        let last = |name: &str| ports.iter().rfind(|(key, _)| **key == *name).map(|(_, port)| *port);
        assert_eq!((last("a"), last("b"), last("own")), (Some(100), Some(0), None));
        stop.send_replace(true);
        assert_eq!(receive.recv().await, None);
    }

    #[test]
    fn names_say_nothing_of_the_device() {
        let one = MdnsDiscovery::new(Bind::Loopback, &SeededEntropy::new(1, "a")).unwrap();
        let two = MdnsDiscovery::new(Bind::Loopback, &SeededEntropy::new(1, "b")).unwrap();
        assert!(Arc::ptr_eq(&one.daemon, &two.daemon), "one daemon of the process");
        assert_ne!(one.key(), two.key());
        let announcement = Announcement { name: Some("secret".into()), ..Announcement::default() };
        let record = one.record(&announcement).unwrap();
        assert!(record.get_fullname().starts_with(one.key()));
        assert!(!record.get_hostname().contains("secret"));
    }

    /// For real, between two daemons on loopback (as two processes are).
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn two_daemons_find_each_other_change_and_part() {
        let entropy = SystemEntropy::new().unwrap();
        let a = MdnsDiscovery::apart(&Bind::Loopback, &entropy).unwrap();
        let b = MdnsDiscovery::apart(&Bind::Loopback, &entropy).unwrap();
        let mut sightings = a.browse().unwrap();
        let begin = tokio::time::Instant::now();
        // Others may be about on this machine's loopback: only `b` counts.
        let mut next = async || {
            loop {
                match timeout(LONG, sightings.recv()).await.expect("seen in time").expect("open") {
                    Sighting::Seen { key, .. } | Sighting::Gone { key } if *key != *b.key() => continue,
                    sighting => return sighting,
                }
            }
        };
        let mut announcement = Announcement {
            port: 4433,
            versions: (1, 2),
            kind: Some(DeviceKind::Tv),
            name: Some("the tv".into()),
            tags: vec![[9; 8]],
            ..Announcement::default()
        };
        a.announce(&announcement).unwrap();
        b.announce(&announcement).unwrap();
        let Sighting::Seen { addresses, announcement: seen, .. } = next().await else { panic!("gone first") };
        println!("seen at {addresses:?} after {:?}", begin.elapsed());
        assert!(addresses.contains(&"127.0.0.1:4433".parse().unwrap()), "{addresses:?}");
        assert_eq!(Announcement { addresses: vec![], ..Arc::unwrap_or_clone(seen) }, announcement);

        // What it says changes, without its going.
        announcement.tags = vec![[8; 8]];
        announcement.port = 4434;
        b.announce(&announcement).unwrap();
        loop {
            let Sighting::Seen { announcement: seen, .. } = next().await else {
                panic!("no goodbye was said")
            };
            if seen.tags == announcement.tags && seen.port == 4434 {
                break;
            }
        }

        // Asked whether it is still there, it answers, and stays.
        a.confirm(b.key());
        let gone = async { while matches!(next().await, Sighting::Seen { .. }) {} };
        assert!(timeout(CONFIRM + Duration::from_secs(2), gone).await.is_err(), "it is still there");

        b.goodbye().await;
        loop {
            if let Sighting::Gone { key } = next().await {
                assert_eq!(&*key, b.key());
                break;
            }
        }
        a.goodbye().await;
        assert_eq!(a.browse().unwrap().recv().await, None, "closed after the goodbye");
    }

    /// A device that ends without a goodbye is in sight until its records run out, after two minutes; or until
    /// somebody asks.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn who_does_not_answer_is_gone() {
        let entropy = SystemEntropy::new().unwrap();
        let a = MdnsDiscovery::apart(&Bind::Loopback, &entropy).unwrap();
        let b = MdnsDiscovery::apart(&Bind::Loopback, &entropy).unwrap();
        let mut sightings = a.browse().unwrap();
        let announcement = Announcement { port: 4435, versions: (1, 1), ..Announcement::default() };
        b.announce(&announcement).unwrap();
        let key = b.key().to_owned();
        let mut next = async || loop {
            match timeout(LONG * 3, sightings.recv()).await.expect("in time").expect("open") {
                Sighting::Seen { key: seen, .. } if *seen == *key => return true,
                Sighting::Gone { key: gone } if *gone == *key => return false,
                _ => {}
            }
        };
        assert!(next().await);
        // As if killed: nothing is sent any more.
        b.daemon.mdns.disable_interface(IfKind::All).unwrap();
        a.confirm(&key);
        while next().await {} // it may have been seen with one more address before
    }
}
