//! How good a placement was: against one that knows how every device truly is, and tries them all.

/// A device as it truly is.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Truth {
    /// Its number.
    pub device: usize,
    /// Its cores.
    pub cores: f64,
    /// Speed of each, as warm as it is and as far as other things leave it, in operations per second.
    pub rate_ops_per_s: f64,
    /// What is left of each piece of work on it.
    pub others: Vec<u64>,
    /// Seconds until the work's input is there.
    pub transfer_s: f64,
}

impl Truth {
    /// Seconds until `ops` more operations are done here: each piece of work gets its fair share of the cores, and at most
    /// one; who is done leaves its share to the rest. Nothing else arrives meanwhile.
    pub fn completion_s(&self, ops: u64) -> f64 {
        let mut left: Vec<f64> = self.others.iter().map(|ops| *ops as f64).filter(|ops| *ops > 0.0).collect();
        left.sort_by(f64::total_cmp);
        let (mut mine, mut spent, mut done_each) = (ops as f64, self.transfer_s, 0.0);
        for (index, other) in left.iter().enumerate() {
            let sharing = (left.len() - index + 1) as f64;
            let speed = self.rate_ops_per_s * (self.cores / sharing).min(1.0);
            // Until the shortest of the others is done, or we are.
            let ops = (other - done_each).min(mine);
            spent += ops / speed;
            mine -= ops;
            done_each += ops;
            if mine <= 0.0 {
                return spent;
            }
        }
        spent + mine / (self.rate_ops_per_s * self.cores.min(1.0))
    }
}

/// In microseconds: what it takes on the device that was chosen, and on the best. `None` if the chosen one is none of
/// them.
pub(super) fn judge(all: &[Truth], chosen: usize, ops: u64) -> Option<(u64, u64)> {
    let micros = |seconds: f64| (seconds * 1e6) as u64;
    let best = all.iter().map(|truth| truth.completion_s(ops)).min_by(f64::total_cmp)?;
    let chosen = all.iter().find(|truth| truth.device == chosen)?.completion_s(ops);
    Some((micros(chosen), micros(best)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn truth(device: usize, cores: f64, rate: f64, others: &[u64]) -> Truth {
        Truth { device, cores, rate_ops_per_s: rate, others: others.to_vec(), transfer_s: 0.0 }
    }

    #[test]
    fn work_shares_the_cores_until_others_are_done() {
        assert_eq!(truth(0, 4.0, 10.0, &[]).completion_s(100), 10.0);
        assert_eq!(truth(0, 4.0, 10.0, &[50, 50, 50]).completion_s(100), 10.0, "a core each");
        // Two on one core: both at half speed until the other's 20 are done, in 4 s; then 80 more in 8 s.
        assert_eq!(truth(0, 1.0, 10.0, &[20]).completion_s(100), 12.0);
        // It is done first.
        assert_eq!(truth(0, 1.0, 10.0, &[2000]).completion_s(100), 20.0);
        assert_eq!(truth(0, 0.5, 10.0, &[]).completion_s(100), 20.0);
    }

    #[test]
    fn the_best_of_all_is_found() {
        let all = [truth(3, 1.0, 10.0, &[]), truth(5, 1.0, 20.0, &[])];
        assert_eq!(judge(&all, 3, 100), Some((10_000_000, 5_000_000)));
        assert_eq!(judge(&all, 5, 100), Some((5_000_000, 5_000_000)));
        assert_eq!(judge(&all, 4, 100), None);
    }
}
