//! What is measured, of anyone: connect, a 64-byte round trip, bulk one way.

use std::time::Duration;

use futures::future::BoxFuture;
use tokio::time::Instant;

/// One implementation under test, both ends in this process, over loopback UDP.
pub trait Peer: Send {
    /// Its name in the table.
    fn name(&self) -> &'static str;
    /// A fresh, mutually authenticated connection up to the first service byte echoed back.
    fn connect(&mut self) -> BoxFuture<'_, anyhow::Result<Duration>>;
    /// One 64-byte round trip on an open stream.
    fn round_trip(&mut self) -> BoxFuture<'_, anyhow::Result<Duration>>;
    /// Sends `bytes` one way on a fresh stream until the far end has them all.
    fn bulk(&mut self, bytes: usize) -> BoxFuture<'_, anyhow::Result<Duration>>;
}

/// Runs `work` and says how long it took.
pub async fn timed<T>(work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<Duration> {
    let start = Instant::now();
    work.await?;
    Ok(start.elapsed())
}

/// Size of one write in the bulk test.
pub const PIECE: usize = 64 << 10;
