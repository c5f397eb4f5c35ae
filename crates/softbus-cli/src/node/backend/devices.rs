//! The roster, as commands show it.

use std::time::Duration;

use softbus::Presence;
use softbus::core::{
    Accelerator, AcceleratorKind, Capability, DeviceId, DynamicProfile, Labels, StaticProfile,
};
use softbus::roster::{Event as RosterEvent, RosterEntry, Source, Update};
use tokio::time::Instant;

use super::Backend;
use super::nearby::Near;
use crate::clock::wall;
use crate::control::{
    ChangeView, DeviceView, DevicesView, Event, Events, LinkView, NearbyView, NowView, PresenceView,
    ProfileView, Response,
};
use crate::failure::{Failure, Kind};

/// Whoever watches is told why there is no more to see.
fn ended() -> Failure {
    Failure::new(Kind::NotRunning, "the node has ended").advise("start it again with `softbus up`")
}

/// How often those nearby are asked whether they are still there, while somebody watches.
const LOOK_AROUND: Duration = Duration::from_secs(10);
/// How often a snapshot goes to a watcher at most; what happens in between is gathered.
const SNAPSHOT_EVERY: Duration = Duration::from_millis(200);

impl Backend {
    /// All devices now, this one first. Looking asks those nearby that were not heard for a while.
    pub(super) fn devices(&self) -> DevicesView {
        let me = self.bus.id();
        let mut devices: Vec<DeviceView> = self.bus.devices().iter().map(|entry| device(entry, me)).collect();
        devices.sort_by_key(|d| (d.presence != PresenceView::Here, d.name.clone(), d.id));
        let known: Vec<DeviceId> = devices.iter().map(|d| d.id).collect();
        self.neighbours.ask(&*self.bus.net().seam().discovery);
        DevicesView { devices, nearby: self.nearby(&known) }
    }

    /// What discovery sees that is none of `known`. A member's announcement does not tell its id, so that it is
    /// known by its address.
    fn nearby(&self, known: &[DeviceId]) -> Vec<NearbyView> {
        let ours = self.own_addresses();
        let (instant, now) = (Instant::now(), wall());
        self.in_sight()
            .into_iter()
            .filter(|near| match near.announcement.id {
                Some(id) => !known.contains(&id),
                None => !near.addresses.iter().any(|a| ours.contains(a)),
            })
            .map(|near| {
                let age = instant.saturating_duration_since(near.heard).as_millis();
                NearbyView {
                    number: near.number,
                    id: near.announcement.id,
                    kind: near.announcement.kind,
                    addresses: near.addresses.iter().map(ToString::to_string).collect(),
                    versions: near.announcement.versions,
                    heard_ms: now.0.saturating_sub(u64::try_from(age).unwrap_or(u64::MAX)),
                    name: near.announcement.name.clone(),
                }
            })
            .collect()
    }

    /// All that discovery sees, in order of their numbers, but for devices of our circles and this one: they stand in the
    /// roster, and what one left behind before it restarted leads nowhere.
    pub(super) fn in_sight(&self) -> Vec<Near> {
        let seen = self.bus.nearby();
        let seen = seen.borrow().clone();
        let mut all = self.neighbours.look(&seen);
        all.retain(|near| {
            near.announcement.id.is_some() || self.bus.net().recognise(&near.announcement).is_none()
        });
        all
    }

    /// Addresses of this device and of those it has links with.
    pub(super) fn own_addresses(&self) -> Vec<std::net::SocketAddr> {
        let mut ours = self.bus.addresses();
        ours.extend(self.bus.devices().iter().filter_map(|e| e.link.as_ref()?.address));
        ours
    }

    /// Names of all devices of the roster.
    pub(super) fn names(&self) -> Labels {
        self.bus.devices().iter().map(|e| (e.id, e.name().unwrap_or_default())).collect()
    }

