//! The keeper's state: what it holds in memory, and how a change becomes durable before anybody sees it.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard, Weak};

use softbus_core::{CircleId, DeviceId, Hash, Signed, WallMs};
use softbus_trust::circle::{CircleSecret, CircleSet};
use softbus_trust::pairing::{Gate, Now};
use softbus_trust::{AccessRules, CircleView, CirclesView, DeviceKey, PairingState};
use tokio::sync::{Notify, oneshot, watch};

use super::shelf::{self, CirclePut, TicketRecord};
use super::trying::Trying;
use super::{CIRCLES, MembershipError, PairOptions};
use crate::Net;
use crate::seam::store::{Store, StoreError};
use crate::seam::{Lane, Seam};

/// Earlier secrets of a circle that are kept, to recognise those who have not heard of the change: members, and whom
/// it shut out. Each removal makes a new one, so this is how many a device may sleep through and be recognised.
const OLD_SECRETS: usize = 7;
/// What taking in one statement costs, in operations of the reference kernel (a signature to check).
pub(super) const STATEMENT_OPS: u64 = 200_000;

/// Keeps this device's circles. See the [module's words](super).
pub struct Keeper {
    pub(super) me: Weak<Keeper>,
    pub(super) key: Arc<DeviceKey>,
    pub(super) seam: Seam,
    pub(super) store: Store,
    pub(super) net: Mutex<Option<Net>>,
    state: RwLock<State>,
    /// Held while something is made durable: one change after another.
    writing: tokio::sync::Mutex<()>,
    view: watch::Sender<Arc<CirclesView>>,
    pub(super) pairing: watch::Sender<PairingState>,
    changed: watch::Sender<u64>,
    /// Grows when the statements or secrets of a circle change: time to tell the peers.
    pub(super) news: watch::Sender<u64>,
    /// Grows when the user cancels: pairings under way end.
    pub(super) cancels: watch::Sender<u64>,
    /// A deadline may have moved.
    pub(super) clockwork: Notify,
    /// Places for devices that try the PIN shown here.
    pub(super) trying: Arc<Mutex<Trying>>,
    /// Exchanges of each peer that are in work.
    pub(super) turns: Mutex<BTreeMap<DeviceId, u8>>,
}

/// A circle as kept.
#[derive(Clone)]
pub(super) struct Circle {
    /// Shared with copies of it; changed in a copy.
    pub set: Arc<CircleSet>,
    /// Its secret of today, then earlier ones.
    pub secrets: Vec<CircleSecret>,
}

/// What the keeper knows; guarded by a lock that is never held while waiting.
pub(super) struct State {
    /// Those this device was removed from are kept too, until their place is needed.
    pub circles: BTreeMap<CircleId, Circle>,
    pub gate: Gate,
    /// What was said when pairing was opened.
    pub opened: PairOptions,
    pub tickets: BTreeMap<[u8; 8], TicketRecord>,
    pub rules: AccessRules,
    pub view: Arc<CirclesView>,
    /// Who counted where when [`Keeper::changed`] last told of it, to notice when somebody's time ends.
    told: BTreeSet<(CircleId, DeviceId)>,
    told_open: (bool, bool),
    /// Links that counted then: each has its discovery tags.
    told_links: Vec<[u8; 8]>,
}

impl State {
    /// Whether a stranger may speak `pair/1` now.
    pub fn pairing_open(&self, now: Now) -> bool {
        self.gate.is_open(now) || self.tickets.values().any(|ticket| ticket.counts_at(now.wall))
    }

    /// The circles that this device is in.
    pub fn present(&self) -> impl Iterator<Item = &Circle> {
        self.circles.iter().filter(|(id, _)| self.view.circles.contains_key(id)).map(|(_, circle)| circle)
    }

    /// Whether a PIN is open, or else this device is in no circle: it shows itself.
    pub fn shows_itself(&self, now: Now) -> bool {
        self.gate.is_open(now) || self.view.circles.is_empty()
    }
}

impl Keeper {
    /// Reads the circles from `store`.
    ///
    /// # Errors
    /// The database's.
    pub async fn open(store: Store, seam: Seam, key: Arc<DeviceKey>) -> Result<Arc<Self>, MembershipError> {
        let shelf = shelf::load(&store).await?;
        let now = now(&seam);
        let view = Arc::new(CirclesView { me: key.id(), circles: BTreeMap::new() });
        let state = State {
            circles: shelf.circles,
            gate: Gate::restore(shelf.gate, now),
            opened: PairOptions::default(),
            tickets: shelf.tickets,
            rules: shelf.rules,
            view: view.clone(),
            told: BTreeSet::new(),
            told_open: (false, true),
            told_links: Vec::new(),
        };
        let keeper = Arc::new_cyclic(|me| Self {
            me: me.clone(),
            key,
            seam,
            store,
            net: Mutex::new(None),
            state: RwLock::new(state),
            writing: tokio::sync::Mutex::new(()),
            view: watch::Sender::new(view),
            pairing: watch::Sender::new(PairingState::Closed),
            changed: watch::Sender::new(0),
            news: watch::Sender::new(0),
            cancels: watch::Sender::new(0),
            clockwork: Notify::new(),
            trying: Arc::default(),
            turns: Mutex::default(),
        });
        keeper.refresh();
        Ok(keeper)
    }

