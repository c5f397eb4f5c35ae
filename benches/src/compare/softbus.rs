//! softbus's network room: channels between two devices that trust each other.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use softbus_core::{DeviceId, ErrorCode, ServiceName};
use softbus_net::seam::Silent;
use softbus_net::seam::memory::FixedSensors;
use softbus_net::seam::real::RealSeam;
use softbus_net::{Bind, Channel, Judge, Net, NetConfig, Router, Service, Standing, TagSecret};
use softbus_trust::{DeviceKey, Role};
use tokio::sync::watch;

use crate::peer::{PIECE, Peer, timed};

/// Trusts whom it was told to.
struct Friends(BTreeSet<DeviceId>, watch::Sender<u64>);

impl Judge for Friends {
    fn standing(&self, peer: &DeviceId) -> Standing {
        if self.0.contains(peer) {
            Standing::Trusted(Role::Member)
        } else {
            Standing::Stranger { pairing: false }
        }
    }
    fn may_open(&self, _: &DeviceId, _: &ServiceName) -> Result<(), ErrorCode> {
        Ok(())
    }
    fn peers(&self) -> Vec<DeviceId> {
        self.0.iter().copied().collect()
    }
    fn tag_secrets(&self) -> Vec<TagSecret> {
        Vec::new()
    }
    fn announce_openly(&self) -> bool {
        false
    }
    fn changed(&self) -> watch::Receiver<u64> {
        self.1.subscribe()
    }
}

/// Echoes 64-byte messages; a channel whose first byte is `B` is drained and answered by one byte.
struct Echo;

impl Service for Echo {
    fn accept(&self, mut channel: Channel) -> softbus_net::seam::BoxFuture<'static, ()> {
        Box::pin(async move {
            let mut first = [0; 1];
            if channel.recv.read_exact(&mut first).await.is_err() {
                return;
            }
            if first[0] == b'B' {
                while let Ok(Some(_)) = channel.recv.read_chunk(usize::MAX).await {}
                let _ = channel.send.write_all(b"K").await;
                let _ = channel.finish_and_wait().await;
                return;
            }
            let mut buffer = [0; 64];
            buffer[0] = first[0];
            if channel.recv.read_exact(&mut buffer[1..]).await.is_err() {
                return;
            }
            loop {
                if channel.send.write_all(&buffer).await.is_err()
                    || channel.recv.read_exact(&mut buffer).await.is_err()
                {
                    return;
                }
            }
        })
    }
}

pub struct Softbus {
    client: Net,
    server: Net,
    server_addr: SocketAddr,
    service: ServiceName,
    channel: Option<Channel>,
    _folder: tempfile::TempDir,
    folder_count: usize,
}

impl Softbus {
    pub async fn start() -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let (server_key, client_key, fresh_key) = ([1; 32], [2; 32], [3; 32]);
        let server = net(&folder.path().join("server"), &server_key, &[&client_key, &fresh_key]).await?;
        let service: ServiceName = "echo/1".parse()?;
        server.router().serve(service.clone(), Arc::new(Echo));
        let server_addr = *server.addresses().iter().find(|a| a.is_ipv4()).expect("loopback has IPv4");
        let client = net(&folder.path().join("client"), &client_key, &[&server_key]).await?;
        client.add_static(Some(server.id()), server_addr);
        Ok(Self { client, server, server_addr, service, channel: None, _folder: folder, folder_count: 0 })
    }

    async fn open(&self, client: &Net) -> anyhow::Result<Channel> {
        let mut channel = client.open(self.server.id(), &self.service).await?;
        echo_once(&mut channel).await?;
        Ok(channel)
    }
}

impl Peer for Softbus {
    fn name(&self) -> &'static str {
        "softbus"
    }

    /// A device that was just started dials: handshake, Hello both ways, the access check, the first byte and back.
    fn connect(&mut self) -> BoxFuture<'_, anyhow::Result<Duration>> {
        Box::pin(async {
            self.folder_count += 1;
            // A new boot each time, so that no earlier connection helps.
            let folder = self._folder.path().join(format!("fresh{}", self.folder_count));
            let fresh = net(&folder, &[3; 32], &[&[1; 32]]).await?;
            let start = tokio::time::Instant::now();
            fresh.add_static(Some(self.server.id()), self.server_addr);
            self.open(&fresh).await?;
            let took = start.elapsed();
            fresh.shutdown().await;
            Ok(took)
        })
    }

    fn round_trip(&mut self) -> BoxFuture<'_, anyhow::Result<Duration>> {
        Box::pin(async {
            if self.channel.is_none() {
                self.channel = Some(self.open(&self.client).await?);
            }
            let channel = self.channel.as_mut().expect("opened just above");
            timed(echo_once(channel)).await
        })
    }

    fn bulk(&mut self, bytes: usize) -> BoxFuture<'_, anyhow::Result<Duration>> {
        Box::pin(async move {
            let mut channel = self.client.open(self.server.id(), &self.service).await?;
            timed(async {
                channel.send.write_all(b"B").await?;
                let piece = vec![7; PIECE];
                for _ in 0..bytes / PIECE {
                    channel.send.write_all(&piece).await?;
                }
                channel.finish();
                let mut done = [0; 1];
                channel.recv.read_exact(&mut done).await?;
                Ok(())
            })
            .await
        })
    }
}

async fn net(folder: &std::path::Path, seed: &[u8; 32], friends: &[&[u8; 32]]) -> anyhow::Result<Net> {
    let seam =
        RealSeam::new(folder, Arc::new(FixedSensors::named("bench"))).discovery(Arc::new(Silent)).open()?;
    let friends = friends.iter().map(|seed| DeviceKey::from_seed(seed).id()).collect();
    let judge = Arc::new(Friends(friends, watch::Sender::new(0)));
    let config = NetConfig { bind: Bind::Loopback, discovery: false, ..NetConfig::default() };
    Ok(Net::start(seam, Arc::new(DeviceKey::from_seed(seed)), judge, Router::new(), config).await?)
}

async fn echo_once(channel: &mut Channel) -> anyhow::Result<()> {
    let mut buffer = [b'E'; 64];
    channel.send.write_all(&buffer).await?;
    channel.recv.read_exact(&mut buffer).await?;
    Ok(())
}
