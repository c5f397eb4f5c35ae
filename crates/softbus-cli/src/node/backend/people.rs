//! Circles and pairing.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use softbus::core::{CircleId, DeviceId, ServiceName, WallMs};
use softbus::net::NetError;
use softbus::net::membership::{DEFAULT_GRANT, MembershipError};
use softbus::trust::{Grant, Member, Rule};
use softbus::{Bus, Founded, Opening, PairOptions, Paired, PairingState, Role};
use tokio::time::Instant;

use super::nearby::{self, Near};
use super::{Backend, LINK_BYTES, bus_failure, named, resolve};
use crate::clock::wall;
use crate::control::{
    CircleView, CirclesView, Event, Events, Expiry, FoundedView, InvitationView, MemberView, PairTerms,
    PairedView, PairingView, Response, RuleChange, RuleView,
};
use crate::failure::{Failure, Kind};
use crate::output::clean;

/// A guest's membership without a word about its end.
const GUEST_LIVES: Duration = Duration::from_secs(86_400);
/// How long discovery may take to see a device that a person names.
const SEE: Duration = Duration::from_secs(5);
/// How long a device in sight may take to tell its id, which it does once its pairing is open.
const SHOW_ID: Duration = Duration::from_millis(1500);
/// Longest text of recovery words.
const WORDS_BYTES: usize = 1024;

fn failed(error: MembershipError) -> Failure {
    bus_failure(error.into())
}

impl Backend {
    /// All circles and rules.
    pub(super) async fn circles(&self) -> CirclesView {
        let view = self.bus.circles().circles();
        let waiting = self.words_waiting().await;
        let (now, me, names) = (wall(), self.bus.id(), self.names());
        let circles = view
            .circles
            .values()
            .map(|circle| CircleView {
                id: circle.id,
                name: circle.name.clone(),
                role: circle.member(&me, now).map(|m| m.role),
                orphaned: circle.is_orphaned(now),
                words_wait: waiting.iter().any(|founded| founded.circle == circle.id),
                members: circle
                    .members
                    .iter()
                    .map(|(device, member)| MemberView {
                        device: *device,
                        name: names.name(device).to_string(),
                        here: *device == me,
                        role: member.role,
                        expires_ms: member.expires.map(|end| end.0),
                        services: member.services.iter().map(ToString::to_string).collect(),
                    })
                    .collect(),
            })
            .collect();
        let rules = self
            .bus
            .circles()
            .rules()
            .iter()
            .map(|(service, rule)| RuleView {
                service: service.to_string(),
                least: rule.least,
                allow: rule.allow.iter().copied().collect(),
                deny: rule.deny.iter().copied().collect(),
            })
            .collect();
        CirclesView { circles, rules }
    }

    pub(super) async fn found(&self, name: &str) -> Result<Response, Failure> {
        let name = crate::config::parse_name(name).map_err(Failure::usage)?;
        if self.bus.circles().circles().circles.values().any(|circle| circle.name == name) {
            return Err(Failure::conflict(format!("this device is in a circle called {name} already")).advise(
                "give another name: one circle has all devices of a home, and others join it by `softbus pair`",
            ));
        }
        let founded = self.bus.found_circle(&name).await.map_err(bus_failure)?;
        tracing::info!(circle = %founded.circle, "founded a circle");
        Ok(Response::Founded(self.founded_view(founded, Some(name))))
    }

    /// Recovery words that nobody has seen yet.
    pub(super) async fn unseen_words(&self) -> Result<Response, Failure> {
        let waiting = self.bus.circles().words_waiting().await.map_err(failed)?;
        Ok(Response::Words(waiting.into_iter().map(|founded| self.founded_view(founded, None)).collect()))
    }

    /// The same, where it is only told that there are some.
    pub(super) async fn words_waiting(&self) -> Vec<Founded> {
        self.bus.circles().words_waiting().await.unwrap_or_else(|error| {
            tracing::warn!(%error, "cannot tell whether recovery words wait to be shown");
            Vec::new()
        })
    }

