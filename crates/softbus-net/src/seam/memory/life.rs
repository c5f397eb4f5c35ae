use std::future::Future;
use std::sync::Arc;

use tokio::sync::watch;

/// One run of a host's program. Everything that belongs to it asks whether it is over.
#[derive(Clone)]
pub(super) struct Life(Arc<watch::Sender<bool>>);

impl Life {
    pub(super) fn new() -> Self {
        Self(Arc::new(watch::Sender::new(false)))
    }

    pub(super) fn end(&self) {
        self.0.send_replace(true);
    }

    pub(super) fn is_over(&self) -> bool {
        *self.0.borrow()
    }

    /// Returns when it is over.
    pub(super) async fn over(&self) {
        let mut over = self.0.subscribe();
        // The sender lives as long as `self`.
        let _ = over.wait_for(|over| *over).await;
    }

    /// Runs `future` to its end, or drops it and returns `None` when the run is over.
    pub(super) async fn within<F: Future>(&self, future: F) -> Option<F::Output> {
        tokio::select! {
            biased;
            () = self.over() => None,
            value = future => Some(value),
        }
    }
}