    /// Snapshots and changes until the client goes away.
    pub(super) async fn watch_devices(&self, events: &Events) -> Result<Response, Failure> {
        let mut changes = self.bus.events();
        let mut nearby = self.bus.nearby();
        if !events.send(Event::Devices(self.devices())).await {
            return Ok(Response::Done);
        }
        let mut due: Option<Instant> = None;
        let mut look = tokio::time::interval(LOOK_AROUND);
        loop {
            let snapshot = async {
                match due {
                    Some(at) => tokio::time::sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            let alive = tokio::select! {
                biased;
                update = changes.next() => match update {
                    None => return Err(ended()),
                    Some(Update::Lagged { .. }) => {
                        due.get_or_insert_with(Instant::now);
                        true
                    }
                    Some(Update::Event(numbered)) => {
                        due.get_or_insert_with(|| Instant::now() + SNAPSHOT_EVERY);
                        match self.words(&numbered.event) {
                            Some(what) => {
                                let change = ChangeView { at_ms: wall().0, device: numbered.event.id(), what };
                                events.send(Event::Change(change)).await
                            }
                            None => true,
                        }
                    }
                },
                changed = nearby.changed() => {
                    if changed.is_err() {
                        return Err(ended());
                    }
                    due.get_or_insert_with(|| Instant::now() + SNAPSHOT_EVERY);
                    true
                }
                _ = look.tick() => {
                    self.neighbours.ask(&*self.bus.net().seam().discovery);
                    true
                }
                () = snapshot => {
                    due = None;
                    events.send(Event::Devices(self.devices())).await
                }
            };
            if !alive {
                return Ok(Response::Done);
            }
        }
    }

    /// An event in words; `None` for what a person does not want to read line by line.
    fn words(&self, event: &RosterEvent) -> Option<String> {
        let names = self.names();
        let name = |id: &DeviceId| names.of(id);
        Some(match event {
            RosterEvent::Joined { id } => format!("{} is trusted now", name(id)),
            RosterEvent::Left { id } => format!("{} is no longer trusted", name(id)),
            RosterEvent::RoleChanged { id, role: Some(role) } => format!("{} is {role} now", name(id)),
            RosterEvent::RoleChanged { id, role: None } => format!("{} has no role any more", name(id)),
            RosterEvent::ProfileChanged { id } => format!("{} has a new profile", name(id)),
            RosterEvent::PresenceChanged { id, to, source, .. } => {
                let via = match source {
                    Source::Via { neighbour, .. } => format!(" (seen by {})", name(neighbour)),
                    _ => String::new(),
                };
                format!("{} is {}{via}", name(id), presence_word(*to))
            }
            RosterEvent::NowChanged { .. } | RosterEvent::LinkChanged { .. } => return None,
        })
    }
}

fn presence_word(presence: Presence) -> &'static str {
    match presence {
        Presence::Online => "online",
        Presence::Suspect => "silent for a moment",
        Presence::Asleep => "asleep",
        Presence::Offline => "offline",
    }
}

fn device(entry: &RosterEntry, me: DeviceId) -> DeviceView {
    let presence = if entry.id == me {
        PresenceView::Here
    } else {
        match entry.presence {
            Presence::Online => PresenceView::Online,
            Presence::Suspect => PresenceView::Suspect,
            Presence::Asleep => PresenceView::Asleep,
            Presence::Offline => PresenceView::Offline,
        }
    };
    DeviceView {
        id: entry.id,
        name: entry.name().unwrap_or_default().to_string(),
        kind: entry.profile.as_ref().map(|p| p.kind).unwrap_or_default(),
        presence,
        via: match entry.source {
            Source::Via { neighbour, .. } => Some(neighbour),
            _ => None,
        },
        role: entry.role,
        link: entry.link.as_ref().filter(|_| entry.id != me).map(|link| LinkView {
            address: link.address.map(|a| a.to_string()),
            rtt_us: u64::try_from(link.rtt.as_micros()).unwrap_or(u64::MAX),
            loss_permille: link.loss_permille,
            rate_bytes_per_s: link.rate_bytes_per_s,
            generation: link.generation,
            dialled: link.dialled,
            sent_bytes: link.bytes.0,
            received_bytes: link.bytes.1,
            last_down: link.last_down.clone(),
        }),
        profile: entry
            .profile
            .as_ref()
            .map(|fixed| profile(fixed, entry.now.as_ref().map(|now| &now.profile))),
    }
}

fn profile(fixed: &StaticProfile, now: Option<&DynamicProfile>) -> ProfileView {
    ProfileView {
        cores: fixed.cores,
        memory_bytes: fixed.memory_bytes,
        arch: fixed.arch.clone(),
        os: fixed.os.clone(),
        accelerators: fixed.accelerators.iter().map(accelerator).collect(),
        capabilities: fixed.capabilities.iter().map(capability).collect(),
        services: fixed.services.iter().map(|s| s.service.to_string()).collect(),
        task_types: fixed.task_types.clone(),
        declared: fixed.declared.clone(),
        expires_ms: fixed.expires.0,
        now: now.map(|now| NowView {
            rate_ops_per_s: now.rate_ops_per_s,
            load_permille: now.load_permille,
            memory_free_bytes: now.memory_free_bytes,
            battery_permille: now.battery_permille,
            power: now.power,
            thermal: now.thermal,
            running_tasks: now.running_tasks,
            queued_ops: now.queued_ops,
            sampled_ms: now.sampled.0,
        }),
    }
}

fn accelerator(accelerator: &Accelerator) -> String {
    let kind = match accelerator.kind {
        AcceleratorKind::Gpu => "gpu",
        AcceleratorKind::Npu => "npu",
        AcceleratorKind::Dsp => "dsp",
    };
    format!("{kind} {}", accelerator.name)
}

fn capability(capability: &Capability) -> String {
    match capability {
        Capability::Display => "display".into(),
        Capability::Audio => "audio".into(),
        Capability::Microphone => "microphone".into(),
        Capability::Camera => "camera".into(),
        Capability::Location => "location".into(),
        Capability::Input => "input".into(),
        Capability::Internet => "internet".into(),
        Capability::Named(name) => name.clone(),
    }
}
