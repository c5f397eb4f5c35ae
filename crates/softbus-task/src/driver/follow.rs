//! Watching a task that runs elsewhere.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use softbus_core::wire::task_control::{Watch, WatchNote};
use softbus_core::{DeviceId, TaskId};
use softbus_net::write_message;
use tokio::sync::{mpsc, oneshot};
use tokio::time::sleep;

use super::Inner;
use crate::limits;

/// What a follower heard.
pub(crate) struct Heard {
    pub from: DeviceId,
    pub note: WatchNote,
}

/// Follows as long as it is kept.
pub(crate) struct Follow {
    pub runner: DeviceId,
    /// The task is over: what is missing is not urgent.
    pub over: Arc<AtomicBool>,
    _end: oneshot::Sender<()>,
}

/// Opens a watch stream to `runner` and hands on what comes; opens it again when it breaks.
pub(crate) fn follow(
    inner: &Arc<Inner>,
    task: TaskId,
    runner: DeviceId,
    effects_from: u64,
    heard: mpsc::Sender<Heard>,
) -> Follow {
    let (end, mut ended) = oneshot::channel();
    let over = Arc::new(AtomicBool::new(false));
    let is_over = over.clone();
    let spawner = inner.clone();
    let inner = inner.clone();
    spawner.spawn(async move {
        let listen = async {
            let mut wait = limits::FOLLOW_RETRY;
            let mut from = effects_from;
            loop {
                if let Ok(mut channel) = inner.open(runner).await {
                    let asked = write_message(&mut channel.send, &Watch { task, effects_from: from }).await;
                    while asked.is_ok() {
                        let Ok(Some(note)) = channel.recv_message::<WatchNote>().await else { break };
                        wait = limits::FOLLOW_RETRY;
                        if let WatchNote::Effect { sequence, .. } = &note {
                            // Not the greatest: a liar's leap ends with its right.
                            from = sequence.saturating_add(1);
                        }
                        let last = matches!(&note, WatchNote::Status(status) if status.state.is_final());
                        if heard.send(Heard { from: runner, note }).await.is_err() {
                            return;
                        }
                        if last {
                            return;
                        }
                    }
                }
                sleep(wait).await;
                let most = match is_over.load(Ordering::Relaxed) {
                    true => limits::FOLLOW_OVER_RETRY_MAX,
                    false => limits::FOLLOW_RETRY_MAX,
                };
                wait = (wait * 2).min(most);
            }
        };
        tokio::select! {
            biased;
            _ = &mut ended => {}
            () = listen => {}
        }
    });
    Follow { runner, over, _end: end }
}
