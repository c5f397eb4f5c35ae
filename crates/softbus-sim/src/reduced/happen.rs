//! What happens to devices and network, and how it ends again.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use softbus_core::ErrorCode;
use softbus_placement::{LeaseLimits, Leases};
use softbus_task::choosing::Book;

use super::device::Peer;
use super::tasks::Side;
use super::ways::ns;
use super::world::{Index, NEVER, What, World};
use crate::lasting::Lasting;
use crate::record::DeviceState;
use crate::run::describe;
use crate::scenario::{RUNNER, SHUTDOWN, WaySpec, What as Event};

/// From a change of who hears whom to its being noticed.
const SPREAD_NS: u64 = 50_000_000;

/// What ends something that happened.
pub(super) enum Undo {
    Start(Index),
    Mend(Vec<(Index, Index)>),
    Wake(Index),
    // Which began so: see `Lasting`.
    Weather(usize, u64),
    Load(Index, u64),
}

/// What holds for a while, by segment or device.
#[derive(Default)]
pub(super) struct Holding {
    weather: Lasting<usize, WaySpec>,
    load: Lasting<Index, u16>,
}

impl World {
    fn find(&self, name: &str) -> Option<Index> {
        let of = match name.strip_prefix(RUNNER) {
            Some(task) => self.runner(task)?,
            None => self.by_name.get(name).copied()?,
        };
        (self.device(of).mode != DeviceState::Lost).then_some(of)
    }

    /// The device that a task runs on, or that has submitted it if nobody has begun.
    fn runner(&self, task: &str) -> Option<Index> {
        let number = self.scenario.tasks.iter().position(|order| order.name == task)?;
        let last = self.orders[number].runs.last().map(|span| span.on as Index);
        last.or_else(|| self.by_name.get(&self.scenario.tasks[number].from).copied())
    }

    pub(super) fn switch_on(&mut self, of: Index) {
        if self.device(of).mode != DeviceState::Off {
            return;
        }
        let (now, seed) = (self.now, self.seed);
        let budget = self.scenario.devices[of as usize].link_budget;
        let trusted = self.device(of).trust.devices.keys().copied().collect();
        let standing = softbus_net::standing(self.device(of).id, &trusted, budget);
        let device = self.device_mut(of);
        device.run += 1;
        device.mode = DeviceState::Up;
        device.started = now;
        device.saw = false;
        let me = (of, device.id, device.run);
        let others: Vec<(Index, softbus_core::DeviceId)> =
            device.peers.iter().map(|peer| (peer.index, peer.id)).collect();
        device.peers = others
            .iter()
            .map(|(index, id)| {
                let stands = standing.contains(id);
                let mut peer = Peer::new(seed, me, (*index, *id), stands);
                if stands {
                    peer.machine.want(Duration::from_nanos(now), true, false);
                }
                peer
            })
            .collect();
        self.figures.noticed.came(of as usize, now / 1000);
        self.figures.states[of as usize].push((now / 1000, DeviceState::Up));
        self.start_roster(of);
        self.announce(of);
        self.restore_tasks(of);
    }

    fn switch_off(&mut self, of: Index, mode: DeviceState) {
        let at_us = self.now / 1000;
        self.cut_short(of);
        let device = self.device_mut(of);
        device.run += 1;
        device.tasks.values_mut().for_each(Side::off);
        device.leases = Leases::new(LeaseLimits::default());
        device.book = Book::default();
        device.refusals.clear();
        device.waiting.clear();
        device.half_open.clear();
        device.look_due = false;
        device.mode = mode;
        device.roster = None;
        device.roster_at = NEVER;
        device.links = Arc::default();
        device.links_due = false;
        let others: Vec<Index> = device.peers.iter().map(|peer| peer.index).collect();
        for peer in &mut device.peers {
            (peer.current, peer.dial, peer.tick_at) = (None, None, NEVER);
        }
        self.figures.states[of as usize].push((at_us, mode));
        for other in others {
            self.listen(other, of);
        }
    }

    /// Its battery is empty.
    pub(super) fn run_empty(&mut self, of: Index) {
        let text = format!("the battery of {} is empty", self.scenario.devices[of as usize].name);
        self.figures.note(self.now / 1000, "device", Some(of), text);
        self.switch_off(of, DeviceState::Off);
        self.device_mut(of).starved = true;
    }

    /// It goes, undisturbed by anything else: from here on the others' presence is timed.
    fn gone(&mut self, of: Index) {
        let at = self.device(of).is_up().then_some(self.now / 1000);
        self.figures.noticed.went(of as usize, at);
    }

