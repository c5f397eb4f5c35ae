//! quinn's settings. A connection begins with the small windows of a stranger; trust raises them.

use std::sync::Arc;
use std::time::Duration;

use quinn::VarInt;
use softbus_core::limits;

use crate::seam::{Clock, Entropy};
use crate::tls::{CidGenerator, ResetKey, Tls, TokenKey};
use crate::{NetConfig, NetError};

/// One stream of a trusted peer may have this much under way to us.
const STREAM_WINDOW: u32 = 4 << 20;
/// A connection of a stranger may have this much under way to us, on all streams.
const STRANGER_WINDOW: u32 = 256 << 10;
/// The same for a trusted peer.
const TRUSTED_WINDOW: u32 = 32 << 20;
/// We keep this much unacknowledged towards a stranger.
const STRANGER_SEND_WINDOW: u64 = 256 << 10;
/// The same towards a trusted peer.
const TRUSTED_SEND_WINDOW: u64 = 16 << 20;
/// Streams that a stranger may have open: control, and a conversation or two.
const STRANGER_STREAMS: u32 = 4;
/// A connection on which nothing was heard for this long is dead. Presence is decided long before.
const IDLE_MS: u32 = 30_000;
/// Nothing heard for this long, and for this many thousandths of the time after which the peer is suspect: whoever dialled
/// asks (a PING, whose acknowledgement is heard).
const KEEP_ALIVE: (Duration, u32) = (Duration::from_millis(300), 300);
/// The same for who was dialled: later, as both have heard something last at nearly the same time, and if both asked it
/// would take twice the packets.
const KEEP_ALIVE_DIALLED: (Duration, u32) = (Duration::from_millis(450), 450);
/// Round-trip time assumed before it is measured: neighbours are near.
const INITIAL_RTT: Duration = Duration::from_millis(100);
/// Handshakes that wait for our accept loop.
const MAX_INCOMING: usize = 256;
/// Bytes kept for one of them, and for all.
const INCOMING_BYTES: (u64, u64) = (16 << 10, 1 << 20);

pub(super) struct Settings {
    pub(super) endpoint: quinn::EndpointConfig,
    pub(super) server: quinn::ServerConfig,
    pub(super) client: quinn::ClientConfig,
}

pub(super) fn settings(
    tls: &Tls,
    entropy: &dyn Entropy,
    clock: &Arc<dyn Clock>,
    config: &NetConfig,
) -> Result<Settings, NetError> {
    let draw = || {
        let mut key = [0; 32];
        entropy.fill(&mut key);
        key
    };

    // Everything that quinn would draw by itself comes from the seam: its own generator is seeded (it makes
    // GREASE parameters, stateless tokens' nonces, first packet numbers), ids and keys are ours.
    let mut endpoint = quinn::EndpointConfig::new(Arc::new(ResetKey(draw())));
    let cid_key = draw();
    endpoint.cid_generator(move || Box::new(CidGenerator::new(cid_key)));
    endpoint.rng_seed(Some(draw()));

    let mut server = quinn::ServerConfig::new(tls.server.clone(), Arc::new(TokenKey(draw())));
    server
        .transport_config(Arc::new(transport(config, KEEP_ALIVE_DIALLED)))
        .max_incoming(MAX_INCOMING)
        .incoming_buffer_size(INCOMING_BYTES.0)
        .incoming_buffer_size_total(INCOMING_BYTES.1)
        .time_source(Arc::new(WallTime(clock.clone())));
    // No address tokens for later connections: they would be drawn past the seam, and a retry costs us a
    // round trip only under load.
    let mut no_tokens = quinn::ValidationTokenConfig::default();
    no_tokens.sent(0);
    server.validation_token_config(no_tokens);

    let mut client = quinn::ClientConfig::new(tls.client.clone());
    client.transport_config(Arc::new(transport(config, KEEP_ALIVE)));
    client.token_store(Arc::new(quinn::NoneTokenStore));
    let cid_key = draw();
    let counter = std::sync::atomic::AtomicU64::new(0);
    client.initial_dst_cid_provider(Arc::new(move || {
        let n = counter.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        quinn::ConnectionId::new(&blake3::keyed_hash(&cid_key, &n.to_le_bytes()).as_bytes()[..16])
    }));
    Ok(Settings { endpoint, server, client })
}

fn transport(config: &NetConfig, (most, permille): (Duration, u32)) -> quinn::TransportConfig {
    let mut transport = quinn::TransportConfig::default();
    transport
        .max_idle_timeout(Some(VarInt::from_u32(IDLE_MS).into()))
        .keep_alive_interval(Some(most.min(config.suspect_after * permille / 1000)))
        .initial_rtt(INITIAL_RTT)
        .stream_receive_window(VarInt::from_u32(STREAM_WINDOW))
        .receive_window(VarInt::from_u32(STRANGER_WINDOW))
        .send_window(STRANGER_SEND_WINDOW)
        .max_concurrent_bidi_streams(VarInt::from_u32(STRANGER_STREAMS))
        .max_concurrent_uni_streams(VarInt::from_u32(0))
        .datagram_receive_buffer_size(None)
        // The spin bit tells onlookers our round-trip times.
        .allow_spin(false);
    transport
}

/// Gives a connection of a trusted peer its full windows.
pub(super) fn raise(connection: &quinn::Connection) {
    connection.set_receive_window(VarInt::from_u32(TRUSTED_WINDOW));
    connection.set_send_window(TRUSTED_SEND_WINDOW);
    connection.set_max_concurrent_bi_streams(VarInt::from_u32(limits::PEER_STREAMS));
}

/// quinn reads the wall clock (for the age of retry tokens) through the seam.
struct WallTime(Arc<dyn Clock>);

impl quinn::TimeSource for WallTime {
    fn now(&self) -> std::time::SystemTime {
        std::time::UNIX_EPOCH + Duration::from_millis(self.0.wall().0)
    }
}
