//! Who runs a task: pure state machines, one [`TaskMachine`] per device and task. Events and `now` go in, actions
//! come out; the driver sends, stores, fetches and runs. No socket, clock, disk or randomness may enter here.
//!
//! # The driver's duties
//! - Give each [`Event`] with the boot clock's `now`; do the [`Action`]s in order.
//! - A message of an unknown task: if it is a [`Chain`](softbus_core::wire::task::EpochBody::Chain), check its
//!   [`authority`] and [`TaskMachine::join`]; else (or if it cannot be joined) answer
//!   [`EpochMessage::ask`](softbus_core::wire::task::EpochMessage::ask) and forget it; never answer an `AskChain`.
//! - To forget a task: only when [`View::settled`], or when this device has lost its part in it; and never without
//!   keeping its [`Trace`] durably, which is given to [`TaskMachine::join`] should the task be met again.
//! - A message with an [`authority`]: pass it on only if its signer may (a chain whose root is known needs no asking).
//! - [`Action::Run`] and the others that carry `until`: the instance compares the boot clock before each step and
//!   before it lets an effect out. A [`Tick`](Event::Tick) that comes late must not let it run on.
//! - Manifests are made with [`manifest::next`] under [`TaskMachine::decree`] as of the last `Run` or `Continue`.

/// Whether a safeguard is left out: never, but in builds for tests (feature `sabotage`) that prove that other tests notice.
macro_rules! broken {
    ($machine:expr, $safeguard:ident) => {{
        #[cfg(any(test, feature = "sabotage"))]
        let broken = $machine.setup.tuning.sabotage == Some(super::sabotage::Sabotage::$safeguard);
        #[cfg(not(any(test, feature = "sabotage")))]
        let broken = false;
        broken
    }};
}

mod acceptor;
mod adopt;
mod api;
pub mod certificate;
mod durable;
mod effects;
mod ending;
mod failover;
mod handover;
mod lease;
mod loss;
mod machine;
pub mod manifest;
mod members;
mod outbox;
mod proposer;
mod publish;
mod replicate;
mod rounds;
mod runner;
#[cfg(any(test, feature = "sabotage"))]
mod sabotage;
#[cfg(test)]
mod sim;
mod status;
mod trace;
mod tuning;

pub use api::{
    Action, Authority, Command, EpochError, Event, Links, NO_BRANCH, Notice, Setup, Status, Submission, View,
};
pub use certificate::{authority, cancel_order, majority};
pub use durable::{DURABLE_FORMAT, Durable, Held, Incoming, Next};
pub use effects::{EffectGate, EffectInbox, GateFull, Numbered, REPEATED, WITHHELD, WITHHELD_BYTES};
pub use handover::Hindrance;
pub use machine::TaskMachine;
#[cfg(any(test, feature = "sabotage"))]
pub use sabotage::Sabotage;
pub use trace::Trace;
pub use tuning::{Tuning, epsilon};
