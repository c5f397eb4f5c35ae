//! Who this node is, how it does, and facts for the doctor.

use softbus::Presence;
use softbus::core::WallMs;

use super::Backend;
use crate::clock::wall;
use crate::config::Interfaces;
use crate::control::{ClockOffset, DiagnosisView, StatusView};
use crate::failure::Failure;

/// What was heard longer ago tells nothing of clocks any more.
const FRESH_MS: u64 = 60_000;

impl Backend {
    /// Who and how.
    pub(super) async fn status(&self) -> StatusView {
        let view = self.bus.watch();
        let view = view.borrow().clone();
        let own = view.own().and_then(|own| own.profile.clone());
        let circles = self.bus.circles().circles();
        let waiting = self.words_waiting().await;
        StatusView {
            id: self.bus.id(),
            name: own.as_ref().map(|p| p.name.clone()).unwrap_or_default(),
            kind: own.as_ref().map(|p| p.kind).unwrap_or_default(),
            version: env!("CARGO_PKG_VERSION").into(),
            pid: std::process::id(),
            started_ms: self.started.0,
            data_dir: self.data_dir.clone(),
            addresses: self.bus.addresses().iter().map(ToString::to_string).collect(),
            circles: circles.circles.values().map(|c| c.name.clone()).collect(),
            words_wait: waiting
                .iter()
                .filter_map(|founded| Some(circles.circles.get(&founded.circle)?.name.clone()))
                .collect(),
            devices_online: view.others().filter(|e| e.presence == Presence::Online).count(),
            tasks_running: self.running_here(),
            services: self.bus.net().router().names().iter().map(ToString::to_string).collect(),
            modules: self.bus.tasks().contents(),
            task_types: own.map(|p| p.task_types.clone()).unwrap_or_default(),
        }
    }

    /// Facts for the doctor, without secrets.
    pub(super) async fn diagnose(&self) -> Result<DiagnosisView, Failure> {
        let now = wall();
        Ok(DiagnosisView {
            status: self.status().await,
            wall_ms: now.0,
            port: self.bus.addresses().first().map_or(self.config.port, |a| a.port()),
            versions: softbus::core::wire::link::VERSIONS,
            database: self.bus.probe_storage().await.err().map(|e| e.to_string()),
            loopback_only: self.config.interfaces == Interfaces::Loopback,
            interfaces: self.config.interfaces.to_string(),
            config: self.config_file.clone(),
            discovery: self.config.discovery,
            devices: self.devices(),
            circles: self.circles().await,
            tasks: self.tasks(None).await?,
            clock_offsets: self.clock_offsets(now),
        })
    }

    /// How far the peers' clocks are from ours, from their latest samples.
    fn clock_offsets(&self, now: WallMs) -> Vec<ClockOffset> {
        let instant = tokio::time::Instant::now();
        let me = self.bus.id();
        self.bus
            .devices()
            .iter()
            .filter(|entry| entry.id != me && entry.presence == Presence::Online)
            .filter_map(|entry| {
                let heard = entry.now.as_ref().filter(|heard| heard.from == entry.id)?;
                let age_ms = u64::try_from(heard.age(instant).as_millis()).unwrap_or(u64::MAX);
                let ours = now.0.checked_sub(age_ms).filter(|_| age_ms <= FRESH_MS)?;
                let offset_ms = i64::try_from(i128::from(heard.profile.sampled.0) - i128::from(ours)).ok()?;
                Some(ClockOffset { device: entry.id, offset_ms })
            })
            .collect()
    }
}
