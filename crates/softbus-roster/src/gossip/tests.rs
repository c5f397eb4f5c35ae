//! Several roster machines and a network between them that loses, repeats, delays and reorders.

use proptest::prelude::*;
use softbus_core::LinkId;
use softbus_core::wire::roster::{Digest, Now, Present};
use softbus_core::{Domain, encode};

use super::*;
use crate::profile::Author;
use crate::profile::tests::{draft, key, sign};

const WALL: u64 = 1_700_000_000_000;

/// A device of the test: its machine, its author, and what a disk would keep.
struct Device {
    machine: RosterMachine,
    author: Author,
    names: u32,
    load: u16,
    /// Ids in the roster by the events alone.
    by_events: BTreeSet<DeviceId>,
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
                links.insert(id(other), link);
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
        let Some((view, events)) = device.machine.take_changes() else { return };
        for Numbered { seq, event } in events {
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

#[derive(Clone, Debug)]
enum Op {
    Link(usize, usize, bool),
    Rename(usize),
    Sample(usize),
    Restart(usize),
    Deliver(usize),
    Again(usize),
    Lose(usize),
    Pass(u64),
}

fn op(n: usize) -> impl Strategy<Value = Op> {
    prop_oneof![
        3 => (0..n, 0..n, prop::bool::weighted(0.7)).prop_map(|(a, b, up)| Op::Link(a, b, up)),
        2 => (0..n).prop_map(Op::Rename),
        2 => (0..n).prop_map(Op::Sample),
        1 => (0..n).prop_map(Op::Restart),
        12 => (0..64usize).prop_map(Op::Deliver),
        3 => (0..64usize).prop_map(Op::Again),
        2 => (0..64usize).prop_map(Op::Lose),
        4 => (1..3000u64).prop_map(Op::Pass),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(std::env::var("PROPTEST_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(96)))]

    /// Whatever order, repetition, loss, relay path or restart: once a chain of links stands, all have the same
    /// roster, and nothing old ever took the place of something newer.
    #[test]
    fn one_roster_in_the_end(ops in prop::collection::vec(op(4), 0..160), chain in Just([2usize, 0, 3, 1])) {
        let mut home = Home::new(4);
        for op in ops {
            match op {
                Op::Link(a, b, up) => home.set_link(a, b, up),
                Op::Rename(i) => home.rename(i),
                Op::Sample(i) => home.sample(i),
                Op::Restart(i) => home.restart(i),
                Op::Deliver(k) => home.deliver(k, false),
                Op::Again(k) => home.deliver(k, true),
                Op::Lose(k) => home.lose(k),
                Op::Pass(ms) => home.pass(ms),
            }
        }
        for a in 0..4 {
            for b in 0..a {
                home.set_link(a, b, false);
            }
        }
        for pair in chain.windows(2) {
            home.set_link(pair[0], pair[1], true);
        }
        home.calm(15);
        home.assert_whole(&chain);
    }

    /// A removed device is gone everywhere and stays so, whoever still talks of it.
    #[test]
    fn removed_is_removed(ops in prop::collection::vec(op(4), 0..60)) {
        let mut home = Home::new(4);
        for pair in [(0, 1), (1, 2), (2, 3), (3, 0)] {
            home.set_link(pair.0, pair.1, true);
        }
        for op in ops {
            match op {
                Op::Deliver(k) => home.deliver(k, false),
                Op::Pass(ms) => home.pass(ms),
                Op::Rename(i) => home.rename(i),
                _ => {}
            }
        }
        home.remove(1);
        home.calm(5);
        home.assert_whole(&[0, 2, 3]);
        for i in [0, 2, 3] {
            prop_assert!(home.devices[i].machine.view().get(&id(1)).is_none());
        }
    }

    /// Foreign messages of any content never break the machine, nor put anyone in whom we do not trust.
    #[test]
    fn any_message_is_survived(
        versions in prop::collection::vec((0..6u8, any::<u64>(), any::<[u8; 32]>()), 0..8),
        claims in prop::collection::vec((0..6u8, 0..4u8, any::<u8>(), any::<u32>()), 0..8),
        nows in prop::collection::vec((0..6u8, any::<u64>(), any::<u64>(), any::<u64>()), 0..8),
        all_claims: bool,
        boot: u64,
    ) {
        let who = |n: u8| if n < 3 { id(n.into()) } else { DeviceId([n; 32]) };
        let mut home = Home::new(2);
        home.set_link(0, 1, true);
        home.mail.clear();
        let gossip = Gossip {
            boot,
            summary: None,
            digests: versions.iter().map(|(n, v, h)| Digest { id: who(*n), version: *v, hash: Hash(*h) }).collect(),
            want: versions.iter().map(|(n, ..)| who(*n)).collect(),
            ask: versions.iter().map(|(n, ..)| who(*n)).collect(),
            now: nows.iter().map(|(n, boot, sequence, age_ms)| {
                let mut signed = said(1, *boot, *sequence, home.wall());
                signed.signer = who(*n);
                Now { age_ms: *age_ms, signed }
            }).collect(),
            all_claims,
            claims: claims.iter().map(|(n, seen, hops, rtt_us)| Claim {
                id: who(*n),
                seen: [wire::Seen::Offline, wire::Seen::Online, wire::Seen::Suspect, wire::Seen::Asleep][*seen as usize],
                hops: *hops, rtt_us: *rtt_us,
            }).collect(),
            ..Gossip::default()
        };
        let own = home.holding((0, 0));
        home.mail.push(Mail::request(1, 0, 0, home.now, gossip));
        home.deliver(0, false);
        home.pass(1500);
        prop_assert_eq!(home.devices[0].machine.view().entries.len(), 2);
        prop_assert_eq!(home.holding((0, 0)), own, "nobody tells us how we are");
    }
}

#[test]
fn a_chain_sees_its_far_end_through_its_neighbours() {
    let mut home = Home::new(5);
    for i in 0..4 {
        home.set_link(i, i + 1, true);
    }
    home.calm(3);
    home.assert_whole(&[0, 1, 2, 3, 4]);
    assert_eq!(home.present(0, 1).1, Source::Direct);
    let Source::Via { neighbour, hops, rtt_us } = home.present(0, 4).1 else { panic!() };
    assert_eq!((neighbour, hops, rtt_us), (id(1), 2, 4000));

    // The far end goes: nobody keeps it alive by hearsay.
    home.set_link(3, 4, false);
    home.calm(6);
    for i in 0..4 {
        assert_eq!(home.present(i, 4), (Presence::Offline, Source::Nobody), "{i}");
    }
    // Its profile stays known.
    assert_eq!(home.holding((0, 4)).0, home.holding((4, 4)).0);
}

#[test]
fn hearsay_has_an_end_and_profiles_have_none() {
    let mut home = Home::new(7);
    for i in 0..6 {
        home.set_link(i, i + 1, true);
    }
    home.calm(5);
    let Source::Via { hops, .. } = home.present(0, 5).1 else { panic!() };
    assert_eq!(hops, wire::CLAIM_HOPS);
    assert_eq!(home.present(0, 6), (Presence::Offline, Source::Nobody), "too far to hear of");
    assert_eq!(home.holding((0, 6)).0, home.holding((6, 6)).0, "its profile came all the way");
}

#[test]
fn in_a_full_mesh_a_lost_device_is_offline_at_once() {
    let mut home = Home::new(4);
    for a in 0..4 {
        for b in 0..a {
            home.set_link(a, b, true);
        }
    }
    home.calm(3);
    // Device 3 dies; 0 notices first, while 1 and 2 still say that they see it.
    home.set_link(0, 3, false);
    assert_eq!(home.present(0, 3), (Presence::Offline, Source::Direct));
    home.set_link(1, 3, false);
    home.set_link(2, 3, false);
    home.calm(5);
    for i in 0..3 {
        assert_eq!(home.present(i, 3), (Presence::Offline, Source::Nobody));
    }

    // Only the link 0–1 is cut: after the hold-down they see each other through 2.
    home.set_link(0, 1, false);
    assert_eq!(home.present(0, 1).0, Presence::Offline);
    home.calm(5);
    let (presence, source) = home.present(0, 1);
    assert_eq!(presence, Presence::Online);
    assert!(matches!(source, Source::Via { neighbour, hops: 0, .. } if neighbour == id(2)), "{source:?}");
}

#[test]
fn a_link_that_rests_hides_nobody_whom_others_see_and_a_sleeper_sleeps() {
    let mut home = Home::new(3);
    for (a, b) in [(0, 1), (1, 2), (0, 2)] {
        home.set_link(a, b, true);
    }
    home.calm(3);
    let mut show = |home: &mut Home, presence, resting| {
        home.still.insert((0, 2), (presence, resting));
        (home.tell_links(0), home.tell_links(2));
        home.present(0, 2)
    };
    // It says that it sleeps, and 1 has not heard of it yet.
    assert_eq!(show(&mut home, Presence::Asleep, false), (Presence::Asleep, Source::Direct));
    let (presence, source) = show(&mut home, Presence::Asleep, true);
    assert_eq!(presence, Presence::Online);
    assert!(matches!(source, Source::Via { neighbour, .. } if neighbour == id(1)), "{source:?}");
    // It rests for longer than that tells anything: it was not lost by that.
    assert_eq!(show(&mut home, Presence::Offline, false).0, Presence::Online);
    // Nobody else sees it either.
    assert_eq!(show(&mut home, Presence::Asleep, true).0, Presence::Online);
    home.set_link(1, 2, false);
    home.calm(5);
    assert_eq!(home.present(0, 2), (Presence::Asleep, Source::Direct));
}

#[test]
fn only_news_travels() {
    let mut home = Home::new(3);
    for (a, b) in [(0, 1), (1, 2), (0, 2)] {
        home.set_link(a, b, true);
    }
    home.calm(5);
    // All is told: from here on only heartbeats, which carry nothing else.
    for _ in 0..50 {
        home.pass(100);
        for mail in &home.mail {
            let What::Request(gossip) = &mail.what else { continue };
            assert!(gossip.digests.is_empty() && gossip.claims.is_empty() && gossip.summary.is_none());
            assert_eq!((gossip.now.len(), gossip.want.len()), (1, 0));
        }
        while !home.mail.is_empty() {
            home.deliver(0, false);
        }
    }
    // A new profile is fetched once by each.
    home.rename(0);
    let mut carried = 0;
    for _ in 0..10 {
        home.pass(100);
        while !home.mail.is_empty() {
            if let What::Answer(Ok(gossip)) = &home.mail[0].what {
                carried += gossip.profiles.len();
            }
            home.deliver(0, false);
        }
    }
    home.assert_whole(&[0, 1, 2]);
    assert_eq!(carried, 2);
}

#[test]
fn forged_and_foreign_profiles_are_refused() {
    let mut home = Home::new(2);
    home.set_link(0, 1, true);
    home.calm(1);
    let before = home.holding((0, 1));
    let good = StaticProfile {
        id: id(1),
        version: u64::MAX,
        issued: home.wall(),
        expires: home.wall().after(limits::LIFETIME),
        ..draft("forged")
    };
    let by_another = sign(&key(9), &good);
    let mut stolen = by_another.clone();
    stolen.signer = id(1);
    let stranger = sign(&key(9), &StaticProfile { id: key(9).id(), ..good.clone() });
    let mut flipped = sign(&key(2), &good);
    flipped.body[20] ^= 4;
    for signed in [by_another, stolen, stranger, flipped] {
        let mut actions = Vec::new();
        let wall = home.wall();
        assert!(!home.devices[0].machine.hear_profile(id(1), signed, wall, &mut actions));
        assert_eq!(actions, []);
    }
    home.calm(1);
    assert_eq!(home.holding((0, 1)).0, before.0);
    assert_eq!(home.devices[0].machine.view().entries.len(), 2);
}

#[test]
fn how_a_device_is_is_passed_on_only_in_its_own_words() {
    let mut home = Home::new(3);
    home.set_link(0, 1, true);
    home.set_link(1, 2, true);
    home.calm(3);
    // 1 says how 2 is, whatever it says of its age.
    let tell = |home: &mut Home, age_ms: u64, signed: Signed| {
        let wall = home.wall();
        let gossip = Gossip { boot: 1, now: vec![Now { age_ms, signed }], ..Gossip::default() };
        home.devices[0].machine.told(id(1), gossip, home.now, wall);
        home.holding((0, 2)).1
    };
    let wall = home.wall();
    let nothing = (0, 0);
    assert_eq!(home.holding((0, 2)).1, nothing, "nobody asked yet");

    let good = said(2, 7, 5, wall);
    let mut others = said(1, 7, 5, wall);
    others.signer = id(2);
    let mut changed = good.clone();
    *changed.body.last_mut().unwrap() ^= 1;
    let purpose = Signed::new(&*key(3), Domain::PROFILE, good.body.clone());
    let at = |ms: u64| WallMs(wall.0 - ms);
    let over = said(2, 7, 5, at(60_000));
    let ahead = said(2, 7, 5, wall.after(Duration::from_secs(61)));
    let long = Present {
        boot: 7,
        expires: wall.after(Duration::from_secs(61)),
        profile: DynamicProfile { sequence: 5, sampled: wall, ..DynamicProfile::default() },
    };
    let long = Signed::new(&*key(3), Domain::PRESENT, encode(&long).unwrap());
    let forged = [
        ("by another", others),
        ("changed", changed),
        ("for another purpose", purpose),
        ("over", over),
        ("from the future", ahead),
        ("for ever", long),
    ];
    for (how, signed) in forged {
        assert_eq!(tell(&mut home, 0, signed), nothing, "{how}");
    }

    assert_eq!(tell(&mut home, 0, good.clone()), (7, 5));
    // Said again after something newer, it is old news, in this start of 2 or the next.
    assert_eq!(tell(&mut home, 0, said(2, 8, 1, wall)), (8, 1));
    assert_eq!(tell(&mut home, 0, good), (8, 1));
    assert_eq!(tell(&mut home, 0, said(2, 8, 0, wall)), (8, 1));
    // It is as old as it says itself.
    assert_eq!(tell(&mut home, 0, said(2, 8, 2, at(40_000))), (8, 2));
    let known = home.devices[0].machine.view().get(&id(2)).unwrap().now.clone().unwrap();
    assert_eq!(known.age(home.now), Duration::from_secs(40));
}

#[test]
fn a_sample_is_signed_once_and_only_if_it_is_told() {
    let mut home = Home::new(3);
    home.mail.clear();
    home.sample(0);
    assert!(home.devices[0].machine.books[&id(0)].now_signed.is_none(), "nobody to tell");
    home.set_link(0, 1, true);
    home.set_link(0, 2, true);
    let told: BTreeSet<_> = home
        .mail
        .iter()
        .filter(|mail| mail.from == 0)
        .filter_map(Mail::gossip)
        .flat_map(|gossip| gossip.now.iter().map(|now| now.signed.sig.to_bytes()))
        .collect();
    assert_eq!(told.len(), 1);
    home.calm(1);
    // What was asked of a neighbour is what the device itself said.
    let (now, wall) = (home.now, home.wall());
    let ask = Gossip { boot: home.devices[1].machine.boot(), ask: vec![id(2)], ..Gossip::default() };
    let answer = home.devices[0].machine.requested(id(1), ask, now, wall).0.unwrap();
    let [passed] = answer.now.as_slice() else { panic!("{answer:?}") };
    assert_eq!(passed.signed.signer, id(2));
    home.devices[1].machine.told(id(0), answer.clone(), now, wall);
    assert_eq!(home.holding((1, 2)).1, home.holding((2, 2)).1);
}

#[test]
fn of_two_profiles_with_one_version_all_keep_the_same() {
    let profile = |name: &str| StaticProfile {
        id: id(1),
        version: WALL + 50,
        issued: WallMs(WALL),
        expires: WallMs(WALL).after(limits::LIFETIME),
        ..draft(name)
    };
    let (a, b) = (sign(&key(2), &profile("a")), sign(&key(2), &profile("b")));
    let larger = a.hash().max(b.hash());
    for order in [[&a, &b], [&b, &a]] {
        let mut home = Home::new(2);
        let wall = home.wall();
        for signed in order {
            home.devices[0].machine.hear_profile(id(1), signed.clone(), wall, &mut Vec::new());
        }
        let known = home.devices[0].machine.books[&id(1)].profile.clone().unwrap();
        assert_eq!(known.digest.hash, larger);
    }
}

#[test]
fn a_profile_of_ours_that_we_do_not_know_is_outrun() {
    let mut home = Home::new(2);
    let wall = home.wall();
    let older = StaticProfile {
        id: id(0),
        version: wall.0 + 1000,
        issued: wall,
        expires: wall.after(limits::LIFETIME),
        ..draft("from before the disk was lost")
    };
    let mut actions = Vec::new();
    home.devices[0].machine.hear_profile(id(1), sign(&key(1), &older), wall, &mut actions);
    assert_eq!(actions, [Action::Outrun(wall.0 + 1000)]);
    assert_eq!(home.holding((0, 0)).0, home.devices[0].author.version());
}

#[test]
fn circles_do_not_learn_of_each_other_through_us() {
    // 0 is in one circle with 1 and in another with 2.
    let mut home = Home::new(3);
    let mut trust = home.trust(0);
    trust.groups = vec![group(Role::Member, &[(1, Role::Member)]), group(Role::Member, &[(2, Role::Member)])];
    home.devices[0].machine.trust(trust, home.now);
    home.mail.clear();
    home.set_link(0, 1, true);
    home.set_link(0, 2, true);
    for _ in 0..200 {
        for mail in &home.mail {
            let Some(gossip) = mail.gossip() else { continue };
            if (mail.from, mail.to) == (0, 1) {
                assert!(gossip.digests.iter().all(|d| d.id != id(2)));
                assert!(gossip.claims.iter().all(|c| c.id != id(2)));
                assert!(gossip.profiles.iter().all(|p| p.signer != id(2)));
            }
        }
        if home.mail.is_empty() {
            home.pass(100);
        } else {
            home.deliver(0, false);
        }
    }
    assert!(home.holding((1, 0)).0 > 0, "it does know us");
    assert_eq!(home.holding((1, 2)), (0, (0, 0)));
}

/// Device 0 is in the circle of 1 and 2, whose guest is 3, and in another with 3 and 4 as members.
fn two_circles() -> Home {
    let mut home = Home::new(5);
    let first = [(0, Role::Member), (1, Role::Owner), (2, Role::Member), (3, Role::Guest)];
    let second = [(0, Role::Owner), (3, Role::Member), (4, Role::Member)];
    for me in 0..5 {
        let mut trust = Trust::default();
        for circle in [&first[..], &second[..]] {
            let Some((_, own)) = circle.iter().find(|(n, _)| *n == me) else { continue };
            let others: Vec<_> = circle.iter().filter(|(n, _)| *n != me).copied().collect();
            for (n, role) in &others {
                let best = trust.devices.get(&id(*n)).map_or(*role, |known| known.role.max(*role));
                trust.devices.insert(id(*n), Member { role: best, speaks: true });
            }
            trust.own_role = trust.own_role.max(Some(*own));
            trust.groups.push(group(*own, &others));
        }
        home.devices[me].machine.trust(trust, home.now);
    }
    home.mail.clear();
    home
}

#[test]
fn a_guest_of_one_circle_hears_nothing_of_it_though_it_is_a_member_of_another() {
    let mut home = two_circles();
    for (a, b) in [(0, 1), (0, 2), (0, 3), (0, 4), (1, 2)] {
        home.set_link(a, b, true);
    }
    for _ in 0..300 {
        for mail in home.mail.iter().filter(|mail| mail.to == 3) {
            let Some(gossip) = mail.gossip() else { continue };
            for hidden in [id(1), id(2)] {
                assert!(gossip.digests.iter().all(|d| d.id != hidden));
                assert!(gossip.claims.iter().all(|c| c.id != hidden));
                assert!(gossip.profiles.iter().all(|p| p.signer != hidden));
                assert!(gossip.now.iter().all(|n| n.signed.signer != hidden));
            }
        }
        match home.mail.is_empty() {
            true => home.pass(100),
            false => home.deliver(0, false),
        }
    }
    // It asks for one of whom it knows the id, and gets nothing.
    let ask = Gossip { boot: home.boots, want: vec![id(1)], ask: vec![id(1), id(4)], ..Gossip::default() };
    let (now, wall) = (home.now, home.wall());
    let answer = home.devices[0].machine.requested(id(3), ask, now, wall).0.unwrap();
    assert_eq!(answer.profiles, []);
    let told: Vec<_> = answer.now.iter().map(|now| now.signed.signer).collect();
    assert_eq!(told, [id(4)], "of its own circle it hears how they are");
    assert_eq!(home.present(3, 4).0, Presence::Online, "and whom we see");
    assert_eq!(home.holding((3, 4)).0, home.holding((4, 4)).0);
    // The members of the first circle know of their guest.
    assert_eq!(home.present(2, 3).0, Presence::Online);

    // Nor does it speak for members of the circle that it is a guest of.
    let claim = |n| Claim { id: id(n), seen: wire::Seen::Online, hops: 0, rtt_us: 1 };
    for gone in [1, 2, 4] {
        home.set_link(0, gone, false);
    }
    home.calm(10);
    let lie = Gossip { boot: home.boots, claims: vec![claim(1), claim(4)], ..Gossip::default() };
    let (now, wall) = (home.now, home.wall());
    home.devices[0].machine.requested(id(3), lie, now, wall).0.unwrap();
    assert_eq!((home.present(0, 1).0, home.present(0, 4).0), (Presence::Offline, Presence::Online));
}

#[test]
fn a_guest_exchanges_profiles_with_those_it_meets_and_hears_of_nobody_else() {
    let mut home = Home::new(3);
    home.guests = BTreeSet::from([2]);
    for i in 0..3 {
        let trust = home.trust(i);
        home.devices[i].machine.trust(trust, home.now);
    }
    home.mail.clear();
    home.set_link(0, 1, true);
    home.set_link(0, 2, true);
    home.calm(30);
    let profile = |home: &Home, (i, j): (usize, usize)| home.holding((i, j)).0;
    assert_eq!(profile(&home, (0, 2)), profile(&home, (2, 2)), "its host knows the guest");
    assert_eq!(profile(&home, (2, 0)), profile(&home, (0, 0)), "the guest knows its host");
    assert_eq!(profile(&home, (1, 2)), profile(&home, (2, 2)), "the circle hears of the guest");
    assert_eq!(profile(&home, (2, 1)), 0, "the guest does not hear of the circle");
    assert_eq!(home.present(1, 2).0, Presence::Online);
    assert_eq!(home.present(2, 1).0, Presence::Offline);
    for (i, j) in [(0, 2), (2, 0), (1, 2), (2, 1)] {
        let entry = home.devices[i].machine.view().get(&id(j)).unwrap().clone();
        assert_eq!(entry.now, None, "{i} knows how {j} is right now");
        assert!(entry.profile.as_ref().is_none_or(|p| p.task_types.is_empty()), "{i} counts on {j} for work");
    }
    let member = home.devices[0].machine.view().get(&id(1)).unwrap().clone();
    assert!(member.now.is_some() && member.profile.as_ref().is_some_and(|p| p.task_types.len() == 1));

    // What a guest says of others does not count.
    let wall = home.wall();
    let claim = Claim { id: id(1), seen: wire::Seen::Online, hops: 0, rtt_us: 1 };
    home.set_link(0, 1, false);
    home.calm(30);
    assert_eq!(home.present(0, 1).0, Presence::Offline);
    let forged = StaticProfile {
        id: id(1),
        version: u64::MAX,
        issued: wall,
        expires: wall.after(limits::LIFETIME),
        ..draft("stolen")
    };
    let lie = Gossip {
        boot: u64::MAX,
        now: vec![Now { age_ms: 0, signed: said(1, u64::MAX, 1, wall) }],
        claims: vec![claim],
        ..Gossip::default()
    };
    let before = home.devices[0].machine.view().get(&id(1)).unwrap().clone();
    let (answer, _) = home.devices[0].machine.requested(id(2), lie, home.now, wall);
    assert!(answer.is_ok());
    assert!(!home.devices[0].machine.hear_profile(id(2), sign(&key(2), &forged), wall, &mut Vec::new()));
    assert_eq!(*home.devices[0].machine.view().get(&id(1)).unwrap(), before);
}

#[test]
fn a_reboot_is_not_mistaken_for_stale_news() {
    let mut home = Home::new(2);
    home.set_link(0, 1, true);
    for _ in 0..40 {
        home.sample(1);
    }
    home.calm(1);
    assert_eq!(home.holding((0, 1)).1, home.holding((1, 1)).1);
    let before = home.holding((0, 1)).1;
    assert!(before.1 > 40);

    // It restarts: its sequence begins anew, its boot is larger. What was under way from before arrives late.
    let late = Now { age_ms: 0, signed: said(1, before.0, before.1 + 5, home.wall()) };
    home.restart(1);
    home.set_link(0, 1, true);
    home.calm(1);
    let after = home.holding((0, 1)).1;
    assert_eq!(after, home.holding((1, 1)).1);
    assert!(after.0 > before.0 && after.1 < before.1);
    let late = Gossip { boot: before.0, now: vec![late], ..Gossip::default() };
    home.mail.push(Mail::request(1, 0, 0, home.now, late));
    home.deliver(0, false);
    home.calm(1);
    assert!(home.holding((0, 1)).1 >= after);

    // It restarts without its disk and by a clock that was set back: its boot is lower than before.
    home.boots = 0;
    home.disk_lost = true;
    home.restart(1);
    home.set_link(0, 1, true);
    home.calm(15);
    assert_eq!(home.holding((0, 1)).1, home.holding((1, 1)).1);
}

#[test]
fn a_flood_of_requests_is_refused() {
    let mut home = Home::new(2);
    home.set_link(0, 1, true);
    home.calm(1);
    let (now, wall) = (home.now, home.wall());
    let mut ask = |at| home.devices[0].machine.requested(id(1), Gossip::default(), at, wall).0;
    let refused = (0..200).filter(|_| ask(now) == Err(ErrorCode::Busy)).count();
    assert!((200 - limits::REQUEST_BURST as usize..200).contains(&refused), "{refused}");
    assert!(ask(now + Duration::from_secs(1)).is_ok());
    let stranger = home.devices[0].machine.requested(key(9).id(), Gossip::default(), now, wall).0;
    assert_eq!(stranger, Err(ErrorCode::Forbidden));
}

#[test]
fn expired_profiles_go() {
    let mut home = Home::new(2);
    home.set_link(0, 1, true);
    home.calm(1);
    home.set_link(0, 1, false);
    home.pass(8 * 24 * 3600 * 1000);
    assert_eq!(home.holding((0, 1)), (0, (0, 0)), "neither profile nor dynamic values of a week ago");
    assert!(home.holding((0, 0)).0 > 0, "our own stays until it is made anew");
}
