//! The world as a scenario describes it, before its time begins.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use softbus_core::{DeviceId, Signer as _};
use softbus_net::Group;
use softbus_placement::{LeaseLimits, Leases};
use softbus_roster::gossip::{Member, Trust};
use softbus_roster::profile::Author;
use softbus_task::choosing::Book;
use softbus_trust::Role;
use tokio::time::Instant;

use super::Options;
use super::device::{Device, Key, Peer};
use super::draw::Draw;
use super::figures::Figures;
use super::half_open::HalfOpen;
use super::happen::Holding;
use super::order::Order;
use super::queue::Queue;
use super::ways::{Ways, ns};
use super::world::{Index, NEVER, What, World};
use crate::record::DeviceState;
use crate::run::Body;
use crate::scenario::{RUNNER, RoleSpec, Scenario, What as Event};

impl World {
    pub(super) fn new(scenario: &Scenario, seed: u64, options: Options) -> Self {
        let scenario = Arc::new(scenario.clone());
        let ways = Ways::new(&scenario);
        let circles = Circles::of(&scenario);
        let keys: Vec<Arc<Key>> = scenario
            .devices
            .iter()
            .enumerate()
            .map(|(of, spec)| Arc::new(Key::new(seed, &spec.name, circles.are_small(of, spec.link_budget))))
            .collect();
        let ids: Vec<DeviceId> = keys.iter().map(|key| key.id()).collect();
        let again: BTreeSet<&str> =
            scenario.events.iter().filter_map(|event| starts_again(&event.what)).collect();
        // Whoever runs a task then.
        let anybody = again.iter().any(|name| name.starts_with(RUNNER));
        let mut by_segment = vec![Vec::new(); scenario.segments.len().max(1)];
        let mut devices = Vec::with_capacity(keys.len());
        for (of, (spec, key)) in scenario.devices.iter().zip(keys).enumerate() {
            let segment = ways.segment(&spec.segment).unwrap_or(0);
            let index = number(of);
            by_segment[segment].push(index);
            let trust = circles.trust(of, &ids);
            let peers = circles.others(of);
            let mut peers: Vec<Peer> = peers
                .into_iter()
                .map(|other| Peer::new(seed, (index, ids[of], 0), (other, ids[other as usize]), false))
                .collect();
            peers.sort_by_key(|peer| peer.id);
            devices.push(Device {
                id: ids[of],
                author: Author::new(key.clone(), 0, softbus_roster::limits::LIFETIME),
                key,
                mode: DeviceState::Off,
                run: 0,
                started: 0,
                segment,
                trust: Arc::new(trust),
                peers,
                half_open: HalfOpen::default(),
                links: Arc::default(),
                links_due: false,
                roster: None,
                boot: 0,
                roster_at: NEVER,
                restarts: anybody || again.contains(spec.name.as_str()),
                kept: BTreeMap::new(),
                saw: false,
                body: Body::new(spec),
                starved: false,
                load: 0,
                rate: spec.rate_ops_per_s.max(1),
                busy_ns: 0,
                busy_counted: 0,
                version: 0,
                tasks: BTreeMap::new(),
                leases: Leases::new(LeaseLimits::default()),
                book: Book::default(),
                refusals: BTreeMap::new(),
                look_due: false,
                waiting: Vec::new(),
                bytes: (0, 0),
                bytes_counted: 0,
            });
        }
        let figures = Figures {
            samples: vec![Vec::new(); devices.len()],
            states: vec![vec![(0, DeviceState::Off)]; devices.len()],
            places: devices.iter().map(|device| vec![(0, device.segment)]).collect(),
            ..Figures::default()
        };
        let mut world = Self {
            seed,
            options,
            base: Instant::now(),
            now: 0,
            queue: Queue::new(),
            draw: Draw::new(seed),
            ways,
            holding: Holding::default(),
            by_name: (0..).zip(&scenario.devices).map(|(of, spec)| (spec.name.clone(), of)).collect(),
            by_id: ids.iter().copied().zip(0..).collect(),
            by_segment,
            last_key: 0,
            last_instance: 0,
            orders: scenario.tasks.iter().map(|_| Order::default()).collect(),
            number_of: BTreeMap::new(),
            figures,
            checked: softbus_roster::Checked::default(),
            progress: None,
            devices,
            scenario: scenario.clone(),
        };
        for (of, spec) in (0..).zip(&scenario.devices) {
            world.at(ns(spec.starts), What::Start(of));
        }
        for (number, happening) in scenario.events.iter().enumerate() {
            world.at(ns(happening.at), What::Happen(number));
        }
        for (number, order) in scenario.tasks.iter().enumerate() {
            world.at(ns(order.at), What::Submit(number));
        }
        world.at(ns(Duration::from_secs(1)), What::Second);
        world
    }
}

/// The device that starts again after this.
fn starts_again(what: &Event) -> Option<&str> {
    match what {
        Event::Crash { device, down: Some(_), .. }
        | Event::Kill { device, down: Some(_), .. }
        | Event::Shutdown { device, down: Some(_) }
        // Its battery may be empty.
        | Event::Plug { device } => Some(device),
        _ => None,
    }
}

fn number(of: usize) -> Index {
    Index::try_from(of).unwrap_or(Index::MAX)
}

/// Who is in which circle, in which role.
struct Circles {
    /// Of each circle.
    members: Vec<Vec<(usize, Role)>>,
    /// Of each device.
    of: Vec<Vec<usize>>,
}

impl Circles {
    fn of(scenario: &Scenario) -> Self {
        let names: BTreeMap<&str, usize> =
            scenario.circles.iter().enumerate().map(|(n, circle)| (circle.name.as_str(), n)).collect();
        let mut members = vec![Vec::new(); scenario.circles.len()];
        let mut of = vec![Vec::new(); scenario.devices.len()];
        for (device, spec) in scenario.devices.iter().enumerate() {
            for (name, role) in &spec.circles {
                if let Some(circle) = names.get(name.as_str()) {
                    let role = match role {
                        RoleSpec::Owner => Role::Owner,
                        RoleSpec::Member => Role::Member,
                        RoleSpec::Guest => Role::Guest,
                    };
                    members[*circle].push((device, role));
                    of[device].push(*circle);
                }
            }
        }
        Self { members, of }
    }

    /// Everybody that a device trusts, once.
    fn others(&self, device: usize) -> Vec<Index> {
        let all = self.of[device].iter().flat_map(|circle| &self.members[*circle]);
        let mut all: Vec<Index> =
            all.map(|(other, _)| number(*other)).filter(|other| *other != number(device)).collect();
        all.sort_unstable();
        all.dedup();
        all
    }

    /// Whether all that this device and those it knows trust fits into a link budget.
    fn are_small(&self, device: usize, budget: usize) -> bool {
        self.others(device).iter().all(|other| self.others(*other as usize).len() <= budget)
    }

    fn trust(&self, device: usize, ids: &[DeviceId]) -> Trust {
        let mut trust = Trust::default();
        for circle in &self.of[device] {
            let members = &self.members[*circle];
            let own =
                members.iter().find(|(other, _)| *other == device).map_or(Role::Guest, |(_, role)| *role);
            trust.own_role = trust.own_role.max(Some(own));
            let others = members.iter().filter(|(other, _)| *other != device);
            let roles: BTreeMap<DeviceId, Role> = others.map(|(other, role)| (ids[*other], *role)).collect();
            for (id, role) in &roles {
                let member = trust.devices.entry(*id).or_insert(Member { role: *role, speaks: true });
                member.role = member.role.max(*role);
            }
            trust.groups.push(Group { own, roles });
        }
        trust
    }
}
