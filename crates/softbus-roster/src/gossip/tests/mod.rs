//! Several roster machines and a network between them that loses, repeats, delays and reorders.

use proptest::prelude::*;
use softbus_core::LinkId;
use softbus_core::wire::roster::{Claim, Digest, Now, Present};
use softbus_core::{Domain, encode};

use super::*;
use crate::profile::Author;
use crate::profile::tests::{draft, key, sign};

mod histories;
mod walks;

const WALL: u64 = 1_700_000_000_000;

/// A device of the test: its machine, its author, and what a disk would keep.
struct Device {
    machine: RosterMachine,
    author: Author,
    names: u32,
    load: u16,
    /// Ids in the roster by the events alone.
    by_events: BTreeSet<DeviceId>,
    /// The roster by what was told of its changes alone.
    published: RosterView,
    seq: u64,
}

/// What is under way, and since when the request waits for its end.
struct Mail {
    from: usize,
    to: usize,
    token: u64,
    since: Instant,
    what: What,
}

#[derive(Clone)]
enum What {
    Request(Gossip),
    Answer(Result<Gossip, Failure>),
}

impl Mail {
    fn gossip(&self) -> Option<&Gossip> {
        match &self.what {
            What::Request(gossip) | What::Answer(Ok(gossip)) => Some(gossip),
            What::Answer(Err(_)) => None,
        }
    }

    fn request(from: usize, to: usize, token: u64, since: Instant, gossip: Gossip) -> Self {
        Self { from, to, token, since, what: What::Request(gossip) }
    }
}

/// What one holds of another: profile version, and (boot, sequence).
type Holding = (u64, (u64, u64));

struct Home {
    devices: Vec<Device>,
    now: Instant,
    ms: u64,
    links: BTreeMap<(usize, usize), u64>,
    /// What a link shows that is not online: its presence, and whether it only rests.
    still: BTreeMap<(usize, usize), (Presence, bool)>,
    generation: u64,
    boots: u64,
    mail: Vec<Mail>,
    removed: BTreeSet<usize>,
    guests: BTreeSet<usize>,
    /// A device lost its disk: its boots do not only grow.
    disk_lost: bool,
}

fn id(n: usize) -> DeviceId {
    // Computed once: a key is an operation on a curve.
    static IDS: std::sync::OnceLock<Vec<DeviceId>> = std::sync::OnceLock::new();
    IDS.get_or_init(|| (1..=8).map(|n| key(n).id()).collect())[n]
}

fn link(peer: usize, generation: u64) -> LinkInfo {
    LinkInfo {
        peer: id(peer),
        id: LinkId([0; 16]),
        generation,
        presence: Presence::Online,
        resting: false,
        address: None,
        dialled: true,
        rtt: Duration::from_millis(1),
        loss_permille: 0,
        rate_bytes_per_s: 0,
        bytes: (0, 0),
        last_down: None,
    }
}

fn group(own: Role, others: &[(usize, Role)]) -> Group {
    Group { own, roles: others.iter().map(|(n, role)| (id(*n), *role)).collect() }
}

/// How device `n` is, by its own word.
fn said(n: usize, boot: u64, sequence: u64, sampled: WallMs) -> Signed {
    let profile = DynamicProfile { sequence, sampled, ..DynamicProfile::default() };
    let present = Present { boot, expires: sampled.after(limits::DYNAMIC_RELAY), profile };
    Signed::new(&*key(u8::try_from(n + 1).unwrap()), Domain::PRESENT, encode(&present).unwrap())
}

impl Home {
    fn new(n: usize) -> Self {
        let mut home = Self {
            devices: Vec::new(),
            now: Instant::now(),
            ms: 0,
            links: BTreeMap::new(),
            still: BTreeMap::new(),
            generation: 0,
            boots: 0,
            mail: Vec::new(),
            removed: BTreeSet::new(),
            guests: BTreeSet::new(),
            disk_lost: false,
        };
        for i in 0..n {
            let author = Author::new(key(u8::try_from(i + 1).unwrap()), 0, limits::LIFETIME);
            home.devices.push(Device {
                machine: RosterMachine::new(key(u8::try_from(i + 1).unwrap()), 0, limits::TELL_EVERY),
                author,
                names: 0,
                load: 0,
                by_events: BTreeSet::new(),
                published: RosterView::empty(id(i)),
                seq: 0,
            });
        }
        for i in 0..n {
            home.restart(i);
        }
        home
    }

    fn wall(&self) -> WallMs {
        WallMs(WALL + self.ms)
    }

