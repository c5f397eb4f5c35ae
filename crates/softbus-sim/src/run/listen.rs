//! Listens to one run of a device: what its bus says goes into the trace, and into the figures.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use softbus::Bus;
use softbus::roster::{Event, Source, Update};
use softbus_core::wire::task_control::MoveReason;
use softbus_core::{DeviceId, TaskId};
use softbus_net::Presence;
use softbus_task::TaskEvent;

use super::heard::Heard;
use crate::device::Device;
use crate::scenario::TaskOrder;
use crate::trace::Trace;
use crate::watch::Watch;

/// How long whoever did not get a result waits before asking again.
const AGAIN: Duration = Duration::from_secs(5);

/// What whoever listens needs.
#[derive(Clone)]
pub(super) struct Ears {
    pub heard: Heard,
    pub watch: Watch,
    pub trace: Arc<Trace>,
    pub orders: Arc<Vec<TaskOrder>>,
    /// Of the devices, by their numbers.
    pub names: Arc<Vec<String>>,
}

impl Ears {
    /// Listens to this run of the device from now on.
    pub fn listen(&self, device: &Device, bus: &Bus) {
        // Dropped with this run of the host.
        let (ears, at) = (self.clone(), device.clone());
        let mut events = bus.tasks().events();
        device.host().spawn(async move {
            let mut last: BTreeMap<u32, u64> = BTreeMap::new();
            while let Some(event) = events.next().await {
                ears.task_event(&at, &mut last, event);
            }
        });
        let (ears, at) = (self.clone(), device.clone());
        let mut events = bus.events();
        device.host().spawn(async move {
            while let Some(update) = events.next().await {
                ears.roster_event(&at, update);
            }
        });
        let (ears, since) = (self.clone(), self.watch.now_us());
        let mut nearby = bus.nearby();
        device.host().spawn(async move {
            if nearby.wait_for(|seen| !seen.is_empty()).await.is_ok() {
                let took = ears.watch.now_us() - since;
                ears.heard.lock().discovery_us.push(took);
            }
        });
        let mine = self.orders.iter().enumerate().filter(|(_, order)| order.from == device.name());
        for (number, _) in mine {
            let task =
                self.heard.lock().orders.get(number).filter(|o| o.done_us.is_none()).and_then(|o| o.task);
            if let Some(task) = task {
                self.await_end(device, bus, number, task);
            }
        }
    }

    /// Waits on the submitter until a piece of work is accepted, and then for its result.
    pub fn await_end(&self, device: &Device, bus: &Bus, number: usize, task: softbus_core::TaskId) {
        let (ears, at, tasks) = (self.clone(), device.clone(), bus.tasks().clone());
        device.host().spawn(async move {
            let handle = match tasks.handle(task).await {
                Ok(handle) => handle,
                Err(error) => {
                    ears.log(&at, &format!("task {task} is not known any more: {error}"));
                    return;
                }
            };
            if ears.heard.lock().orders[number].accepted_us.is_none() && handle.accepted().await.is_ok() {
                ears.heard.lock().orders[number].accepted_us = Some(ears.watch.now_us());
            }
            let order = &ears.orders[number];
            let output = loop {
                let output = handle.result().await;
                let Err(error) = &output else { break output };
                ears.log(&at, &format!("no result of task {task}: {error}"));
                // Whoever has it may be out of reach.
                let state = handle.status().await.map(|status| status.state);
                if !matches!(state, Ok(softbus_task::TaskState::Done)) {
                    break output;
                }
                tokio::time::sleep(AGAIN).await;
            };
            let now = ears.watch.now_us();
            match output {
                Ok(output) => {
                    match ears.right(number, order, &output) {
                        Ok(()) => ears.watch.held("right-results"),
                        Err(text) => ears.watch.violated("right-results", text),
                    }
                    let mut heard = ears.heard.lock();
                    heard.orders[number].done_us = Some(now);
                    heard.orders[number].said = Some("done".into());
                }
                Err(error) => {
                    let mut heard = ears.heard.lock();
                    heard.orders[number].said = Some(error.to_string());
                }
            }
        });
    }

    /// Whether this is the result of an order.
    fn right(&self, number: usize, order: &TaskOrder, output: &[u8]) -> Result<(), String> {
        if let Some(expected) = &self.heard.lock().orders[number].expected {
            return match output == expected.finish {
                true => Ok(()),
                false => Err(format!(
                    "program `{}` left {} bytes other than the {} that it leaves if nothing disturbs it",
                    order.name,
                    output.len(),
                    expected.finish.len()
                )),
            };
        }
        let expected = super::input(number, order).expected();
        match postcard::from_bytes::<u64>(output) {
            Ok(output) if output == expected => Ok(()),
            Ok(output) => Err(format!("work `{}` gave {output:#x}, not {expected:#x}", order.name)),
            Err(error) => Err(format!("work `{}` gave no number: {error}", order.name)),
        }
    }

