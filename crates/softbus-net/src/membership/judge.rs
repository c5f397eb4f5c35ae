//! The keeper as judge: asked on every handshake and before every service, answered from memory.

use std::collections::{BTreeMap, BTreeSet};

use softbus_core::{CircleId, DeviceId, ErrorCode, ServiceName};
use softbus_trust::Asker;
use softbus_trust::Role;
use softbus_trust::ticket::tag_key;
use tokio::sync::watch;

use super::Keeper;
use crate::{Group, Judge, Standing, TagSecret};

impl Judge for Keeper {
    fn standing(&self, peer: &DeviceId) -> Standing {
        let now = self.now();
        let state = self.read();
        match state.view.role(peer, now.wall) {
            Some(role) if *peer != state.view.me => Standing::Trusted(role),
            _ => Standing::Stranger { pairing: state.pairing_open(now) },
        }
    }

    fn own_role(&self) -> Option<Role> {
        let now = self.now();
        let state = self.read();
        state.view.role(&state.view.me, now.wall)
    }

    fn is_former(&self, peer: &DeviceId) -> bool {
        let now = self.wall();
        let state = self.read();
        state.view.role(peer, now).is_none() && state.present().any(|circle| circle.set.is_out(peer))
    }

    fn formers(&self) -> Vec<DeviceId> {
        let now = self.wall();
        let state = self.read();
        let out: BTreeSet<DeviceId> = state.present().flat_map(|circle| circle.set.out().copied()).collect();
        out.into_iter().filter(|device| state.view.role(device, now).is_none()).collect()
    }

    fn is_expired(&self, peer: &DeviceId) -> bool {
        let now = self.wall();
        let state = self.read();
        // Out of one circle and over its time in another: that it is out is what it does not know yet.
        state.view.role(peer, now).is_none()
            && state.view.circles.values().any(|circle| circle.members.contains_key(peer))
            && !state.present().any(|circle| circle.set.is_out(peer))
    }

    fn may_open(&self, peer: &DeviceId, service: &ServiceName) -> Result<(), ErrorCode> {
        let now = self.now();
        let state = self.read();
        let pairing = state.pairing_open(now);
        if service.name() == "pair" && !pairing {
            return Err(ErrorCode::NotTrusted);
        }
        // To be told why it is one.
        if service.name() == "circle" && state.present().any(|circle| circle.set.is_out(peer)) {
            return Ok(());
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
        state
            .present()
            .flat_map(|circle| {
                circle.secrets.iter().enumerate().map(|(age, secret)| TagSecret {
                    circle: circle.set.id(),
                    secret: *secret.secret(),
                    current: age == 0,
                })
            })
            .collect()
    }

    fn link_tag_keys(&self) -> Vec<[u8; 32]> {
        let now = self.wall();
        let state = self.read();
        let mut counting: Vec<_> = state.tickets.values().filter(|ticket| ticket.counts_at(now)).collect();
        // If there are too many to announce them all, those that last longest.
        counting.sort_by_key(|ticket| std::cmp::Reverse((ticket.expires, ticket.secret)));
        counting.into_iter().map(|ticket| tag_key(&ticket.secret)).collect()
    }

    fn announce_openly(&self) -> bool {
        let now = self.now();
        self.read().shows_itself(now)
    }

    fn groups(&self) -> Vec<Group> {
        let now = self.wall();
        let state = self.read();
        let circles = state.view.circles.values();
        circles
            .filter_map(|circle| {
                let live = circle.members.iter().filter(|(_, member)| member.counts_at(now));
                let mut roles: BTreeMap<_, _> = live.map(|(device, member)| (*device, member.role)).collect();
                let own = roles.remove(&state.view.me)?;
                Some(Group { own, roles })
            })
            .collect()
    }

    fn circles(&self) -> BTreeMap<CircleId, Role> {
        let now = self.wall();
        let state = self.read();
        let own = state
            .view
            .circles
            .values()
            .filter_map(|circle| Some((circle.id, circle.member(&state.view.me, now)?.role)));
        own.collect()
    }

    fn own_role_in(&self, circle: &CircleId) -> Option<Role> {
        let now = self.wall();
        let state = self.read();
        state.view.circles.get(circle)?.member(&state.view.me, now).map(|member| member.role)
    }

    fn role_in(&self, circle: &CircleId, peer: &DeviceId) -> Option<Role> {
        let now = self.wall();
        let state = self.read();
        state.view.circles.get(circle)?.member(peer, now).map(|member| member.role)
    }

    fn changed(&self) -> watch::Receiver<u64> {
        self.subscribe_changed()
    }
}