    fn trust(&self, me: usize) -> Trust {
        let role = |i: usize| if self.guests.contains(&i) { Role::Guest } else { Role::Member };
        let devices = (0..self.devices.len()).filter(|i| *i != me && !self.removed.contains(i));
        let devices: BTreeMap<_, _> =
            devices.map(|i| (id(i), Member { role: role(i), speaks: true })).collect();
        let roles = devices.iter().map(|(id, member)| (*id, member.role)).collect();
        Trust { own_role: Some(role(me)), devices, groups: vec![Group { own: role(me), roles }] }
    }

    /// The device starts (again): everything but its disk is gone. Nothing of others is kept, the hardest case.
    fn restart(&mut self, i: usize) {
        self.links.retain(|(a, b), _| *a != i && *b != i);
        self.boots += 1;
        let own = key(u8::try_from(i + 1).unwrap());
        let mut machine = RosterMachine::new(own, self.boots, limits::TELL_EVERY);
        let actions = machine.trust(self.trust(i), self.now);
        assert!(actions.is_empty());
        let version = self.devices[i].author.version();
        self.devices[i].author = Author::new(key(u8::try_from(i + 1).unwrap()), version, limits::LIFETIME);
        self.devices[i].machine = machine;
        self.devices[i].by_events.clear();
        self.devices[i].published = RosterView::empty(id(i));
        self.devices[i].seq = 0;
        self.rename(i);
        self.sample(i);
        for other in 0..self.devices.len() {
            self.tell_links(other);
        }
    }

    fn rename(&mut self, i: usize) {
        let (wall, now) = (self.wall(), self.now);
        let device = &mut self.devices[i];
        device.names += 1;
        let name = format!("{i}-{}", device.names);
        let draft = StaticProfile { name, task_types: vec!["primes/1".into()], ..draft("") };
        let believed = device.author.issue(draft, wall).unwrap().unwrap();
        let actions = device.machine.own(believed, now);
        self.perform(i, actions);
    }

    fn sample(&mut self, i: usize) {
        let (now, sampled) = (self.now, self.wall());
        let device = &mut self.devices[i];
        device.load = (device.load + 130) % 1000;
        let profile = DynamicProfile { load_permille: device.load, sampled, ..DynamicProfile::default() };
        let actions = device.machine.sampled(profile, now);
        self.perform(i, actions);
    }

    fn set_link(&mut self, a: usize, b: usize, up: bool) {
        let pair = (a.min(b), a.max(b));
        if a == b || up == self.links.contains_key(&pair) {
            return;
        }
        if up {
            self.generation += 1;
            self.links.insert(pair, self.generation);
        } else {
            self.links.remove(&pair);
        }
        self.tell_links(a);
        self.tell_links(b);
    }

    fn tell_links(&mut self, i: usize) {
        let mut links = Links::new();
        for ((a, b), generation) in &self.links {
            let other = if *a == i { *b } else { *a };
            if *a == i || *b == i {
                let mut link = link(other, *generation);
                if let Some((presence, resting)) = self.still.get(&(*a, *b)) {
                    (link.presence, link.resting) = (*presence, *resting);
                }
                links.insert(id(other), Arc::new(link));
            }
        }
        let actions = self.devices[i].machine.links(Arc::new(links), self.now);
        self.perform(i, actions);
    }

    fn remove(&mut self, i: usize) {
        self.removed.insert(i);
        for other in 0..self.devices.len() {
            if other != i {
                let trust = self.trust(other);
                let actions = self.devices[other].machine.trust(trust, self.now);
                self.perform(other, actions);
                assert!(
                    self.devices[other].machine.view().get(&id(i)).is_none(),
                    "removed ones vanish at once"
                );
                self.set_link(i, other, false);
            }
        }
    }

    fn perform(&mut self, from: usize, actions: Vec<Action>) {
        for action in actions {
            match action {
                Action::Send { to, token, gossip } => {
                    assert!(gossip.within_limits());
                    let to = (0..self.devices.len()).find(|n| id(*n) == to).unwrap();
                    self.mail.push(Mail::request(from, to, token, self.now, gossip));
                }
                Action::Persist(signed) => assert!(Believed::check(signed, self.wall()).is_ok()),
                Action::Forget(_) => {}
                Action::Outrun(version) => panic!("{from} met a version of its own: {version}"),
            }
        }
        self.check(from);
    }

    /// What must hold at any moment.
    fn check(&mut self, i: usize) {
        let trust = self.trust(i);
        let device = &mut self.devices[i];
        let Some(changes) = device.machine.take_changes() else { return };
        changes.apply(&mut device.published);
        let view = &device.published;
        assert_eq!(view, device.machine.view(), "what was told of changes makes the same view");
        for Numbered { seq, event } in changes.events {
            device.seq += 1;
            assert_eq!(seq, device.seq, "events are numbered without a gap");
            match event {
                Event::Joined { id } => assert!(device.by_events.insert(id)),
                Event::Left { id } => assert!(device.by_events.remove(&id)),
                other => assert!(device.by_events.contains(&other.id()), "{other:?}"),
            }
        }
        assert_eq!(view.seq, device.seq);
        assert!(device.by_events.iter().eq(view.entries.keys()), "events and view agree");
        for id in view.entries.keys() {
            assert!(*id == view.me || trust.devices.contains_key(id), "only the trusted are in the roster");
        }
    }

