//! The reduced model: simulations of up to 100,000 devices. The decisions are the library's own: who is dialled when
//! ([`softbus_net::link`]), with whom links are kept ([`softbus_net::standing`]), what is told of whom
//! ([`softbus_roster::gossip`]). What carries them out is modelled: a queue of events in place of tokio, delays in place of
//! QUIC, TLS, disks and cores.
//!
//! # What is modelled
//! - **Time** has a grain of a millisecond, as all timers in the full simulator have.
//! - **The network**: latency, jitter, reordering, limited rates (with their queues, endless), cuts, segments and joins. A
//!   lost message comes later by QUIC's probe timeout, instead of not at all.
//! - **Discovery** within a segment, with the pace of the discovery in memory.
//! - **Links**: the link machines of both sides over handshakes of the right number of round trips; dials that repeat
//!   their first packet as QUIC does, and give up after 5 s.
//! - **Presence**: that a link is well costs nothing. When a device or a way fails, both ends have heard each other for
//!   the last time within one keep-alive interval.
//! - **The roster** with all its messages, signatures of profiles included.
//! - **Placement** of each submission from its submitter's roster, with promises of room on both sides, questions to those
//!   of whom nothing is known, and second thoughts when a device has promised its room to others meanwhile.
//! - **Epochs**: an epoch machine on each device that has a part in a task, with real signatures. Their words travel on a
//!   channel that is opened once; a checkpoint takes the round trips of its protocol, the growth and the pace of QUIC's
//!   congestion window, and the rate of the way.
//! - **Work** shares the cores of its device fairly, in steps of 20 ms; a checkpoint stops it for as long as the state is
//!   written. A disk takes its latency for each piece of work.
//!
//! # What is not
//! - **Datagrams that overtake each other.** With jitter the parts of one flight may change their order, and QUIC waits for a
//!   repetition of what could not be read yet: half of all handshakes in the full simulator take some 50 to 270 ms longer
//!   then. So with jitter first contact is too quick here.
//! - Short silences by chance: with heavy loss a real peer is suspect for moments in which nothing of it came through.
//! - One direction that is cut counts as both.
//! - NAT boxes, duplicates, MTUs, full queues; circles that begin by pairing count as ready.
//! - Disks that fill up or fail, wall clocks that jump, clocks that drift, removals, strangers, cancellations: told of in
//!   the record, without effect. A device that shuts down or announces its sleep does not move its tasks away before.
//! - Effects are counted and wait for checkpoints, but nobody gets them; a device in several circles submits in the one in
//!   which it is most, and of several such in the first.
//! - Invariants are not checked: that is what the full simulator is for. The regret of placements is not reckoned.
//! - Traffic counts messages and not datagrams; keep-alive packets are not counted.
//!
//! What of this a scenario asks for stands in the record ([`Record::caveats`]).
//!
//! # How well it agrees
//! `tests/reduced.rs` runs scenarios in both and compares decisions, and times at their middle and end within 5 %. They agree for two
//! devices, for who comes and goes, for work at home that is moved, and for fail-overs. Of fifty
//! devices discovery and presence agree, but some work begins on another of equally good devices. With jitter, loss or limited
//! rates nothing has been compared.
//!
//! ```
//! use softbus_sim::reduced::{City, city, run};
//!
//! let home = City { devices: 10, home: (10, 10), tasks: 2, crashes: 0, ..City::default() };
//! let home = City { duration: std::time::Duration::from_secs(10), ..home };
//! let record = run(&city(home, 7), 7);
//! assert_eq!(record.devices.len(), 10);
//! ```

mod caveats;
mod city;
mod device;
mod draw;
mod end;
mod figures;
mod gossip;
mod half_open;
mod happen;
mod linking;
mod looking;
mod moving;
mod order;
mod queue;
mod running;
mod setup;
mod tasks;
mod transfer;
mod ways;
mod world;

use std::time::Duration;

pub use city::{City, city};

use crate::Progress;
use crate::record::Record;
use crate::run::resident_bytes;
use crate::scenario::Scenario;
use world::World;

/// More devices than these are very many.
const MANY: usize = 10_000;

/// Knobs of the model. The defaults are the library's own.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Options {
    /// How often a device is sampled.
    pub sample_every: Duration,
    /// How often neighbours hear how a device is even if nothing changed.
    pub tell_every: Duration,
    /// How long between checkpoints of a running task.
    pub checkpoint_every: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            sample_every: softbus_roster::limits::SAMPLE_EVERY,
            tell_every: softbus_roster::limits::TELL_EVERY,
            checkpoint_every: Duration::from_millis(500),
        }
    }
}

impl Options {
    /// As many devices as a scenario has can be run with: the library's own, and past 10,000 devices [`Options::sparse`]. Then
    /// the record says so.
    pub fn fit(scenario: &Scenario) -> Self {
        if scenario.devices.len() > MANY { Self::sparse() } else { Self::default() }
    }

    /// For very many devices: what did not change is told once in ten seconds and not in two. Far within what placement
    /// takes for fresh (30 s), and a fifth of the work.
    pub fn sparse() -> Self {
        let rarely = Duration::from_secs(10);
        Self { sample_every: rarely, tell_every: rarely, checkpoint_every: Duration::from_secs(5) }
    }
}

/// Runs a scenario in the reduced model. Equal scenarios and seeds give equal records.
pub fn run(scenario: &Scenario, seed: u64) -> Record {
    run_with(scenario, seed, Options::default(), None)
}

/// As [`run`], with other knobs. `progress` is told after each virtual second how far it is.
pub fn run_with(
    scenario: &Scenario,
    seed: u64,
    options: Options,
    progress: Option<Box<dyn FnMut(Progress) + Send>>,
) -> Record {
    #[allow(clippy::disallowed_methods, reason = "how long it really took is told beside the result")]
    let began = std::time::Instant::now();
    let mut world = World::new(scenario, seed, options);
    world.progress = progress;
    world.run();
    let mut record = world.record();
    record.summary.real_s = began.elapsed().as_secs_f64();
    record.summary.memory_bytes = resident_bytes();
    record
}
