//! Which connection carries the link, and when to dial.
//!
//! Both sides rank the connections between the same two boots alike, from what travels in Hello: the higher
//! generation wins, and of equal ones the one dialled by the smaller [`DeviceId`]. A dialler takes a generation
//! one above all it knows, so a redial outranks what it replaces, while two dials that did not know of each
//! other tie. A connection from another boot of the peer outranks everything before it: its handshake was
//! answered by that boot just now. Only established connections are compared; a loser's channels may end in
//! peace (it drains) if its boot is still the peer's.

use std::collections::BTreeMap;
use std::time::Duration;

use softbus_core::wire::link::{BootNonce, Hello, HelloAck, Sleep, link_id, negotiate};
use softbus_core::{DeviceId, ErrorCode, LinkId};

use super::presence::PresenceTracker;
use crate::Presence;

/// A connection, as the driver numbers it. Never used twice.
pub type ConnKey = u64;

/// From TLS to an established connection at most this long.
const HELLO_TIMEOUT: Duration = Duration::from_secs(5);
/// How long the larger id waits for the smaller to dial before it dials itself.
const LARGER_WAITS: Duration = Duration::from_millis(250);
/// The first wait after a dial failed.
const BACKOFF_FIRST: Duration = Duration::from_millis(250);
/// The longest wait after dials failed.
const BACKOFF_MAX: Duration = Duration::from_secs(30);
/// The wait after a peer said that it does not want us (no trust yet, or no common version).
const BACKOFF_UNWANTED: Duration = Duration::from_secs(15);
/// The wait after a peer let the link rest that we want to keep.
const BACKOFF_RESTED: Duration = Duration::from_secs(60);
/// After a change of addresses, something must be heard on a connection we dialled within this time.
const PROBE_TIME: Duration = Duration::from_millis(500);
/// A link that rests counts as reachable for this long without news.
const REST: Duration = Duration::from_secs(300);
/// A connection that lived shorter than this counts as a failed dial: the wait before the next one grows.
const SHORT_LIFE: Duration = Duration::from_secs(5);
/// Longest sleep interval that is believed.
const MAX_SLEEP: Duration = Duration::from_secs(24 * 3600);

/// What does not change in a link's life.
#[derive(Clone, Debug)]
pub struct LinkConfig {
    /// This device.
    pub me: DeviceId,
    /// This run of its program.
    pub boot: BootNonce,
    /// The other device.
    pub peer: DeviceId,
    /// Lowest and highest version of the protocol that is spoken.
    pub versions: (u16, u16),
    /// Silence after which the peer is suspect …
    pub suspect_after: Duration,
    /// … and after which it is offline.
    pub offline_after: Duration,
    /// Seed of the jitter.
    pub seed: u64,
}

/// A message on a connection's control stream.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Control {
    /// Who speaks, and in which boot.
    Hello(Hello),
    /// The other's Hello is understood.
    Ack(HelloAck),
    /// The sender is going to be heard from rarely.
    Sleep(Sleep),
}

/// What the driver is to do.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Action {
    /// Dial the peer's addresses; answer with `connected` or `dial_failed` of this attempt.
    Dial {
        /// Names it.
        attempt: u64,
    },
    /// The running dial is no longer needed.
    StopDialling,
    /// Send on a connection's control stream.
    Send {
        /// On which.
        conn: ConnKey,
        /// What.
        message: Control,
    },
    /// Close a connection at once. It is forgotten already: report nothing more of it.
    Close {
        /// Which.
        conn: ConnKey,
        /// Why.
        code: ErrorCode,
    },
    /// Let a superseded connection end when its channels are done. Forgotten already.
    Drain {
        /// Which.
        conn: ConnKey,
    },
    /// A connection carries the link now.
    Up {
        /// Which.
        conn: ConnKey,
        /// The link's name.
        link: LinkId,
        /// Nth connection of the link.
        generation: u64,
        /// Whether we dialled it.
        dialled: bool,
        /// Whether the peer has started anew since the last one.
        rebooted: bool,
        /// Version of the protocol.
        version: u16,
    },
    /// Presence changed.
    Presence(Presence),
    /// None carries it any more.
    Down {
        /// Why, for people.
        reason: String,
    },
}