    pub(super) async fn words_shown(&self, circle: CircleId) -> Result<Response, Failure> {
        self.bus.circles().words_shown(circle).await.map_err(failed)?;
        tracing::info!(%circle, "its recovery words were shown and are kept nowhere any more");
        Ok(Response::Done)
    }

    fn founded_view(&self, founded: Founded, name: Option<String>) -> FoundedView {
        let name = name.unwrap_or_else(|| self.circle_name(founded.circle));
        FoundedView { circle: founded.circle, name, recovery_words: founded.recovery_words.into() }
    }

    fn circle_name(&self, circle: CircleId) -> String {
        self.bus.circles().circles().circles.get(&circle).map(|c| c.name.clone()).unwrap_or_default()
    }

    pub(super) fn circle(&self, text: Option<&str>) -> Result<Option<CircleId>, Failure> {
        let view = self.bus.circles().circles();
        let among: Vec<(CircleId, String)> = view.circles.values().map(|c| (c.id, c.name.clone())).collect();
        resolve::circle(text, &among)
    }

    /// A device of a common circle, heard of or not.
    pub(super) fn member(&self, text: &str) -> Result<DeviceId, Failure> {
        let labels = self.names();
        let mut names: BTreeMap<DeviceId, String> =
            labels.iter().map(|(id, name)| (*id, name.to_string())).collect();
        for circle in self.bus.circles().circles().circles.values() {
            for device in circle.members.keys() {
                names.entry(*device).or_default();
            }
        }
        let among: Vec<(DeviceId, String)> = names.into_iter().collect();
        resolve::device(text, &among, "of a common circle")
    }

    /// What a device is in a circle (or the only one).
    fn membership(&self, circle: Option<CircleId>, device: &DeviceId) -> Result<Member, Failure> {
        let view = self.bus.circles().circles();
        let mut circles = view.circles.values().filter(|c| circle.is_none_or(|id| c.id == id));
        let member = circles.find_map(|c| c.members.get(device).cloned());
        member.ok_or_else(|| Failure::not_found(format!("…{} is not in that circle", device.short())))
    }

    /// By its whole id any device, by its name or the end of its id one of a common circle.
    fn id_or_member(&self, text: &str) -> Result<DeviceId, Failure> {
        named(text)?.parse().or_else(|_| self.member(text))
    }

    pub(super) async fn leave(&self, circle: Option<String>, force: bool) -> Result<Response, Failure> {
        let circle = self.circle(circle.as_deref())?;
        self.bus.circles().leave(circle, force).await.map_err(|error| match error {
            MembershipError::LastOwner => {
                let failure = failed(error);
                let advice = failure.advice.clone().unwrap_or_default();
                failure.advise(format!(
                    "{advice}; or, to leave the others without one: softbus circle leave --force"
                ))
            }
            other => failed(other),
        })?;
        Ok(Response::Done)
    }

    pub(super) async fn remove(&self, circle: Option<String>, device: &str) -> Result<Response, Failure> {
        let circle = self.circle(circle.as_deref())?;
        // By its whole id one that left can be removed, too: what it signs as if it had not left counts no more.
        let device = self.id_or_member(device)?;
        if device == self.bus.id() {
            return Err(Failure::usage("this is the device itself").advise("to go: softbus circle leave"));
        }
        self.bus.circles().remove(circle, device).await.map_err(failed)?;
        tracing::info!(%device, "removed a device");
        Ok(Response::Done)
    }

    pub(super) async fn set_role(
        &self,
        circle: Option<String>,
        device: &str,
        role: Role,
        expires: Option<Expiry>,
        services: &[String],
    ) -> Result<Response, Failure> {
        let circle = self.circle(circle.as_deref())?;
        let device = self.member(device)?;
        let mut grant = grant(role, expires, services)?;
        if expires.is_none() {
            let before = self.membership(circle, &device)?.expires;
            grant.expires = kept_end(role, before, grant.expires);
        }
        self.bus.circles().set_role(circle, device, grant).await.map_err(failed)?;
        Ok(Response::Done)
    }

