//! What a person asks of their circles: found, remove, leave, renew, change roles, replace, recover; and the
//! access rules of this device.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use softbus_core::wire::circle::Exchange;
use softbus_core::{CircleId, DeviceId, Signed, WallMs, limits};
use softbus_trust::access::AccessError;
use softbus_trust::circle::{
    Act, CircleSecret, CircleSet, Member, ProposeError, RECOVERY_KEEPS, RecoveryKey,
};
use softbus_trust::{AccessRules, Grant, Role, Rule};

use super::keeper::{Changed, Circle};
use super::{Founded, Keeper, MembershipError, SHORTEST_GRANT, circle_service, shelf};

/// How long those who are shut out are given to take the news.
const FAREWELL: Duration = Duration::from_millis(400);

impl Keeper {
    /// Founds a circle of this device alone, as its owner without end. Its recovery words wait on disk until they were
    /// [shown](Keeper::words_shown).
    ///
    /// # Errors
    /// [`MembershipError::Limit`] for a ninth circle or too long a name; the database's.
    pub async fn found(&self, name: &str) -> Result<Founded, MembershipError> {
        if name.len() > limits::NAME_BYTES {
            return Err(MembershipError::Limit("a circle's name has at most 64 bytes"));
        }
        let name = name.to_owned();
        self.undisturbed(move |me| async move { me.found_now(&name).await }).await
    }

    /// Within [`Keeper::undisturbed`].
    pub(super) async fn found_now(&self, name: &str) -> Result<Founded, MembershipError> {
        let recovery = RecoveryKey::from_seed(self.random());
        let set = CircleSet::found(&*self.key, name, recovery.id(), self.random(), self.wall())
            .map_err(|e| MembershipError::BadGrant(e.to_string()))?;
        let founded = Founded { circle: set.id(), recovery_words: recovery.words() };
        // Before the circle is there: whoever waits for the words may go away, or the device lose power.
        self.keep_words(&founded).await?;
        self.adopt(Circle { set: Arc::new(set), secrets: Vec::new() }).await?;
        tracing::info!(circle = %founded.circle, "founded a circle");
        Ok(founded)
    }

    /// Takes in a circle that this device was made a member of elsewhere: by whoever prepares the devices of a household
    /// together, such as a factory or a simulation. Nobody is asked; pairing is for people.
    ///
    /// # Errors
    /// [`MembershipError::NotMember`] if this device is not in it; [`MembershipError::Limit`] for a ninth circle; the
    /// database's.
    pub async fn provision(&self, set: Arc<CircleSet>, secret: CircleSecret) -> Result<(), MembershipError> {
        if set.view().member(&self.id(), self.wall()).is_none() {
            return Err(MembershipError::NotMember(self.id()));
        }
        self.undisturbed(move |me| async move { me.adopt(Circle { set, secrets: vec![secret] }).await }).await
    }

    /// Removes a device. Its links end on every device that learns of it. One that left can be removed, too: from then on
    /// what it signs as if it had not left does not count.
    ///
    /// # Errors
    /// [`MembershipError::NotOwner`], [`MembershipError::NotMember`]; to remove oneself is to leave.
    pub async fn remove(&self, circle: Option<CircleId>, device: DeviceId) -> Result<(), MembershipError> {
        if device == self.id() {
            return self.leave(circle, false).await;
        }
        let circle = self.which(circle)?;
        self.undisturbed(move |me| async move {
            let changed = me.state_act(circle, Act::Remove { device }).await?;
            me.farewell(&changed, &[device]).await;
            me.publish(changed);
            tracing::info!(%circle, %device, "removed a device");
            Ok(())
        })
        .await
    }

    /// Leaves a circle. The last owner leaves others behind only with `force`.
    ///
    /// # Errors
    /// [`MembershipError::LastOwner`], [`MembershipError::NoCircle`].
    pub async fn leave(&self, circle: Option<CircleId>, force: bool) -> Result<(), MembershipError> {
        let circle = self.which(circle)?;
        self.undisturbed(move |me| async move {
            // Here, where nobody else takes an owner away meanwhile.
            let (now, view) = (me.wall(), me.circles());
            let others = view.circles.get(&circle).map(|view| {
                let others = view.members.iter();
                let others = others.filter(|(device, member)| **device != me.id() && member.counts_at(now));
                others.map(|(device, member)| (*device, member.role)).collect::<Vec<_>>()
            });
            let others = others.unwrap_or_default();
            let last_owner = view.circles.get(&circle).is_some_and(|view| view.is_owner(&me.id(), now))
                && !others.iter().any(|(_, role)| *role == Role::Owner);
            if last_owner && !others.is_empty() && !force {
                return Err(MembershipError::LastOwner);
            }
            let changed = me.state_act(circle, Act::Leave).await?;
            // Once this is seen, the others' links are refused here: tell them before.
            let others: Vec<DeviceId> = others.iter().map(|(device, _)| *device).collect();
            me.farewell(&changed, &others).await;
            me.publish(changed);
            tracing::info!(%circle, "left a circle");
            Ok(())
        })
        .await
    }