#[derive(Clone, Debug)]
struct Conn {
    dialled: bool,
    since: Duration,
    /// Known to the dialler at once, to the acceptor from the dialler's Hello.
    generation: u64,
    theirs: Option<Hello>,
    established: bool,
    /// An accepted connection whose Hello is not answered while our own dial, which would win, is under way.
    held: bool,
    version: u16,
}

#[derive(Clone, Copy, Debug)]
struct Dialling {
    attempt: u64,
    /// To replace a connection that looks alive from here.
    forced: bool,
}

/// The link with one trusted peer.
pub struct LinkMachine {
    config: LinkConfig,
    // Boxed: a node of the map has room for eleven, and one is there.
    conns: BTreeMap<ConnKey, Box<Conn>>,
    current: Option<ConnKey>,
    /// The peer's boot of the last established connection.
    peer_boot: Option<BootNonce>,
    /// Highest generation known between our boot and `peer_boot`.
    generation: u64,
    presence: PresenceTracker,
    reported: Presence,
    wanted: bool,
    reachable: bool,
    eager: bool,
    dialling: Option<Dialling>,
    dials: u64,
    next_dial: Option<(Duration, bool)>,
    failures: u32,
    up_since: Duration,
    probe_at: Option<Duration>,
    sleep_ms: u32,
    /// We sleep: no dials of our own until we wake. Past the announced interval somebody here who needs the link
    /// wakes it, too; before, what still runs until the machine stands still would undo the announcement at once.
    asleep: bool,
    /// When that interval is over.
    sleeps_until: Duration,
    rng: u64,
    last_down: Option<String>,
    /// `last_down` changed without an [`Action::Down`].
    trouble: bool,
    actions: Vec<Action>,
}

impl LinkMachine {
    /// A link that was never up.
    pub fn new(config: LinkConfig) -> Self {
        Self {
            presence: PresenceTracker::new(config.suspect_after, config.offline_after),
            rng: config.seed,
            config,
            conns: BTreeMap::new(),
            current: None,
            peer_boot: None,
            generation: 0,
            reported: Presence::Offline,
            wanted: false,
            reachable: false,
            eager: false,
            dialling: None,
            dials: 0,
            next_dial: None,
            failures: 0,
            up_since: Duration::ZERO,
            probe_at: None,
            sleep_ms: 0,
            asleep: false,
            sleeps_until: Duration::ZERO,
            last_down: None,
            trouble: false,
            actions: Vec::new(),
        }
    }

    /// What to do, in order. Call after every event.
    pub fn actions(&mut self) -> Vec<Action> {
        let state = self.presence.state();
        if state != self.reported {
            self.reported = state;
            self.actions.push(Action::Presence(state));
        }
        std::mem::take(&mut self.actions)
    }

    /// Whether the peer answers.
    pub fn presence(&self) -> Presence {
        self.presence.state()
    }

    /// Whether only the link rests.
    pub fn is_resting(&self) -> bool {
        self.presence.is_resting()
    }

    /// The connection that carries the link.
    pub fn current(&self) -> Option<ConnKey> {
        self.current
    }

    /// Whether [`LinkMachine::last_down`] has news that no action told of.
    pub fn take_trouble(&mut self) -> bool {
        std::mem::take(&mut self.trouble)
    }

    /// Why the link went down last, or did not come up.
    pub fn last_down(&self) -> Option<&str> {
        self.last_down.as_deref()
    }

    /// The link's name once it was up, and how many connections have carried it.
    pub fn link(&self) -> Option<(LinkId, u64)> {
        self.peer_boot.map(|boot| (self.link_id(boot), self.generation))
    }

    /// Connections that are known, whatever their state.
    #[cfg(test)]
    pub fn conns(&self) -> usize {
        self.conns.len()
    }

    /// When [`LinkMachine::tick`] next has something to do.
    pub fn next_timeout(&self) -> Option<Duration> {
        self.next_deed().into_iter().chain(self.presence.next_timeout()).min()
    }

    /// The same for a peer that is known to be heard all the time: what is due but to doubt its presence.
    pub fn next_deed(&self) -> Option<Duration> {
        let hello = self.conns.values().filter(|c| !c.established).map(|c| c.since + HELLO_TIMEOUT);
        let dial = self.next_dial.filter(|_| self.may_dial()).map(|(at, _)| at);
        hello.chain(dial).chain(self.probe_at).min()
    }