    pub(super) async fn renew(
        &self,
        circle: Option<String>,
        device: &str,
        expires: Expiry,
    ) -> Result<Response, Failure> {
        let circle = self.circle(circle.as_deref())?;
        let device = self.member(device)?;
        let lives = match expires {
            Expiry::Never => None,
            Expiry::InS(seconds) => Some(Duration::from_secs(seconds)),
        };
        self.bus.circles().renew(circle, device, lives).await.map_err(failed)?;
        Ok(Response::Done)
    }

    pub(super) async fn replace(
        &self,
        circle: Option<String>,
        old: &str,
        new: &str,
        expires: Option<Expiry>,
    ) -> Result<Response, Failure> {
        let circle = self.circle(circle.as_deref())?;
        let old = self.member(old)?;
        // A name seen nearby proves nothing: whoever announces it would be admitted, with no PIN asked.
        let new = self.id_or_member(new).map_err(|failure| {
            failure.advise(
                "a device that is not in the circle yet: its whole id, which `softbus key` shows on it",
            )
        })?;
        // The new device gets what the lost one had, but for an end that is said.
        let lost = self.membership(circle, &old)?;
        let end = match expires {
            Some(_) => grant(lost.role, expires, &[])?.expires,
            None => lost.expires,
        };
        let grant = Grant { role: lost.role, expires: end, services: lost.services };
        self.bus.circles().replace(circle, old, new, grant).await.map_err(failed)?;
        Ok(Response::Done)
    }

    pub(super) async fn recover(
        &self,
        circle: Option<String>,
        words: &str,
        keep: &[String],
    ) -> Result<Response, Failure> {
        if words.len() > WORDS_BYTES {
            return Err(Failure::usage("these are no recovery words: too long"));
        }
        let circle = self.circle(circle.as_deref())?;
        let keep = keep.iter().map(|device| self.member(device)).collect::<Result<Vec<_>, _>>()?;
        self.bus.circles().recover(circle, words, keep).await.map_err(failed)?;
        Ok(Response::Done)
    }

    pub(super) async fn set_rule(&self, service: &str, change: RuleChange) -> Result<Response, Failure> {
        let service = named(service)?;
        let rules = self.bus.circles().rules();
        let mut rule =
            rules.iter().find(|(name, _)| *name == service).map(|(_, r)| r.clone()).unwrap_or_default();
        match change {
            RuleChange::Least(role) => rule.least = Some(role),
            RuleChange::Allow(device) => {
                let device = self.member(&device)?;
                rule.deny.remove(&device);
                rule.allow.insert(device);
            }
            RuleChange::Deny(device) => {
                let device = self.member(&device)?;
                rule.allow.remove(&device);
                rule.deny.insert(device);
            }
            RuleChange::Forget(device) => {
                let device = self.member(&device)?;
                rule.allow.remove(&device);
                rule.deny.remove(&device);
            }
            RuleChange::Reset => rule = Rule::default(),
        }
        self.bus.circles().set_rule(service, rule).await.map_err(failed)?;
        Ok(Response::Done)
    }

    // Pairing.

