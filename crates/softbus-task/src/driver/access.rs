//! Whose task: the submitter, owners of the circle, and whoever the grant names.

use std::sync::Arc;

use softbus_core::wire::task_control::{ACT, Act, GRANT_BYTES, Grant, Right, TaskSecret, Verb};
use softbus_core::{CircleId, DeviceId, Domain, Hash, Privacy, Signed, Signer, TaskId, decode, encode};
use softbus_trust::Role;

use crate::TaskError;
use crate::status::has;

/// A task's grant whose signature and limits were checked: whose task it is, and what it may have.
#[derive(Clone, PartialEq, Debug)]
pub struct OpenGrant {
    /// As it was signed.
    pub signed: Signed,
    /// What it says.
    pub grant: Grant,
    /// Names it.
    pub hash: Hash,
}

impl OpenGrant {
    pub(crate) fn sign(key: &dyn Signer, grant: Grant) -> Result<Self, TaskError> {
        let body = encode(&grant).map_err(|e| TaskError::BadSubmission(e.to_string()))?;
        let signed = Signed::new(key, Domain::GRANT, body);
        Ok(Self { hash: signed.hash(), signed, grant })
    }

    /// Foreign bytes: length, signature, form, limits.
    ///
    /// # Errors
    /// Which of them is wrong.
    pub fn open(signed: Signed) -> Result<Self, TaskError> {
        let bad = |why: String| TaskError::Protocol(format!("a task's grant: {why}"));
        if signed.body.len() > GRANT_BYTES {
            return Err(bad("too long".into()));
        }
        let body = signed.verify(Domain::GRANT).map_err(|e| bad(e.to_string()))?;
        let grant = parse_grant(body).map_err(bad)?;
        Ok(Self { hash: signed.hash(), signed, grant })
    }

    /// The task.
    pub fn task(&self) -> TaskId {
        self.grant.spec.task
    }

    /// Whether this is the task's secret, and not one that somebody made up.
    pub(crate) fn has_secret(&self, secret: &TaskSecret) -> bool {
        self.grant.secret == secret.name()
    }

    /// The circle that it is of.
    pub fn circle(&self) -> Option<CircleId> {
        self.grant.spec.circle
    }

    /// Who signed it.
    pub fn submitter(&self) -> DeviceId {
        self.signed.signer
    }

    /// Whether `device`, of this role in [the task's circle](OpenGrant::circle) (`None`: it is not in it), may do so.
    pub fn may(&self, device: &DeviceId, role: Option<Role>, right: Right) -> bool {
        let Some(role) = role else { return false };
        *device == self.submitter() || role == Role::Owner || has(&self.grant.granted, device, right)
    }

    /// Whether `device` may have this done with the task.
    pub fn may_order(&self, device: &DeviceId, role: Option<Role>, verb: &Verb) -> bool {
        match verb {
            Verb::Move { .. } | Verb::Release => self.may(device, role, Right::Move),
            // Less than to end it, and no more than a move does for a while.
            Verb::Pause | Verb::Resume => {
                self.may(device, role, Right::Move) || self.may(device, role, Right::Cancel)
            }
            Verb::Save => self.may_save(device, role),
        }
    }

    /// Whether `device` may have the task's state in the clear: its submitter, and whoever may see, move and run it. To
    /// another the task's label does not let it.
    pub fn may_save(&self, device: &DeviceId, role: Option<Role>) -> bool {
        let may = |right| self.may(device, role, right);
        let trusted = *device == self.submitter() || self.may_run(device, role);
        may(Right::See) && may(Right::Move) && trusted
    }

    /// Whether `device` may run the task, as far as its label and its submitter's word go.
    pub fn may_run(&self, device: &DeviceId, role: Option<Role>) -> bool {
        let spec = &self.grant.spec;
        let named = (spec.only.is_empty() || spec.only.contains(device)) && !spec.never.contains(device);
        let label = match (spec.qos.privacy, role) {
            _ if *device == self.submitter() => role.is_some(),
            (_, None) | (Privacy::Device, _) => false,
            (Privacy::Owners, Some(role)) => role == Role::Owner,
            (Privacy::Circle, Some(role)) => role >= Role::Member,
            (Privacy::Anyone, Some(_)) => true,
        };
        named && label
    }
}

/// Parses a grant's bytes and checks its limits, not its signature (a harness for fuzzing).
///
/// # Errors
/// What is wrong with it.
fn parse_grant(body: &[u8]) -> Result<Grant, String> {
    let grant: Grant = decode(body).map_err(|e| e.to_string())?;
    let devices = softbus_core::wire::task_control::GRANT_DEVICES;
    if !grant.spec.within_limits()
        || grant.granted.len() > devices
        || grant.granted.iter().any(|g| g.rights.len() > 8)
    {
        return Err("beyond its limits".into());
    }
    Ok(grant)
}

/// A signed act of a person, checked as far as it speaks for itself.
pub(crate) fn open_act(signed: &Signed) -> Result<Act, TaskError> {
    let bad = |why: String| TaskError::Protocol(format!("an act: {why}"));
    if signed.body.len() > 4 << 10 {
        return Err(bad("too long".into()));
    }
    let body = signed.verify(ACT).map_err(|e| bad(e.to_string()))?;
    decode(body).map_err(|e| bad(e.to_string()))
}

pub(crate) fn sign_act(key: &dyn Signer, act: &Act) -> Result<Signed, TaskError> {
    let body = encode(act).map_err(|e| TaskError::BadSubmission(e.to_string()))?;
    Ok(Signed::new(key, ACT, body))
}

/// Shared by actor and services.
pub(crate) type GrantRef = Arc<OpenGrant>;