    /// Gives a member another end, `lives` from now; `None` for never.
    ///
    /// # Errors
    /// [`MembershipError::NotOwner`], [`MembershipError::NotMember`], [`MembershipError::BadGrant`] for less than
    /// a day, or for a guest without end; [`MembershipError::LastOwner`] if this device gives itself an end and nobody
    /// owns the circle for as long as before.
    pub async fn renew(
        &self,
        circle: Option<CircleId>,
        device: DeviceId,
        lives: Option<Duration>,
    ) -> Result<(), MembershipError> {
        let expires = lives.map(|lives| self.wall().after(lives));
        self.check_end(expires)?;
        self.act(self.which(circle)?, Act::Renew { device, expires }).await
    }

    /// Gives a member another role, with the end and services that go with it. An end that it has already may be as near
    /// as it is; one that has passed stays only with a lesser role.
    ///
    /// # Errors
    /// As [`Keeper::renew`], if this device gives up its own role, too.
    pub async fn set_role(
        &self,
        circle: Option<CircleId>,
        device: DeviceId,
        grant: Grant,
    ) -> Result<(), MembershipError> {
        let circle = self.which(circle)?;
        let present = self.present(&circle, &device);
        // What is only taken away may be taken from whose time is over, too.
        if !present.as_ref().is_some_and(|p| grant.role < p.role && grant.expires == p.expires) {
            self.check_kept_end(grant.expires, present)?;
        }
        self.act(circle, Act::ChangeRole { device, grant }).await
    }

    /// Puts `new` in the place of the lost device `old`, in one statement. (`new` learns of it when it is paired with any
    /// member, or if it is in the circle already.) The end that `old` has may be as near as it is.
    ///
    /// # Errors
    /// As [`Keeper::renew`], if this device is `old` or `new`, too.
    pub async fn replace(
        &self,
        circle: Option<CircleId>,
        old: DeviceId,
        new: DeviceId,
        grant: Grant,
    ) -> Result<(), MembershipError> {
        let circle = self.which(circle)?;
        self.check_kept_end(grant.expires, self.present(&circle, &old))?;
        self.act(circle, Act::Admit { device: new, grant, replaces: Some(old) }).await
    }

    /// Makes this device the owner of an orphaned circle by its recovery words. All other owners are removed, those that
    /// this device has not heard of, too, save those in `keep`: a lost owner that is not removed could undo the recovery.
    ///
    /// # Errors
    /// [`MembershipError::RecoveryWords`] if the words are wrong or another circle's; [`MembershipError::NoCircle`] if
    /// this device never was in the circle; [`MembershipError::NotMember`] if one to be kept is not in it;
    /// [`MembershipError::Limit`] for more than 64 of these.
    pub async fn recover(
        &self,
        circle: Option<CircleId>,
        words: &str,
        keep: Vec<DeviceId>,
    ) -> Result<(), MembershipError> {
        if keep.len() > RECOVERY_KEEPS {
            return Err(MembershipError::Limit("a recovery keeps at most 64 owners"));
        }
        let recovery =
            RecoveryKey::from_words(words).map_err(|e| MembershipError::RecoveryWords(e.to_string()))?;
        // The words know their circle; it may be one that this device was removed from.
        let circle = {
            let state = self.read();
            let fits =
                |id: &CircleId| state.circles.get(id).is_some_and(|c| c.set.recovery() == recovery.id());
            match circle {
                Some(id) if !state.circles.contains_key(&id) => return Err(MembershipError::NoCircle(id)),
                Some(id) => fits(&id).then_some(id),
                None => state.circles.keys().find(|id| fits(id)).copied(),
            }
        };
        let Some(circle) = circle else {
            return Err(MembershipError::RecoveryWords("they belong to another circle".into()));
        };
        self.undisturbed(move |me| async move {
            let (id, now) = (me.id(), me.wall());
            let changed = me
                .change(circle, 1, move |circle| {
                    let keeps: BTreeSet<DeviceId> = keep.into_iter().collect();
                    let keeps = keeps.into_iter().collect();
                    Arc::make_mut(&mut circle.set).propose(
                        &recovery,
                        now,
                        Act::Recover { device: id, keeps },
                    )?;
                    Ok(())
                })
                .await?;
            me.publish(changed);
            tracing::info!(%circle, "recovered a circle");
            Ok(())
        })
        .await
    }

