//! Pairing by a link or QR code: `softbus:` and what is needed to reach one device and to be known to it.
//!
//! ```text
//! softbus:pair/1?d=12D3Koo…&s=SECRET&x=1800000000&a=192.0.2.7:4433&a=[2001:db8::7]:4433
//! ```
//! `d` the device, `s` a one-time secret of 128 bits (base32), `x` the end in seconds of Unix time, `a` an address,
//! up to [`TICKET_ADDRESSES`] times. Unknown fields are ignored. The secret is the password of the same proof that a
//! PIN is used for, so both ends are authenticated and the secret never travels.

use core::fmt;
use core::str::FromStr;
use std::net::{IpAddr, SocketAddr};

use data_encoding::BASE32_NOPAD;
use softbus_core::{DeviceId, Hash, WallMs};
use zeroize::Zeroizing;

use crate::tag::{Tag, hour, tag};

/// Longest link that is read, in bytes.
pub const TICKET_BYTES: usize = 1024;
/// Most addresses in a link.
pub const TICKET_ADDRESSES: usize = 8;

const PREFIX: &str = "softbus:pair/1?";

/// A link that pairs one device with the one that made it.
#[derive(Clone, PartialEq, Eq)]
pub struct Ticket {
    /// The device that made it.
    pub device: DeviceId,
    /// Where it may be reached.
    pub addresses: Vec<SocketAddr>,
    /// The one-time secret.
    pub secret: Zeroizing<[u8; 16]>,
    /// When it ends.
    pub expires: WallMs,
}

