//! The bounds of this room, by name (law 3).

use std::time::Duration;

/// Messages and commands that may wait for one task's actor; messages of the epoch machines are dropped beyond
/// (they are repeated), commands wait.
pub const INBOX: usize = 256;
/// Reports of a running instance that may wait; it stands still beyond.
pub const REPORTS: usize = 16;
/// Messages that may wait for one peer; dropped beyond (the machines repeat what matters).
pub const PIPE: usize = 256;
/// Events that a slow subscriber may lag behind before it misses some.
pub const EVENTS: usize = 256;
/// Effects of one task that are kept for watchers who may lack them …
pub const EFFECTS: usize = 256;
/// … and their bytes.
pub const EFFECT_BYTES: usize = 1 << 20;
/// Pieces read, sealed or stored in one job, so that other jobs get their turn.
pub const BATCH: usize = 16;
/// Pieces read or stored in one job while others travel: few, so that disk, ciphers and network work side by side also
/// on the little that a hand-over sends last.
pub const PIECES: usize = 4;
/// Batches under way between disk and network.
pub const BATCHES: usize = 3;
/// Checkpoints served at once, to all peers.
pub const SERVING: usize = 32;
/// Checkpoints served at once to one peer.
pub const SERVING_PEER: usize = 4;
/// Watch streams served at once.
pub const WATCHERS: usize = 256;
/// Tasks watched that this device has no part in.
pub const SHADOWS: usize = 256;
/// Tasks of one submitter, or told of by one device, that another device takes part in …
pub const TASKS_PEER: usize = 1024;
/// … and the bytes of their certificates.
pub const TASKS_PEER_BYTES: usize = 32 << 20;
/// Rounds of asking one source for what is still missing.
pub const WANT_ROUNDS: usize = 4;
/// Devices that are asked for a content before whoever sends the rest is.
pub const CONTENT_ASKED: usize = 3;
/// For how long no news of a content that comes from elsewhere is waited for, after all the rest is here …
pub const CONTENT_PATIENCE: Duration = Duration::from_secs(2);
/// … and how long in all, while the sender of the rest waits; then that is asked for it, too.
pub const CONTENT_WAIT: Duration = Duration::from_secs(6);
/// Least part of a content that is fetched from another device than the rest, in bytes.
pub const CONTENT_WORTH: u64 = 256 << 10;
/// Such a device may be so much farther away than the sender of the rest, beside twice as far.
pub const CONTENT_FARTHER: Duration = Duration::from_millis(5);
/// Contents that are in memory at once to be kept, and as many of which chunks are made.
pub const CONTENTS_AT_ONCE: usize = 2;
/// Longest wait of an ordered move for its time: until the task has got its state, or an epoch is decided.
pub const MOVE_WAIT: Duration = Duration::from_secs(10);
/// Orders to pause, resume or save one task that wait …
pub const ORDERS: usize = 16;
/// … and how long: until the task has got its state, a move is called off, or holders have its checkpoint.
pub const ORDER_WAIT: Duration = Duration::from_secs(10);
/// How often such an order is given anew because the task's epoch changed …
pub const ORDER_TRIES: usize = 3;
/// … and how long the news of that is waited for.
pub const ORDER_NEWS: Duration = Duration::from_secs(1);
/// For how long a checkpoint is kept for whoever saves it, before it begins to fetch it …
pub const SAVE_KEEP: Duration = Duration::from_secs(60);
/// … and how many at once.
pub const SAVES: usize = 32;
/// Longest wait of whoever ordered a move for its end; a large state on a slow network may take longer.
pub const MOVE_PATIENCE: Duration = Duration::from_secs(45);
/// Longest wait for the new runner's account of a move that is decided.
pub const MOVE_TOLD: Duration = Duration::from_secs(5);
/// Checkpoints of one task that are fetched at once …
pub const FETCHES: usize = 4;
/// … and those of them that the same device is asked for first.
pub const FETCHES_PEER: usize = 2;
/// A device that gave nothing for so long is no longer waited for alone when another has the checkpoint, too.
pub const FETCH_PATIENCE: Duration = Duration::from_millis(500);
/// Longest wait for the next message of a transfer.
pub const TRANSFER_SILENCE: Duration = Duration::from_secs(15);
/// Longest wait for the answer to a request.
pub const ANSWER: Duration = Duration::from_secs(5);
/// Devices asked at once to prove where a task stands.
pub const PROOFS: usize = 8;
/// Longest wait for each peer when all are asked what tasks they know.
pub const ASK_ALL: Duration = Duration::from_secs(2);
/// What a step should take: the budget follows it.
pub const STEP: Duration = Duration::from_millis(20);
/// Longest rest of a task that says it waits, before it is asked again and its checkpoints are looked after.
pub const WAIT: Duration = Duration::from_millis(100);
/// Least time between two statuses to one watcher.
pub const STATUS_GAP: Duration = Duration::from_millis(50);
/// Least time between two progress events.
pub const PROGRESS_GAP: Duration = Duration::from_millis(100);
/// Least time between two looks at whether a running task should move.
pub const REBALANCE_GAP: Duration = Duration::from_millis(500);
/// First wait before a watch stream is opened again.
pub const FOLLOW_RETRY: Duration = Duration::from_millis(200);
/// Longest such wait; it doubles with every failure.
pub const FOLLOW_RETRY_MAX: Duration = Duration::from_secs(5);
/// The same of a task that is over.
pub const FOLLOW_OVER_RETRY_MAX: Duration = Duration::from_secs(600);
/// Part of the run time that checkpoints may take: the interval is at least so many times their cost.
pub const CHECKPOINT_SHARE: u32 = 10;
/// For how little of the run time a task may stand still for checkpoints: the interval is at least so many times as long.
pub const CHECKPOINT_STILL: u32 = 33;
/// Longest interval between checkpoints, whatever they cost.
pub const CHECKPOINT_INTERVAL_MAX: Duration = Duration::from_secs(30);
/// Interval between checkpoints while effects wait for one.
pub const CHECKPOINT_EFFECTS: Duration = Duration::from_millis(100);
/// First wait before a checkpoint that could not be stored is tried again; it doubles.
pub const STORE_RETRY: Duration = Duration::from_millis(500);
/// Longest such wait.
pub const STORE_RETRY_MAX: Duration = Duration::from_secs(10);
/// Devices of which is not known how they are and that are asked so before a task is placed, in number.
pub const ASKED: usize = 64;
/// How many of them at once.
pub const ASKED_AT_ONCE: usize = 16;
/// How long their answers are waited for.
pub const ASKED_WAIT: Duration = Duration::from_millis(500);
/// For how long a lease on another device is asked.
pub const LEASE: Duration = Duration::from_secs(10);
/// A state put together for a hand-over is dropped from memory if the hand-over does not come about so long.
pub const WARM_KEEP: Duration = Duration::from_secs(60);
/// Leases on other devices that are remembered here.
pub const PROMISES: usize = 256;
/// Candidates asked for a lease before giving up.
pub const LEASE_TRIES: usize = 8;
/// How often it is written down for how long a task has been over.
pub const RETENTION_STEP: Duration = Duration::from_secs(3600);
/// How long a device that neither submitted an ended task nor holds its result still knows of it.
pub const KNOW_ENDED: Duration = Duration::from_secs(60);
/// How long a device at least knows of an ended task if others did not say that they know of its end: they may be asleep,
/// or gone for good.
pub const KNOW_UNSETTLED: Duration = Duration::from_secs(30 * 24 * 3600);
/// For how long at least an ended task is known after the last who had a part in it heard of its end.
pub const FETCH_GRACE: Duration = Duration::from_secs(4 * 3600);
/// How long a task that took its last step waits for its last effects to leave, before it ends without.
pub const LAST_EFFECTS: Duration = Duration::from_secs(60);
/// Traces of forgotten tasks that one device keeps, in number; the oldest go first. A trace keeps a device from voting twice
/// about an epoch.
pub const TRACES: usize = 16_384;
