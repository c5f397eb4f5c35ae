use std::io::Cursor;
use std::net::SocketAddr;
use std::time::Duration;

use rustls::{ClientConnection, ServerConnection};
use softbus_core::{BootMs, WallMs};
use tokio::time::timeout;

use super::*;
use crate::seam::memory::{Host, World};
use crate::seam::testing::endpoint;
use crate::testing::FixedJudge;
use crate::{Bind, Net, NetConfig, Router};

struct Now;

impl Clock for Now {
    fn wall(&self) -> WallMs {
        WallMs(1_767_225_600_000)
    }

    fn boot(&self) -> BootMs {
        BootMs(0)
    }
}

struct Fixed(u8);

impl Entropy for Fixed {
    fn fill(&self, bytes: &mut [u8]) {
        bytes.fill(self.0);
    }
}

fn certified(device: u8) -> CertifiedKey {
    let identity = certificate::Identity::new(&DeviceKey::from_seed(&[device; 32]), &Fixed(device)).unwrap();
    CertifiedKey::new(vec![identity.certificate], Arc::new(verify::CertificateKey::new(identity.key)))
}

fn verifier() -> Arc<DeviceVerifier> {
    Arc::new(DeviceVerifier::new(&default_provider()))
}

fn both(certified: CertifiedKey) -> (rustls::ClientConfig, rustls::ServerConfig) {
    let clock: Arc<dyn Clock> = Arc::new(Now);
    configs(certified, &clock, default_provider(), verifier()).unwrap()
}

/// Runs a handshake to its end; the certificates that each side saw.
fn handshake(
    client: rustls::ClientConfig,
    server: rustls::ServerConfig,
) -> Result<(DeviceId, DeviceId), rustls::Error> {
    let name = SERVER_NAME.try_into().unwrap();
    let mut client = ClientConnection::new(Arc::new(client), name).unwrap();
    let mut server = ServerConnection::new(Arc::new(server)).unwrap();
    for _ in 0..8 {
        let mut bytes = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut bytes).unwrap();
        }
        let mut cursor = Cursor::new(bytes);
        while server.read_tls(&mut cursor).unwrap() > 0 {
            server.process_new_packets()?;
        }
        let mut bytes = Vec::new();
        while server.wants_write() {
            server.write_tls(&mut bytes).unwrap();
        }
        let mut cursor = Cursor::new(bytes);
        while client.read_tls(&mut cursor).unwrap() > 0 {
            client.process_new_packets()?;
        }
    }
    let seen =
        |certificates: Option<&[CertificateDer<'_>]>| verifier().device(&certificates.unwrap()[0]).unwrap();
    assert!(!client.is_handshaking() && !server.is_handshaking());
    assert_eq!(client.alpn_protocol(), Some(ALPN));
    Ok((seen(client.peer_certificates()), seen(server.peer_certificates())))
}

fn id(device: u8) -> DeviceId {
    DeviceKey::from_seed(&[device; 32]).id()
}

#[test]
fn each_side_proves_its_device() {
    let (client, _) = both(certified(1));
    let (_, server) = both(certified(2));
    assert_eq!(handshake(client, server).unwrap(), (id(2), id(1)));
}

#[test]
fn sessions_are_never_resumed() {
    let (client, _) = both(certified(1));
    let (_, server) = both(certified(2));
    for _ in 0..2 {
        let (client, server) = (client.clone(), server.clone());
        let name = SERVER_NAME.try_into().unwrap();
        let connection = ClientConnection::new(Arc::new(client.clone()), name).unwrap();
        assert!(connection.early_data_is_none());
        assert_eq!(handshake(client, server).unwrap(), (id(2), id(1)), "certificates each time");
    }
    assert_eq!(server.send_tls13_tickets, 0);
    assert_eq!(server.max_early_data_size, 0);
}

trait EarlyData {
    fn early_data_is_none(self) -> bool;
}

impl EarlyData for ClientConnection {
    fn early_data_is_none(mut self) -> bool {
        self.early_data().is_none()
    }
}