    /// Delivers a piece of mail, as if its connection still stood (so it may be of an old one).
    fn deliver(&mut self, index: usize, again: bool) {
        if self.mail.is_empty() {
            return;
        }
        let index = index % self.mail.len();
        let before = self.holdings();
        let Mail { from, to, token, since, what } = if again {
            let mail = &self.mail[index];
            Mail { what: mail.what.clone(), ..*mail }
        } else {
            self.mail.remove(index)
        };
        let (now, wall) = (self.now, self.wall());
        match what {
            What::Request(gossip) => {
                let (answer, actions) = self.devices[to].machine.requested(id(from), gossip, now, wall);
                self.perform(to, actions);
                if let Ok(gossip) = &answer {
                    assert!(gossip.within_limits());
                }
                let what = What::Answer(answer.map_err(|code| {
                    if code == ErrorCode::Forbidden { Failure::Refused } else { Failure::Failed }
                }));
                self.mail.push(Mail { from: to, to: from, token, since, what });
            }
            What::Answer(result) => {
                let actions = self.devices[to].machine.answered(id(from), token, result, now, wall);
                self.perform(to, actions);
            }
        }
        for (pair, had) in before {
            let has = self.holding(pair);
            assert!(has >= had || self.disk_lost, "{pair:?}: stale replaced new");
        }
    }

    fn lose(&mut self, index: usize) {
        if self.mail.is_empty() {
            return;
        }
        let index = index % self.mail.len();
        let mail = self.mail.remove(index);
        let token = mail.token;
        let (from, to) = match mail.what {
            What::Request(_) => (mail.from, mail.to),
            What::Answer(_) => (mail.to, mail.from),
        };
        let (now, wall) = (self.now, self.wall());
        let actions = self.devices[from].machine.answered(id(to), token, Err(Failure::Failed), now, wall);
        self.perform(from, actions);
    }

    fn pass(&mut self, ms: u64) {
        self.ms += ms;
        self.now += Duration::from_millis(ms);
        // Whoever waits for an answer gives up after a while, and with it what is under way.
        while let Some(late) =
            self.mail.iter().position(|mail| self.now - mail.since > limits::ANSWER_TIMEOUT)
        {
            self.lose(late);
        }
        for i in 0..self.devices.len() {
            let (now, wall) = (self.now, self.wall());
            let actions = self.devices[i].machine.tick(now, wall);
            self.perform(i, actions);
            let next = self.devices[i].machine.deadline(self.now);
            assert!(next > self.now, "nothing is left undone");
        }
    }

    /// Everything arrives, in order, for a while.
    fn calm(&mut self, seconds: u64) {
        for _ in 0..seconds * 10 {
            let mut turns = 0;
            while !self.mail.is_empty() {
                self.deliver(0, false);
                turns += 1;
                assert!(turns < 10_000, "they never stop talking");
            }
            self.pass(100);
        }
    }

    fn holding(&self, (i, j): (usize, usize)) -> Holding {
        let Some(entry) = self.devices[i].machine.view().get(&id(j)).cloned() else { return (0, (0, 0)) };
        let now = entry.now.as_ref().map_or((0, 0), |now| (now.boot, now.profile.sequence));
        (entry.profile.as_ref().map_or(0, |p| p.version), now)
    }

    fn holdings(&self) -> Vec<((usize, usize), Holding)> {
        let n = self.devices.len();
        (0..n * n).map(|k| (k / n, k % n)).map(|pair| (pair, self.holding(pair))).collect()
    }

    fn present(&self, i: usize, j: usize) -> (Presence, Source) {
        let entry = self.devices[i].machine.view().get(&id(j)).cloned().unwrap();
        (entry.presence, entry.source)
    }

    /// Every device of the chain knows every other: profile, and how it is if there is a link.
    fn assert_whole(&self, present: &[usize]) {
        for &i in present {
            for &j in present {
                let newest = self.holding((j, j));
                let held = self.holding((i, j));
                assert_eq!(held.0, newest.0, "{i} has the newest profile of {j}");
                if self.links.contains_key(&(i.min(j), i.max(j))) {
                    assert_eq!(held.1, newest.1, "{i} knows how {j} is");
                }
                assert_eq!(self.present(i, j).0, Presence::Online, "{i} sees {j}");
            }
        }
        let sums: BTreeSet<_> = present.iter().map(|i| self.devices[*i].machine.sum()).collect();
        assert_eq!(sums.len(), 1, "one roster");
    }
}
