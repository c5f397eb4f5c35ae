//! One signed statement about a circle.

use serde::{Deserialize, Serialize};
use softbus_core::{
    CircleId, DecodeError, DeviceId, Domain, EncodeError, Hash, Message, Signed, SignedError, Signer, WallMs,
    limits,
};

use super::{GRANT_SERVICES, Grant};
use crate::Role;

/// Most owners that one recovery may keep.
pub const RECOVERY_KEEPS: usize = 64;

/// What a statement says.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Statement {
    /// The circle it is about; none only in the founding statement, whose hash names the circle.
    pub circle: Option<CircleId>,
    /// What its signer knew: hashes of the statements that nothing yet followed, ascending, without repetition,
    /// at most [`limits::STATEMENT_PARENTS`]. Empty only in the founding statement.
    pub parents: Vec<Hash>,
    /// When its signer's wall clock says it was signed.
    pub issued: WallMs,
    /// What is stated.
    pub act: Act,
}

/// What is stated. Grows only at the end.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Act {
    /// The signer founds a circle and is its owner, without end.
    Found {
        /// Random, so that no two circles are the same.
        nonce: [u8; 16],
        /// The circle's name, at most [`limits::NAME_BYTES`] bytes.
        name: String,
        /// Public half of the recovery key.
        recovery: DeviceId,
    },
    /// An owner admits a device.
    Admit {
        /// Which.
        device: DeviceId,
        /// As what, until when.
        grant: Grant,
        /// A lost device whose place it takes: removed by this same statement.
        replaces: Option<DeviceId>,
    },
    /// An owner gives a member another end.
    Renew {
        /// Which.
        device: DeviceId,
        /// The new end; none for never (not for guests).
        expires: Option<WallMs>,
    },
    /// An owner gives a member another role, and the end and services that go with it.
    ChangeRole {
        /// Which.
        device: DeviceId,
        /// From now on.
        grant: Grant,
    },
    /// An owner removes a device.
    Remove {
        /// Which.
        device: DeviceId,
    },
    /// The signer leaves. Its one parent is the admission (or founding) that this ends, and its date is that one's:
    /// so there is one for each admission, however often its signer signs.
    Leave,
    /// The recovery key makes a device an owner, without end, and removes all other owners. They are not listed:
    /// whoever stole an owner may have admitted more of them than any list holds, and than were heard of.
    Recover {
        /// The new owner.
        device: DeviceId,
        /// Owners that stay. Ascending, without repetition, at most [`RECOVERY_KEEPS`].
        keeps: Vec<DeviceId>,
    },
}

impl Message for Statement {
    const KIND: u16 = 0x0210;
    const VERSION: u16 = 1;
    const MAX_BYTES: usize = 6 << 10;
}