#[test]
fn a_client_without_certificate_is_refused() {
    let provider = default_provider();
    let client =
        rustls::ClientConfig::builder_with_details(provider.clone(), Arc::new(SeamTime(Arc::new(Now))))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verify::DeviceVerifier::new(&provider)));
    let mut client = client.with_no_client_auth();
    client.alpn_protocols = vec![ALPN.to_vec()];
    let (_, server) = both(certified(2));
    assert_eq!(handshake(client, server), Err(rustls::Error::NoCertificatesPresented));
}

#[test]
fn two_certificates_are_refused() {
    let mut two = certified(1);
    two.cert.push(certified(3).cert[0].clone());
    let (client, _) = both(two);
    let (_, server) = both(certified(2));
    assert!(matches!(handshake(client, server), Err(rustls::Error::InvalidCertificate(_))));
}

#[test]
fn a_certificate_without_its_key_is_refused_in_both_roles() {
    // The certificate of device 1, which anybody can see, with the certificate key of device 3.
    let stolen = || CertifiedKey::new(certified(1).cert, certified(3).key);
    let (client, server) = both(stolen());
    let (honest_client, honest_server) = both(certified(2));
    assert!(matches!(handshake(client, honest_server), Err(rustls::Error::InvalidCertificate(_))));
    assert!(matches!(handshake(honest_client, server), Err(rustls::Error::InvalidCertificate(_))));
}

#[test]
fn another_protocol_is_refused() {
    let (mut client, _) = both(certified(1));
    client.alpn_protocols = vec![b"h3".to_vec()];
    let (_, server) = both(certified(2));
    assert_eq!(handshake(client, server), Err(rustls::Error::NoApplicationProtocol));
}

/// Over QUIC, against a whole net: who speaks another protocol, or none, hears that (RFC 7301, section 3.2) and gets no
/// further, though its device is trusted.
#[tokio::test(start_paused = true)]
async fn another_protocol_is_refused_over_quic_and_does_no_harm() {
    const PORT: u16 = 4000;
    let world = World::new(1);
    let (a, b) = (world.host("a"), world.host("b"));
    let key = Arc::new(DeviceKey::from_seed(&[2; 32]));
    let config = NetConfig { port: PORT, discovery: false, ..NetConfig::default() };
    let judge = FixedJudge::new([id(1)]);
    let net = Net::start(b.seam(), key, judge, Router::new(), config).await.unwrap();

    let dialler = endpoint(&a.seam(), &Bind::All, 0, None);
    let at = b.address(PORT);
    let dial = async |offered: &[&[u8]]| {
        let (mut client, _) = both(certified(1));
        client.alpn_protocols = offered.iter().map(|name| name.to_vec()).collect();
        let client = quinn::ClientConfig::new(Arc::new(QuicClientConfig::try_from(client).unwrap()));
        let dialled = dialler.connect_with(client, at, SERVER_NAME).unwrap();
        timeout(Duration::from_secs(20), dialled).await.expect("an answer, not silence")
    };
    let no_protocol = quinn_proto::TransportErrorCode::crypto(120); // no_application_protocol
    for offered in [&[b"h3".as_slice()][..], &[b"libp2p"], &[b"softbus/2", b"softbus"], &[]] {
        match dial(offered).await {
            Err(quinn::ConnectionError::ConnectionClosed(close)) => {
                assert_eq!(close.error_code, no_protocol, "{close:?}");
            }
            other => panic!("{offered:?}: {other:?}"),
        }
    }
    // Whoever says nothing after its handshake makes no link; but the net tells how that ended.
    let told = async || {
        tokio::time::sleep(Duration::from_secs(60)).await;
        net.links().borrow().contains_key(&id(1))
    };
    assert!(!told().await, "one that was refused was let in");
    // Beside others ours is chosen, and after all those the net still answers.
    let connection = dial(&[b"h3", ALPN]).await.unwrap();
    assert!(told().await, "a net that lets somebody in tells of it");
    let data = connection.handshake_data().unwrap().downcast::<quinn::crypto::rustls::HandshakeData>();
    assert_eq!(data.unwrap().protocol.as_deref(), Some(ALPN));
}

