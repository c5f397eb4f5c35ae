//! Answers kept until the requester has them, so that a request sent again after a redial is carried out
//! once. Pure, but for the channel that wakes who waits for a running one.

use std::collections::BTreeMap;
use std::sync::Arc;

use softbus_core::{ErrorCode, LinkId, limits};
use tokio::sync::watch;

/// What a handler said.
pub(super) type Answer = Arc<Result<Vec<u8>, ErrorCode>>;

/// The requests of one peer on the present link.
#[derive(Default)]
pub(super) struct Answers {
    link: Option<LinkId>,
    slots: BTreeMap<u64, Slot>,
    /// Requests that are over and whose answer is not kept: ranges, first → last. They number at most one
    /// more than the slots between them.
    over: BTreeMap<u64, u64>,
    bytes: usize,
}

enum Slot {
    Running(watch::Sender<Option<Answer>>),
    Done(Answer),
}

/// What to do with a request that came in.
pub(super) enum Begin {
    /// Carry it out, and tell by [`Answers::finish`].
    Run,
    /// It is being carried out: wait for its answer.
    Wait(watch::Receiver<Option<Answer>>),
    /// It was carried out.
    Answered(Answer),
    /// Do not carry it out.
    Refuse(ErrorCode),
}

impl Answers {
    /// A request came in. `link` must be the link of the connection it came on.
    pub(super) fn begin(&mut self, link: LinkId, id: u64, done_below: u64) -> Begin {
        if self.link != Some(link) {
            // The peer restarted: it will not ask for the answers of its former life. Handlers still running
            // for that go on, in the places that they hold; their answers find no slot.
            *self = Self { link: Some(link), ..Self::default() };
        }
        self.forget_below(done_below);
        match self.slots.get(&id) {
            Some(Slot::Running(sender)) => Begin::Wait(sender.subscribe()),
            Some(Slot::Done(answer)) => Begin::Answered(answer.clone()),
            None if self.is_over(id) => Begin::Refuse(ErrorCode::Conflict),
            None if self.running() >= limits::PEER_REQUESTS => Begin::Refuse(ErrorCode::Busy),
            None => {
                self.slots.insert(id, Slot::Running(watch::Sender::new(None)));
                Begin::Run
            }
        }
    }

    /// The handler has answered.
    pub(super) fn finish(&mut self, link: LinkId, id: u64, answer: Answer) {
        if self.link != Some(link) {
            return;
        }
        if let Some(slot @ Slot::Running(_)) = self.slots.get_mut(&id) {
            let len = answer.as_ref().as_ref().map_or(0, Vec::len);
            if let Slot::Running(sender) = std::mem::replace(slot, Slot::Done(answer.clone())) {
                sender.send_replace(Some(answer));
            }
            self.bytes += len;
            self.make_room();
        }
    }

    /// There is no room to carry out what was just begun: it was never begun.
    pub(super) fn withdraw(&mut self, id: u64) {
        self.slots.remove(&id);
    }

    /// The requester has the answer, or gave up.
    pub(super) fn forget(&mut self, link: LinkId, id: u64) {
        if self.link == Some(link) && self.slots.contains_key(&id) {
            self.drop_slot(id);
        }
    }

    fn forget_below(&mut self, done_below: u64) {
        while let Some((&id, _)) = self.slots.first_key_value()
            && id < done_below
        {
            self.drop_slot(id);
        }
        if let Some(last) = done_below.checked_sub(1) {
            self.note_over(0, last);
        }
    }

    /// Past the bounds the oldest answers go: if they are asked for again, the requester gets an error, never a
    /// second execution.
    fn make_room(&mut self) {
        while self.bytes > limits::PEER_ANSWER_BYTES || self.slots.len() > 2 * limits::PEER_REQUESTS {
            let oldest = self.slots.iter().find(|(_, s)| matches!(s, Slot::Done(_))).map(|(id, _)| *id);
            let Some(oldest) = oldest else { break };
            self.drop_slot(oldest);
        }
    }

    fn drop_slot(&mut self, id: u64) {
        if let Some(Slot::Done(answer)) = self.slots.remove(&id) {
            self.bytes -= answer.as_ref().as_ref().map_or(0, Vec::len);
        }
        self.note_over(id, id);
    }

    fn running(&self) -> usize {
        self.slots.values().filter(|slot| matches!(slot, Slot::Running(_))).count()
    }

    fn is_over(&self, id: u64) -> bool {
        self.over.range(..=id).next_back().is_some_and(|(_, last)| *last >= id)
    }

