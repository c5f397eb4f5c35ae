//! What of a scenario the model leaves out, or only approximates: told in the record, so that nobody takes a figure for more
//! than it is.

use std::collections::BTreeSet;

use super::Options;
use crate::run::describe;
use crate::scenario::{Entry, Scenario, WaySpec, What};

/// A sentence for each thing that this scenario asks for and the model does not do as the full simulator does.
pub(super) fn of(scenario: &Scenario, options: Options) -> Vec<String> {
    let mut caveats = Vec::new();
    let mut say = |when: bool, what: &str| {
        if when {
            caveats.push(what.to_owned());
        }
    };
    let happens = |is: &dyn Fn(&What) -> bool| scenario.events.iter().any(|event| is(&event.what));
    let is_so = |is: &dyn Fn(&WaySpec) -> bool| ways(scenario).any(is);
    say(
        is_so(&|way| !way.jitter.is_zero() || way.reorder_ppm > 0),
        "jitter is approximated: parts of one flight do not overtake each other, so first contact is too quick",
    );
    say(
        is_so(&|way| way.loss_ppm > 0 || way.burst.is_some()),
        "what is lost comes later instead, and nobody is suspect for a moment because of it",
    );
    say(
        is_so(&|way| way.duplicate_ppm > 0) || scenario.segments.iter().any(|segment| segment.nat.is_some()),
        "duplicates and NAT boxes are left out",
    );
    say(
        is_so(&|way| way.rate_bytes_per_s > 0),
        "queues before a limited rate have no end: nothing is dropped there",
    );
    say(!scenario.links.is_empty(), "two devices with a way of their own are as their segments say");
    say(
        happens(&|what| matches!(what, What::Crash { at_disk_job: Some(_), .. })),
        "a crash that waits for a job of the disk comes at once",
    );
    say(
        scenario.devices.iter().any(|device| device.disk.capacity_bytes.is_some()),
        "disks are never full, and lose nothing at a crash",
    );
    say(
        is_so(&|way| way.mtu_bytes < WaySpec::default().mtu_bytes),
        "datagrams have one size, whatever fits the way",
    );
    say(
        scenario.devices.iter().any(|device| device.circles.len() > 1),
        "what a device is in several circles is reckoned as one circle of all it meets there",
    );
    say(
        scenario.events.iter().any(|event| matches!(event.what, What::Load { .. })),
        "the load that is shown is that of other things; a device's own work is counted in its energy only",
    );
    say(
        happens(&|what| matches!(what, What::Cut { one_way: true, .. })),
        "one direction that is cut counts as both",
    );
    say(
        happens(&|what| matches!(what, What::Shutdown { .. } | What::Sleep { announced: true, .. })),
        "who shuts down or announces its sleep does not move its tasks away before",
    );
    say(
        scenario.circles.iter().any(|circle| circle.entry == Entry::Pin),
        "circles that begin by pairing count as ready",
    );
    say(
        scenario.devices.iter().any(|device| device.clock_drift_ppm != 0),
        "clocks that drift do so for people only: all timers go alike",
    );
    say(
        scenario.tasks.iter().any(|task| task.program.is_some()),
        "programs do not run: each is reckoned as its `work`, with a state of 4 KiB",
    );
    say(
        scenario.tasks.iter().any(|task| task.effects > 0),
        "effects are counted and wait for checkpoints, but nobody gets them",
    );
    say(
        options != Options::default(),
        "what did not change is told, saved and sampled more rarely than by the library",
    );
    let idle: BTreeSet<String> =
        scenario.events.iter().filter(|event| is_idle(&event.what)).map(name).collect();
    if !idle.is_empty() {
        let idle: Vec<String> = idle.into_iter().collect();
        caveats.push(format!("without effect here: {}", idle.join(", ")));
    }
    caveats
}

fn name(event: &crate::scenario::Happening) -> String {
    describe(&event.what).split(' ').next().unwrap_or_default().to_owned()
}

/// All ways there are or will be.
fn ways(scenario: &Scenario) -> impl Iterator<Item = &WaySpec> {
    let weather = scenario.events.iter().filter_map(|event| match &event.what {
        What::Weather { way, .. } => Some(way),
        _ => None,
    });
    let segments = scenario.segments.iter().map(|segment| &segment.way);
    segments.chain(scenario.joins.iter().map(|join| &join.way)).chain(weather)
}

/// Whether the model only tells of it.
pub(super) fn is_idle(what: &What) -> bool {
    matches!(
        what,
        What::ClockJump { .. }
            | What::Drift { .. }
            | What::DiskFull { .. }
            | What::DiskFail { .. }
            | What::CancelTask { .. }
            | What::Remove { .. }
            | What::WrongPin { .. }
            | What::Stranger { .. }
    )
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::reduced::{City, city};
    use crate::scenario::Happening;

    #[test]
    fn only_what_a_scenario_asks_for_is_told() {
        let mut scenario = city(City { devices: 10, tasks: 0, crashes: 0, ..City::default() }, 1);
        for segment in &mut scenario.segments {
            segment.way = WaySpec::default();
        }
        assert_eq!(of(&scenario, Options::default()), Vec::<String>::new());
        assert_eq!(of(&scenario, Options::sparse()).len(), 1);

        scenario.segments[0].way.jitter = Duration::from_millis(1);
        let device = scenario.devices[0].name.clone();
        let what = What::DiskFail { device, span: Duration::from_secs(1) };
        scenario.events.push(Happening { at: Duration::ZERO, what, drawn: false });
        let told = of(&scenario, Options::default());
        assert!(told[0].starts_with("jitter is approximated"), "{told:?}");
        assert_eq!(told[1..], ["without effect here: disk-fail"]);
    }
}
