//! The keeper as judge: asked on every handshake and before every service, answered from memory.

use softbus_core::{DeviceId, ErrorCode, ServiceName};
use softbus_trust::Asker;
use tokio::sync::watch;

use super::Keeper;
use crate::{Judge, Standing, TagSecret};

impl Judge for Keeper {
    fn standing(&self, peer: &DeviceId) -> Standing {
        let now = self.now();
        let state = self.read();
        match state.view.role(peer, now.wall) {
            Some(role) if *peer != state.view.me => Standing::Trusted(role),
            _ => Standing::Stranger { pairing: state.pairing_open(now) },
        }
    }

    fn own_role(&self) -> Option<softbus_trust::Role> {
        let now = self.now();
        let state = self.read();
        state.view.role(&state.view.me, now.wall)
    }

    fn may_open(&self, peer: &DeviceId, service: &ServiceName) -> Result<(), ErrorCode> {
        let now = self.now();
        let state = self.read();
        let pairing = state.pairing_open(now);
        if service.name() == "pair" && !pairing {
            return Err(ErrorCode::NotTrusted);
        }
        let mut verdict = state.rules.may_open(peer, Asker::Stranger { pairing }, service);
        // Of several circles in common the kindest decides.
        for circle in state.view.circles.values() {
            if verdict.is_ok() {
                break;
            }
            if let Some(member) = circle.member(peer, now.wall) {
                verdict = state.rules.may_open(peer, Asker::Member(member), service);
            }
        }
        verdict
    }

    fn peers(&self) -> Vec<DeviceId> {
        let now = self.wall();
        self.read().view.peers(now).into_keys().collect()
    }

    fn tag_secrets(&self) -> Vec<TagSecret> {
        let state = self.read();
        let circles = state.circles.iter().filter(|(id, _)| state.view.circles.contains_key(id));
        circles
            .flat_map(|(id, circle)| {
                circle.secrets.iter().enumerate().map(|(age, secret)| TagSecret {
                    circle: *id,
                    secret: *secret.secret(),
                    current: age == 0,
                })
            })
            .collect()
    }

    fn announce_openly(&self) -> bool {
        let now = self.now();
        self.read().shows_itself(now)
    }

    fn groups(&self) -> Vec<Vec<DeviceId>> {
        let now = self.wall();
        let state = self.read();
        let circles = state.view.circles.values();
        circles
            .map(|circle| {
                let others = circle.members.iter().filter(|(device, _)| **device != state.view.me);
                others.filter(|(_, member)| member.counts_at(now)).map(|(device, _)| *device).collect()
            })
            .collect()
    }

    fn changed(&self) -> watch::Receiver<u64> {
        self.subscribe_changed()
    }
}
