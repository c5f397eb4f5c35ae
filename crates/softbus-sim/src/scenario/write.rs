//! From a [`Scenario`] back to a file: all that was drawn is written out, and reading it gives the same scenario for
//! any seed. This is how a counterexample is kept.

use std::fmt::{Display, Write};
use std::time::Duration;

use super::kinds;
use super::model::{
    Bounds, Burst, Crypto, DeviceSpec, Disk, Entry, Happening, Heat, Power, RoleSpec, Scenario, Segment,
    TaskOrder, WaySpec, What,
};
use super::values::{
    CHANCE, Counted, DRIFT, ENERGY, Measured, OFFSET, PART, POWER, RADIO, RATE, RISE, SETTLE, SIZE, SPEED,
    TIME, WARMTH, WORK,
};

impl Scenario {
    /// This scenario as a file, with every event written out. What is as it is by default is left out.
    pub fn to_toml(&self) -> String {
        let mut out = Out::default();
        out.text("name", &self.name);
        out.text_if(!self.about.is_empty(), "about", &self.about);
        out.time("duration", self.duration);
        out.text_if(self.crypto == Crypto::Null, "crypto", "null");
        let usual = Bounds::default();
        if self.bounds != usual {
            out.head("[bounds]");
            out.time("settle", self.bounds.settle);
            out.time("roster", self.bounds.roster);
        }
        for segment in &self.segments {
            out.segment(segment);
        }
        for join in &self.joins {
            out.head("[[join]]");
            out.line("between", format_args!("[{}, {}]", quoted(&join.between.0), quoted(&join.between.1)));
            out.way(&join.way, &WaySpec::default());
        }
        for circle in &self.circles {
            out.head("[[circle]]");
            out.text("name", &circle.name);
            out.text_if(circle.entry == Entry::Pin, "entry", "pin");
        }
        for device in &self.devices {
            out.device(device);
        }
        for task in &self.tasks {
            out.task(task);
        }
        for link in &self.links {
            out.head("[[link]]");
            out.line("between", format_args!("[{}, {}]", quoted(&link.between.0), quoted(&link.between.1)));
            out.way(&link.way, &WaySpec::default());
        }
        for event in &self.events {
            out.event(event, &self.segments);
        }
        out.0
    }
}

#[derive(Default)]
struct Out(String);

impl Out {
    fn head(&mut self, head: &str) {
        self.0.push('\n');
        self.0.push_str(head);
        self.0.push('\n');
    }

    fn line(&mut self, key: &str, value: impl Display) {
        // Writing to a string does not fail.
        let _ = writeln!(self.0, "{key} = {value}");
    }

    fn text(&mut self, key: &str, value: &str) {
        self.line(key, quoted(value));
    }

    fn text_if(&mut self, said: bool, key: &str, value: &str) {
        if said {
            self.text(key, value);
        }
    }

    fn flag_if(&mut self, value: bool, usual: bool, key: &str) {
        if value != usual {
            self.line(key, value);
        }
    }

    fn count(&mut self, key: &str, kind: &Counted, value: impl TryInto<i128>) {
        self.line(key, counted(kind, value));
    }

    fn time(&mut self, key: &str, value: Duration) {
        self.count(key, &TIME, value.as_nanos());
    }

    /// What of a way differs from another.
    fn way(&mut self, way: &WaySpec, usual: &WaySpec) {
        let mut time = |key, value: Duration, usual: Duration| {
            if value != usual {
                self.time(key, value);
            }
        };
        time("latency", way.latency, usual.latency);
        time("jitter", way.jitter, usual.jitter);
        time("queue", way.queue, usual.queue);
        let mut chance = |key, value: u32, usual: u32| {
            if value != usual {
                self.count(key, &CHANCE, value);
            }
        };
        chance("loss", way.loss_ppm, usual.loss_ppm);
        chance("duplicate", way.duplicate_ppm, usual.duplicate_ppm);
        chance("reorder", way.reorder_ppm, usual.reorder_ppm);
        if way.burst != usual.burst {
            match way.burst {
                None => self.line("burst", false),
                Some(Burst { enter_ppm, leave_ppm, loss_ppm }) => {
                    let [enter, leave, loss] = [enter_ppm, leave_ppm, loss_ppm].map(|c| counted(&CHANCE, c));
                    self.line("burst", format_args!("{{ enter = {enter}, leave = {leave}, loss = {loss} }}"));
                }
            }
        }
        if way.rate_bytes_per_s != usual.rate_bytes_per_s {
            self.count("rate", &RATE, way.rate_bytes_per_s);
        }
        if way.mtu_bytes != usual.mtu_bytes {
            self.line("mtu", way.mtu_bytes);
        }
    }

