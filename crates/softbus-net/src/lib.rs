//! How bytes move: the seam to the world, discovery, the QUIC endpoint, links, channels and the service router.
//!
//! This room knows devices, not profiles or tasks. What it carries it does not read. Whom it lets in is
//! decided by a [`Judge`].

mod channel;
mod endpoint;
mod error;
mod halves;
pub mod harness;
mod judge;
pub mod link;
mod link_info;
pub mod membership;
mod net;
mod places;
mod router;
pub mod seam;
pub mod testing;
mod tls;

pub use channel::{Channel, read_message, write_message};
pub use endpoint::standing;
pub use error::{NetError, RequestError};
pub use halves::{RecvHalf, SendHalf, Sink, Source};
pub use judge::{Group, Judge, Standing, TagSecret};
pub use link_info::{LinkEvent, LinkInfo, Links, Presence};
pub use net::{Bind, Net, NetConfig};
pub use router::{Asker, Caller, Respond, Router, Service};
pub use rustls::{KeyLog, crypto::CryptoProvider};
pub use tls::{CERTIFICATE_BYTES, CertificateError, default_provider, parse_certificate};
