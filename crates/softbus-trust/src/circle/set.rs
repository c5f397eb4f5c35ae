//! The set of a circle's statements: grows only, in any order, and knows what follows what.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use softbus_core::{CircleId, DeviceId, Hash, Signed, Signer, WallMs, limits};

use super::evaluate::{Evaluation, evaluate};
use super::past::Past;
use super::statement::{Act, Statement, StatementError};
use super::{CircleView, Member};
use crate::Role;

/// Most statements that wait for their parents.
pub const PENDING: usize = 256;
/// Of [`limits::CIRCLE_STATEMENTS`], how many are kept free for removals, leaving and recovery: a circle that
/// is full can still get rid of whoever filled it.
pub const RESERVED: usize = 256;
/// Of these, how many are not for leaving: everybody who was ever admitted can sign that, once for each time.
const RESERVED_FROM_MEMBERS: usize = 128;
/// Of these, how many are not for owners either, but for the recovery key alone.
const RESERVED_FROM_OWNERS: usize = 16;
/// Most recoveries in a set: each bears on everybody's standing. Who uses up so many has the words and the circle.
pub const RECOVERIES: usize = 64;
/// Most hashes in a digest of a set.
pub const DIGEST: usize = 64;

/// A circle's statements, as far as this device knows them.
#[derive(Clone, Debug)]
pub struct CircleSet {
    id: CircleId,
    recovery: DeviceId,
    entries: Vec<Entry>,
    index: BTreeMap<Hash, u32>,
    /// Statements that wait for parents: hash, bytes, parents. Oldest first.
    pending: VecDeque<(Hash, Signed, Vec<Hash>)>,
    evaluation: Evaluation,
}

/// A statement whose parents are all known. Parents come before children.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub signed: Signed,
    pub hash: Hash,
    pub statement: Statement,
    pub past: Past,
    followed: bool,
}

/// What became of a statement that was offered to a set.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Inserted {
    /// It is new, and so are as many others that waited for it (itself counted).
    New(usize),
    /// It was there already.
    Known,
    /// It waits for parents that are not known yet.
    Pending,
}

/// What a device that is out is told: see [`CircleSet::farewell`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Farewell {
    /// The last statements that removed it; all that is to be told precedes them. At most [`DIGEST`].
    pub removals: Vec<Hash>,
    /// What it lacks of them and of what precedes them.
    pub statements: Vec<Signed>,
    /// That is not all of it.
    pub more: bool,
}

/// Why a statement was refused.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum InsertError {
    /// Its form or signature.
    #[error(transparent)]
    Statement(#[from] StatementError),
    /// It is about another circle.
    #[error("the statement is about another circle")]
    OtherCircle,
    /// Its signer never had the right to sign such a statement, in all that precedes it.
    #[error("the statement's signer {0} never had the right to make it")]
    Stranger(DeviceId),
    /// The set is full.
    #[error("the circle has too many statements; found a new one")]
    Full,
}

