//! What a person sees of a pairing.

use core::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use softbus_core::{CircleId, DeviceId};
use zeroize::Zeroize;

/// A PIN of six digits. It is wiped when dropped and shown by [`Pin::reveal`] only.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Pin(String);

/// A text that is no PIN.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("a PIN has six digits, as shown on the other device")]
pub struct PinError;

impl Pin {
    /// Reads what a person typed; spaces and dashes between the digits are allowed.
    pub fn parse(text: &str) -> Result<Self, PinError> {
        if text.len() > 32 {
            return Err(PinError);
        }
        let digits: String = text.chars().filter(|c| !matches!(c, ' ' | '-')).collect();
        if digits.len() == 6 && digits.bytes().all(|b| b.is_ascii_digit()) {
            Ok(Self(digits))
        } else {
            Err(PinError)
        }
    }

    /// Makes a PIN of random bytes; `None` (in one of about 58,000 cases) if these would favour some PINs: draw anew.
    pub fn from_random(bytes: [u8; 4]) -> Option<Self> {
        const PINS: u32 = 1_000_000;
        let number = u32::from_le_bytes(bytes);
        (number < u32::MAX - u32::MAX % PINS).then(|| Self(format!("{:06}", number % PINS)))
    }

    /// The six digits, to show to the person. Never log them.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Pin {
    type Error = PinError;
    fn try_from(text: String) -> Result<Self, PinError> {
        Self::parse(&text)
    }
}

impl From<Pin> for String {
    fn from(pin: Pin) -> Self {
        pin.0.clone()
    }
}

impl Drop for Pin {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl fmt::Debug for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pin(……)")
    }
}

/// How pairing stands on the device that shows the PIN.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PairingState {
    /// Not open.
    #[default]
    Closed,
    /// A PIN is shown and waits to be typed on the other device.
    Open {
        /// The PIN.
        pin: Pin,
        /// How long it still lives, counted from when this state was published. (The full life of a PIN is
        /// [`PIN_LIFE`](super::PIN_LIFE).)
        lives: Duration,
        /// Wrong tries that are still allowed.
        tries_left: u8,
    },
    /// The right PIN was typed; the circle is being told.
    Settling {
        /// By this device.
        peer: DeviceId,
    },
    /// Done.
    Paired {
        /// With this device.
        peer: DeviceId,
        /// Both are in this circle now.
        circle: CircleId,
    },
    /// The PIN ran out.
    Expired,
    /// Its user cancelled.
    Cancelled,
    /// Too many wrong tries: no pairing for this long (counted from when this state was published).
    Frozen {
        /// How long.
        lasts: Duration,
    },
    /// The PIN was right, but the pairing could not be completed; the PIN is used up.
    Failed {
        /// Why, for people.
        reason: String,
    },
}

impl PairingState {
    /// Whether nothing more will come of this pairing.
    pub fn is_over(&self) -> bool {
        !matches!(self, Self::Open { .. } | Self::Settling { .. })
    }
}