    pub(super) async fn open_pairing(&self, terms: PairTerms, events: &Events) -> Result<Response, Failure> {
        let options = self.options(terms)?;
        let Opening { number, mut state } = self.bus.open_pairing(options).await.map_err(bus_failure)?;
        // Whoever shows the PIN may go away: then nobody can read it any more.
        let mut close = CloseOnDrop(Some((self.bus.clone(), number)));
        loop {
            let now = state.borrow_and_update().clone();
            if self.bus.circles().opening() != number {
                return Err(Failure::conflict(
                    "pairing was opened anew on this device: the PIN shown here is void",
                )
                .advise("the other `softbus pair` shows the one that counts"));
            }
            let view = match now {
                PairingState::Open { pin, lives, tries_left } => PairingView::Open {
                    pin: pin.reveal().into(),
                    lives_ms: u64::try_from(lives.as_millis()).unwrap_or(u64::MAX),
                    tries_left,
                },
                PairingState::Settling { peer } => {
                    // From here the pairing runs its course, watched or not.
                    close.0 = None;
                    PairingView::Settling { device: peer }
                }
                PairingState::Paired { peer, circle } => {
                    close.0 = None;
                    return Ok(Response::Paired(self.paired_view(peer, circle, false, None)));
                }
                PairingState::Expired => {
                    return Err(Failure::timeout("nobody entered the PIN in time")
                        .advise("open pairing again: softbus pair"));
                }
                PairingState::Cancelled | PairingState::Closed => {
                    return Err(Failure::new(Kind::Refused, "pairing was cancelled"));
                }
                PairingState::Frozen { lasts } => {
                    return Err(Failure::new(
                        Kind::Refused,
                        format!(
                            "too many wrong PINs: pairing is frozen for {}",
                            crate::output::duration(lasts)
                        ),
                    )
                    .advise("somebody may be guessing; open pairing again after that time"));
                }
                PairingState::Failed { reason } => {
                    return Err(Failure::failed(format!("the PIN was right, but: {reason}"))
                        .advise("open pairing again: softbus pair"));
                }
            };
            if !events.send(Event::Pairing(view)).await {
                return Ok(Response::Done);
            }
            if state.changed().await.is_err() {
                return Err(Failure::failed("the bus is shutting down"));
            }
        }
    }

    pub(super) async fn cancel_pairing(&self) -> Result<Response, Failure> {
        self.bus.circles().close_pairing(true).await.map_err(failed)?;
        Ok(Response::Done)
    }

    pub(super) async fn invite(&self, seconds: u64, terms: PairTerms) -> Result<Response, Failure> {
        let lives = Duration::from_secs(seconds);
        let options = self.options(terms)?;
        let ticket = self.bus.circles().invite(options, lives).await.map_err(failed)?;
        Ok(Response::Invitation(InvitationView { link: ticket.to_link().into(), seconds }))
    }

    /// Whether there is such a device to pair with. One given by its address is found when it is dialled.
    pub(super) async fn look(&self, with: &str) -> Result<Response, Failure> {
        if named(with)?.parse::<SocketAddr>().is_err() {
            self.stranger(with).await?;
        }
        Ok(Response::Done)
    }

    pub(super) async fn pair(
        &self,
        with: &str,
        pin: &str,
        terms: PairTerms,
        events: &Events,
    ) -> Result<Response, Failure> {
        let options = self.options(terms)?;
        let pin = named(pin)?;
        let mut name = None;
        let paired = match named(with)?.parse::<SocketAddr>() {
            Ok(address) => {
                self.bus.circles().pair_with(address, None, pin, options).await.map_err(softbus::Error::from)
            }
            Err(_) => {
                let near = self.stranger(with).await?;
                name = Some(near.name().to_string());
                let paired = match near.announcement.id {
                    Some(device) => self.bus.pair_with(device, pin, options).await,
                    None => {
                        let pairing =
                            self.bus.circles().pair_with_any(near.addresses.to_vec(), None, pin, options);
                        pairing.await.map_err(softbus::Error::from)
                    }
                };
                if paired.as_ref().is_err_and(unreachable) {
                    // Perhaps it is gone, and only its record is left.
                    self.bus.net().seam().discovery.confirm(&near.key);
                }
                paired
            }
        };
        let mut response = self.paired_or_alone(paired, events).await?;
        if let (Response::Paired(view), Some(name)) = (&mut response, name) {
            // Its profile may take a moment; what it was called nearby is known.
            view.name = if view.name.is_empty() { name } else { std::mem::take(&mut view.name) };
        }
        Ok(response)
    }