    fn segment(&mut self, segment: &Segment) {
        self.head("[[segment]]");
        self.text("name", &segment.name);
        self.way(&segment.way, &WaySpec::default());
        self.flag_if(segment.shared, false, "shared");
        self.flag_if(segment.multicast, true, "multicast");
        if let Some(nat) = segment.nat {
            let timeout = counted(&TIME, nat.timeout.as_nanos());
            self.line("nat", format_args!("{{ timeout = {timeout}, filtering = {} }}", nat.filtering));
        }
    }

    fn device(&mut self, device: &DeviceSpec) {
        let usual = kinds::usual(device.kind);
        self.head("[[device]]");
        self.text("name", &device.name);
        self.text("kind", &device.kind.to_string());
        self.text("segment", &device.segment);
        if !device.circles.is_empty() {
            let roles = device
                .circles
                .iter()
                .map(|(circle, role)| format!("{} = {}", quoted(circle), as_word(*role)));
            self.line("circles", format_args!("{{ {} }}", roles.collect::<Vec<_>>().join(", ")));
        }
        if device.cores != usual.cores {
            self.line("cores", device.cores);
        }
        if device.rate_ops_per_s != usual.rate_ops_per_s {
            self.count("rate", &SPEED, device.rate_ops_per_s);
        }
        if device.memory_bytes != usual.memory_bytes {
            self.count("memory", &SIZE, device.memory_bytes);
        }
        match device.battery {
            battery if battery == usual.battery => {}
            None => self.line("battery", false),
            Some(b) => {
                let (capacity, charger) = (measured(&ENERGY, b.capacity_j), measured(&POWER, b.charger_w));
                let (charge, floor) = (counted(&PART, b.charge_permille), counted(&PART, b.floor_permille));
                self.line(
                    "battery",
                    format_args!(
                        "{{ capacity = {capacity}, charge = {charge}, floor = {floor}, charger = {charger}, plugged = {} }}",
                        b.plugged
                    ),
                );
            }
        }
        if let Some(Heat { ambient_c, c_per_w, settle_s, serious_c, critical_c }) = device.heat {
            let [ambient, serious, critical] =
                [ambient_c, serious_c, critical_c].map(|warmth| measured(&WARMTH, warmth));
            let (per_watt, settle) = (measured(&RISE, c_per_w), measured(&SETTLE, settle_s));
            self.line(
                "heat",
                format_args!(
                    "{{ ambient = {ambient}, per_watt = {per_watt}, settle = {settle}, serious = {serious}, \
                     critical = {critical} }}"
                ),
            );
        }
        if device.power != usual.power {
            let Power { idle_w, sleep_w, core_w, radio_j_per_byte } = device.power;
            let [idle, sleep, core] = [idle_w, sleep_w, core_w].map(|power| measured(&POWER, power));
            let radio = measured(&RADIO, radio_j_per_byte);
            self.line(
                "power",
                format_args!("{{ idle = {idle}, sleep = {sleep}, core = {core}, radio = {radio} }}"),
            );
        }
        if (device.clock_offset_ms, device.clock_drift_ppm) != (0, 0) {
            let offset = counted(&OFFSET, device.clock_offset_ms);
            let drift = counted(&DRIFT, device.clock_drift_ppm);
            self.line("clock", format_args!("{{ offset = {offset}, drift = {drift} }}"));
        }
        if device.disk != Disk::default() {
            let Disk { latency, capacity_bytes, torn } = device.disk;
            let latency = counted(&TIME, latency.as_nanos());
            let capacity = capacity_bytes
                .map_or(String::new(), |bytes| format!("capacity = {}, ", counted(&SIZE, bytes)));
            self.line("disk", format_args!("{{ latency = {latency}, {capacity}torn = {torn} }}"));
        }
        if device.link_budget != softbus_core::limits::LINK_BUDGET {
            self.line("links", device.link_budget);
        }
        if !device.starts.is_zero() {
            self.time("starts", device.starts);
        }
        self.flag_if(device.runs_tasks, usual.runs_tasks, "tasks");
    }

    fn task(&mut self, task: &TaskOrder) {
        self.head("[[task]]");
        self.text("name", &task.name);
        self.time("at", task.at);
        self.text("from", &task.from);
        self.count("work", &WORK, task.ops);
        match &task.program {
            Some(guest) => {
                self.text("program", guest.program.name());
                let args: Vec<String> = guest.args.iter().map(|arg| quoted(arg)).collect();
                self.line("args", format_args!("[{}]", args.join(", ")));
            }
            None => {
                self.count("state", &SIZE, task.state_bytes as u64);
                self.count("hot", &SIZE, task.hot_bytes as u64);
            }
        }
        self.count("memory", &SIZE, task.memory_bytes);
        if task.effects != 0 {
            self.line("effects", task.effects);
        }
        if let Some(holders) = task.quorum {
            self.text("policy", "quorum");
            self.line("holders", holders);
        }
        if let Some(device) = &task.start_on {
            self.text("start_on", device);
        }
        self.flag_if(task.stay, false, "stay");
    }

