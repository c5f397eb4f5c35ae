//! Who takes steps of what: in one branch of a task, each epoch is one device's, and time goes forward in epochs.

use std::collections::BTreeMap;

use softbus_core::TaskId;
use softbus_core::wire::task::{Branch, Fence};

use crate::record::RunSpan;

/// Spans kept of one piece of work; later ones go into the last.
const SPANS: usize = 10_000;

/// A pause between two steps longer than this ends a span: the device was down, asleep, or did something else.
const PAUSE_US: u64 = 1_000_000;

/// All steps so far, as far as they matter.
#[derive(Default)]
pub(super) struct Live {
    /// The newest step of each branch: its epoch, who took it, and when.
    newest: BTreeMap<(TaskId, Branch), (u64, usize, u64)>,
    spans: BTreeMap<u32, Vec<RunSpan>>,
    /// Operations of all steps, also of those that were done again.
    done: BTreeMap<u32, u64>,
}

impl Live {
    /// Takes note of a step from `span.0` to `span.1`. `Err` says why it should not have been taken.
    pub fn stepped(
        &mut self,
        device: usize,
        order: u32,
        task: TaskId,
        fence: Fence,
        span: (u64, u64),
        ops: u64,
    ) -> Result<(), String> {
        let epoch = fence.epoch.0;
        let before = self.newest.get(&(task, fence.branch)).copied();
        let found = match before {
            Some((newest, other, at)) if epoch < newest => Err(format!(
                "device {device} took a step of work {order} in epoch {epoch} at {span:?} µs, after device {other} had taken \
                 one in epoch {newest} at {at} µs"
            )),
            Some((newest, other, at)) if epoch == newest && other != device => Err(format!(
                "devices {other} (at {at} µs) and {device} (at {span:?} µs) both took steps of work {order} in epoch {epoch}"
            )),
            // The newer one may have begun while the older one still ran, be it on the same device.
            Some((_, other, at)) if span.0 < at => Err(format!(
                "device {device} began a step of work {order} in epoch {epoch} at {} µs, while device {other} took one until \
                 {at} µs",
                span.0
            )),
            _ => Ok(()),
        };
        if before.is_none_or(|(newest, _, _)| newest <= epoch) {
            self.newest.insert((task, fence.branch), (epoch, device, span.1));
        }
        *self.done.entry(order).or_default() += ops;
        let spans = self.spans.entry(order).or_default();
        let full = spans.len() >= SPANS;
        match spans.last_mut() {
            Some(last)
                if full
                    || ((last.on, last.epoch, last.branch) == (device, epoch, fence.branch.fork)
                        && span.0 <= last.to_us.saturating_add(PAUSE_US)) =>
            {
                last.to_us = span.1;
            }
            _ => spans.push(RunSpan {
                on: device,
                from_us: span.0,
                to_us: span.1,
                epoch,
                branch: fence.branch.fork,
            }),
        }
        found
    }

    /// A step that began before its device slept, and was a step of then.
    pub fn begun_before(&mut self, order: u32, ops: u64) {
        *self.done.entry(order).or_default() += ops;
    }

    pub fn last(&self, order: u32) -> Option<RunSpan> {
        self.spans.get(&order)?.last().copied()
    }

    pub fn done(&self, order: u32) -> u64 {
        self.done.get(&order).copied().unwrap_or(0)
    }

    pub fn runs(&self, order: u32) -> Vec<RunSpan> {
        self.spans.get(&order).cloned().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use softbus_core::Epoch;

    use super::*;

    fn fence(epoch: u64) -> Fence {
        Fence { branch: Branch::NONE, epoch: Epoch(epoch) }
    }

    #[test]
    fn a_hand_over_is_fine_and_two_at_once_are_not() {
        let task = TaskId([1; 16]);
        let mut live = Live::default();
        assert_eq!(live.stepped(0, 7, task, fence(1), (0, 10), 1), Ok(()));
        assert_eq!(live.stepped(0, 7, task, fence(1), (10, 20), 1), Ok(()));
        assert_eq!(live.stepped(1, 7, task, fence(2), (25, 30), 1), Ok(()));
        assert!(
            live.stepped(1, 7, task, fence(2), (29, 30), 1).unwrap_err().contains("while"),
            "twice on one device"
        );
        assert_eq!(live.stepped(0, 7, task, fence(3), (30, 40), 1), Ok(()));
        let spans: Vec<_> = live.runs(7).iter().map(|run| (run.on, run.from_us, run.to_us)).collect();
        assert_eq!(spans, [(0, 0, 20), (1, 25, 30), (0, 30, 40)]);
        // A pause is none of its time there.
        let later = 40 + PAUSE_US;
        assert_eq!(live.stepped(0, 9, TaskId([2; 16]), fence(1), (0, 40), 1), Ok(()));
        assert_eq!(live.stepped(0, 9, TaskId([2; 16]), fence(1), (later, later + 5), 1), Ok(()));
        assert_eq!(live.stepped(0, 9, TaskId([2; 16]), fence(1), (later * 2 + 6, later * 2 + 7), 1), Ok(()));
        let spans: Vec<_> = live.runs(9).iter().map(|run| (run.from_us, run.to_us)).collect();
        assert_eq!(spans, [(0, later + 5), (later * 2 + 6, later * 2 + 7)]);
        assert!(live.stepped(1, 7, task, fence(2), (30, 41), 1).unwrap_err().contains("in epoch 3"));
        assert!(live.stepped(1, 7, task, fence(3), (40, 50), 1).unwrap_err().contains("both"));
        assert!(live.stepped(2, 7, task, fence(4), (35, 50), 1).unwrap_err().contains("while"));
        // Another branch is another thing.
        let other = Fence { branch: Branch { fork: 1, ..Branch::NONE }, epoch: Epoch(1) };
        assert_eq!(live.stepped(5, 7, task, other, (0, 60), 1), Ok(()));
    }
}