    pub(super) async fn pair_by_link(
        &self,
        link: &str,
        terms: PairTerms,
        events: &Events,
    ) -> Result<Response, Failure> {
        if link.len() > LINK_BYTES {
            return Err(Failure::usage("this is no pairing link: too long"));
        }
        let options = self.options(terms)?;
        let paired = self.bus.circles().pair_by_ticket(link.trim(), options).await;
        self.paired_or_alone(paired.map_err(softbus::Error::from), events).await
    }

    /// A circle may have been founded here although the other device did not join: its words must reach the
    /// person all the same.
    async fn paired_or_alone(
        &self,
        paired: Result<Paired, softbus::Error>,
        events: &Events,
    ) -> Result<Response, Failure> {
        match paired {
            Ok(paired) => Ok(self.paired(paired)),
            Err(error) => {
                if let softbus::Error::Membership(MembershipError::Alone { founded, .. }) = &error {
                    events.send(Event::Founded(self.founded_view(founded.clone(), None))).await;
                }
                Err(bus_failure(error))
            }
        }
    }

    fn paired(&self, paired: Paired) -> Response {
        tracing::info!(peer = %paired.peer, circle = %paired.circle, "paired");
        Response::Paired(self.paired_view(paired.peer, paired.circle, paired.joined, paired.founded))
    }

    fn paired_view(
        &self,
        peer: DeviceId,
        circle: CircleId,
        joined: bool,
        founded: Option<Founded>,
    ) -> PairedView {
        let names = self.names();
        let name = Some(names.name(&peer).to_string()).filter(|name| !name.is_empty()).or_else(|| {
            let seen = self.in_sight().into_iter().find(|near| near.announcement.id == Some(peer))?;
            seen.announcement.name.clone()
        });
        PairedView {
            device: peer,
            name: name.unwrap_or_default(),
            circle,
            circle_name: self.circle_name(circle),
            joined,
            founded: founded.map(|f| self.founded_view(f, None)),
        }
    }

    fn options(&self, terms: PairTerms) -> Result<PairOptions, Failure> {
        let circle = self.circle(terms.circle.as_deref())?;
        let said = terms.role.is_some() || terms.expires.is_some() || !terms.services.is_empty();
        let role = terms.role.unwrap_or(Role::Member);
        let grant = said.then(|| grant(role, terms.expires, &terms.services)).transpose()?;
        Ok(PairOptions { circle, grant, join: terms.join })
    }

    /// A device nearby that a person names. One whose pairing is open tells its id; a moment is waited for that, and
    /// for those not seen yet.
    async fn stranger(&self, text: &str) -> Result<Near, Failure> {
        let begin = Instant::now();
        let mut nearby = self.bus.nearby();
        loop {
            nearby.mark_unchanged();
            let ours = self.own_addresses();
            let found = nearby::find(text, &self.in_sight(), |address| ours.contains(address));
            let deadline = match &found {
                Ok(near) if near.announcement.id.is_some() => return found,
                Ok(_) => begin + SHOW_ID,
                Err(failure) if failure.kind != Kind::NotFound => return found,
                // One of a common circle is no stranger; another of its name may still come into sight.
                Err(_) if self.member(text).is_ok() => begin + SHOW_ID,
                Err(_) => begin + SEE,
            };
            match tokio::time::timeout_at(deadline, nearby.changed()).await {
                Ok(Ok(())) => {}
                _ => return found.map_err(|missing| self.why_missing(text, missing)),
            }
        }
    }

    fn why_missing(&self, text: &str, missing: Failure) -> Failure {
        let text = clean(text);
        match self.member(&text) {
            Ok(id) if id == self.bus.id() => {
                return Failure::conflict(format!("{text} is this device itself"));
            }
            Ok(_) => return Failure::conflict(format!("{text} is in a common circle already")),
            Err(_) => {}
        }
        if text.parse::<std::net::IpAddr>().is_ok() {
            return Failure::usage(format!("{text} is an address without a port"))
                .advise("`softbus status` there shows its port: softbus pair IP:PORT");
        }
        missing.advise(
            "open pairing there (softbus pair); where discovery does not reach, give its address: softbus pair IP:PORT",
        )
    }
}