    /// Whether the link is to be up, by trust and budget. `eager`: dial at once even if our id is the larger.
    pub fn want(&mut self, now: Duration, wanted: bool, eager: bool) {
        self.eager |= eager;
        if wanted && !self.wanted {
            self.wanted = true;
            self.schedule_first(now);
        } else if !wanted && self.wanted {
            self.wanted = false;
            self.next_dial = None;
            self.stop_dialling();
        }
    }

    /// Whether the link is to be up.
    pub fn is_wanted(&self) -> bool {
        self.wanted
    }

    /// Addresses of the peer are known (or none is any more). `fresh`: one of them is new.
    pub fn addresses(&mut self, now: Duration, any: bool, fresh: bool) {
        let first = any && !self.reachable;
        self.reachable = any;
        if any && (fresh || first) {
            self.failures = 0;
            self.schedule_first(now);
        }
    }

    /// Somebody waits for this link: dial now.
    pub fn dial_now(&mut self, now: Duration) {
        if self.asleep && now < self.sleeps_until {
            return;
        }
        if self.current.is_none() && self.pending_is_none() {
            self.asleep = false;
            self.next_dial = Some((now, false));
            self.tick(now);
        }
    }

    /// Our addresses changed, or we slept: is the connection still good? One we dialled migrates (the driver has
    /// rebound the endpoint) and must show it; on one that we accepted, the peer drops packets from our new
    /// address (RFC 9000, section 9), so that only a redial helps.
    pub fn moved(&mut self, now: Duration) {
        if self.asleep {
            return;
        }
        self.failures = 0;
        match self.current.and_then(|key| self.conns.get(&key)) {
            Some(conn) if conn.dialled => {
                let probe = PROBE_TIME.max(self.presence.rtt().saturating_mul(3));
                self.probe_at = Some(now + probe);
            }
            Some(_) => self.next_dial = Some((now, true)),
            None => self.next_dial = Some((now, false)),
        }
        self.tick(now);
    }

    /// We woke.
    pub fn awake(&mut self, now: Duration) {
        self.asleep = false;
        if self.sleep_ms > 0 {
            self.set_sleep(0);
        }
        self.moved(now);
    }

    /// We announce that we sleep, at which interval we are heard from; 0: no more.
    pub fn set_sleep(&mut self, interval_ms: u32) {
        self.sleep_ms = interval_ms;
        if let Some(conn) = self.current {
            self.actions.push(Action::Send { conn, message: Control::Sleep(Sleep { interval_ms }) });
        }
    }

    /// Ends the link for good (trust was withdrawn, or we close).
    pub fn end(&mut self, code: ErrorCode) {
        self.want(Duration::ZERO, false, false);
        for (conn, _) in std::mem::take(&mut self.conns) {
            self.actions.push(Action::Close { conn, code });
        }
        self.down(code.to_string());
        self.presence.gone();
    }

    /// Lets the present connection go until one side needs the link again, or until we wake.
    pub fn rest(&mut self, now: Duration, code: ErrorCode) {
        if code == ErrorCode::Sleeping {
            self.asleep = true;
            self.sleeps_until = now + Duration::from_millis(u64::from(self.sleep_ms));
            self.stop_dialling();
        }
        self.next_dial = None;
        self.probe_at = None;
        if let Some(conn) = self.current.take() {
            self.conns.remove(&conn);
            self.actions.push(Action::Close { conn, code });
            self.note_down(code.to_string());
            match code {
                ErrorCode::Resting => self.presence.rest(now, REST),
                _ => self.presence.asleep(now, REST),
            }
        }
    }

    /// A handshake with the peer is over: `attempt` names our dial, `None` if the peer dialled.
    pub fn connected(&mut self, now: Duration, conn: ConnKey, attempt: Option<u64>) {
        let Some(attempt) = attempt else {
            self.conns.insert(conn, Box::new(Conn::new(now, false, 0)));
            return;
        };
        let forced = match self.dialling {
            Some(dialling) if dialling.attempt == attempt => {
                self.dialling = None;
                dialling.forced
            }
            _ => false,
        };
        if self.current.is_some() && self.presence.state() == Presence::Online && !forced {
            self.actions.push(Action::Close { conn, code: ErrorCode::Superseded });
            return;
        }
        let generation = self.generation.saturating_add(1);
        self.generation = generation;
        self.conns.insert(conn, Box::new(Conn::new(now, true, generation)));
        let hello = self.hello(generation);
        self.actions.push(Action::Send { conn, message: Control::Hello(hello) });
    }

