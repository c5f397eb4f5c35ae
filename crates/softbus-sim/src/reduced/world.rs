//! The whole model: devices, network, and what happens next.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use softbus_core::wire::roster::Gossip;
use softbus_core::{DeviceId, TaskId, WallMs};
use softbus_net::link::{ConnKey, Control};
use softbus_net::seam::memory::BEGINNING_MS;
use softbus_roster::Checked;
use softbus_roster::gossip::Failure;
use softbus_task::epoch::Event;
use tokio::time::Instant;

use super::Options;
use super::device::Device;
use super::draw::Draw;
use super::figures::Figures;
use super::happen::{Holding, Undo};
use super::order::Order;
use super::queue::Queue;
use super::tasks::Deed;
use super::ways::Ways;
use crate::Progress;
use crate::scenario::Scenario;

/// Beyond all time.
pub(super) const NEVER: u64 = u64::MAX / 4;

/// A device's number.
pub(super) type Index = u32;

/// What may come next.
pub(super) enum What {
    /// A device is switched on.
    Start(Index),
    /// Something of the scenario.
    Happen(usize),
    Undo(Undo),
    /// Bodies live for a second, and what is sampled is.
    Second,
    /// Discovery: the first sees this run of the second.
    Sight {
        at: Index,
        of: Index,
        run: u32,
    },
    /// A dial's nth try.
    Try {
        of: Index,
        run: u32,
        peer: DeviceId,
        attempt: u64,
        n: u32,
    },
    /// It arrives.
    Initial {
        of: Index,
        run: u32,
        at: Index,
        attempt: u64,
        validated: bool,
    },
    /// The dial is turned away.
    Refused {
        of: Index,
        run: u32,
        at: Index,
        attempt: u64,
    },
    /// The answer arrives: the dialler is through its handshake.
    Flight {
        of: Index,
        run: u32,
        at: Index,
        at_run: u32,
        attempt: u64,
    },
    /// The other end is through it, too.
    Accept {
        of: Index,
        at: Index,
        at_run: u32,
        key: ConnKey,
    },
    Control {
        from: Index,
        to: Index,
        to_run: u32,
        key: ConnKey,
        message: Box<Control>,
    },
    /// The other end closed a connection (or lets it go).
    Closed {
        to: Index,
        to_run: u32,
        from: DeviceId,
        key: ConnKey,
        code: Option<softbus_core::ErrorCode>,
    },
    LinkTick {
        of: Index,
        run: u32,
        peer: DeviceId,
    },
    /// A link whose way is open again is heard on.
    Heard {
        of: Index,
        run: u32,
        peer: DeviceId,
        key: ConnKey,
    },
    /// The roster hears of its links.
    Links {
        of: Index,
        run: u32,
    },
    RosterTick {
        of: Index,
        run: u32,
        at: u64,
    },
    Sample {
        of: Index,
        run: u32,
    },
    Submit(usize),
    Deed(Box<Deed>),
    Asked {
        from: Index,
        from_run: u32,
        to: Index,
        to_run: u32,
        token: u64,
        gossip: Box<Gossip>,
    },
    Answered {
        by: DeviceId,
        to: Index,
        to_run: u32,
        token: u64,
        result: Box<Result<Gossip, Failure>>,
    },
}

pub(super) struct World {
    pub scenario: Arc<Scenario>,
    pub options: Options,
    pub seed: u64,
    /// Instants are counted from here; where it lies does not matter.
    pub base: Instant,
    pub now: u64,
    pub queue: Queue<What>,
    pub draw: Draw,
    pub ways: Ways,
    pub holding: Holding,
    pub devices: Vec<Device>,
    pub by_name: BTreeMap<String, Index>,
    pub by_id: BTreeMap<DeviceId, Index>,
    pub by_segment: Vec<Vec<Index>>,
    pub last_key: ConnKey,
    pub last_instance: u64,
    pub orders: Vec<Order>,
    pub number_of: BTreeMap<TaskId, usize>,
    pub figures: Figures,
    /// Profiles that one of the devices has checked.
    pub checked: Checked,
    /// Is told each second how far it is.
    pub progress: Option<Box<dyn FnMut(Progress) + Send>>,
}

impl World {
    /// Puts something among what comes.
    pub fn at(&mut self, at: u64, what: What) {
        self.queue.put(at.max(self.now), what);
    }

    pub fn instant(&self) -> Instant {
        self.base + Duration::from_nanos(self.now)
    }

    pub fn span(&self) -> Duration {
        Duration::from_nanos(self.now)
    }

    /// The wall clock of a device.
    pub fn wall(&self, of: Index) -> WallMs {
        let spec = &self.scenario.devices[of as usize];
        let passed = i128::from(self.now / 1_000_000);
        let passed = passed + passed * i128::from(spec.clock_drift_ppm) / 1_000_000;
        let ms = i128::from(BEGINNING_MS) + passed + i128::from(spec.clock_offset_ms);
        WallMs(u64::try_from(ms).unwrap_or(0))
    }

    pub fn device(&self, of: Index) -> &Device {
        &self.devices[of as usize]
    }

    pub fn device_mut(&mut self, of: Index) -> &mut Device {
        &mut self.devices[of as usize]
    }

    /// Where it is, for the network.
    pub fn place(&self, of: Index) -> (u32, usize) {
        (of, self.device(of).segment)
    }

    /// Whether this run of the device goes on and can be spoken to.
    pub fn lives(&self, of: Index, run: u32) -> bool {
        let device = self.device(of);
        device.run == run && device.is_up()
    }