#[cfg(test)]
pub(crate) mod tests {
    use softbus_core::wire::task_control::{Granted, PolicyKind, TaskSpec};
    use softbus_core::{QoS, WallMs};
    use softbus_trust::DeviceKey;

    use super::*;

    /// A specification that asks for nothing in particular.
    pub(crate) fn spec() -> TaskSpec {
        TaskSpec {
            task: TaskId([1; 16]),
            kind: "sum/1".into(),
            name: "sum".into(),
            qos: QoS::default(),
            policy: PolicyKind::Owner,
            replicas: 1,
            ops: 1,
            memory_bytes: 1,
            output_bytes: 0,
            cores: 1,
            needs: Vec::new(),
            only: Vec::new(),
            stay: false,
            submitted: WallMs(0),
            capabilities: Vec::new(),
            accelerators: Vec::new(),
            never: Vec::new(),
            circle: None,
            terms: Vec::new(),
        }
    }

    #[test]
    fn submitter_owners_and_the_granted_may() {
        let key = DeviceKey::from_seed(&[1; 32]);
        let (friend, other) = (DeviceId([2; 32]), DeviceId([3; 32]));
        let granted = vec![Granted { device: friend, rights: vec![Right::See, Right::Move] }];
        let grant = Grant { spec: spec(), input: Hash([0; 32]), secret: Hash([0; 32]), granted };
        let grant = OpenGrant::open(OpenGrant::sign(&key, grant).unwrap().signed).unwrap();
        let member = Some(Role::Member);
        assert!(grant.may(&key.id(), member, Right::Cancel));
        assert!(grant.may(&friend, member, Right::Move));
        assert!(!grant.may(&friend, member, Right::Cancel));
        assert!(!grant.may(&friend, None, Right::See), "removed from the circle");
        assert!(!grant.may(&other, member, Right::See));
        assert!(grant.may(&other, Some(Role::Owner), Right::Cancel));
    }

    #[test]
    fn who_may_move_or_cancel_may_pause_and_who_may_move_and_run_may_save() {
        let key = DeviceKey::from_seed(&[1; 32]);
        let (mover, canceller, seer) = (DeviceId([2; 32]), DeviceId([3; 32]), DeviceId([4; 32]));
        let granted = vec![
            Granted { device: mover, rights: vec![Right::See, Right::Move] },
            Granted { device: canceller, rights: vec![Right::See, Right::Cancel] },
            Granted { device: seer, rights: vec![Right::See] },
        ];
        let none = Hash([0; 32]);
        let grant = |privacy| {
            let mut spec = spec();
            spec.qos.privacy = privacy;
            let grant = Grant { spec, input: none, secret: none, granted: granted.clone() };
            OpenGrant::sign(&key, grant).unwrap()
        };
        let member = Some(Role::Member);
        let circle = grant(Privacy::Circle);
        for (device, pauses, saves) in [
            (key.id(), true, true),
            (mover, true, true),
            (canceller, true, false),
            (seer, false, false),
            (DeviceId([9; 32]), false, false),
        ] {
            for verb in [Verb::Pause, Verb::Resume] {
                assert_eq!(circle.may_order(&device, member, &verb), pauses, "{device}");
            }
            assert_eq!(circle.may_order(&device, member, &Verb::Save), saves, "{device}");
            assert!(!circle.may_order(&device, None, &Verb::Pause), "out of the circle");
        }
        // A state in the clear is for those only to whom the label lets it.
        let own = grant(Privacy::Device);
        assert!(own.may_save(&key.id(), member) && !own.may_save(&mover, member));
        assert!(!own.may_save(&mover, Some(Role::Owner)));
    }

    #[test]
    fn the_privacy_label_says_who_may_run_it() {
        let key = DeviceKey::from_seed(&[1; 32]);
        let other = DeviceId([2; 32]);
        let run = |privacy, only: Vec<DeviceId>, role| {
            let mut spec = spec();
            (spec.qos.privacy, spec.only) = (privacy, only);
            let none = Hash([0; 32]);
            let grant = Grant { spec, input: none, secret: none, granted: Vec::new() };
            OpenGrant::sign(&key, grant).unwrap().may_run(&other, role)
        };
        assert!(!run(Privacy::Device, vec![], Some(Role::Owner)));
        assert!(!run(Privacy::Owners, vec![], Some(Role::Member)));
        assert!(run(Privacy::Circle, vec![], Some(Role::Member)));
        assert!(!run(Privacy::Circle, vec![], Some(Role::Guest)));
        assert!(run(Privacy::Anyone, vec![], Some(Role::Guest)));
        assert!(!run(Privacy::Anyone, vec![], None));
        assert!(!run(Privacy::Anyone, vec![DeviceId([9; 32])], Some(Role::Owner)));
        let spec = TaskSpec { never: vec![other], ..spec() };
        let none = Hash([0; 32]);
        let excluded = Grant { spec, input: none, secret: none, granted: Vec::new() };
        assert!(!OpenGrant::sign(&key, excluded).unwrap().may_run(&other, Some(Role::Owner)));
    }

    #[test]
    fn a_flipped_bit_and_anothers_signature_are_refused() {
        let key = DeviceKey::from_seed(&[1; 32]);
        let none = Hash([0; 32]);
        let grant = Grant { spec: spec(), input: none, secret: none, granted: vec![] };
        let signed = OpenGrant::sign(&key, grant).unwrap().signed;
        for at in 0..signed.body.len() {
            let mut bent = signed.clone();
            bent.body[at] ^= 1;
            assert!(OpenGrant::open(bent).is_err());
        }
        let mut stolen = signed;
        stolen.signer = DeviceKey::from_seed(&[2; 32]).id();
        assert!(OpenGrant::open(stolen).is_err());
    }
}
