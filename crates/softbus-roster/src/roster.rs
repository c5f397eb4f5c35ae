//! The running roster.

use std::sync::Arc;
use std::time::Duration;

use softbus_core::{DeviceId, ServiceName};
use softbus_net::seam::store::Store;
use softbus_net::{Judge, Net};
use softbus_trust::DeviceKey;
use tokio::sync::watch;

use crate::{RosterConfig, RosterError, RosterView, SampleOverride, Sampled, Subscription};

/// This device's view of all trusted devices. Clones are handles to the same.
#[derive(Clone)]
pub struct Roster {}

#[allow(unused_variables, clippy::todo, clippy::unused_async)]
impl Roster {
    /// Calibrates if need be, makes and signs our own profile, registers `roster/1` and starts to sample and
    /// to tell.
    ///
    /// # Errors
    /// If the database fails or our own description breaks a limit.
    pub async fn start(
        net: Net,
        judge: Arc<dyn Judge>,
        store: Store,
        key: Arc<DeviceKey>,
        config: RosterConfig,
    ) -> Result<Self, RosterError> {
        todo!()
    }

    /// The roster as it changes.
    pub fn watch(&self) -> watch::Receiver<Arc<RosterView>> {
        todo!()
    }

    /// The roster now.
    pub fn view(&self) -> Arc<RosterView> {
        todo!()
    }

    /// Change events in order, from now on.
    pub fn events(&self) -> Subscription {
        todo!()
    }

    /// Says which services this device offers.
    pub async fn set_services(&self, services: Vec<ServiceName>) -> Result<(), RosterError> {
        todo!()
    }

    /// Says which task types this device runs, each `name/state-version`.
    pub async fn set_task_types(&self, task_types: Vec<String>) -> Result<(), RosterError> {
        todo!()
    }

    /// Says how many tasks run here and how much work is promised (in operations of the reference kernel).
    /// Told to the neighbours at once. Never waits.
    pub fn set_running(&self, running_tasks: u16, queued_ops: u64) {
        todo!()
    }

    /// Overrides sensor values for a while; the profile lists them as `declared` meanwhile.
    pub async fn inject(&self, what: SampleOverride, lasts: Duration) -> Result<(), RosterError> {
        todo!()
    }

    /// Ends all live overrides.
    pub async fn clear_injected(&self) -> Result<(), RosterError> {
        todo!()
    }

    /// Asks a device how it is right now, over a link opened on demand.
    ///
    /// # Errors
    /// If it is not trusted, not reachable, or does not say.
    pub async fn ask_now(&self, id: DeviceId) -> Result<Sampled, RosterError> {
        todo!()
    }

    /// The declared factor of this machine's real speed (1–1000). Who runs work here slows it down by it.
    pub fn rate_permille(&self) -> u16 {
        todo!()
    }

    /// Stops. The last views remain readable; event streams end.
    pub async fn shutdown(&self) {
        todo!()
    }
}
