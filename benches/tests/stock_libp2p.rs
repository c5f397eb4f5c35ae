//! Live QUIC handshakes between a softbus endpoint and stock `libp2p-tls`: each verifies the other's certificate, in both
//! roles, and both name the same device. Only the ALPN is set to that of the mesh: the one named `libp2p` is
//! kept for the wide-area plane, and is not answered yet.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use libp2p_identity::{Keypair, PeerId};
use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn::{ConnectionError, Endpoint};
use rustls::pki_types::CertificateDer;
use softbus_core::{DeviceId, ErrorCode, ServiceName};
use softbus_net::seam::Silent;
use softbus_net::seam::memory::FixedSensors;
use softbus_net::seam::real::RealSeam;
use softbus_net::{Bind, Judge, Net, NetConfig, Router, Standing, TagSecret};
use softbus_trust::{DeviceKey, Role};
use tokio::sync::watch;

/// What the mesh speaks.
const MESH: &[u8] = b"softbus/1";
/// Far more than any of this takes.
const PATIENCE: Duration = Duration::from_secs(20);

/// Trusts one device, and notes whom it was asked about.
struct Friend {
    trusted: DeviceId,
    asked: Mutex<BTreeSet<DeviceId>>,
    changed: watch::Sender<u64>,
}

impl Judge for Friend {
    fn standing(&self, peer: &DeviceId) -> Standing {
        self.asked.lock().unwrap().insert(*peer);
        if *peer == self.trusted {
            Standing::Trusted(Role::Member)
        } else {
            Standing::Stranger { pairing: false }
        }
    }
    fn may_open(&self, _: &DeviceId, _: &ServiceName) -> Result<(), ErrorCode> {
        Ok(())
    }
    fn peers(&self) -> Vec<DeviceId> {
        vec![self.trusted]
    }
    fn tag_secrets(&self) -> Vec<TagSecret> {
        Vec::new()
    }
    fn announce_openly(&self) -> bool {
        false
    }
    fn changed(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }
}

struct Softbus {
    net: Net,
    judge: Arc<Friend>,
    _folder: tempfile::TempDir,
}

/// A softbus endpoint on loopback that trusts the device of this id.
async fn softbus(trusted: DeviceId) -> Softbus {
    let folder = tempfile::tempdir().unwrap();
    let seam = RealSeam::new(folder.path(), Arc::new(FixedSensors::named("bench")));
    let seam = seam.discovery(Arc::new(Silent)).open().unwrap();
    let judge = Arc::new(Friend { trusted, asked: Mutex::default(), changed: watch::Sender::new(0) });
    let config = NetConfig { bind: Bind::Loopback, discovery: false, ..NetConfig::default() };
    let key = Arc::new(DeviceKey::from_seed(&[7; 32]));
    let net = Net::start(seam, key, judge.clone(), Router::new(), config).await.unwrap();
    Softbus { net, judge, _folder: folder }
}

impl Softbus {
    fn addr(&self) -> SocketAddr {
        self.net.addresses().into_iter().find(SocketAddr::is_ipv4).unwrap()
    }

    /// Its id as libp2p writes it.
    fn peer_id(&self) -> PeerId {
        self.net.id().to_string().parse().unwrap()
    }
}

/// A stock libp2p identity, and its id as softbus reads it.
fn stock() -> (Keypair, DeviceId) {
    let keypair = Keypair::generate_ed25519();
    let id = keypair.public().to_peer_id().to_string().parse().unwrap();
    (keypair, id)
}