    fn event(&mut self, event: &Happening, segments: &[Segment]) {
        self.head("[[event]]");
        self.time("at", event.at);
        match &event.what {
            What::Crash { device, down, offline, at_disk_job } => {
                self.down("crash", device, *down);
                self.offline(*offline);
                if let Some(nth) = at_disk_job {
                    self.line("at_disk_job", nth);
                }
            }
            What::Kill { device, down, offline } => {
                self.down("kill", device, *down);
                self.offline(*offline);
            }
            What::Shutdown { device, down } => self.down("shutdown", device, *down),
            What::Lose { device } => self.of("lose", device),
            What::Sleep { device, announced, span } => {
                self.of("sleep", device);
                self.flag_if(*announced, true, "announced");
                self.time("for", *span);
            }
            What::Cut { from, to, one_way, span } => {
                self.text("do", "cut");
                self.text("from", from);
                self.text("to", to);
                self.flag_if(*one_way, false, "one_way");
                self.time("for", *span);
            }
            What::Partition { groups, span } => {
                self.text("do", "partition");
                let group = |group: &Vec<String>| {
                    let names: Vec<String> = group.iter().map(|name| quoted(name)).collect();
                    format!("[{}]", names.join(", "))
                };
                let groups: Vec<String> = groups.iter().map(group).collect();
                self.line("groups", format_args!("[{}]", groups.join(", ")));
                self.time("for", *span);
            }
            What::Move { device, segment } => {
                self.of("move", device);
                self.text("segment", segment);
            }
            What::Weather { segment, way, span } => {
                self.text("do", "weather");
                self.text("segment", segment);
                // It is laid over what the segment's way is like.
                let base = segments.iter().find(|s| s.name == *segment);
                self.way(way, &base.map_or(WaySpec::default(), |s| s.way));
                self.time("for", *span);
            }
            What::Load { device, permille, span } => {
                self.of("load", device);
                self.count("load", &PART, *permille);
                self.time("for", *span);
            }
            What::Plug { device } => self.of("plug", device),
            What::Unplug { device } => self.of("unplug", device),
            What::ClockJump { device, by_ms } => {
                self.of("clock-jump", device);
                self.count("by", &OFFSET, *by_ms);
            }
            What::Drift { device, ppm, span } => {
                self.of("drift", device);
                self.count("drift", &DRIFT, *ppm);
                self.time("for", *span);
            }
            What::DiskFull { device, span } => {
                self.of("disk-full", device);
                self.time("for", *span);
            }
            What::DiskFail { device, span } => {
                self.of("disk-fail", device);
                self.time("for", *span);
            }
            What::MoveTask { task, to } => {
                self.text("do", "move-task");
                self.text("task", task);
                if let Some(to) = to {
                    self.text("to", to);
                }
            }
            What::CancelTask { task } => {
                self.text("do", "cancel-task");
                self.text("task", task);
            }
            What::Remove { circle, by, device } => {
                self.of("remove", device);
                self.text("circle", circle);
                self.text("by", by);
            }
            What::WrongPin { shown, entered } => {
                self.text("do", "wrong-pin");
                self.text("shown", shown);
                self.text("entered", entered);
            }
            What::Stranger { segment } => {
                self.text("do", "stranger");
                self.text("segment", segment);
            }
        }
        self.flag_if(event.drawn, false, "drawn");
    }

    fn of(&mut self, what: &str, device: &str) {
        self.text("do", what);
        self.text("device", device);
    }

    fn offline(&mut self, offline: Duration) {
        if !offline.is_zero() {
            self.time("offline", offline);
        }
    }

    fn down(&mut self, what: &str, device: &str, down: Option<Duration>) {
        self.of(what, device);
        match down {
            Some(down) => self.time("down", down),
            None => self.text("down", "never"),
        }
    }
}

fn counted(kind: &Counted, value: impl TryInto<i128>) -> String {
    quoted(&kind.show(value.try_into().unwrap_or(i128::MAX)))
}

fn measured(kind: &Measured, value: f64) -> String {
    quoted(&kind.show(value))
}

/// With the quotes and escapes of TOML, on one line.
fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            c if c.is_control() => {
                let _ = write!(out, "\\u{:04X}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

fn as_word(role: RoleSpec) -> &'static str {
    match role {
        RoleSpec::Owner => "\"owner\"",
        RoleSpec::Member => "\"member\"",
        RoleSpec::Guest => "\"guest\"",
    }
}