    /// A dial led nowhere.
    pub fn dial_failed(&mut self, now: Duration, attempt: u64, reason: String) {
        if self.dialling.is_some_and(|d| d.attempt == attempt) {
            self.dialling = None;
            if self.current.is_none() {
                self.last_down = Some(reason);
                self.trouble = true;
            }
            self.retry(now);
        }
    }

    /// A message came on a connection's control stream.
    pub fn message(&mut self, now: Duration, key: ConnKey, message: Control) {
        let Some(conn) = self.conns.get_mut(&key) else { return };
        match message {
            Control::Hello(hello) if conn.theirs.is_none() => {
                match negotiate(self.config.versions, hello.versions) {
                    Ok(version) => conn.version = version,
                    Err(code) => return self.refuse(now, key, code),
                }
                if hello.generation == 0 || conn.dialled && hello.generation != conn.generation {
                    return self.refuse(now, key, ErrorCode::Malformed);
                }
                conn.generation = hello.generation;
                conn.theirs = Some(hello);
                if !conn.dialled {
                    self.answer(now, key);
                }
            }
            Control::Ack(ack) if !conn.established && !conn.held => {
                let (version, dialled) = (conn.version, conn.dialled);
                let Some(boot) = conn.theirs.as_ref().map(|h| h.boot) else {
                    return self.refuse(now, key, ErrorCode::Malformed);
                };
                let link = self.link_id(boot);
                if ack.link != link || ack.version != version {
                    return self.refuse(now, key, ErrorCode::Malformed);
                }
                if dialled {
                    let ack = HelloAck { version, link };
                    self.actions.push(Action::Send { conn: key, message: Control::Ack(ack) });
                }
                self.established(now, key);
            }
            Control::Sleep(sleep) if conn.established => {
                if self.current == Some(key) {
                    self.presence.set_interval(sleep_interval(sleep.interval_ms));
                }
            }
            _ => self.refuse(now, key, ErrorCode::Malformed),
        }
    }

    /// A connection ended. `code`: what the peer closed it with, if it did.
    pub fn lost(&mut self, now: Duration, key: ConnKey, code: Option<ErrorCode>, reason: String) {
        let Some(conn) = self.conns.remove(&key) else { return };
        if self.current == Some(key) {
            self.down(reason);
            match code {
                Some(ErrorCode::Sleeping) => {
                    let interval = conn.theirs.as_ref().map_or(0, |h| h.sleep_interval_ms);
                    let interval = self.presence.interval().max(sleep_interval(interval));
                    self.presence.asleep(now, interval);
                    self.next_dial = None;
                }
                Some(ErrorCode::Resting) => {
                    // If we count it among our neighbours and it does not, views of the circle differ just now.
                    self.presence.rest(now, REST);
                    self.next_dial = Some((now + BACKOFF_RESTED, false));
                }
                // It says goodbye: it is gone, and tells when it is back.
                Some(ErrorCode::None) => {
                    self.presence.gone();
                    self.failures = 4;
                    self.retry(now);
                }
                Some(code) if unwanted(code) => {
                    self.presence.gone();
                    self.next_dial = Some((now + BACKOFF_UNWANTED, false));
                }
                // Another connection is on its way.
                Some(ErrorCode::Superseded) => self.retry(now),
                _ if now < self.up_since + SHORT_LIFE => self.retry(now),
                _ => {
                    self.failures = 0;
                    self.schedule_first(now);
                }
            }
        } else if !conn.established && code.is_some_and(unwanted) {
            self.last_down = Some(reason);
            self.trouble = true;
            self.next_dial = Some((now + BACKOFF_UNWANTED, false));
        } else if !conn.established && conn.dialled {
            self.retry(now);
        }
        self.answer_held(now);
    }

    /// Something authenticated came on a connection.
    pub fn heard(&mut self, now: Duration, key: ConnKey) {
        if self.current == Some(key) {
            self.presence.heard(now);
            // Whatever made us doubt it is over.
            if self.probe_at.take().is_some() || self.next_dial.is_some_and(|(at, forced)| forced && at > now)
            {
                self.next_dial = None;
            }
        }
    }