    /// When something of so many bytes that is sent now arrives; `None` if it does not.
    pub fn arrival(&mut self, from: Index, to: Index, bytes: u64) -> Option<u64> {
        let (here, there) = (self.place(from), self.place(to));
        let arrival = self.ways.arrival(self.now, here, there, bytes, &mut self.draw);
        self.figures.sent(bytes, arrival.is_some());
        self.device_mut(from).bytes.0 += bytes;
        if arrival.is_some() {
            self.device_mut(to).bytes.1 += bytes;
        }
        arrival
    }

    /// As [`World::arrival`], in order with all else on the link.
    pub fn arrival_on_link(&mut self, from: Index, to: Index, bytes: u64) -> Option<u64> {
        let arrival = self.arrival(from, to, bytes)?;
        let id = self.device(to).id;
        let peer = self.device_mut(from).peer_mut(&id)?;
        peer.last_due = peer.last_due.max(arrival);
        Some(peer.last_due)
    }

    /// When a request to the task room that is sent now arrives: it goes on a channel, and opening that takes a round trip.
    /// (A request to the roster goes with the words that open its stream.)
    pub fn request_arrival(&mut self, from: Index, to: Index, bytes: u64) -> Option<u64> {
        let opening = 2 * self.ways.latency_ns(self.device(from).segment, self.device(to).segment);
        self.arrival_on_link(from, to, bytes).map(|at| at + opening)
    }

    /// Until the end.
    pub fn run(&mut self) {
        let end = super::ways::ns(self.scenario.duration);
        while let Some((at, what)) = self.queue.take(end) {
            self.now = at;
            self.happen(what);
        }
        self.now = end;
    }

    fn happen(&mut self, what: What) {
        match what {
            What::Start(of) => self.switch_on(of),
            What::Happen(number) => self.befall(number),
            What::Undo(undo) => self.undo(undo),
            What::Second => self.second(),
            What::Sight { at, of, run } => self.sight(at, of, run),
            What::Try { of, run, peer, attempt, n } => self.try_dial(of, run, peer, attempt, n),
            What::Initial { of, run, at, attempt, validated } => {
                self.initial(of, run, at, attempt, validated)
            }
            What::Refused { of, run, at, attempt } => self.refused(of, run, at, attempt),
            What::Flight { of, run, at, at_run, attempt } => self.flight(of, run, at, at_run, attempt),
            What::Accept { of, at, at_run, key } => self.accept(of, at, at_run, key),
            What::Control { from, to, to_run, key, message } => {
                self.control(from, to, to_run, key, *message);
            }
            What::Closed { to, to_run, from, key, code } => self.closed(to, to_run, from, key, code),
            What::LinkTick { of, run, peer } => self.link_tick(of, run, peer),
            What::Heard { of, run, peer, key } => self.heard_again(of, run, peer, key),
            What::Links { of, run } => self.tell_links(of, run),
            What::RosterTick { of, run, at } => self.roster_tick(of, run, at),
            What::Sample { of, run } => self.sample(of, run),
            What::Submit(number) => self.submit(number),
            What::Deed(deed) => self.do_deed(*deed),
            What::Asked { from, from_run, to, to_run, token, gossip } => {
                self.asked(from, from_run, to, to_run, token, *gossip);
            }
            What::Answered { by, to, to_run, token, result } => self.answered(by, to, to_run, token, *result),
        }
    }

    pub(super) fn do_deed(&mut self, deed: Deed) {
        match deed {
            Deed::AskAround { number, run } => self.ask_around(number, run),
            Deed::Place { number, run, turn } => self.place_order(number, run, turn),
            Deed::AskNow { from, from_run, to, then } => self.send_ask_now(from, from_run, to, then),
            Deed::AskedNow { from, from_run, to, to_run, then } => {
                self.asked_now(from, from_run, to, to_run, then);
            }
            Deed::ToldNow { by, to, to_run, answer, then } => self.told_now(by, to, to_run, *answer, then),
            Deed::AskRoom { from, from_run, to, number, seen, why } => {
                self.send_ask_room(from, from_run, to, number, (seen, why));
            }
            Deed::Room { from, from_run, to, to_run, number, seen, why } => {
                self.room((from, from_run), (to, to_run), number, (seen, why));
            }
            Deed::Leased { of, run, by, number, answer, seen, why } => {
                self.leased(of, run, by, number, answer, (seen, why));
            }
            Deed::LeaseEnds { of, run } => self.lease_ends(of, run),
            Deed::Say { from, from_run, to, message } => self.say(from, from_run, to, message),
            Deed::Hear { from, to, to_run, message } => self.hear(from, to, to_run, message),
            Deed::Written { of, run, task, token, record } => self.written(of, run, task, token, record),
            Deed::Wake { of, run, task, at } => self.woken(of, run, task, at),
            Deed::Fetched { of, run, task, checkpoint, source } => {
                self.fetched(of, run, task, checkpoint, source);
            }
            Deed::Warmed { of, run, task, manifest } => {
                if self.lives(of, run) {
                    self.feed(of, task, Event::Warmed { manifest });
                }
            }
            Deed::Begin { of, run, task, instance } => self.begin(of, run, task, instance),
            Deed::Cores { of, run, version } => self.cores(of, run, version),
            Deed::Save { of, run, task, instance } => self.save(of, run, task, instance),
            Deed::Saved { of, run, task, instance, stored } => self.saved(of, run, task, instance, stored),
            Deed::Halt { of, run, task, instance, discard } => self.halted(of, run, task, instance, discard),
            Deed::Halted { of, run, task, instance } => self.stopped(of, run, task, instance),
            Deed::Over { of, run, task, instance } => self.finish(of, run, task, instance),
            Deed::LookAll { of, run } => self.look_all(of, run),
            Deed::Result { number, of, run } => self.result(number, of, run),
            Deed::Move { number, to } => self.send_move(number, to),
            Deed::MoveHere { of, run, number, to, tries } => self.move_here(of, run, number, to, tries),
        }
    }
}
