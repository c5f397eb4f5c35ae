//! How full the task room's queues and tables are.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use softbus_core::limits as core_limits;

use super::Tasks;
use crate::epoch::WITHHELD;
use crate::limits;

/// How full something is that has a limit.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Filling {
    /// What.
    pub what: &'static str,
    /// How many it holds now.
    pub held: usize,
    /// How many it may hold.
    pub most: usize,
}

impl Tasks {
    /// The queues and tables of this room now; of those of which each task or peer has one, the fullest. For tests and
    /// diagnosis: it looks at every task.
    pub fn filling(&self) -> Vec<Filling> {
        let inner = &self.inner;
        let (tasks, beginning, traces) = inner.counts();
        let (peers, for_peer) = inner.pipes_filled();
        let (mut for_task, mut withheld, mut kept) = (0, 0, 0);
        for actor in inner.actors() {
            for_task = for_task.max(actor.inbox.max_capacity() - actor.inbox.capacity());
            withheld = withheld.max(actor.shared.withheld.load(Ordering::Relaxed));
            kept = kept.max(actor.shared.parts().released.len());
        }
        // One place too many given back is no free place: it shows as one beyond the limit.
        let served = |free: &Arc<tokio::sync::Semaphore>, most: usize| match free.available_permits() {
            free if free <= most => most - free,
            free => free,
        };
        let filling = |what, held, most| Filling { what, held, most };
        vec![
            filling("tasks", tasks, core_limits::TASKS),
            filling("tasks that begin or are being forgotten", beginning, core_limits::TASKS),
            filling("traces of forgotten tasks", traces, limits::TRACES),
            filling("messages and commands for one task", for_task, limits::INBOX),
            filling("peers that are told of epochs", peers, core_limits::ROSTER_DEVICES),
            filling("messages of epochs for one peer", for_peer, limits::PIPE),
            filling("effects of one task that wait for a checkpoint", withheld, WITHHELD),
            filling("effects of one task that watchers may lack", kept, limits::EFFECTS),
            filling("promises of room", inner.promises().count(), limits::PROMISES),
            filling("tasks of others that are watched", self.shadows().len(), limits::SHADOWS),
            filling("watch streams served", served(&inner.watchers, limits::WATCHERS), limits::WATCHERS),
            filling("checkpoints served", served(inner.all_serving(), limits::SERVING), limits::SERVING),
        ]
    }
}
