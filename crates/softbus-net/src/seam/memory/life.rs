use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use tokio::sync::watch;

use super::{lock, panics};

/// One run of a host's program. Everything that belongs to it asks whether it is over, and stands still while the host
/// sleeps.
#[derive(Clone)]
pub(super) struct Life(Arc<Shared>);

struct Shared {
    over: watch::Sender<bool>,
    sleep: Mutex<Sleep>,
}

#[derive(Default)]
struct Sleep {
    asleep: bool,
    /// How often it woke.
    nights: u64,
    /// What has something to do since it fell asleep: each future once, in order.
    waiting: Vec<Waker>,
}

impl Life {
    pub(super) fn new() -> Self {
        Self(Arc::new(Shared { over: watch::Sender::new(false), sleep: Mutex::default() }))
    }

    pub(super) fn end(&self) {
        self.0.over.send_replace(true);
    }

    pub(super) fn is_over(&self) -> bool {
        *self.0.over.borrow()
    }

    /// Returns when it is over.
    pub(super) async fn over(&self) {
        let mut over = self.0.over.subscribe();
        // The sender lives as long as `self`.
        let _ = over.wait_for(|over| *over).await;
    }

    /// From now on nothing of it runs.
    pub(super) fn sleep(&self) {
        lock(&self.0.sleep).asleep = true;
    }

    /// What had something to do meanwhile does it now.
    pub(super) fn wake(&self) {
        let waiting = {
            let mut sleep = lock(&self.0.sleep);
            sleep.asleep = false;
            sleep.nights += 1;
            std::mem::take(&mut sleep.waiting)
        };
        waiting.into_iter().for_each(Waker::wake);
    }

    /// Whether it sleeps; then `cx` is woken when it does not any more. `noted`: the night in which that was last arranged.
    fn sleeps(&self, cx: &Context<'_>, noted: &mut Option<u64>) -> bool {
        let mut sleep = lock(&self.0.sleep);
        if sleep.asleep && *noted != Some(sleep.nights) {
            *noted = Some(sleep.nights);
            sleep.waiting.push(cx.waker().clone());
        }
        sleep.asleep
    }

    /// Runs `future` to its end, or drops it and returns `None` when the run is over. While the host sleeps it is not polled.
    pub(super) async fn within<F: Future>(&self, future: F) -> Option<F::Output> {
        let mut future = pin!(future);
        let mut noted = None;
        let awake = poll_fn(|cx| match self.sleeps(cx, &mut noted) {
            true => Poll::Pending,
            false => panics::noted(|| future.as_mut().poll(cx)),
        });
        tokio::select! {
            biased;
            () = self.over() => None,
            value = awake => Some(value),
        }
    }
}