    /// Something of the scenario.
    pub(super) fn befall(&mut self, number: usize) {
        let what = self.scenario.events[number].what.clone();
        let text = describe(&what);
        let name = text.split(' ').next().unwrap_or_default().to_owned();
        let person =
            matches!(what, Event::MoveTask { .. } | Event::CancelTask { .. } | Event::WrongPin { .. });
        self.figures.note(self.now / 1000, if person { "person" } else { "fault" }, None, text);
        if !person {
            *self.figures.faults.entry(name).or_default() += 1;
        }
        self.figures.noticed.disturb(self.now / 1000);
        if let Some((span, undo)) = self.befallen(what) {
            self.at(self.now + ns(span), What::Undo(undo));
        }
    }

    fn befallen(&mut self, what: Event) -> Option<(Duration, Undo)> {
        match what {
            Event::Crash { device, down, offline, .. } | Event::Kill { device, down, offline } => {
                let of = self.find(&device)?;
                self.gone(of);
                self.switch_off(of, DeviceState::Off);
                if let Some(down) = down.filter(|_| !offline.is_zero()) {
                    let peers = self.device(of).peers.iter().map(|peer| peer.index);
                    let pairs: Vec<(Index, Index)> =
                        peers.flat_map(|peer| [(of, peer), (peer, of)]).collect();
                    self.cut(&pairs);
                    self.at(self.now + ns(down + offline), What::Undo(Undo::Mend(pairs)));
                }
                Some((down?, Undo::Start(of)))
            }
            Event::Shutdown { device, down } => {
                let of = self.find(&device)?;
                let ids: Vec<_> = self.device(of).peers.iter().map(|peer| peer.id).collect();
                for id in ids {
                    if let Some(peer) = self.device_mut(of).peer_mut(&id) {
                        peer.machine.end(ErrorCode::None);
                    }
                    self.act(of, id);
                }
                self.switch_off(of, DeviceState::Off);
                Some((down?.max(SHUTDOWN), Undo::Start(of)))
            }
            Event::Lose { device } => {
                let of = self.find(&device)?;
                self.gone(of);
                self.switch_off(of, DeviceState::Lost);
                None
            }
            Event::Sleep { device, announced, span } => {
                let of = self.find(&device).filter(|of| self.device(*of).is_up())?;
                self.fall_asleep(of, announced.then_some(span));
                Some((span, Undo::Wake(of)))
            }
            Event::Cut { from, to, one_way, span } => {
                let (from, to) = (self.find(&from)?, self.find(&to)?);
                if from == to {
                    return None; // the device that ran the task
                }
                let mut pairs = vec![(from, to)];
                if !one_way {
                    pairs.push((to, from));
                }
                self.cut(&pairs);
                Some((span, Undo::Mend(pairs)))
            }
            Event::Partition { groups, span } => {
                let pairs = self.apart(&groups);
                self.cut(&pairs);
                Some((span, Undo::Mend(pairs)))
            }
            Event::Move { device, segment } => {
                let of = self.find(&device)?;
                self.move_to(of, &segment);
                None
            }
            Event::Weather { segment, way, span } => {
                let at = self.ways.segment(&segment)?;
                self.weather(at, way);
                Some((span, Undo::Weather(at, self.holding.weather.begin(at, way))))
            }
            Event::Load { device, permille, span } => {
                let of = self.find(&device)?;
                self.device_mut(of).load = permille;
                Some((span, Undo::Load(of, self.holding.load.begin(of, permille))))
            }
            Event::Plug { device } => {
                let of = self.find(&device)?;
                self.device_mut(of).body.plug(true);
                None
            }
            Event::Unplug { device } => {
                let of = self.find(&device)?;
                self.device_mut(of).body.plug(false);
                None
            }
            Event::MoveTask { task, to } => {
                self.order_move(&task, to.as_deref());
                None
            }
            // Told in the record, without effect: see what the model leaves out.
            Event::ClockJump { .. }
            | Event::Drift { .. }
            | Event::DiskFull { .. }
            | Event::DiskFail { .. }
            | Event::CancelTask { .. }
            | Event::Remove { .. }
            | Event::WrongPin { .. }
            | Event::Stranger { .. } => None,
        }
    }

