use softbus_core::DynamicProfile;

use crate::limits;

/// Whether a dynamic profile changed by so much that neighbours should hear of it at once, and subscribers get
/// an event: the load by 10 % of the cores, the charge by 5 %, power, heat, the tasks running, free memory by an
/// eighth, the rate by a tenth, queued work by a quarter (or from or to none), any promise.
pub fn matters(old: &DynamicProfile, new: &DynamicProfile) -> bool {
    let battery = match (old.battery_permille, new.battery_permille) {
        (Some(a), Some(b)) => a.abs_diff(b) >= limits::BATTERY_STEP,
        (a, b) => a != b,
    };
    battery
        || old.load_permille.abs_diff(new.load_permille) >= limits::LOAD_STEP
        || old.power != new.power
        || old.thermal != new.thermal
        || old.running_tasks != new.running_tasks
        || old.promised != new.promised
        || by_a_part(old.memory_free_bytes, new.memory_free_bytes, 8)
        || by_a_part(old.rate_ops_per_s, new.rate_ops_per_s, 10)
        || by_a_part(old.queued_ops, new.queued_ops, 4)
}

/// Whether the two differ by a `part`th of the larger, or by all of it.
pub(crate) fn by_a_part(a: u64, b: u64, part: u64) -> bool {
    a != b && a.abs_diff(b) >= a.max(b) / part
}

#[cfg(test)]
mod tests {
    use softbus_core::{PowerSource, Thermal};

    use super::*;

    #[test]
    fn steps() {
        let base = DynamicProfile {
            load_permille: 500,
            memory_free_bytes: 8000,
            rate_ops_per_s: 1000,
            queued_ops: 400,
            battery_permille: Some(500),
            ..DynamicProfile::default()
        };
        let with = |change: fn(&mut DynamicProfile)| {
            let mut new = base.clone();
            change(&mut new);
            matters(&base, &new)
        };
        assert!(!with(|_| ()));
        assert!(!with(|p| p.sequence = 9));
        assert!(with(|p| p.load_permille = 600) && !with(|p| p.load_permille = 599));
        assert!(with(|p| p.load_permille = 400) && !with(|p| p.load_permille = 401));
        assert!(with(|p| p.battery_permille = None) && with(|p| p.battery_permille = Some(450)));
        assert!(!with(|p| p.battery_permille = Some(451)));
        assert!(with(|p| p.power = PowerSource::Mains) && with(|p| p.thermal = Thermal::Fair));
        assert!(with(|p| p.running_tasks = 1) && with(|p| p.queued_ops = 0));
        assert!(with(|p| p.promised.last = 1) && with(|p| p.promised.full = true));
        assert!(!with(|p| p.memory_free_bytes = 7500) && with(|p| p.memory_free_bytes = 7000));
        assert!(!with(|p| p.rate_ops_per_s = 950) && with(|p| p.rate_ops_per_s = 900));
    }
}
