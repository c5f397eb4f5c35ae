//! What a program may have and ask for, as its submitter signed it.

use serde::{Deserialize, Serialize};
use softbus_core::Hash;

use crate::WasmError;
use crate::bus::{Grants, limits as bus_limits};
use crate::limits::Limits;

/// The terms of a program's task ([`TaskSpec::terms`](softbus_core::wire::task_control::TaskSpec::terms)): signed with its
/// grant, so that neither a device that runs it nor a state that was changed can widen them.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Terms {
    /// What it may ask of the mesh. First, its services at their begin: devices that run no programs read so far, to answer them.
    pub grants: Grants,
    /// How much it may have.
    pub limits: Limits,
    /// BLAKE3 of the module that it is: it runs no other one.
    pub module: Hash,
    /// The length of that module in bytes.
    pub module_bytes: u64,
}

impl Terms {
    /// Of a program of this module that may ask for nothing, within the usual limits.
    pub fn of(module: &[u8]) -> Self {
        let (module, module_bytes) = (Hash(*blake3::hash(module).as_bytes()), module.len() as u64);
        Self { grants: Grants::default(), limits: Limits::default().clamped(), module, module_bytes }
    }

    /// Their signed form.
    pub fn to_bytes(&self) -> Vec<u8> {
        postcard::to_allocvec(self).unwrap_or_default()
    }

    /// Reads foreign bytes.
    ///
    /// # Errors
    /// They are no terms, or more than there can be.
    pub fn read(bytes: &[u8]) -> Result<Self, WasmError> {
        match postcard::take_from_bytes::<Self>(bytes) {
            Ok((terms, [])) if terms.grants.services.len() <= bus_limits::GRANTS => {
                Ok(Self { limits: terms.limits.clamped(), ..terms })
            }
            _ => Err(WasmError::Shape("what its submitter signed does not say what it may have")),
        }
    }
}
