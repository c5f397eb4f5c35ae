use alloc::string::String;
use core::fmt;
use core::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::limits;

/// A service's name and major version, written `name/version`: `task/1`, `roster/1`, `pair/1`.
/// The name is 1 to 60 letters of `a-z 0-9 - .`; the version a number from 1 to 999.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServiceName(String);

/// Why a text is no service name.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("`{0}` is not a service name: write name/version, such as `camera/1` (letters a-z, digits, - and .)")]
pub struct ServiceNameError(pub String);

impl ServiceName {
    /// The whole, `name/version`.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name without its version.
    pub fn name(&self) -> &str {
        self.0.rsplit_once('/').map_or("", |(name, _)| name)
    }

    /// The major version.
    pub fn version(&self) -> u16 {
        self.0.rsplit_once('/').and_then(|(_, v)| v.parse().ok()).unwrap_or(0)
    }
}

impl FromStr for ServiceName {
    type Err = ServiceNameError;

    fn from_str(text: &str) -> Result<Self, ServiceNameError> {
        let wrong = || ServiceNameError(text.chars().take(limits::SERVICE_NAME_BYTES).collect());
        let (name, version) = text.rsplit_once('/').ok_or_else(wrong)?;
        let good_name = !name.is_empty()
            && text.len() <= limits::SERVICE_NAME_BYTES
            && name.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.'));
        let good_version = (1..=3).contains(&version.len())
            && !version.starts_with('0')
            && version.bytes().all(|b| b.is_ascii_digit());
        if good_name && good_version { Ok(Self(text.into())) } else { Err(wrong()) }
    }
}

impl TryFrom<&str> for ServiceName {
    type Error = ServiceNameError;

    fn try_from(text: &str) -> Result<Self, ServiceNameError> {
        text.parse()
    }
}

impl fmt::Display for ServiceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for ServiceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Serialize for ServiceName {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for ServiceName {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        String::deserialize(d)?.parse().map_err(serde::de::Error::custom)
    }
}