    /// The connection's round-trip time.
    pub fn rtt(&mut self, rtt: Duration) {
        self.presence.set_rtt(rtt);
    }

    /// Lets time pass.
    pub fn tick(&mut self, now: Duration) {
        let before = self.presence.state();
        self.presence.tick(now);
        let silent = self.presence.state() == Presence::Offline && before != Presence::Offline;
        if silent && self.current.is_some() {
            // Whatever was the reason the time before is none now.
            self.last_down = Some("it does not answer".into());
            self.trouble = true;
            // The connection may come back by itself; a new one may be quicker.
            self.next_dial = Some((now, true));
        }
        let late: Vec<ConnKey> = self
            .conns
            .iter()
            .filter(|(_, c)| !c.established && now >= c.since + HELLO_TIMEOUT)
            .map(|(key, _)| *key)
            .collect();
        for key in late {
            self.refuse(now, key, ErrorCode::Timeout);
        }
        if self.probe_at.is_some_and(|at| now >= at) {
            self.probe_at = None;
            self.next_dial = Some((now, true));
        }
        if let Some((at, forced)) = self.next_dial
            && now >= at
            && self.may_dial()
        {
            self.next_dial = None;
            if self.current.is_none() || forced {
                self.dials += 1;
                self.dialling = Some(Dialling { attempt: self.dials, forced });
                self.actions.push(Action::Dial { attempt: self.dials });
            }
        }
    }

    /// Answers the dialler's Hello on an accepted connection, or holds or refuses it.
    fn answer(&mut self, now: Duration, key: ConnKey) {
        let Some(theirs) = self.conns.get(&key).and_then(|c| c.theirs.clone()) else { return };
        let rank = self.rank(theirs.generation, false);
        let same_boot = self.peer_boot == Some(theirs.boot);
        if same_boot {
            self.generation = self.generation.max(theirs.generation);
            let current = self.current.and_then(|key| self.conns.get(&key));
            if current.is_some_and(|c| self.rank(c.generation, c.dialled) > rank) {
                return self.refuse(now, key, ErrorCode::Superseded);
            }
        }
        let ours_wins =
            self.conns.values().any(|c| c.dialled && !c.established && self.rank(c.generation, true) > rank);
        let hello = self.hello(theirs.generation);
        let link = self.link_id(theirs.boot);
        let Some(conn) = self.conns.get_mut(&key) else { return };
        conn.held = ours_wins;
        if !ours_wins {
            let ack = HelloAck { version: conn.version, link };
            self.actions.push(Action::Send { conn: key, message: Control::Hello(hello) });
            self.actions.push(Action::Send { conn: key, message: Control::Ack(ack) });
        }
    }

    fn answer_held(&mut self, now: Duration) {
        let held: Vec<ConnKey> = self.conns.iter().filter(|(_, c)| c.held).map(|(key, _)| *key).collect();
        for key in held {
            self.answer(now, key);
        }
    }

    fn established(&mut self, now: Duration, key: ConnKey) {
        let Some(conn) = self.conns.get_mut(&key) else { return };
        conn.established = true;
        let (generation, dialled, version) = (conn.generation, conn.dialled, conn.version);
        let Some(theirs) = conn.theirs.clone() else { return };
        let rebooted = self.peer_boot.is_some_and(|boot| boot != theirs.boot);
        if !rebooted
            && let Some(current) = self.current.and_then(|key| self.conns.get(&key))
            && self.rank(current.generation, current.dialled) > self.rank(generation, dialled)
        {
            return self.refuse(now, key, ErrorCode::Superseded);
        }
        let boot = Some(theirs.boot);
        self.generation = if self.peer_boot == boot { self.generation.max(generation) } else { generation };
        self.peer_boot = boot;
        // Every other established connection is outranked; what is still shaking hands is compared when it
        // is established, or was held back for this one.
        let losers: Vec<(ConnKey, bool)> = self
            .conns
            .iter()
            .filter(|(other, c)| **other != key && (c.established || c.held))
            .map(|(other, c)| (*other, c.established && c.theirs.as_ref().map(|h| h.boot) == boot))
            .collect();
        for (loser, drains) in losers {
            self.conns.remove(&loser);
            self.actions.push(if drains {
                Action::Drain { conn: loser }
            } else {
                Action::Close { conn: loser, code: ErrorCode::Superseded }
            });
        }
        self.current = Some(key);
        self.next_dial = None;
        self.probe_at = None;
        self.up_since = now;
        self.stop_dialling();
        self.presence.set_interval(sleep_interval(theirs.sleep_interval_ms));
        self.presence.heard(now);
        let link = self.link_id(theirs.boot);
        self.actions.push(Action::Up { conn: key, link, generation, dialled, rebooted, version });
    }