/// Why signed bytes are no statement.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum StatementError {
    /// The signature is wrong.
    #[error("the statement's signature is wrong: {0}")]
    Signature(#[from] SignedError),
    /// The bytes are not understood.
    #[error("the statement is not understood: {0}")]
    Decode(#[from] DecodeError),
    /// It is longer than a statement may be.
    #[error("the statement is too long: {0}")]
    Encode(#[from] EncodeError),
    /// It breaks a rule that every statement obeys by itself.
    #[error("the statement is not well-formed: {0}")]
    IllFormed(&'static str),
}

impl Statement {
    /// Signs a statement, after checking its form.
    pub fn sign(&self, signer: &dyn Signer) -> Result<Signed, StatementError> {
        self.check()?;
        Ok(Signed::new(signer, Domain::CIRCLE, softbus_core::encode(self)?))
    }

    /// Checks the signature of foreign bytes, parses them and checks the statement's form.
    pub fn read(signed: &Signed) -> Result<Self, StatementError> {
        if signed.body.len() > softbus_core::HEADER_LEN + Self::MAX_BYTES {
            return Err(StatementError::IllFormed("too long"));
        }
        let statement: Self = softbus_core::decode(signed.verify(Domain::CIRCLE)?)?;
        statement.check()?;
        Ok(statement)
    }

    fn check(&self) -> Result<(), StatementError> {
        let ill = |why| Err(StatementError::IllFormed(why));
        let founding = matches!(self.act, Act::Found { .. });
        if founding != self.circle.is_none() || founding != self.parents.is_empty() {
            return ill("all but the founding statement name their circle and their parents");
        }
        if self.parents.len() > limits::STATEMENT_PARENTS || !self.parents.is_sorted_by(|a, b| a < b) {
            return ill("its parents are too many or not in order");
        }
        match &self.act {
            Act::Found { name, .. } if name.len() > limits::NAME_BYTES => {
                ill("the circle's name is too long")
            }
            Act::Admit { device, grant, replaces } => {
                if replaces.as_ref() == Some(device) {
                    return ill("a device cannot replace itself");
                }
                grant.check().map_err(StatementError::IllFormed)
            }
            Act::ChangeRole { grant, .. } => grant.check().map_err(StatementError::IllFormed),
            Act::Recover { keeps, .. }
                if keeps.len() > RECOVERY_KEEPS || !keeps.is_sorted_by(|a, b| a < b) =>
            {
                ill("those it keeps are too many or not in order")
            }
            _ => Ok(()),
        }
    }
}

impl Grant {
    /// Whether it is one that an owner may give: guests have an end and few services, others no list of them.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn check(&self) -> Result<(), &'static str> {
        match self.role {
            Role::Guest if self.expires.is_none() => Err("a guest needs an end"),
            Role::Guest if self.services.len() > GRANT_SERVICES => {
                Err("a guest may be granted at most 16 services")
            }
            Role::Guest => Ok(()),
            _ if !self.services.is_empty() => Err("only guests have a list of services; others may open all"),
            _ => Ok(()),
        }
    }
}

impl Act {
    /// The device it admits, if it does. `signer` is the statement's.
    pub(super) fn admits(&self, signer: DeviceId) -> Option<DeviceId> {
        match self {
            Self::Found { .. } => Some(signer),
            Self::Admit { device, .. } | Self::Recover { device, .. } => Some(*device),
            _ => None,
        }
    }

    /// Whether it says anything of this device's membership. (Founding, leaving and recovery name nobody's but by their
    /// signer.)
    pub(super) fn names(&self, who: &DeviceId) -> bool {
        match self {
            Self::Admit { device, replaces, .. } => device == who || replaces.as_ref() == Some(who),
            Self::Renew { device, .. } | Self::ChangeRole { device, .. } | Self::Remove { device } => {
                device == who
            }
            Self::Found { .. } | Self::Leave | Self::Recover { .. } => false,
        }
    }

    /// The role it gives to `device`, if it gives one.
    pub(super) fn role_for(&self, signer: DeviceId, device: DeviceId) -> Option<Role> {
        match self {
            Self::Found { .. } => (signer == device).then_some(Role::Owner),
            Self::Recover { device: d, .. } => (*d == device).then_some(Role::Owner),
            Self::Admit { device: d, grant, .. } | Self::ChangeRole { device: d, grant } => {
                (*d == device).then_some(grant.role)
            }
            _ => None,
        }
    }

    /// The end it sets for `device`, if it sets one.
    pub(super) fn expiry_for(&self, signer: DeviceId, device: DeviceId) -> Option<Option<WallMs>> {
        match self {
            Self::Found { .. } => (signer == device).then_some(None),
            Self::Recover { device: d, .. } => (*d == device).then_some(None),
            Self::Admit { device: d, grant, .. } | Self::ChangeRole { device: d, grant } => {
                (*d == device).then_some(grant.expires)
            }
            Self::Renew { device: d, expires } => (*d == device).then_some(*expires),
            _ => None,
        }
    }

    /// Whether it removes `device` by name. (A recovery removes others, too: see [`Act::spares`].)
    pub(super) fn removes(&self, signer: DeviceId, device: DeviceId) -> bool {
        match self {
            Self::Remove { device: d } => *d == device,
            Self::Admit { replaces, .. } => *replaces == Some(device),
            Self::Leave => signer == device,
            _ => false,
        }
    }

    /// Whether a recovery leaves `device` an owner, if it is one. All else spares everybody.
    pub(super) fn spares(&self, device: &DeviceId) -> bool {
        match self {
            Self::Recover { device: new, keeps } => new == device || keeps.binary_search(device).is_ok(),
            _ => true,
        }
    }

    /// The device that it makes less than owner, or keeps from becoming one.
    pub(super) fn demotes(&self) -> Option<DeviceId> {
        match self {
            // An admission writes the role of one that is in already, too.
            Self::ChangeRole { device, grant } | Self::Admit { device, grant, .. } => {
                (grant.role != Role::Owner).then_some(*device)
            }
            _ => None,
        }
    }

    /// Every device whose standing it touches by name.
    pub(super) fn touches(&self, signer: DeviceId) -> Vec<DeviceId> {
        match self {
            Self::Found { .. } | Self::Leave => vec![signer],
            Self::Admit { device, replaces, .. } => core::iter::once(*device).chain(*replaces).collect(),
            Self::Renew { device, .. }
            | Self::ChangeRole { device, .. }
            | Self::Remove { device }
            | Self::Recover { device, .. } => vec![*device],
        }
    }

    /// Devices from which it takes away the right to sign, by name: those it removes, and whom it makes less than
    /// owner. Leaving takes nothing away: its signer chooses what it follows, and could void by it all that it ever
    /// signed, and what others built on that.
    pub(super) fn disarms(&self) -> Vec<DeviceId> {
        let removed = match self {
            Self::Remove { device } => Some(*device),
            Self::Admit { replaces, .. } => *replaces,
            _ => None,
        };
        removed.into_iter().chain(self.demotes()).collect()
    }
}