#[tokio::test(start_paused = true)]
async fn a_key_log_is_told_the_secrets_of_both_roles() {
    #[derive(Debug, Default)]
    struct Labels(std::sync::Mutex<Vec<String>>);
    impl rustls::KeyLog for Labels {
        fn log(&self, label: &str, _client_random: &[u8], _secret: &[u8]) {
            self.0.lock().unwrap().push(label.to_owned());
        }
    }
    assert!(NetConfig::default().key_log.is_none());
    let world = World::new(1);
    let (a, b) = (world.host("a"), world.host("b"));
    let start = async |n: u8, other: u8, host: &Host, peers: Vec<(Option<DeviceId>, SocketAddr)>| {
        let labels = Arc::new(Labels::default());
        let mut config =
            NetConfig { port: 4000, discovery: false, static_peers: peers, ..NetConfig::default() };
        config.key_log = Some(labels.clone());
        let (key, judge) = (Arc::new(DeviceKey::from_seed(&[n; 32])), FixedJudge::new([id(other)]));
        (labels, Net::start(host.seam(), key, judge, Router::new(), config).await.unwrap())
    };
    let (server, _b) = start(2, 1, &b, Vec::new()).await;
    let (client, _a) = start(1, 2, &a, vec![(Some(id(2)), b.address(4000))]).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    for (role, labels) in [("client", client), ("server", server)] {
        let labels = labels.0.lock().unwrap();
        for secret in ["CLIENT_HANDSHAKE_TRAFFIC_SECRET", "SERVER_TRAFFIC_SECRET_0"] {
            assert!(labels.iter().any(|label| label == secret), "{role}: {labels:?}");
        }
    }
}

#[cfg(feature = "aws-lc")]
#[test]
fn key_exchange_is_post_quantum_first() {
    assert_eq!(default_provider().kx_groups[0].name(), rustls::NamedGroup::X25519MLKEM768);
}

#[test]
fn a_certificate_is_parsed_and_verified_once() {
    let clock: Arc<dyn Clock> = Arc::new(Now);
    let ours = verifier();
    for device in [2, 2, 2, 3, 2] {
        let (client, _) = configs(certified(1), &clock, default_provider(), ours.clone()).unwrap();
        let (_, server) = both(certified(device));
        assert_eq!(handshake(client, server).unwrap(), (id(device), id(1)));
        assert_eq!(ours.device(&certified(device).cert[0]), Ok(id(device)));
    }
    assert_eq!((ours.verified(), ours.remembers()), (2, 2));
    // What it proved is remembered, not that the peer holds its key, nor that it is not over.
    let (client, _) = configs(certified(1), &clock, default_provider(), ours.clone()).unwrap();
    let stolen = CertifiedKey::new(certified(2).cert, certified(3).key);
    let (_, server) = both(stolen);
    assert!(matches!(handshake(client, server), Err(rustls::Error::InvalidCertificate(_))));
    let name = SERVER_NAME.try_into().unwrap();
    let late = UnixTime::since_unix_epoch(std::time::Duration::from_secs(1 << 40));
    let verdict = rustls::client::danger::ServerCertVerifier::verify_server_cert(
        &*ours,
        &certified(2).cert[0],
        &[],
        &name,
        &[],
        late,
    );
    assert_eq!(verdict.err(), Some(rustls::Error::InvalidCertificate(rustls::CertificateError::Expired)));
    assert_eq!(ours.verified(), 2);
}

#[test]
fn few_certificates_are_remembered() {
    let ours = verifier();
    for n in 0..300u16 {
        let mut seed = [0; 32];
        seed[..2].copy_from_slice(&n.to_le_bytes());
        let identity = certificate::Identity::new(&DeviceKey::from_seed(&seed), &Fixed(1)).unwrap();
        ours.device(&identity.certificate).unwrap();
    }
    assert_eq!((ours.verified(), ours.remembers()), (300, 256));
    assert!(ours.device(&CertificateDer::from(vec![0x30; 100])).is_err());
    assert_eq!(ours.remembers(), 256, "only what was proven");
}