/// Whether nobody answered at an address.
fn unreachable(error: &softbus::Error) -> bool {
    let net = match error {
        softbus::Error::Net(net) | softbus::Error::Membership(MembershipError::Net(net)) => net,
        _ => return false,
    };
    matches!(net, NetError::Dial { .. } | NetError::Unreachable(_))
}

/// Closes pairing when whoever shows the PIN goes away: that one, and none that was opened after it.
struct CloseOnDrop(Option<(Bus, u64)>);

impl Drop for CloseOnDrop {
    fn drop(&mut self) {
        if let Some((bus, number)) = self.0.take() {
            bus.circles().close_opening(number);
        }
    }
}

/// What an owner grants, from what a person said.
fn grant(role: Role, expires: Option<Expiry>, services: &[String]) -> Result<Grant, Failure> {
    if role != Role::Guest && !services.is_empty() {
        return Err(Failure::usage(format!("services are named for guests; a {role} may open them anyway")));
    }
    let services = services
        .iter()
        .map(|s| s.parse::<ServiceName>().map_err(|e| Failure::usage(e.to_string())))
        .collect::<Result<_, _>>()?;
    let after = |span: Duration| Some(WallMs(wall().0).after(span));
    let expires = match expires {
        Some(Expiry::Never) if role == Role::Guest => {
            return Err(Failure::usage("a guest's membership has an end").advise("--expires 30d"));
        }
        Some(Expiry::Never) => None,
        Some(Expiry::InS(seconds)) => after(Duration::from_secs(seconds)),
        None if role == Role::Guest => after(GUEST_LIVES),
        None => after(DEFAULT_GRANT),
    };
    Ok(Grant { role, expires, services })
}

/// The end that goes with another role when nobody spoke of it: the one there was. A guest must have one: if there was
/// none, `fresh`.
fn kept_end(role: Role, before: Option<WallMs>, fresh: Option<WallMs>) -> Option<WallMs> {
    if role == Role::Guest { before.or(fresh) } else { before }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grants_have_sensible_ends() {
        let end = |role, expires| {
            grant(role, expires, &[]).unwrap().expires.map(|e| (e.0 - wall().0 + 1000) / 86_400_000)
        };
        assert_eq!(end(Role::Member, None), Some(365));
        assert_eq!(end(Role::Guest, None), Some(1));
        assert_eq!(
            end(Role::Owner, None),
            Some(365),
            "only who founds a circle has no end unless somebody says so"
        );
        assert_eq!(end(Role::Owner, Some(Expiry::Never)), None);
        assert_eq!(end(Role::Member, Some(Expiry::Never)), None);
        assert_eq!(end(Role::Member, Some(Expiry::InS(2 * 86_400))), Some(2));
        assert!(grant(Role::Guest, Some(Expiry::Never), &[]).is_err());
        assert!(grant(Role::Member, None, &["camera/1".into()]).is_err());
        assert!(grant(Role::Guest, None, &["camera".into()]).is_err());
        assert_eq!(grant(Role::Guest, None, &["camera/1".into()]).unwrap().services.len(), 1);
    }

    #[test]
    fn another_role_keeps_the_end() {
        let (before, fresh) = (Some(WallMs(7)), Some(WallMs(9)));
        for role in [Role::Owner, Role::Member, Role::Guest] {
            assert_eq!(kept_end(role, before, fresh), before, "{role}");
        }
        assert_eq!(kept_end(Role::Owner, None, fresh), None, "nobody's membership ends who did not say so");
        assert_eq!(kept_end(Role::Guest, None, fresh), fresh, "but a guest's does");
    }
}