/// Why a statement cannot be made now.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ProposeError {
    /// The signer is no owner whose time is not over (or not the recovery key).
    #[error("this device is not an owner of the circle (any more)")]
    NotOwner,
    /// The device meant is not in the circle.
    #[error("{0} is not in the circle")]
    NotMember(DeviceId),
    /// A grant that may not be given.
    #[error("{0}")]
    BadGrant(&'static str),
    /// The circle has as many devices as it may have.
    #[error("the circle has {} devices, more cannot be admitted", limits::CIRCLE_DEVICES)]
    TooManyDevices,
    /// The circle would be without an owner whose time is not over, or sooner than it is.
    #[error("nobody would own the circle after that, or not for as long: make another device owner first")]
    LastOwner,
    /// It does not fit into the set.
    #[error(transparent)]
    Insert(#[from] InsertError),
}

impl CircleSet {
    /// Founds a circle: makes its first statement. `nonce` is random; `recovery` the public half of its
    /// recovery key.
    pub fn found(
        signer: &dyn Signer,
        name: &str,
        recovery: DeviceId,
        nonce: [u8; 16],
        now: WallMs,
    ) -> Result<Self, StatementError> {
        let act = Act::Found { nonce, name: name.to_owned(), recovery };
        let statement = Statement { circle: None, parents: Vec::new(), issued: now, act };
        Self::begin(statement.sign(signer)?)
    }

    /// A set of the founding statement only.
    pub fn begin(founding: Signed) -> Result<Self, StatementError> {
        let statement = Statement::read(&founding)?;
        let Act::Found { recovery, .. } = statement.act else {
            return Err(StatementError::IllFormed("a circle begins with its founding statement"));
        };
        let hash = founding.hash();
        let mut set = Self {
            id: CircleId::from(hash),
            recovery,
            entries: Vec::new(),
            index: BTreeMap::new(),
            pending: VecDeque::new(),
            evaluation: Evaluation::default(),
        };
        set.append(hash, founding, statement, Past::default());
        set.evaluation = evaluate(&set.entries, set.recovery);
        Ok(set)
    }

    /// A set of statements in any order, the founding one among them. What does not belong is left out.
    pub fn from_statements(
        statements: impl IntoIterator<Item = Signed>,
        id: CircleId,
    ) -> Result<Self, StatementError> {
        let mut rest = Vec::new();
        let mut set = None;
        for signed in statements.into_iter().take(limits::CIRCLE_STATEMENTS) {
            if set.is_none() && CircleId::from(signed.hash()) == id {
                set = Some(Self::begin(signed)?);
            } else {
                rest.push(signed);
            }
        }
        let mut set = set.ok_or(StatementError::IllFormed("the founding statement is missing"))?;
        set.insert_all(rest);
        Ok(set)
    }

    /// Which circle.
    pub fn id(&self) -> CircleId {
        self.id
    }

    /// Public half of the recovery key.
    pub fn recovery(&self) -> DeviceId {
        self.recovery
    }

    /// How many statements it holds (without those that wait).
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Never: a circle has its founding statement.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// All statements, parents before children.
    pub fn statements(&self) -> impl Iterator<Item = &Signed> {
        self.entries.iter().map(|entry| &entry.signed)
    }

    /// Offers a statement. Checks everything about it; whether it counts is another matter and may change
    /// as others come.
    pub fn insert(&mut self, signed: Signed) -> Result<Inserted, InsertError> {
        let outcome = self.take(signed)?;
        if matches!(outcome, Inserted::New(_)) {
            self.evaluation = evaluate(&self.entries, self.recovery);
        }
        Ok(outcome)
    }

    /// Offers many, in any order; those refused are left out. Returns how many were new.
    pub fn insert_all(&mut self, statements: impl IntoIterator<Item = Signed>) -> usize {
        let before = self.entries.len();
        for signed in statements {
            let _ = self.take(signed);
        }
        if self.entries.len() > before {
            self.evaluation = evaluate(&self.entries, self.recovery);
        }
        self.entries.len() - before
    }

    fn take(&mut self, signed: Signed) -> Result<Inserted, InsertError> {
        let hash = signed.hash();
        if self.index.contains_key(&hash) {
            return Ok(Inserted::Known);
        }
        let statement = Statement::read(&signed)?;
        if statement.circle != Some(self.id) {
            return Err(InsertError::OtherCircle);
        }
        if !statement.parents.iter().all(|parent| self.index.contains_key(parent)) {
            if !self.pending.iter().any(|(waiting, ..)| *waiting == hash) {
                if self.pending.len() >= PENDING {
                    self.pending.pop_front();
                }
                self.pending.push_back((hash, signed, statement.parents));
            }
            return Ok(Inserted::Pending);
        }
        self.admit(hash, signed, statement)?;
        let before = self.entries.len();
        self.release_pending();
        Ok(Inserted::New(1 + self.entries.len() - before))
    }

    /// Takes in a statement whose parents are known.
    fn admit(&mut self, hash: Hash, signed: Signed, statement: Statement) -> Result<(), InsertError> {
        let mut past = Past::default();
        for parent in &statement.parents {
            if let Some(&at) = self.index.get(parent) {
                past.add_all(&self.entries[at as usize].past);
                past.add(at as usize);
            }
        }
        if !self.may_ever_sign(&signed.signer, &statement, &past) {
            return Err(InsertError::Stranger(signed.signer));
        }
        let reserved = match statement.act {
            Act::Recover { .. } => 0,
            Act::Remove { .. } => RESERVED_FROM_OWNERS,
            Act::Leave => RESERVED_FROM_MEMBERS,
            _ => RESERVED,
        };
        let recovers = |act: &Act| matches!(act, Act::Recover { .. });
        let recoveries = || self.entries.iter().filter(|entry| recovers(&entry.statement.act)).count();
        if self.entries.len() >= limits::CIRCLE_STATEMENTS - reserved
            || (recovers(&statement.act) && recoveries() >= RECOVERIES)
        {
            return Err(InsertError::Full);
        }
        for parent in &statement.parents {
            if let Some(&at) = self.index.get(parent) {
                self.entries[at as usize].followed = true;
            }
        }
        self.append(hash, signed, statement, past);
        Ok(())
    }

    fn append(&mut self, hash: Hash, signed: Signed, statement: Statement, past: Past) {
        // At most CIRCLE_STATEMENTS entries, so the index fits.
        self.index.insert(hash, self.entries.len() as u32);
        self.entries.push(Entry { signed, hash, statement, past, followed: false });
    }

    /// Keeps strangers out of the set for good: whether the signer was ever made an owner, in the statement's past; for
    /// leaving, whether its only parent admits the signer and gives it its date, so that who was admitted a few times
    /// cannot fill the set. It depends on the past only, so every device decides alike.
    fn may_ever_sign(&self, signer: &DeviceId, statement: &Statement, past: &Past) -> bool {
        let mut before = self.entries.iter().enumerate().take(past.extent()).filter(|(at, _)| past.has(*at));
        match statement.act {
            Act::Found { .. } => false,
            Act::Recover { .. } => *signer == self.recovery,
            Act::Leave => match statement.parents[..] {
                // The only parent is in the statement's past.
                [parent] => self.index.get(&parent).is_some_and(|&at| {
                    let e = &self.entries[at as usize];
                    e.statement.issued == statement.issued
                        && e.statement.act.admits(e.signed.signer) == Some(*signer)
                }),
                _ => false,
            },
            _ => before.any(|(_, e)| e.statement.act.role_for(e.signed.signer, *signer) == Some(Role::Owner)),
        }
    }

    fn release_pending(&mut self) {
        loop {
            let ready = self
                .pending
                .iter()
                .position(|(_, _, parents)| parents.iter().all(|parent| self.index.contains_key(parent)));
            let Some((hash, signed, _)) = ready.and_then(|at| self.pending.remove(at)) else {
                return;
            };
            if !self.index.contains_key(&hash)
                && let Ok(statement) = Statement::read(&signed)
            {
                let _ = self.admit(hash, signed, statement);
            }
        }
    }

    /// The circle as it stands: see [`Member::counts_at`] for whose time is over.
    pub fn view(&self) -> CircleView {
        let name = match self.entries.first().map(|founding| &founding.statement.act) {
            Some(Act::Found { name, .. }) => name.clone(),
            _ => String::new(),
        };
        CircleView {
            id: self.id,
            name,
            members: self.evaluation.members.clone(),
            statements: self.entries.len(),
        }
    }

    /// Everybody who is in the circle at `now`: a pure function of the set and of `now`.
    pub fn members(&self, now: WallMs) -> BTreeMap<DeviceId, Member> {
        self.evaluation
            .members
            .iter()
            .filter(|(_, member)| member.counts_at(now))
            .map(|(device, member)| (*device, member.clone()))
            .collect()
    }

    /// Whether a statement is known and counts.
    pub fn counts(&self, statement: &Hash) -> bool {
        self.index.get(statement).is_some_and(|&at| self.evaluation.counts(at as usize))
    }

    /// Hashes of the statements that nothing follows, ascending.
    pub fn heads(&self) -> Vec<Hash> {
        let heads: BTreeSet<Hash> = self.entries.iter().filter(|e| !e.followed).map(|e| e.hash).collect();
        heads.into_iter().collect()
    }

    /// A digest of the set to show to a peer: heads, and further back ever fewer statements, so that the peer finds
    /// common ground even if it does not know the heads. At most [`DIGEST`] hashes.
    pub fn digest(&self) -> Vec<Hash> {
        let mut digest = self.heads();
        digest.truncate(DIGEST / 2);
        let mut back = 1;
        while digest.len() < DIGEST && back < self.entries.len() {
            let hash = self.entries[self.entries.len() - 1 - back].hash;
            if !digest.contains(&hash) {
                digest.push(hash);
            }
            back *= 2;
        }
        digest
    }

    /// What a peer with this digest lacks as far as it tells, parents first, at most `max_bytes` of bodies, and whether that is
    /// not all. `after` is the last one that it got of us: what comes before it is not said again.
    pub fn missing(&self, digest: &[Hash], after: Option<&Hash>, max_bytes: usize) -> (Vec<Signed>, bool) {
        self.lacking(digest, after, |_| true, max_bytes)
    }

    /// The statements that `wanted` picks and that a peer with this digest lacks.
    fn lacking(
        &self,
        digest: &[Hash],
        after: Option<&Hash>,
        wanted: impl Fn(usize) -> bool,
        max_bytes: usize,
    ) -> (Vec<Signed>, bool) {
        let mut has = Past::default();
        for hash in digest.iter().take(DIGEST) {
            if let Some(&at) = self.index.get(hash) {
                has.add_all(&self.entries[at as usize].past);
                has.add(at as usize);
            }
        }
        // Entries keep their order and new ones come last, so what was sent is never passed over.
        let begin = after.and_then(|hash| self.index.get(hash)).map_or(0, |&at| at as usize + 1);
        let (mut lacks, mut bytes) = (Vec::new(), 0);
        for (at, entry) in self.entries.iter().enumerate().skip(begin) {
            if has.has(at) || !wanted(at) {
                continue;
            }
            bytes += entry.signed.body.len() + SIGNED_OVERHEAD;
            if bytes > max_bytes && !lacks.is_empty() {
                return (lacks, true);
            }
            lacks.push(entry.signed.clone());
        }
        (lacks, false)
    }

    /// Whether every statement of the digest is known here.
    pub fn knows_all(&self, digest: &[Hash]) -> bool {
        digest.iter().all(|hash| self.index.contains_key(hash))
    }

    /// Whether every counting removal is among `seen` or before it. `None` if some of `seen` is not known here.
    pub fn removals_covered(&self, seen: &[Hash]) -> Option<bool> {
        let mut covered = Past::default();
        for hash in seen {
            let &at = self.index.get(hash)?;
            covered.add_all(&self.entries[at as usize].past);
            covered.add(at as usize);
        }
        Some(
            (0..self.entries.len()).all(|at| {
                covered.has(at) || !self.evaluation.counts(at) || !self.entries[at].removes_somebody()
            }),
        )
    }

    /// Whether `device` was removed or left by a counting statement and is not in the circle now.
    pub fn is_out(&self, device: &DeviceId) -> bool {
        self.evaluation.out.contains_key(device)
    }

    /// Every device that [is out](CircleSet::is_out), in order.
    pub fn out(&self) -> impl Iterator<Item = &DeviceId> {
        self.evaluation.out.keys()
    }

    /// What a device that is out lacks, by its digest, to judge for itself that it is out: the statements that
    /// removed it and what precedes them, parents first, at most `max_bytes` of bodies at a time. Nothing that
    /// came later or beside them; `after` as in [`CircleSet::missing`]. `None` for a device that is not out.
    pub fn farewell(
        &self,
        device: &DeviceId,
        digest: &[Hash],
        after: Option<&Hash>,
        max_bytes: usize,
    ) -> Option<Farewell> {
        let removals = self.evaluation.out.get(device)?;
        let (mut path, mut last) = (Past::default(), Vec::new());
        for &at in removals.iter().rev() {
            // What follows a statement stands behind it: a removal that a later one builds on is on its path.
            if !path.has(at) {
                path.add_all(&self.entries[at].past);
                path.add(at);
                last.push(self.entries[at].hash);
            }
        }
        last.truncate(DIGEST);
        let (statements, more) = self.lacking(digest, after, |at| path.has(at), max_bytes);
        Some(Farewell { removals: last, statements, more })
    }

    /// Makes and takes in a statement that follows all that is known (leaving: the last admission), if the signer may
    /// make it now. What an owner says of itself does not bring nearer the day when nobody owns the circle: only by
    /// leaving can it do that. (What it says of others does not count so: it must be able to remove a lost owner.)
    pub fn propose(&mut self, signer: &dyn Signer, now: WallMs, act: Act) -> Result<Signed, ProposeError> {
        self.check_target(&act, signer.id(), now)?;
        let (parents, issued) = match act {
            Act::Leave => {
                let admission =
                    self.last_admission(&signer.id()).ok_or(ProposeError::NotMember(signer.id()))?;
                (vec![admission.hash], admission.statement.issued)
            }
            _ => (self.parents(), now),
        };
        let of_itself = act.names(&signer.id());
        let statement = Statement { circle: Some(self.id), parents, issued, act };
        let signed = statement.sign(signer).map_err(InsertError::from)?;
        let mut trial = self.clone();
        trial.insert(signed.clone()).map_err(|error| match error {
            InsertError::Stranger(_) => ProposeError::NotOwner,
            other => other.into(),
        })?;
        if !trial.counts(&signed.hash()) {
            return Err(ProposeError::NotOwner);
        }
        let after = trial.view();
        let ends = |view: &CircleView| view.owned_until().map_or(u64::MAX, |end| end.0);
        if of_itself && ends(&after) < ends(&self.view()) {
            return Err(ProposeError::LastOwner);
        }
        *self = trial;
        Ok(signed)
    }

    /// What a new statement follows: the heads, those that count first.
    fn parents(&self) -> Vec<Hash> {
        let mut heads: Vec<&Entry> = self.entries.iter().filter(|e| !e.followed).collect();
        heads.sort_by_key(|e| {
            (!self.evaluation.counts(self.index.get(&e.hash).map_or(0, |&at| at as usize)), e.hash)
        });
        let parents: BTreeSet<Hash> = heads.iter().take(limits::STATEMENT_PARENTS).map(|e| e.hash).collect();
        parents.into_iter().collect()
    }

    /// The counting admission of a device that stands last. One that is in did not leave after that one yet: what
    /// admits it follows all its leaving, and so stands behind it.
    fn last_admission(&self, device: &DeviceId) -> Option<&Entry> {
        let admissions = self.entries.iter().enumerate().rev();
        let mut admissions = admissions.filter(|(at, _)| self.evaluation.counts(*at)).map(|(_, entry)| entry);
        admissions.find(|entry| entry.statement.act.admits(entry.signed.signer) == Some(*device))
    }

    /// Whether a device left, and no counting removal follows that: it may still back-date what it signs.
    fn left_unremoved(&self, device: &DeviceId) -> bool {
        let Some(removals) = self.evaluation.out.get(device) else { return false };
        let leaves = |at: usize| matches!(self.entries[at].statement.act, Act::Leave);
        let (left, removed): (Vec<usize>, Vec<usize>) = removals.iter().partition(|at| leaves(**at));
        left.iter().any(|left| !removed.iter().any(|removal| self.entries[*removal].past.has(*left)))
    }

    fn check_target(&self, act: &Act, signer: DeviceId, now: WallMs) -> Result<(), ProposeError> {
        let members = &self.evaluation.members;
        let known = |device: &DeviceId| members.get(device).ok_or(ProposeError::NotMember(*device));
        let owner = || match members.get(&signer) {
            Some(member) if member.role == Role::Owner && member.counts_at(now) => Ok(()),
            _ => Err(ProposeError::NotOwner),
        };
        match act {
            Act::Admit { device, grant, replaces } => {
                owner()?;
                grant.check().map_err(ProposeError::BadGrant)?;
                if let Some(old) = replaces {
                    known(old)?;
                }
                if !members.contains_key(device)
                    && replaces.is_none()
                    && members.len() >= limits::CIRCLE_DEVICES
                {
                    return Err(ProposeError::TooManyDevices);
                }
            }
            Act::Renew { device, expires } => {
                owner()?;
                if known(device)?.role == Role::Guest && expires.is_none() {
                    return Err(ProposeError::BadGrant("a guest needs an end"));
                }
            }
            Act::ChangeRole { device, grant } => {
                owner()?;
                known(device)?;
                grant.check().map_err(ProposeError::BadGrant)?;
            }
            Act::Remove { device } => {
                owner()?;
                if !self.left_unremoved(device) {
                    known(device)?;
                }
            }
            Act::Leave => drop(known(&signer)?),
            Act::Recover { keeps, .. } => {
                if signer != self.recovery {
                    return Err(ProposeError::NotOwner);
                }
                keeps.iter().try_for_each(|device| known(device).map(drop))?;
            }
            Act::Found { .. } => return Err(ProposeError::NotOwner),
        }
        Ok(())
    }
}

/// Bytes of a signed statement beside its body, roughly.
const SIGNED_OVERHEAD: usize = 100;

impl Entry {
    fn removes_somebody(&self) -> bool {
        match &self.statement.act {
            Act::Remove { .. } | Act::Leave | Act::Recover { .. } => true,
            Act::Admit { replaces, .. } => replaces.is_some(),
            _ => false,
        }
    }
}

#[cfg(test)]
impl CircleSet {
    pub(super) fn pending_len(&self) -> usize {
        self.pending.len()
    }

    /// Checks the rules of `evaluate.rs` against the outcome, statement by statement, in another way than it
    /// was computed.
    pub(super) fn check_rules(&self) {
        let concurrent =
            |a: usize, b: usize| a != b && !self.entries[a].past.has(b) && !self.entries[b].past.has(a);
        for (at, entry) in self.entries.iter().enumerate() {
            if !self.evaluation.counts(at) {
                continue;
            }
            let immune = matches!(entry.statement.act, Act::Found { .. } | Act::Leave | Act::Recover { .. });
            // In words of its own: who is named by a removal, put in another's place or given a lesser role by somebody.
            // Who leaves is not.
            let takes_from = |act: &Act| match act {
                Act::Remove { device } => vec![*device],
                Act::Admit { device, grant, replaces } => {
                    replaces.iter().copied().chain((grant.role != Role::Owner).then_some(*device)).collect()
                }
                Act::ChangeRole { device, grant } if grant.role != Role::Owner => vec![*device],
                _ => Vec::new(),
            };
            let disarmed_by: Vec<usize> = (0..self.entries.len())
                .filter(|other| self.evaluation.counts(*other) && concurrent(at, *other))
                .filter(|other| {
                    let act = &self.entries[*other].statement.act;
                    takes_from(act).contains(&entry.signed.signer) || !act.spares(&entry.signed.signer)
                })
                .collect();
            if !immune && !disarmed_by.is_empty() {
                // Rule 3 only: it takes away itself, and is in a circle of mutual disarming (perhaps by the
                // hands of others).
                assert!(!takes_from(&entry.statement.act).is_empty(), "{:?}", entry.statement);
            }
            // After a recovery nobody is an owner whom it does not spare, unless by a statement that follows it, or one
            // of those it spares signed meanwhile.
            if let act @ Act::Recover { .. } = &entry.statement.act {
                for (device, _) in self.evaluation.members.iter().filter(|(_, m)| m.role == Role::Owner) {
                    let anew = self.entries.iter().enumerate().any(|(other, later)| {
                        let by = later.signed.signer;
                        self.evaluation.counts(other)
                            && later.statement.act.role_for(by, *device) == Some(Role::Owner)
                            && (later.past.has(at)
                                || concurrent(at, other) && (act.spares(&by) || by == self.recovery))
                    });
                    assert!(act.spares(device) || anew, "an owner outlasts a recovery");
                }
                for other in (0..self.entries.len()).filter(|other| concurrent(at, *other)) {
                    let other_act = &self.entries[other].statement.act;
                    let immune = matches!(other_act, Act::Leave | Act::Recover { .. });
                    let spared = act.spares(&self.entries[other].signed.signer);
                    assert!(immune || spared || !self.evaluation.counts(other), "signed beside a recovery");
                }
            }
            // A device that a counting removal removes (or that left), and whom nobody admits after it, is out.
            let gone = match &entry.statement.act {
                Act::Remove { device } => Some(*device),
                Act::Leave => Some(entry.signed.signer),
                _ => None,
            };
            if let Some(device) = gone {
                let back = self.entries.iter().any(|later| {
                    later.past.has(at) && later.statement.act.admits(later.signed.signer) == Some(device)
                });
                assert!(back || !self.evaluation.members.contains_key(&device));
            }
        }
        for device in self.evaluation.members.keys() {
            assert!(self.entries.iter().enumerate().any(|(at, e)| {
                self.evaluation.counts(at) && e.statement.act.admits(e.signed.signer) == Some(*device)
            }));
        }
    }
}