    pub(super) fn undo(&mut self, undo: Undo) {
        self.figures.noticed.disturb(self.now / 1000);
        match undo {
            Undo::Start(of) if self.device(of).starved => {}
            Undo::Start(of) => self.switch_on(of),
            Undo::Mend(pairs) => {
                for (from, to) in &pairs {
                    self.ways.mend(*from, *to);
                }
                for (from, to) in pairs {
                    self.listen(from, to);
                    self.listen(to, from);
                    self.see_again(from, to);
                }
            }
            Undo::Wake(of) => self.wake(of),
            Undo::Weather(at, begun) => {
                let usual = self.scenario.segments.get(at).map(|segment| segment.way);
                if let Some(way) = self.holding.weather.end(&at, begun).or(usual) {
                    self.weather(at, way);
                }
            }
            Undo::Load(of, begun) => {
                let load = self.holding.load.end(&of, begun);
                self.device_mut(of).load = load.unwrap_or(0);
            }
        }
    }

    fn cut(&mut self, pairs: &[(Index, Index)]) {
        for (from, to) in pairs {
            self.ways.cut(*from, *to);
        }
        for (from, to) in pairs {
            self.listen(*from, *to);
            self.listen(*to, *from);
        }
    }

    /// All pairs that trust each other and are not of one group.
    fn apart(&self, groups: &[Vec<String>]) -> Vec<(Index, Index)> {
        let mut group: BTreeMap<Index, usize> = BTreeMap::new();
        for (number, names) in groups.iter().enumerate() {
            group.extend(names.iter().filter_map(|name| self.by_name.get(name)).map(|of| (*of, number)));
        }
        let mut pairs = Vec::new();
        for (of, device) in (0..).zip(&self.devices) {
            for peer in &device.peers {
                if !group.contains_key(&of) || group.get(&of) != group.get(&peer.index) {
                    pairs.push((of, peer.index));
                }
            }
        }
        pairs
    }

    /// The second may hear the first's announcement now, which it did not before.
    fn see_again(&mut self, of: Index, at: Index) {
        let (run, id) = (self.device(of).run, self.device(of).id);
        let seen = self.device(at).peer(&id).and_then(|peer| peer.seen).map(|(run, _)| run);
        if seen != Some(run) {
            self.at(self.now + SPREAD_NS, What::Sight { at, of, run });
        }
    }

    fn fall_asleep(&mut self, of: Index, announced: Option<Duration>) {
        let now = self.span();
        let ids: Vec<_> = self.device(of).peers.iter().map(|peer| peer.id).collect();
        if let Some(span) = announced {
            let interval_ms = u32::try_from(span.as_millis()).unwrap_or(u32::MAX);
            for id in ids {
                if let Some(peer) = self.device_mut(of).peer_mut(&id) {
                    peer.machine.set_sleep(interval_ms);
                    peer.machine.rest(now, ErrorCode::Sleeping);
                }
                self.act(of, id);
            }
        }
        self.device_mut(of).mode = DeviceState::Asleep;
        self.figures.states[of as usize].push((self.now / 1000, DeviceState::Asleep));
        self.listen_all(of);
    }

    fn wake(&mut self, of: Index) {
        if self.device(of).mode != DeviceState::Asleep {
            return;
        }
        let now = self.span();
        self.device_mut(of).mode = DeviceState::Up;
        self.figures.states[of as usize].push((self.now / 1000, DeviceState::Up));
        self.listen_all(of);
        let others: Vec<_> = self.device(of).peers.iter().map(|peer| (peer.index, peer.id)).collect();
        for (other, id) in others {
            if let Some(peer) = self.device_mut(of).peer_mut(&id) {
                peer.machine.awake(now);
            }
            self.act(of, id);
            self.see_again(of, other);
            self.see_again(other, of);
        }
    }

    fn move_to(&mut self, of: Index, segment: &str) {
        let Some(to) = self.ways.segment(segment) else { return };
        let from = self.device(of).segment;
        self.by_segment[from].retain(|other| *other != of);
        self.by_segment[to].push(of);
        self.device_mut(of).segment = to;
        self.figures.places[of as usize].push((self.now / 1000, to));
        if self.device(of).mode == DeviceState::Off {
            return;
        }
        let now = self.span();
        self.listen_all(of);
        let ids: Vec<_> = self.device(of).peers.iter().map(|peer| peer.id).collect();
        for id in ids {
            if let Some(peer) = self.device_mut(of).peer_mut(&id) {
                peer.machine.moved(now);
            }
            self.act(of, id);
        }
        self.announce(of);
    }

    fn weather(&mut self, segment: usize, way: WaySpec) {
        self.ways.weather(segment, way);
        for of in self.by_segment[segment].clone() {
            let ids: Vec<_> = self.device(of).peers.iter().map(|peer| peer.id).collect();
            ids.into_iter().for_each(|id| self.publish(of, id));
        }
    }
}
