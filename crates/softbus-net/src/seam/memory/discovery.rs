use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::Instant;

use super::board::Voice;
use super::entropy::SeededEntropy;
use super::life::Life;
use super::lock;
use super::net::{HostId, MemoryNet};
use crate::seam::{Announcement, BoxFuture, Discovery, Entropy, Sighting};

/// How long a device is still believed to be there when nothing is heard of it any more (mDNS's TTL of host
/// records, RFC 6762 section 10).
const RECORD_TTL: Duration = Duration::from_secs(120);
/// From an announcement to its being seen, on top of the network's latency.
const SPREAD: Duration = Duration::from_millis(50);
/// Sightings that may wait for their reader.
const SIGHTINGS: usize = 64;
/// Discovery among the hosts of one segment of a [`MemoryNet`], with the manners of mDNS: who says goodbye is
/// gone at once, who is cut off or crashes is gone after two minutes.
pub struct MemoryDiscovery {
    net: MemoryNet,
    host: HostId,
    life: Life,
    /// The instance name of this run.
    key: Arc<str>,
    announced_before: Mutex<u64>,
}

impl MemoryDiscovery {
    pub(super) fn new(net: MemoryNet, host: HostId, life: Life, entropy: &SeededEntropy) -> Self {
        let mut name = [0; 8];
        entropy.fill(&mut name);
        let key = data_encoding::HEXLOWER.encode(&name).into();
        Self { net, host, life, key, announced_before: Mutex::new(0) }
    }
}

impl Discovery for MemoryDiscovery {
    fn browse(&self) -> io::Result<mpsc::Receiver<Sighting>> {
        let (send, receive) = mpsc::channel(SIGHTINGS);
        let watcher = Watcher { net: self.net.clone(), host: self.host, key: self.key.clone() };
        let life = self.life.clone();
        tokio::spawn(async move { life.within(watcher.run(send)).await });
        Ok(receive)
    }

    fn announce(&self, announcement: &Announcement) -> io::Result<()> {
        if self.life.is_over() {
            return Err(io::Error::new(io::ErrorKind::NetworkDown, "this run of the host is over"));
        }
        let mut number = lock(&self.announced_before);
        *number += 1;
        self.net.change(|net| net.board.announce(&self.key, self.host, *number, announcement.clone().into()));
        Ok(())
    }

    fn goodbye(&self) -> BoxFuture<'_, ()> {
        if !self.life.is_over() {
            self.net.change(|net| net.board.say_goodbye(&self.key));
        }
        Box::pin(std::future::ready(()))
    }
}

/// Tells one subscriber what its host hears.
struct Watcher {
    net: MemoryNet,
    host: HostId,
    key: Arc<str>,
}

struct Known {
    number: u64,
    addresses: Arc<[SocketAddr]>,
    /// When it was first not heard any more.
    silent_since: Option<Instant>,
}

enum Heard {
    Seen(u64, Arc<[SocketAddr]>, Arc<Announcement>),
    Gone,
    Nothing,
}

impl Watcher {
    async fn run(self, send: mpsc::Sender<Sighting>) {
        let mut changed = self.net.changed();
        let mut known: BTreeMap<Arc<str>, Known> = BTreeMap::new();
        let mut silent: BTreeSet<Arc<str>> = BTreeSet::new();
        let mut heard = 0;
        loop {
            changed.borrow_and_update();
            tokio::time::sleep(SPREAD).await;
            let now = Instant::now();
            let mut wake: Option<Instant> = None;
            let mut keys = silent.clone();
            {
                let net = self.net.lock();
                if net.board.all_changed_since(heard, self.host) {
                    keys.extend(known.keys().cloned());
                }
                keys.extend(net.board.changed_since(heard, self.host).cloned());
                heard = net.board.version();
            }
            for key in keys.into_iter().filter(|key| *key != self.key) {
                let sighting = match self.hear(&key) {
                    Heard::Seen(number, addresses, announcement) => {
                        let same =
                            known.get(&key).is_some_and(|k| k.number == number && k.addresses == addresses);
                        known.insert(
                            key.clone(),
                            Known { number, addresses: addresses.clone(), silent_since: None },
                        );
                        silent.remove(&key);
                        if same {
                            continue;
                        }
                        Sighting::Seen { key, addresses, announcement }
                    }
                    Heard::Gone => {
                        silent.remove(&key);
                        if known.remove(&key).is_none() {
                            continue;
                        }
                        Sighting::Gone { key }
                    }
                    Heard::Nothing => {
                        let Some(former) = known.get_mut(&key) else { continue };
                        let expires = *former.silent_since.get_or_insert(now) + RECORD_TTL;
                        if now < expires {
                            wake = Some(wake.map_or(expires, |wake| wake.min(expires)));
                            silent.insert(key);
                            continue;
                        }
                        silent.remove(&key);
                        known.remove(&key);
                        Sighting::Gone { key }
                    }
                };
                if send.send(sighting).await.is_err() {
                    return;
                }
            }
            tokio::select! {
                biased;
                () = send.closed() => return,
                result = changed.changed() => if result.is_err() { return },
                () = tokio::time::sleep_until(wake.unwrap_or(now)), if wake.is_some() => {}
            }
        }
    }

    fn hear(&self, key: &str) -> Heard {
        let net = self.net.lock();
        let Some(announced) = net.board.get(key) else { return Heard::Nothing };
        if !net.hears(self.host, announced.host) {
            return Heard::Nothing;
        }
        match announced.voice {
            Voice::Silent => Heard::Nothing,
            Voice::SaidGoodbye => Heard::Gone,
            Voice::Speaking => {
                let announcement = announced.announcement.clone();
                let all = net.host_addresses(announced.host);
                let ips = if announcement.addresses.is_empty() {
                    all.to_vec()
                } else {
                    announcement.addresses.clone()
                };
                let addresses = ips.into_iter().map(|ip| SocketAddr::new(ip, announcement.port)).collect();
                Heard::Seen(announced.number, addresses, announcement)
            }
        }
    }
}
