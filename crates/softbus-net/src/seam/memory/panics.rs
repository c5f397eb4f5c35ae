//! What panicked on the hosts of this thread. A panic ends the future or the job in which it comes, as on a real device; a
//! simulation is to end by it.

use std::any::Any;
use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::pin;
use std::task::{Poll, Waker};

#[derive(Default)]
struct Panics {
    said: Vec<String>,
    waiting: Option<Waker>,
}

thread_local! {
    static PANICS: RefCell<Panics> = const { RefCell::new(Panics { said: Vec::new(), waiting: None }) };
}

/// Takes note of a panic.
pub(super) fn note(panic: &(dyn Any + Send)) {
    let text = panic.downcast_ref::<String>().cloned();
    let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
    let waiting = PANICS.with_borrow_mut(|panics| {
        panics.said.push(text.unwrap_or_else(|| "without a word".into()));
        panics.waiting.take()
    });
    if let Some(waiting) = waiting {
        waiting.wake();
    }
}

/// Takes note of a panic in `act`, which goes on.
pub(super) fn noted<T>(act: impl FnOnce() -> T) -> T {
    catch_unwind(AssertUnwindSafe(act)).unwrap_or_else(|panic| {
        note(&*panic);
        resume_unwind(panic)
    })
}

/// Runs what belongs to no host as what belongs to one: see [`panicked`].
pub async fn witnessed<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    poll_fn(|cx| noted(|| future.as_mut().poll(cx))).await
}

/// What the panics said of which nobody was told yet.
pub fn panics() -> Vec<String> {
    PANICS.with_borrow_mut(|panics| std::mem::take(&mut panics.said))
}

/// Waits until something panics that runs on this thread for a host, or is [`witnessed`]. Gives what the panics said. One at
/// a time can wait.
pub async fn panicked() -> Vec<String> {
    poll_fn(|cx| {
        PANICS.with_borrow_mut(|panics| {
            if panics.said.is_empty() {
                panics.waiting = Some(cx.waker().clone());
                return Poll::Pending;
            }
            Poll::Ready(std::mem::take(&mut panics.said))
        })
    })
    .await
}
