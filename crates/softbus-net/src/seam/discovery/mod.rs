//! How devices nearby are found: [`MdnsDiscovery`] on the local network, [`Many`] to join several ways,
//! [`Silent`] for none.
//!
//! What discovery says is a hint: an address to dial, and who might answer there. Trust is proven after.

mod daemon;
mod many;
mod mdns;
pub mod txt;

use std::io;
use std::net::{IpAddr, SocketAddr};

pub use many::Many;
pub use mdns::MdnsDiscovery;
use tokio::sync::mpsc;

use super::{Announcement, BoxFuture, Discovery, Sighting};

/// Sightings that may wait for the reader of one browse. When it is slow, of several changes of a device it
/// gets the newest.
const SIGHTINGS: usize = 64;

/// Finds nobody and says nothing: for devices that know their peers by address.
#[derive(Clone, Copy, Debug, Default)]
pub struct Silent;

impl Discovery for Silent {
    fn browse(&self) -> io::Result<mpsc::Receiver<Sighting>> {
        let (send, receive) = mpsc::channel(1);
        // Kept open: a closed one means that browsing must be begun again.
        tokio::spawn(async move { send.closed().await });
        Ok(receive)
    }

    fn announce(&self, _announcement: &Announcement) -> io::Result<()> {
        Ok(())
    }

    fn goodbye(&self) -> BoxFuture<'_, ()> {
        Box::pin(std::future::ready(()))
    }
}

/// The order in which to try addresses: IPv4, IPv6, then those good on one link only, then loopback.
fn rank(address: &SocketAddr) -> u8 {
    match address.ip() {
        ip if ip.is_loopback() => 4,
        IpAddr::V4(v4) if v4.is_link_local() => 2,
        IpAddr::V4(_) => 0,
        IpAddr::V6(v6) if v6.is_unicast_link_local() => 3,
        IpAddr::V6(_) => 1,
    }
}