    fn note_over(&mut self, mut first: u64, mut last: u64) {
        // Join with the range that begins before and touches, then with all that begin inside or right after.
        if let Some((&start, &end)) = self.over.range(..=first).next_back()
            && end.saturating_add(1) >= first
        {
            first = start;
            last = last.max(end);
        }
        while let Some((&start, &end)) = self.over.range(first..=last.saturating_add(1)).next() {
            self.over.remove(&start);
            last = last.max(end);
        }
        self.over.insert(first, last);
        // A peer that skips ids makes holes; past this bound the lowest ones close.
        while self.over.len() > 4 * limits::PEER_REQUESTS {
            let Some((first, _)) = self.over.pop_first() else { break };
            if let Some((_, last)) = self.over.pop_first() {
                self.over.insert(first, last);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    const LINK: LinkId = LinkId([1; 16]);

    fn answer(len: usize) -> Answer {
        Arc::new(Ok(vec![7; len]))
    }

    #[test]
    fn a_request_is_carried_out_once() {
        let mut answers = Answers::default();
        assert!(matches!(answers.begin(LINK, 1, 0), Begin::Run));
        let Begin::Wait(mut waiting) = answers.begin(LINK, 1, 0) else { panic!("runs") };
        answers.finish(LINK, 1, answer(3));
        assert_eq!(waiting.borrow_and_update().as_ref().unwrap().as_ref(), &Ok(vec![7; 3]));
        assert!(matches!(answers.begin(LINK, 1, 0), Begin::Answered(_)));
        answers.forget(LINK, 1);
        assert!(matches!(answers.begin(LINK, 1, 0), Begin::Refuse(ErrorCode::Conflict)));
    }

    #[test]
    fn a_restarted_peer_begins_anew() {
        let mut answers = Answers::default();
        assert!(matches!(answers.begin(LINK, 1, 0), Begin::Run));
        let other = LinkId([2; 16]);
        assert!(matches!(answers.begin(other, 1, 0), Begin::Run));
        answers.finish(LINK, 1, answer(1));
        assert!(matches!(answers.begin(other, 1, 0), Begin::Wait(_)), "the old life's answer is not its");
    }

    #[test]
    fn bounds_hold() {
        let mut answers = Answers::default();
        for id in 0..limits::PEER_REQUESTS as u64 {
            assert!(matches!(answers.begin(LINK, id, 0), Begin::Run));
        }
        assert!(matches!(answers.begin(LINK, 999, 0), Begin::Refuse(ErrorCode::Busy)));
        for id in 0..limits::PEER_REQUESTS as u64 {
            answers.finish(LINK, id, answer(limits::REQUEST_BYTES));
        }
        assert!(answers.bytes <= limits::PEER_ANSWER_BYTES);
        assert!(matches!(answers.begin(LINK, 0, 0), Begin::Refuse(ErrorCode::Conflict)), "went for room");
        assert!(matches!(answers.begin(LINK, 127, 0), Begin::Answered(_)));
        assert!(matches!(answers.begin(LINK, 128, 128), Begin::Run));
        assert_eq!(answers.bytes, 0);
        assert_eq!(answers.over.len(), 1);
    }

    proptest! {
        /// Against a set that remembers everything: nothing runs twice, and the table stays small.
        #[test]
        fn nothing_runs_twice(ops in proptest::collection::vec((0u64..40, 0u8..4, 0u64..40), 0..300)) {
            let mut answers = Answers::default();
            let mut ran = BTreeSet::new();
            for (id, what, below) in ops {
                match what {
                    0 | 1 => if let Begin::Run = answers.begin(LINK, id, if what == 1 { below } else { 0 }) {
                        prop_assert!(ran.insert(id), "{} ran twice", id);
                    },
                    2 => answers.finish(LINK, id, answer(id as usize)),
                    _ => answers.forget(LINK, id),
                }
                prop_assert!(answers.over.len() <= 42);
                let bytes: usize = answers.slots.values()
                    .map(|s| if let Slot::Done(a) = s { a.as_ref().as_ref().unwrap().len() } else { 0 }).sum();
                prop_assert_eq!(bytes, answers.bytes);
            }
        }

        #[test]
        fn hostile_ids_never_panic(ops in proptest::collection::vec((any::<u64>(), any::<u64>()), 0..700)) {
            let mut answers = Answers::default();
            for (id, below) in ops {
                answers.begin(LINK, id, below % 3);
                answers.finish(LINK, id, answer(1));
                answers.forget(LINK, id);
                prop_assert!(answers.over.len() <= 4 * limits::PEER_REQUESTS);
            }
            answers.begin(LINK, u64::MAX, u64::MAX);
            answers.forget(LINK, u64::MAX);
        }
    }
}