    /// Something that is no fault has changed who is with whom.
    pub fn disturbed(&self) {
        let now = self.watch.now_us();
        self.heard.lock().noticed.disturb(now);
    }

    /// Whether the circle of this name is there.
    pub fn knows(&self, circle: &str) -> bool {
        self.heard.lock().circles.contains_key(circle)
    }

    fn order(&self, task: &TaskId) -> Option<&TaskOrder> {
        let number = self.heard.lock().by_task.get(task).copied()?;
        self.orders.get(number)
    }

    fn log(&self, device: &Device, text: &str) {
        self.trace.line(self.watch.now_ns(), device.name(), text);
    }

    fn task_event(&self, device: &Device, last: &mut BTreeMap<u32, u64>, event: TaskEvent) {
        match &event {
            TaskEvent::Effect { task, sequence, bytes } => {
                // Acted on by who ordered the work.
                let mine = self.heard.lock().by_task.get(task).copied();
                let mine = mine.filter(|number| self.orders[*number].from == device.name());
                if let Some(number) = mine {
                    let number = number as u32;
                    let before = last.get(&number).copied();
                    last.insert(number, before.unwrap_or(0).max(*sequence));
                    self.watch.effect(number, *sequence, bytes, before);
                }
            }
            TaskEvent::EffectsMissed { task, to, .. } => {
                let number = self.heard.lock().by_task.get(task).copied();
                if let Some(number) = number.filter(|number| self.orders[*number].from == device.name()) {
                    self.watch.effects_missed(number as u32, *to);
                }
            }
            TaskEvent::Progress { .. } | TaskEvent::Preview { .. } => return,
            TaskEvent::Moved { task, moved } => {
                // Several devices hear of it: as whoever ordered it does.
                if let Some(order) = self.order(task).filter(|order| order.from == device.name()) {
                    let (word, why) = match &moved.reason {
                        MoveReason::Placed(_) => return,
                        MoveReason::Person(why) => ("a person", why.as_str()),
                        MoveReason::Bus(why) => ("the bus", why.as_str()),
                        MoveReason::Drain => ("its device goes", ""),
                        MoveReason::Failover => ("its device was lost", ""),
                        MoveReason::Adopted => ("adopted", ""),
                    };
                    let why = why.lines().next().filter(|why| !why.is_empty());
                    let why = why.map(|why| format!(", {why}")).unwrap_or_default();
                    let text = format!("`{}` moved ({word}{why}), epoch {}", order.name, moved.epoch.0);
                    self.watch.note("task", Some(device.index()), text);
                }
            }
            TaskEvent::Trouble { task, error } => {
                let name = self.order(task).map_or_else(|| task.to_string(), |order| order.name.clone());
                self.watch.note("task", Some(device.index()), format!("`{name}`: {error}"));
            }
            _ => {}
        }
        self.log(device, &format!("{event:?}"));
    }

    fn roster_event(&self, device: &Device, update: Update) {
        if let Update::Event(numbered) = &update {
            if matches!(numbered.event, Event::NowChanged { .. } | Event::LinkChanged { .. }) {
                return;
            }
            if let Event::PresenceChanged { id, to, .. } = &numbered.event {
                let now = self.watch.now_us();
                let mut heard = self.heard.lock();
                let about = heard.devices.get(id).copied();
                if let (Some(about), Presence::Offline | Presence::Online) = (about, to) {
                    heard.noticed.notice(device.index(), about, *to == Presence::Offline, now);
                }
            }
        }
        let said = match &update {
            Update::Event(numbered) => self.in_words(&numbered.event),
            Update::Lagged { missed, .. } => format!("missed {missed} roster events"),
        };
        self.log(device, &said);
    }

    /// A roster's event as a line of the trace. Devices go by name: an id is long, and takes long to write.
    fn in_words(&self, event: &Event) -> String {
        let of = |id: &DeviceId| {
            let index = self.heard.lock().devices.get(id).copied();
            index.and_then(|index| self.names.get(index)).cloned().unwrap_or_else(|| id.short())
        };
        match event {
            Event::Joined { id } => format!("{} is trusted now", of(id)),
            Event::Left { id } => format!("{} is not trusted any more", of(id)),
            Event::RoleChanged { id, role } => format!("role of {}: {role:?}", of(id)),
            Event::ProfileChanged { id } => format!("profile of {} changed", of(id)),
            Event::NowChanged { id } => format!("{} tells how it is", of(id)),
            Event::LinkChanged { id } => format!("link with {} changed", of(id)),
            Event::PresenceChanged { id, from, to, source } => {
                let source = match source {
                    Source::Via { neighbour, hops, rtt_us } => {
                        format!("via {} and {hops} more, {rtt_us} µs", of(neighbour))
                    }
                    source => format!("{source:?}"),
                };
                format!("presence of {}: {from:?} -> {to:?} ({source})", of(id))
            }
        }
    }
}