    /// This device.
    pub fn id(&self) -> DeviceId {
        self.key.id()
    }

    /// All circles, as they change.
    pub fn watch(&self) -> watch::Receiver<Arc<CirclesView>> {
        self.view.subscribe()
    }

    /// All circles now.
    pub fn circles(&self) -> Arc<CirclesView> {
        self.read().view.clone()
    }

    /// See [`Judge::changed`](crate::Judge::changed).
    /// The newest statements of a circle, those that no other follows. Two devices with equal ones have equal statements.
    pub fn heads(&self, circle: CircleId) -> Option<Vec<Hash>> {
        self.read().circles.get(&circle).map(|kept| kept.set.heads())
    }

    pub(super) fn subscribe_changed(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    pub(super) fn now(&self) -> Now {
        now(&self.seam)
    }

    pub(super) fn wall(&self) -> WallMs {
        self.seam.clock.wall()
    }

    pub(super) fn random<const N: usize>(&self) -> [u8; N] {
        let mut bytes = [0; N];
        self.seam.entropy.fill(&mut bytes);
        bytes
    }

    pub(super) fn read(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn write(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn net(&self) -> Result<Net, MembershipError> {
        self.net.lock().unwrap_or_else(PoisonError::into_inner).clone().ok_or(MembershipError::NotAttached)
    }

    /// Runs `work` to its end even if nobody waits for it any more, and no other such work beside it: what is on
    /// disk and what is in memory never part.
    pub(super) async fn undisturbed<T, F>(
        &self,
        work: impl FnOnce(Arc<Keeper>) -> F + Send + 'static,
    ) -> Result<T, MembershipError>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, MembershipError>> + Send + 'static,
    {
        let me = self.me.upgrade().ok_or(MembershipError::Store(StoreError::Closed))?;
        let (done, outcome) = oneshot::channel();
        self.seam.sockets.runtime().spawn(Box::pin(async move {
            let _turn = me.writing.lock().await;
            let _ = done.send(work(me.clone()).await);
        }));
        outcome.await.unwrap_or(Err(MembershipError::Store(StoreError::Closed)))
    }

    /// Changes a circle by `edit`, durably, then makes it seen. Within [`Keeper::undisturbed`].
    pub(super) async fn change<T: Send + 'static>(
        &self,
        id: CircleId,
        weight: usize,
        edit: impl FnOnce(&mut Circle) -> Result<T, MembershipError> + Send + 'static,
    ) -> Result<Changed<T>, MembershipError> {
        let circle = self.read().circles.get(&id).cloned().ok_or(MembershipError::NoCircle(id))?;
        let (key, random, now) = (self.key.clone(), self.random(), self.wall());
        let ops = STATEMENT_OPS.saturating_mul(weight as u64 + 1);
        let work = move || {
            let mut after = circle.clone();
            let value = edit(&mut after)?;
            after.keep_secret_fresh(&key, random, now);
            let from = circle.set.len();
            let same_secrets = circle
                .secrets
                .iter()
                .map(CircleSecret::hash)
                .eq(after.secrets.iter().map(CircleSecret::hash));
            let put = (after.set.len() > from || !same_secrets)
                .then(|| CirclePut::new(&after, from))
                .transpose()?;
            Ok::<_, MembershipError>((value, after, put))
        };
        let (value, circle, put) = self
            .seam
            .compute
            .run(Lane::Work, ops, work)
            .await
            .unwrap_or(Err(MembershipError::Store(StoreError::Closed)))?;
        let news = put.is_some();
        if let Some(put) = put {
            shelf::put_circle(&self.store, put, Vec::new()).await?;
        }
        Ok(Changed { value, circle: news.then_some(circle) })
    }

    /// Makes a stored change seen.
    pub(super) fn publish<T>(&self, changed: Changed<T>) -> T {
        if let Some(circle) = changed.circle {
            self.write().circles.insert(circle.set.id(), circle);
            self.refresh();
            self.news.send_modify(|n| *n += 1);
        }
        changed.value
    }

    /// Takes a new circle in, durably: founded, or joined. Within [`Keeper::undisturbed`].
    pub(super) async fn adopt(&self, mut circle: Circle) -> Result<(), MembershipError> {
        let id = circle.set.id();
        let (from, forget) = {
            let state = self.read();
            let from = state.circles.get(&id).map_or(0, |old| old.set.len());
            let mut forget = Vec::new();
            if !state.circles.contains_key(&id) && state.circles.len() >= CIRCLES {
                // Circles that this device is out of make room.
                let gone = state.circles.keys().find(|id| !state.view.circles.contains_key(id));
                forget.push(
                    *gone.ok_or(MembershipError::Limit("this device is in 8 circles: leave one first"))?,
                );
            }
            (from, forget)
        };
        circle.keep_secret_fresh(&self.key, self.random(), self.wall());
        shelf::put_circle(&self.store, CirclePut::new(&circle, from)?, forget.clone()).await?;
        {
            let mut state = self.write();
            for id in forget {
                state.circles.remove(&id);
            }
            state.circles.insert(id, circle);
        }
        self.refresh();
        self.news.send_modify(|n| *n += 1);
        Ok(())
    }

    /// Computes anew what others see, and tells them if it changed.
    pub(super) fn refresh(&self) {
        let now = self.now();
        let mut state = self.write();
        let me = self.key.id();
        let circles: BTreeMap<CircleId, CircleView> = state
            .circles
            .iter()
            .map(|(id, circle)| (*id, circle.set.view()))
            .filter(|(_, view)| view.members.contains_key(&me))
            .collect();
        let view = if state.view.circles == circles {
            state.view.clone()
        } else {
            Arc::new(CirclesView { me, circles })
        };
        state.view = view.clone();
        let counting = |circle: &CircleView| {
            let counts = circle.members.iter().filter(|(_, member)| member.counts_at(now.wall));
            counts.map(|(device, _)| (circle.id, *device)).collect::<Vec<_>>()
        };
        let members: BTreeSet<_> = view.circles.values().flat_map(counting).collect();
        let open = (state.pairing_open(now), state.shows_itself(now));
        let links: Vec<_> =
            state.tickets.iter().filter(|(_, t)| t.counts_at(now.wall)).map(|(name, _)| *name).collect();
        let judged_anew = links != state.told_links
            || !Arc::ptr_eq(&view, &self.view.borrow())
            || members != state.told
            || open != state.told_open;
        state.told = members;
        state.told_open = open;
        state.told_links = links;
        drop(state);
        self.view.send_if_modified(|seen| {
            let news = !Arc::ptr_eq(seen, &view);
            *seen = view.clone();
            news
        });
        if judged_anew {
            self.judge_anew();
        }
    }

    /// Tells those who ask the judge that its answers may have changed though the circles did not.
    pub(super) fn judge_anew(&self) {
        self.changed.send_modify(|n| *n += 1);
        self.clockwork.notify_one();
    }

    /// Which circle is meant: the one named, or the only one.
    pub(super) fn which(&self, circle: Option<CircleId>) -> Result<CircleId, MembershipError> {
        let view = self.circles();
        match circle {
            Some(id) if view.circles.contains_key(&id) => Ok(id),
            Some(id) => Err(MembershipError::NoCircle(id)),
            None => match view.circles.len() {
                0 => Err(MembershipError::NoCircleYet),
                1 => view.circles.keys().next().copied().ok_or(MembershipError::NoCircleYet),
                n => Err(MembershipError::WhichCircle(n)),
            },
        }
    }
}

/// A change that is on disk. It is seen only after [`Keeper::publish`].
pub(super) struct Changed<T> {
    pub value: T,
    /// The circle as it is now, if it changed.
    pub circle: Option<Circle>,
}

impl Circle {
    /// The secret of today.
    pub fn secret(&self) -> Option<&CircleSecret> {
        self.secrets.first()
    }

    /// Takes in statements of others, and perhaps a secret. How many statements were new.
    pub fn absorb(&mut self, statements: Vec<Signed>, secret: Option<Signed>) -> usize {
        let new = Arc::make_mut(&mut self.set).insert_all(statements);
        let view = self.set.view();
        if let Some(secret) = secret.and_then(|signed| CircleSecret::read(signed, &view).ok()) {
            self.take_secret(secret, &view);
        }
        new
    }

    fn take_secret(&mut self, secret: CircleSecret, view: &CircleView) {
        if self.secrets.first().is_none_or(|today| secret.beats(today, view)) {
            self.secrets.insert(0, secret);
            let mut seen = BTreeSet::new();
            self.secrets.retain(|secret| seen.insert(*secret.secret()));
            self.secrets.truncate(1 + OLD_SECRETS);
        }
    }

    /// An owner makes a new secret when there is none, or the one of today does not cover a removal.
    fn keep_secret_fresh(&mut self, key: &DeviceKey, random: [u8; 32], now: WallMs) {
        let view = self.set.view();
        let wanted = self.secrets.first().is_none_or(|today| today.is_stale(&self.set, &view));
        if wanted && view.is_owner(&key.id(), now) {
            match CircleSecret::make(key, &self.set, self.secrets.first(), random) {
                Ok(secret) => self.take_secret(secret, &view),
                Err(error) => tracing::warn!(circle = %view.id, %error, "no new circle secret"),
            }
        }
    }
}

fn now(seam: &Seam) -> Now {
    Now { wall: seam.clock.wall(), boot: seam.clock.boot() }
}