    /// The access rules of this device.
    pub fn rules(&self) -> AccessRules {
        self.read().rules.clone()
    }

    /// Sets the access rule of a service (`name/version` or `name`); an empty rule takes it back.
    ///
    /// # Errors
    /// [`MembershipError::Access`], or the database's.
    pub async fn set_rule(&self, service: &str, rule: Rule) -> Result<(), MembershipError> {
        let service = service.to_owned();
        self.undisturbed(move |me| async move {
            let mut rules = me.rules();
            rules.set(&service, rule)?;
            shelf::put_rules(&me.store, &rules).await?;
            me.write().rules = rules;
            me.judge_anew();
            Ok(())
        })
        .await
    }

    /// A statement of this device's own, made seen at once.
    async fn act(&self, circle: CircleId, act: Act) -> Result<(), MembershipError> {
        self.undisturbed(move |me| async move {
            let changed = me.state_act(circle, act).await?;
            me.publish(changed);
            Ok(())
        })
        .await
    }

    /// A statement of this device's own, on disk but not yet seen. Within [`Keeper::undisturbed`].
    pub(super) async fn state_act(
        &self,
        circle: CircleId,
        act: Act,
    ) -> Result<Changed<Signed>, MembershipError> {
        let (key, now) = (self.key.clone(), self.wall());
        self.change(circle, 1, move |circle| Ok(Arc::make_mut(&mut circle.set).propose(&*key, now, act)?))
            .await
    }

    /// Tells devices that will not be trusted any more (or will not trust us) why, while their links still stand.
    async fn farewell(&self, changed: &Changed<Signed>, devices: &[DeviceId]) {
        let (Ok(net), Some(circle)) = (self.net(), &changed.circle) else {
            return;
        };
        let linked = net.links().borrow().clone();
        let exchange = Exchange {
            circle: circle.set.id(),
            have: circle.set.digest(),
            count: u32::try_from(circle.set.len()).unwrap_or(u32::MAX),
            statements: vec![changed.value.clone()],
            more: false,
            secret_known: None,
            secret: None,
            after: None,
        };
        let Ok(bytes) = softbus_core::encode(&exchange) else {
            return;
        };
        let service = circle_service();
        let told =
            devices.iter().filter(|device| linked.contains_key(device)).take(limits::LINKS).map(|device| {
                let request = net.request(*device, &service, bytes.clone(), FAREWELL);
                // Whether it was heard does not matter: their links end all the same.
                async move { drop(tokio::time::timeout(FAREWELL, request).await) }
            });
        futures_util::future::join_all(told).await;
    }

    /// What a device is in a circle, though its time may be over.
    fn present(&self, circle: &CircleId, device: &DeviceId) -> Option<Member> {
        self.circles().circles.get(circle)?.members.get(device).cloned()
    }

    /// Whether an end is at least a day away, or the one there is, and still to come.
    fn check_kept_end(
        &self,
        expires: Option<WallMs>,
        present: Option<Member>,
    ) -> Result<(), MembershipError> {
        let kept = expires.filter(|end| present.is_some_and(|present| present.expires == Some(*end)));
        match kept {
            None => self.check_end(expires),
            Some(end) if end > self.wall() => Ok(()),
            Some(_) => Err(MembershipError::BadGrant(
                "that membership has ended: renew it first, or choose a new end".into(),
            )),
        }
    }

    /// Whether an end is at least a day away.
    pub(super) fn check_end(&self, expires: Option<WallMs>) -> Result<(), MembershipError> {
        match expires {
            // A minute's grace for those who computed a day from now a moment ago.
            Some(end) if end.0.saturating_add(60_000) < self.wall().after(SHORTEST_GRANT).0 => {
                Err(MembershipError::BadGrant("trust lasts at least a day: choose a later end".into()))
            }
            _ => Ok(()),
        }
    }
}

impl From<ProposeError> for MembershipError {
    fn from(error: ProposeError) -> Self {
        match error {
            ProposeError::NotOwner => Self::NotOwner,
            ProposeError::NotMember(device) => Self::NotMember(device),
            ProposeError::BadGrant(why) => Self::BadGrant(why.into()),
            ProposeError::LastOwner => Self::LastOwner,
            ProposeError::TooManyDevices => Self::Limit("a circle has at most 1024 devices"),
            ProposeError::Insert(error) => Self::BadGrant(error.to_string()),
        }
    }
}

impl From<AccessError> for MembershipError {
    fn from(error: AccessError) -> Self {
        Self::Access(error)
    }
}

// The words are shown to a person and then gone; nothing may print them by accident.
impl std::fmt::Debug for Founded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Founded({})", self.circle)
    }
}
