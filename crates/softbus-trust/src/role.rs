use core::fmt;
use core::str::FromStr;

use serde::{Deserialize, Serialize};

/// What a device may do in its circle. Ordered: an owner may all that a member may.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Named services only, with an end.
    Guest,
    /// All services but `admin`.
    Member,
    /// Everything, and changes the circle.
    Owner,
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Guest => "guest",
            Self::Member => "member",
            Self::Owner => "owner",
        })
    }
}

impl FromStr for Role {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "guest" => Ok(Self::Guest),
            "member" => Ok(Self::Member),
            "owner" => Ok(Self::Owner),
            _ => Err(format!("no role is called `{text}`; there are owner, member and guest")),
        }
    }
}
