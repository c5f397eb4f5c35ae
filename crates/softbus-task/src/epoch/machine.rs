//! The facade: one machine per device and task.

use softbus_core::wire::task::{Branch, Certificate, Decree};
use softbus_core::{BootMs, DeviceId};

use super::certificate::{Link, open_root, verify_chain};
use super::{Action, Durable, EpochError, Event, Setup, Submission};

/// Decides, for one task on one device, who runs it and when.
pub struct TaskMachine {
    setup: Setup,
    link: Link,
    durable: Durable,
}

impl TaskMachine {
    /// Submits a new task from this device.
    pub fn submit(
        setup: Setup,
        submission: Submission,
        now: BootMs,
    ) -> Result<(Self, Vec<Action>), EpochError> {
        let _ = (setup, submission, now);
        Err(EpochError::Invalid("submission is not built yet"))
    }

    /// Gets to know a task by the chain that another device sent.
    pub fn join(
        setup: Setup,
        from: DeviceId,
        links: Vec<Certificate>,
        now: BootMs,
    ) -> Result<(Self, Vec<Action>), EpochError> {
        let link = verify_chain(&links)?;
        let durable = Durable {
            task: link.decree.task,
            chain: links,
            next: Default::default(),
            held: None,
            incoming: None,
            starts: 0,
            failures: 0,
            error: String::new(),
            cancelled: None,
            forks: Vec::new(),
        };
        let _ = (from, now);
        Ok((Self { setup, link, durable }, Vec::new()))
    }

    /// Goes on after a restart, from the record last written.
    pub fn restore(setup: Setup, durable: Durable, now: BootMs) -> Result<(Self, Vec<Action>), EpochError> {
        let Some(Certificate::Root(root)) = durable.chain.first() else {
            return Err(EpochError::Invalid("the stored record of the task has no root"));
        };
        let link = open_root(root)?;
        let _ = now;
        Ok((Self { setup, link, durable }, Vec::new()))
    }

    /// Takes in what happened and says what to do.
    pub fn handle(&mut self, event: Event, now: BootMs) -> Vec<Action> {
        let _ = (event, now, &self.setup, &self.durable);
        Vec::new()
    }

    /// The decree of the last decided epoch.
    pub fn decree(&self) -> &Decree {
        &self.link.decree
    }

    /// The branch it belongs to.
    pub fn branch(&self) -> Branch {
        self.link.branch
    }
}