    /// Closes a connection ourselves.
    fn refuse(&mut self, now: Duration, key: ConnKey, code: ErrorCode) {
        self.actions.push(Action::Close { conn: key, code });
        self.lost(now, key, Some(code), code.to_string());
    }

    fn down(&mut self, reason: String) {
        if self.current.take().is_some() {
            self.note_down(reason);
        }
    }

    fn note_down(&mut self, reason: String) {
        self.probe_at = None;
        self.last_down = Some(reason.clone());
        self.actions.push(Action::Down { reason });
    }

    fn stop_dialling(&mut self) {
        if self.dialling.take().is_some() {
            self.actions.push(Action::StopDialling);
        }
    }

    fn may_dial(&self) -> bool {
        self.wanted && self.reachable && !self.asleep && self.dialling.is_none() && self.pending_is_none()
    }

    /// No dialled connection is shaking hands.
    fn pending_is_none(&self) -> bool {
        !self.conns.values().any(|c| c.dialled && !c.established)
    }

    /// The first dial of a series: the smaller id at once, the larger a little later.
    fn schedule_first(&mut self, now: Duration) {
        if self.current.is_none() || self.presence.state() == Presence::Offline {
            let wait =
                if self.eager || self.config.me < self.config.peer { Duration::ZERO } else { LARGER_WAITS };
            let forced = self.current.is_some();
            let at = self.next_dial.map_or(now + wait, |(at, _)| at.min(now + wait));
            self.next_dial = Some((at, forced));
        }
    }

    /// After a failure: wait longer each time, by a random part, so that two sides do not meet forever.
    fn retry(&mut self, now: Duration) {
        let base = BACKOFF_FIRST.saturating_mul(1 << self.failures.min(10)).min(BACKOFF_MAX);
        self.failures = self.failures.saturating_add(1);
        let permille = 500 + self.random() % 1000;
        let micros = u64::try_from(base.as_micros()).unwrap_or(u64::MAX) / 1000 * permille;
        let silent = self.current.is_some();
        if !silent || self.presence.state() == Presence::Offline {
            self.next_dial = Some((now + Duration::from_micros(micros), silent));
        }
    }

    /// SplitMix64.
    fn random(&mut self) -> u64 {
        self.rng = self.rng.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.rng;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn rank(&self, generation: u64, dialled_by_us: bool) -> (u64, bool) {
        (generation, dialled_by_us == (self.config.me < self.config.peer))
    }

    fn hello(&self, generation: u64) -> Hello {
        Hello {
            versions: self.config.versions,
            boot: self.config.boot,
            generation,
            sleep_interval_ms: self.sleep_ms,
            features: 0,
        }
    }

    fn link_id(&self, boot: BootNonce) -> LinkId {
        link_id((self.config.me, self.config.boot), (self.config.peer, boot))
    }
}

impl Conn {
    fn new(since: Duration, dialled: bool, generation: u64) -> Self {
        Self { dialled, since, generation, theirs: None, established: false, held: false, version: 0 }
    }
}

/// Codes by which a peer says that dialling again soon is of no use.
fn unwanted(code: ErrorCode) -> bool {
    matches!(
        code,
        ErrorCode::NotTrusted
            | ErrorCode::Removed
            | ErrorCode::Expired
            | ErrorCode::PeerTooOld
            | ErrorCode::PeerTooNew
            | ErrorCode::Oneself
            | ErrorCode::Malformed
    )
}

fn sleep_interval(ms: u32) -> Duration {
    Duration::from_millis(ms.into()).min(MAX_SLEEP)
}

#[cfg(test)]
#[path = "machine_tests.rs"]
mod tests;