/// Why a text is no link that pairs.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum TicketError {
    /// Too long.
    #[error("it is longer than {TICKET_BYTES} letters")]
    TooLong,
    /// Something else.
    #[error("it does not begin with `softbus:pair/`")]
    NotATicket,
    /// Of a later version.
    #[error("it was made by a newer softbus: update this one")]
    Version,
    /// A field is missing.
    #[error("its field `{0}` is missing: copy all of it")]
    Missing(&'static str),
    /// A field makes no sense.
    #[error("its field `{0}` makes no sense: copy all of it")]
    Field(&'static str),
}

/// The name by which an enterer says which link it has. It tells nothing of the secret.
pub fn name_of(secret: &[u8; 16]) -> [u8; 8] {
    let hash = Hash::derive("softbus ticket name v1", secret).0;
    [hash[0], hash[1], hash[2], hash[3], hash[4], hash[5], hash[6], hash[7]]
}

/// The key of the discovery tags by which whoever has the link recognises its maker; others cannot.
pub fn tag_key(secret: &[u8; 16]) -> [u8; 32] {
    Hash::derive("softbus ticket tag v1", secret).0
}

impl Ticket {
    /// The discovery tags that its maker may have at `now` (clocks may be an hour apart).
    pub fn tags(&self, now: WallMs) -> Vec<Tag> {
        let (key, hour) = (tag_key(&self.secret), hour(now));
        (hour.saturating_sub(1)..=hour.saturating_add(1)).map(|hour| tag(&key, &self.device, hour)).collect()
    }

    /// Its name: see [`name_of`].
    pub fn name(&self) -> [u8; 8] {
        name_of(&self.secret)
    }

    /// The link. It is a secret: show it, never log it.
    pub fn to_link(&self) -> Zeroizing<String> {
        let mut link = Zeroizing::new(format!(
            "{PREFIX}d={}&s={}&x={}",
            self.device,
            BASE32_NOPAD.encode(&self.secret[..]),
            self.expires.0.div_ceil(1000)
        ));
        for address in self.addresses.iter().filter(|address| is_shareable(address)).take(TICKET_ADDRESSES) {
            link.push_str("&a=");
            link.push_str(&address.to_string());
        }
        link
    }
}

/// Whether an address means the same to another device: link-local IPv6 needs the other's scope.
fn is_shareable(address: &SocketAddr) -> bool {
    match address.ip() {
        IpAddr::V4(ip) => !ip.is_unspecified(),
        IpAddr::V6(ip) => !ip.is_unspecified() && !ip.is_unicast_link_local(),
    }
}

impl FromStr for Ticket {
    type Err = TicketError;

    fn from_str(text: &str) -> Result<Self, TicketError> {
        let text = text.trim();
        if text.len() > TICKET_BYTES {
            return Err(TicketError::TooLong);
        }
        let Some(fields) = text.strip_prefix(PREFIX) else {
            let other_version = text.starts_with("softbus:pair/");
            return Err(if other_version { TicketError::Version } else { TicketError::NotATicket });
        };
        let (mut device, mut secret, mut expires, mut addresses) = (None, None, None, Vec::new());
        for field in fields.split('&') {
            let Some((name, value)) = field.split_once('=') else {
                continue;
            };
            match name {
                "d" => device = Some(value.parse::<DeviceId>().map_err(|_| TicketError::Field("d"))?),
                "s" => {
                    let bytes = BASE32_NOPAD.decode(value.as_bytes()).map(Zeroizing::new);
                    let bytes = bytes.map_err(|_| TicketError::Field("s"))?;
                    secret = Some(<[u8; 16]>::try_from(&bytes[..]).map_err(|_| TicketError::Field("s"))?);
                }
                "x" => {
                    let digits =
                        !value.is_empty() && value.len() <= 12 && value.bytes().all(|b| b.is_ascii_digit());
                    let seconds: u64 =
                        value.parse().ok().filter(|_| digits).ok_or(TicketError::Field("x"))?;
                    expires = Some(WallMs(seconds * 1000));
                }
                "a" if addresses.len() < TICKET_ADDRESSES => {
                    addresses.push(value.parse().map_err(|_| TicketError::Field("a"))?);
                }
                _ => {}
            }
        }
        Ok(Self {
            device: device.ok_or(TicketError::Missing("d"))?,
            addresses,
            secret: Zeroizing::new(secret.ok_or(TicketError::Missing("s"))?),
            expires: expires.ok_or(TicketError::Missing("x"))?,
        })
    }
}

impl fmt::Debug for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Ticket(of {})", self.device)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::DeviceKey;

    fn ticket() -> Ticket {
        Ticket {
            device: DeviceKey::from_seed(&[1; 32]).id(),
            addresses: vec!["192.0.2.7:4433".parse().unwrap(), "[2001:db8::7]:4433".parse().unwrap()],
            secret: Zeroizing::new([7; 16]),
            expires: WallMs(1_800_000_000_000),
        }
    }

    #[test]
    fn link_and_back() {
        let link = ticket().to_link();
        assert_eq!(
            *link,
            "softbus:pair/1?d=12D3KooWK99VoVxNE7XzyBwXEzW7xhK7Gpv85r9F3V3fyKSUKPH5&s=A4DQOBYHA4DQOBYHA4DQOBYHA4\
             &x=1800000000&a=192.0.2.7:4433&a=[2001:db8::7]:4433"
        );
        assert_eq!(link.parse::<Ticket>().unwrap(), ticket());
        let longer = format!(" {}&future=1&flag\n", *link);
        assert_eq!(longer.parse::<Ticket>().unwrap(), ticket());
        assert!(!format!("{:?}", ticket()).contains("A4DQ"));
        let mut local = ticket();
        local.addresses.push("[fe80::1%2]:1".parse().unwrap());
        assert_eq!(
            local.to_link().parse::<Ticket>().unwrap(),
            ticket(),
            "no addresses that only this device understands"
        );
    }

    #[test]
    fn bad_links() {
        let link = ticket().to_link();
        assert_eq!("http://x".parse::<Ticket>(), Err(TicketError::NotATicket));
        assert_eq!("softbus:pair/2?x".parse::<Ticket>(), Err(TicketError::Version));
        assert_eq!(link.replace("&s=", "&t=").parse::<Ticket>(), Err(TicketError::Missing("s")));
        assert_eq!(link.replace("&s=A", "&s=").parse::<Ticket>(), Err(TicketError::Field("s")));
        assert_eq!(link.replace("x=1", "x=-1").parse::<Ticket>(), Err(TicketError::Field("x")));
        assert_eq!(
            link.replace("x=1", "x=99999999999999999999").parse::<Ticket>(),
            Err(TicketError::Field("x"))
        );
        assert_eq!(link.replace(":4433", ":99999").parse::<Ticket>(), Err(TicketError::Field("a")));
        assert_eq!(link.replace("12D3", "12D4").parse::<Ticket>(), Err(TicketError::Field("d")));
        assert_eq!("a".repeat(TICKET_BYTES + 1).parse::<Ticket>(), Err(TicketError::TooLong));
    }

    proptest! {
        #[test]
        fn hostile_links_never_panic(text in "\\PC{0,300}", fields in "([dsxa]=[\\PC]{0,30}&){0,12}") {
            let _ = text.parse::<Ticket>();
            let _ = format!("{PREFIX}{fields}").parse::<Ticket>();
        }
    }
}