fn client(keypair: &Keypair, expected: PeerId, alpn: &[u8]) -> Endpoint {
    let mut tls = libp2p_tls::make_client_config(keypair, Some(expected)).unwrap();
    tls.alpn_protocols = vec![alpn.to_vec()];
    let config = quinn::ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls).unwrap()));
    let mut endpoint = Endpoint::client((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
    endpoint.set_default_client_config(config);
    endpoint
}

/// Whom libp2p's own parser finds in the certificate that the other side proved to hold.
fn proven(connection: &quinn::Connection) -> PeerId {
    let identity = connection.peer_identity().unwrap().downcast::<Vec<CertificateDer<'static>>>().unwrap();
    libp2p_tls::certificate::parse(&identity[0]).unwrap().peer_id()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stock_client_and_a_softbus_server_prove_themselves_to_each_other() {
    let (keypair, id) = stock();
    let softbus = softbus(id).await;
    let client = client(&keypair, softbus.peer_id(), MESH);
    let connecting = client.connect(softbus.addr(), "l").unwrap();
    let connection = tokio::time::timeout(PATIENCE, connecting).await.unwrap().unwrap();
    assert_eq!(proven(&connection), softbus.peer_id());

    // The server's own word: it has judged the device that libp2p's key is, and lets it speak. The first to speak is
    // who dialled; a Hello that is none is answered by a reasoned goodbye, which only a trusted link gets to hear.
    let (mut send, _recv) = connection.open_bi().await.unwrap();
    send.write_all(&[0xff; 64]).await.unwrap();
    let end = tokio::time::timeout(PATIENCE, connection.closed()).await.unwrap();
    let ConnectionError::ApplicationClosed(close) = end else { panic!("{end:?}") };
    assert_eq!(ErrorCode::from_number(close.error_code.into_inner()), ErrorCode::Malformed);
    assert!(softbus.judge.asked.lock().unwrap().contains(&id));
    softbus.net.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_softbus_client_and_a_stock_server_prove_themselves_to_each_other() {
    let (keypair, id) = stock();
    let mut tls = libp2p_tls::make_server_config(&keypair).unwrap();
    tls.alpn_protocols = vec![MESH.to_vec()];
    let config = quinn::ServerConfig::with_crypto(Arc::new(QuicServerConfig::try_from(tls).unwrap()));
    let server = Endpoint::server(config, (Ipv4Addr::LOCALHOST, 0).into()).unwrap();

    let softbus = softbus(id).await;
    softbus.net.add_static(Some(id), server.local_addr().unwrap());
    let incoming = tokio::time::timeout(PATIENCE, server.accept()).await.unwrap().unwrap();
    let connection = tokio::time::timeout(PATIENCE, incoming.into_future()).await.unwrap().unwrap();
    assert_eq!(proven(&connection), softbus.peer_id());

    // softbus says Hello only to a device whose certificate it has verified, which it expected, and which it trusts.
    let (_send, mut recv) = tokio::time::timeout(PATIENCE, connection.accept_bi()).await.unwrap().unwrap();
    let mut head = [0; softbus_core::HEADER_LEN];
    tokio::time::timeout(PATIENCE, recv.read_exact(&mut head)).await.unwrap().unwrap();
    softbus.net.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stock_server_under_another_id_is_not_spoken_to() {
    let (keypair, _) = stock();
    let (_, expected) = stock();
    let mut tls = libp2p_tls::make_server_config(&keypair).unwrap();
    tls.alpn_protocols = vec![MESH.to_vec()];
    let config = quinn::ServerConfig::with_crypto(Arc::new(QuicServerConfig::try_from(tls).unwrap()));
    let server = Endpoint::server(config, (Ipv4Addr::LOCALHOST, 0).into()).unwrap();

    let softbus = softbus(expected).await;
    softbus.net.add_static(Some(expected), server.local_addr().unwrap());
    let incoming = tokio::time::timeout(PATIENCE, server.accept()).await.unwrap().unwrap();
    if let Ok(connection) = tokio::time::timeout(PATIENCE, incoming.into_future()).await.unwrap() {
        let spoken = tokio::time::timeout(PATIENCE, connection.accept_bi()).await.unwrap();
        assert!(spoken.is_err(), "it spoke to a device it did not expect");
    }
    softbus.net.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stock_client_that_expects_another_device_goes_away() {
    let (keypair, id) = stock();
    let softbus = softbus(id).await;
    let (other, _) = stock();
    let client = client(&keypair, other.public().to_peer_id(), MESH);
    let connecting = client.connect(softbus.addr(), "l").unwrap();
    let refused = tokio::time::timeout(PATIENCE, connecting).await.unwrap();
    assert!(matches!(refused, Err(ConnectionError::TransportError(_))), "{refused:?}");
    softbus.net.shutdown().await;
}

/// How it is for now; changes with the wide-area plane.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_protocol_libp2p_is_not_answered_yet() {
    let (keypair, id) = stock();
    let softbus = softbus(id).await;
    let client = client(&keypair, softbus.peer_id(), b"libp2p");
    let connecting = client.connect(softbus.addr(), "l").unwrap();
    match tokio::time::timeout(PATIENCE, connecting).await.unwrap() {
        // 0x100 and TLS's alert 120, no_application_protocol (RFC 9001, section 4.8).
        Err(ConnectionError::ConnectionClosed(close)) => assert_eq!(u64::from(close.error_code), 0x178),
        other => panic!("{other:?}"),
    }
    softbus.net.shutdown().await;
}
