//! The requests of a program that are under way here. They are no part of it: elsewhere they are begun anew.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::task::Waker;

use softbus_core::TaskId;

use super::Bus;
use super::services::{Question, Request, Services};

pub(crate) struct Live {
    services: Arc<dyn Services>,
    /// By their numbers.
    requests: BTreeMap<u64, Box<dyn Request>>,
}

impl Live {
    pub fn new(services: Arc<dyn Services>) -> Self {
        Self { services, requests: BTreeMap::new() }
    }

    /// Begins what the program asks, gives up what it does not wait for any more, and takes the answers in. Whether the
    /// program has changed by that.
    pub fn tend(&mut self, bus: &mut Bus, task: TaskId, waker: &Waker) -> bool {
        let unanswered = bus.unanswered();
        self.requests.retain(|number, _| unanswered.contains(number));
        let mut changed = false;
        for number in unanswered {
            if !self.requests.contains_key(&number)
                && let Some((target, bytes, before)) = bus.question(number)
            {
                let (bytes, waker) = (bytes.to_vec(), waker.clone());
                let begun = self.services.begin(Question { task, number, target, before, bytes, waker });
                self.requests.extend(begun.map(|request| (number, request)));
            }
            let Some(request) = self.requests.get_mut(&number) else { continue };
            let came = request.poll();
            if let Some(server) = request.server() {
                changed |= bus.asked_of(number, server);
            }
            if let Some(came) = came {
                bus.answered(number, came);
                self.requests.remove(&number);
                changed = true;
            }
        }
        changed
    }
}
