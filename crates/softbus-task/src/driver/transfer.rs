//! How checkpoints and results travel: the fetcher asks, says what it has, and gets what it lacks.

use std::sync::Arc;
use std::time::Duration;

use softbus_core::wire::task::{Manifest, ManifestKind};
use softbus_core::wire::task_control::{
    Fetch, Handing, Image, ImageKind, ImagePart, Offer, PART_NAMES, Piece, Right, SEAL_OVERHEAD_BYTES,
    STATUS_MOVES, Want,
};
use softbus_core::{DeviceId, ErrorCode, Hash, Signed, limits as core_limits};
use softbus_net::seam::Lane;
use softbus_net::{Channel, NetError, write_message};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout};
use zeroize::Zeroizing;

use super::Inner;
use super::access::OpenGrant;
use super::actor::Input;
use super::contents::Foreseen;
use super::instance::CHUNK_OPS;
use super::shared::{Coming, TaskShared};
use super::warm::Warm;
use crate::checkpoint::{Places, TaskKey, missing_bits, wanted};
use crate::epoch::manifest;
use crate::store::Checkpoint;
use crate::{TaskError, limits};

/// Longest piece on the wire, in bytes.
const PIECE_BYTES: usize = core_limits::CHUNK_BYTES + SEAL_OVERHEAD_BYTES;
/// Ends the answer to a [`Want`].
const END: Piece = Piece { index: 0, len: 0 };

// ---------------------------------------------------------------- giving

/// Answers a [`Fetch`] on its channel.
pub(crate) async fn serve(inner: &Arc<Inner>, mut channel: Channel, fetch: Fetch) {
    let peer = channel.peer.device;
    match give(inner, &mut channel, fetch).await {
        Ok(()) => channel.finish(),
        Err(error) => {
            if let (TaskError::Damaged(name), Some(shared)) = (&error, inner.shared(fetch.task)) {
                forget_chunk(inner, &shared, name).await;
            }
            tracing::debug!(task = %fetch.task, peer = %peer.short(), %error, "a checkpoint was not given");
            channel.abort(error.code());
        }
    }
}

async fn give(inner: &Arc<Inner>, channel: &mut Channel, fetch: Fetch) -> Result<(), TaskError> {
    let device = channel.peer.device;
    let shared = inner.shared(fetch.task).ok_or(TaskError::NoSuchTask(fetch.task))?;
    // Its chunks stay for as long as this is held.
    let kept = inner.saves.get(fetch.task, fetch.manifest, device);
    let (offer, image, base) = {
        let parts = shared.parts();
        let grant = parts.grant.clone().ok_or(TaskError::NoSuchTask(fetch.task))?;
        let role = inner.role(&grant, &device);
        let saved = kept.as_ref().filter(|_| grant.may_save(&device, role));
        let found = parts.checkpoints.get(&fetch.manifest).or(saved.map(|kept| &kept.checkpoint)).cloned();
        let checkpoint = found.ok_or(TaskError::NoSuchTask(fetch.task))?;
        let image = checkpoint.image.clone();
        let reads = saved.is_some() || (is_result(&image.kind) && grant.may(&device, role, Right::See));
        let takes = grant.may_run(&device, role)
            && (parts.members.contains(&device) || parts.invited.contains(&device));
        if !reads && !takes {
            return Err(TaskError::Forbidden(fetch.task));
        }
        let base = fetch.base.and_then(|base| parts.checkpoints.get(&base)).map(|c| c.image.clone());
        let leaving = parts.leaving.as_ref().filter(|leaving| leaving.to == device);
        let handing = leaving.and_then(|leaving| {
            let stopped_us = u64::try_from(leaving.stopped?.elapsed().as_micros()).unwrap_or(u64::MAX);
            let began_us = u64::try_from(leaving.began.elapsed().as_micros()).unwrap_or(u64::MAX);
            let (rounds, bytes) = (leaving.rounds, leaving.bytes);
            Some(Handing { reason: leaving.reason.clone(), stopped_us, bytes, rounds, began_us })
        });
        let offer = Offer {
            task: fetch.task,
            manifest: checkpoint.manifest.clone(),
            kind: image.kind.clone(),
            len: image.len,
            chunks: u32::try_from(image.chunks.len()).unwrap_or(u32::MAX),
            grant: grant.signed.clone(),
            secret: parts.secret_for(&device, role, reads),
            moves: parts.moves.clone(),
            handing,
            pushing: base.is_some(),
        };
        (offer, image, base)
    };
    send(channel, &offer).await?;
    for names in image.chunks.chunks(PART_NAMES) {
        send(channel, &ImagePart { names: names.to_vec() }).await?;
    }
    if let Some(base) = base {
        let lacking = Places::changed(&image.chunks, &base.chunks).without(&base.chunks).first();
        give_pieces(inner, &shared, channel, &image, lacking).await?;
    }
    for _ in 0..limits::WANT_ROUNDS {
        let Some(want) = silence(channel.recv_message::<Want>()).await? else { return Ok(()) };
        let lacking = wanted(&want.bits, image.chunks.len()).collect();
        give_pieces(inner, &shared, channel, &image, lacking).await?;
    }
    Ok(())
}

/// Reads pieces from the disk while earlier ones travel.
async fn give_pieces(
    inner: &Arc<Inner>,
    shared: &Arc<TaskShared>,
    channel: &mut Channel,
    image: &Image,
    indices: Vec<usize>,
) -> Result<(), TaskError> {
    let (ready, mut batches) = mpsc::channel(limits::BATCHES);
    let (reader, chunks) = (inner.clone(), image.chunks.clone());
    inner.spawn(async move {
        for batch in indices.chunks(limits::PIECES) {
            let blobs = reader.blobs.clone();
            let names: Vec<(usize, Hash)> = batch.iter().map(|i| (*i, chunks[*i])).collect();
            let job = move || {
                names.into_iter().map(|(i, name)| blobs.get(&name).map(|sealed| (i, sealed))).collect()
            };
            let ops = CHUNK_OPS * batch.len() as u64;
            let read: Option<Result<Vec<_>, TaskError>> = reader.seam.compute.run(Lane::Disk, ops, job).await;
            if ready.send(read.unwrap_or(Err(TaskError::Closed))).await.is_err() {
                return;
            }
        }
    });
    let device = channel.peer.device;
    while let Some(batch) = batches.recv().await {
        let mut bytes = 0;
        for (index, sealed) in batch? {
            let piece = Piece { index: index as u32, len: sealed.len() as u32 };
            send(channel, &piece).await?;
            write_all(channel, &sealed).await?;
            bytes += sealed.len() as u64;
        }
        let mut parts = shared.parts();
        parts.sent_bytes += bytes;
        if let Some(leaving) = parts.leaving.as_mut().filter(|leaving| leaving.to == device) {
            leaving.bytes += bytes;
        }
    }
    send(channel, &END).await
}

// ---------------------------------------------------------------- taking

/// What a fetch brought.
struct Fetched {
    manifest: Signed,
    image: Image,
    /// The plain bytes, if they were asked for, and the key to what is missing of them.
    open: Option<(Arc<Warm>, TaskKey)>,
    grant: OpenGrant,
}

/// Fetches a checkpoint from the first of `sources` that gives it, and stores it durably.
pub(crate) async fn fetch(
    inner: &Arc<Inner>,
    shared: &Arc<TaskShared>,
    manifest: Hash,
    sources: &[DeviceId],
) -> Result<Signed, TaskError> {
    let mut last = TaskError::NoSuchTask(shared.task);
    for source in sources.iter().filter(|source| **source != inner.me) {
        match take(inner, shared, manifest, *source, Purpose::Keep).await {
            Ok(fetched) => return Ok(fetched.manifest),
            Err(error) => {
                tracing::debug!(task = %shared.task, source = %source.short(), %error, "not fetched");
                last = error;
            }
        }
        if matches!(last, TaskError::Storage(_) | TaskError::Limit(_) | TaskError::Closed) {
            break;
        }
    }
    Err(last)
}

/// Fetches a result into memory only.
pub(crate) async fn fetch_result(
    inner: &Arc<Inner>,
    shared: &Arc<TaskShared>,
    manifest: Hash,
    source: DeviceId,
) -> Result<(ImageKind, Vec<u8>), TaskError> {
    let fetched = take(inner, shared, manifest, source, Purpose::Read).await?;
    let (warm, key) = fetched.open.ok_or(TaskError::Forbidden(shared.task))?;
    let whole = warm.finish(inner, &fetched.image, &key).await?;
    Ok((fetched.image.kind, whole.bytes))
}

/// Fetches a state that its runner keeps for this device, into memory only.
pub(crate) async fn fetch_saved(
    inner: &Arc<Inner>,
    shared: &Arc<TaskShared>,
    manifest: Hash,
    source: DeviceId,
) -> Result<(Signed, ImageKind, Vec<u8>, OpenGrant), TaskError> {
    let fetched = take(inner, shared, manifest, source, Purpose::Save).await?;
    let (warm, key) = fetched.open.ok_or(TaskError::Forbidden(shared.task))?;
    let whole = warm.finish(inner, &fetched.image, &key).await?;
    Ok((fetched.manifest, fetched.image.kind, whole.bytes, fetched.grant))
}

/// What something is fetched for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Purpose {
    /// To be kept on the disk.
    Keep,
    /// A result, to be read.
    Read,
    /// A state, to be saved to a file.
    Save,
}

async fn take(
    inner: &Arc<Inner>,
    shared: &Arc<TaskShared>,
    wanted: Hash,
    source: DeviceId,
    purpose: Purpose,
) -> Result<Fetched, TaskError> {
    let (task, keep) = (shared.task, purpose == Purpose::Keep);
    let base = shared.parts().newest().filter(|_| keep).map(|(hash, _)| hash);
    let mut channel = inner.open(source).await?;
    send(&mut channel, &Fetch { task, manifest: wanted, base }).await?;
    let offer: Offer = expect(&mut channel).await?;
    let heard = Instant::now();
    let (manifest, grant) = check_offer(inner, shared, &offer, wanted, purpose)?;
    let mut chunks = Vec::new();
    while chunks.len() < offer.chunks as usize {
        let part: ImagePart = expect(&mut channel).await?;
        if part.names.is_empty() || chunks.len() + part.names.len() > offer.chunks as usize {
            return Err(TaskError::Protocol("the list of chunks has another length than was said".into()));
        }
        chunks.extend(part.names);
    }
    let image = Image { kind: offer.kind.clone(), len: offer.len, chunks };
    if !image.is_sound() || image.root() != manifest.root {
        return Err(TaskError::Protocol("the list of chunks is not the one that was signed".into()));
    }

    // Before it is looked at what is here.
    let _pin = keep.then(|| shared.pin(&image.chunks));
    let (changed, mut lacking, warm, key) = {
        let mut parts = shared.parts();
        if let (None, Some(secret)) = (&parts.key, &offer.secret.filter(|secret| grant.has_secret(secret))) {
            parts.key = Some(TaskKey::from_bytes(Zeroizing::new(secret.0), task));
        }
        parts.grant.get_or_insert_with(|| Arc::new(grant.clone()));
        // Where it has what the newest checkpoint here has, nothing can come of it.
        let newest = parts.newest().filter(|_| keep);
        let there = newest.as_ref().map_or(&[][..], |(_, checkpoint)| &checkpoint.image.chunks);
        let changed = Arc::new(Places::changed(&image.chunks, there));
        let mut lacking = Places::clone(&changed);
        if keep {
            let here = parts.checkpoints.values().flat_map(|c| &c.image.chunks);
            lacking = lacking.without(here).without(&parts.staged);
        }
        let warm = if keep { parts.warm.clone() } else { Some(Warm::begin()) };
        (changed, lacking, warm, parts.key.clone())
    };
    let mut pushing = offer.pushing;
    let mut foreseen = match &key {
        Some(key) if keep && !pushing => Foreseen::begin(inner, &grant, &image, &lacking, key, source),
        _ => None,
    };
    let open = warm.zip(key);
    if !keep && open.is_none() {
        return Err(TaskError::Forbidden(task));
    }
    if let Some((warm, _)) = &open {
        warm.aim(&manifest, &image).await;
    }

    let mut sink = Sink::begin(inner, shared, &image, changed, open.clone(), keep);
    let mut received = 0;
    for _ in 0..limits::WANT_ROUNDS {
        if !pushing && lacking.is_empty() {
            break;
        }
        let mut wanted = lacking.first();
        if let Some(foreseen) = &foreseen {
            wanted.retain(|index| !foreseen.places.contains(index));
        }
        if !pushing && !wanted.is_empty() {
            send(&mut channel, &Want { bits: missing_bits(image.chunks.len(), wanted.iter().copied()) })
                .await?;
        }
        if pushing || !wanted.is_empty() {
            received += take_pieces(&mut channel, &image, &mut lacking, &mut sink).await?;
        }
        pushing = false;
        // What is made of the content, or made when that has come, was made meanwhile.
        if let Some(mut foreseen) = foreseen.take() {
            let late = Instant::now() + limits::CONTENT_WAIT;
            let mut spared = 0;
            while !lacking.is_empty()
                && let Some(pieces) = foreseen.next(late).await
            {
                for (name, sealed) in pieces {
                    lacking.remove(&name);
                    spared += sealed.len() as u64;
                    sink.put(name, sealed).await?;
                }
            }
            inner.contents.spare(spared);
        }
    }
    channel.finish();
    if !lacking.is_empty() {
        return Err(TaskError::Protocol("it did not give all chunks".into()));
    }
    sink.end().await?;

    if keep {
        if let Some(handing) = offer.handing {
            // The offer was on its way for half a round trip, as well as can be told.
            let ago = |us: u64| {
                let away = inner.rtt(source) / 2 + Duration::from_micros(us);
                heard.checked_sub(away).unwrap_or(heard)
            };
            shared.parts().coming = Some(Coming {
                from: source,
                reason: handing.reason,
                stopped: ago(handing.stopped_us),
                began: ago(handing.began_us),
                rounds: handing.rounds,
                bytes: handing.bytes.saturating_add(received),
            });
        }
        {
            let mut parts = shared.parts();
            if offer.moves.len() <= STATUS_MOVES && offer.moves.len() >= parts.moves.len() {
                parts.moves = offer.moves;
            }
        }
        let _erase_later = shared.store().await.ok_or(TaskError::Closed)?;
        inner
            .add_checkpoint(shared, Checkpoint { manifest: offer.manifest.clone(), image: image.clone() })
            .await?;
    }
    Ok(Fetched { manifest: offer.manifest, image, open: open.filter(|_| !keep), grant })
}

/// Takes the pieces that come until it is said that these were all; gives their bytes.
async fn take_pieces(
    channel: &mut Channel,
    image: &Image,
    lacking: &mut Places,
    sink: &mut Sink,
) -> Result<u64, TaskError> {
    let mut received = 0;
    loop {
        let piece: Piece = expect(channel).await?;
        if piece == END {
            return Ok(received);
        }
        let (index, len) = (piece.index as usize, piece.len as usize);
        let name = *image
            .chunks
            .get(index)
            .filter(|_| (SEAL_OVERHEAD_BYTES..=PIECE_BYTES).contains(&len))
            .ok_or_else(|| TaskError::Protocol("a piece of no chunk".into()))?;
        let mut sealed = vec![0; len];
        read_exact(channel, &mut sealed).await?;
        received += sealed.len() as u64;
        lacking.remove(&name);
        sink.put(name, sealed).await?;
    }
}

/// What can be told of an offer before any chunk came.
fn check_offer(
    inner: &Inner,
    shared: &TaskShared,
    offer: &Offer,
    wanted: Hash,
    purpose: Purpose,
) -> Result<(Manifest, OpenGrant), TaskError> {
    let bad = |why: &str| Err(TaskError::Protocol(format!("an offered checkpoint: {why}")));
    let opened = manifest::open(&offer.manifest).map_err(|e| TaskError::Protocol(e.to_string()))?;
    if opened.task != shared.task || offer.task != shared.task {
        return bad("it is of another task");
    }
    if offer.manifest.hash() != wanted {
        return bad("it is not the one asked for");
    }
    let result = is_result(&offer.kind);
    let keep = purpose == Purpose::Keep;
    let fits = match purpose {
        Purpose::Keep => true,
        Purpose::Read => result,
        Purpose::Save => offer.kind.meta().is_some(),
    };
    if (opened.kind == ManifestKind::Result) != result || !fits {
        return bad("it is no result, or one in place of a checkpoint");
    }
    if opened.chunks != offer.chunks || opened.bytes != offer.len {
        return bad("its size is not the one that was signed");
    }
    // A result that is only kept stays on the disk; no device of a quorum refuses it for its size.
    if !(result && keep) && offer.len > inner.config.state_bytes {
        return Err(TaskError::Limit("memory for a task's state or result on this device"));
    }
    let grant = OpenGrant::open(offer.grant.clone())?;
    if grant.hash != opened.grant || grant.task() != shared.task {
        return bad("its grant is another task's");
    }
    Ok((opened, grant))
}

/// Stores pieces (and puts them together) while later ones travel.
struct Sink {
    batch: Vec<(Hash, Vec<u8>)>,
    feed: mpsc::Sender<Vec<(Hash, Vec<u8>)>>,
    done: oneshot::Receiver<Result<(), TaskError>>,
}

impl Sink {
    fn begin(
        inner: &Arc<Inner>,
        shared: &Arc<TaskShared>,
        image: &Image,
        changed: Arc<Places>,
        open: Option<(Arc<Warm>, TaskKey)>,
        keep: bool,
    ) -> Self {
        let (feed, batches) = mpsc::channel(limits::BATCHES);
        let (report, done) = oneshot::channel();
        let (spawner, inner, shared, image) = (inner.clone(), inner.clone(), shared.clone(), image.clone());
        spawner.spawn(async move {
            let result = drink(&inner, &shared, &image, &changed, open, keep, batches).await;
            let _ = report.send(result);
        });
        Self { batch: Vec::new(), feed, done }
    }

    async fn put(&mut self, name: Hash, sealed: Vec<u8>) -> Result<(), TaskError> {
        self.batch.push((name, sealed));
        if self.batch.len() < limits::PIECES {
            return Ok(());
        }
        self.flush().await
    }

    async fn flush(&mut self) -> Result<(), TaskError> {
        let batch = std::mem::take(&mut self.batch);
        if self.feed.send(batch).await.is_err() {
            // It ended early: with an error.
            return match (&mut self.done).await {
                Ok(Err(error)) => Err(error),
                _ => Err(TaskError::Closed),
            };
        }
        Ok(())
    }

    /// Everything is durable when this returns.
    async fn end(mut self) -> Result<(), TaskError> {
        if !self.batch.is_empty() {
            self.flush().await?;
        }
        let Self { feed, done, .. } = self;
        drop(feed);
        done.await.unwrap_or(Err(TaskError::Closed))
    }
}

async fn drink(
    inner: &Arc<Inner>,
    shared: &Arc<TaskShared>,
    image: &Image,
    changed: &Arc<Places>,
    open: Option<(Arc<Warm>, TaskKey)>,
    keep: bool,
    mut batches: mpsc::Receiver<Vec<(Hash, Vec<u8>)>>,
) -> Result<(), TaskError> {
    let mut fresh = 0;
    while let Some(batch) = batches.recv().await {
        let batch = Arc::new(batch);
        let store = async {
            if !keep {
                return Ok(0);
            }
            let (blobs, batch) = (inner.blobs.clone(), batch.clone());
            let ops = CHUNK_OPS * batch.len() as u64;
            let job = move || {
                let mut stored = Vec::with_capacity(batch.len());
                for (name, sealed) in &*batch {
                    crate::checkpoint::check(name, sealed)
                        .map_err(|_| TaskError::Protocol("a piece does not match its name".into()))?;
                    blobs.put(name, sealed)?;
                    stored.push(*name);
                }
                Ok(stored)
            };
            // What is being erased just now is pinned too late: it is stored again after that.
            let _erase_later = shared.store().await.ok_or(TaskError::Closed)?;
            let stored: Result<Vec<Hash>, TaskError> =
                inner.seam.compute.run(Lane::Disk, ops, job).await.unwrap_or(Err(TaskError::Closed));
            let stored = stored?;
            let count = stored.len();
            shared.parts().staged.extend(stored);
            Ok(count)
        };
        let together = async {
            match &open {
                Some((warm, key)) => warm.add(inner, key, changed, batch.clone()).await,
                None => Ok(()),
            }
        };
        let (stored, added): (Result<_, TaskError>, _) = tokio::join!(store, together);
        fresh += stored?;
        added?;
    }
    if keep {
        // Also what another transfer brought, which may not have come so far yet; and whatever is believed to be here.
        let (blobs, names) = (inner.blobs.clone(), image.chunks.clone());
        let ops = CHUNK_OPS * fresh as u64;
        let synced = inner.seam.compute.run(Lane::Disk, ops, move || blobs.sync(&names)).await;
        synced.unwrap_or_else(|| Err(std::io::Error::other("the bus is closing")))?;
    }
    Ok(())
}

/// A chunk that was believed to be here is not: no checkpoint that needs it counts as held here, until a fetch brings it.
pub(crate) async fn forget_chunk(inner: &Inner, shared: &TaskShared, name: &Hash) {
    let manifests = shared.parts().forget_chunk(name);
    if let (Some(actor), false) = (inner.actor(shared.task), manifests.is_empty()) {
        let _ = actor.inbox.send(Input::Lost { manifests }).await;
    }
}

pub(crate) fn is_result(kind: &ImageKind) -> bool {
    matches!(kind, ImageKind::Output | ImageKind::Failure)
}

pub(super) async fn send<M: softbus_core::Message>(
    channel: &mut Channel,
    message: &M,
) -> Result<(), TaskError> {
    let device = channel.peer.device;
    match timeout(limits::TRANSFER_SILENCE, write_message(&mut channel.send, message)).await {
        Ok(sent) => sent.map_err(|error| net_error(device, &error)),
        Err(_) => Err(TaskError::Unreachable(device)),
    }
}

pub(super) async fn expect<M: softbus_core::Message>(channel: &mut Channel) -> Result<M, TaskError> {
    silence(channel.expect_message()).await
}

/// A peer that does not read for so long holds up nobody else.
pub(super) async fn write_all(channel: &mut Channel, bytes: &[u8]) -> Result<(), TaskError> {
    let device = channel.peer.device;
    match timeout(limits::TRANSFER_SILENCE, channel.send.write_all(bytes)).await {
        Ok(written) => written.map_err(|_| TaskError::Unreachable(device)),
        Err(_) => Err(TaskError::Unreachable(device)),
    }
}

pub(super) async fn read_exact(channel: &mut Channel, bytes: &mut [u8]) -> Result<(), TaskError> {
    silence(async { channel.recv.read_exact(bytes).await.map_err(lost) }).await
}

/// Waits for a peer, but not for ever.
async fn silence<T>(what: impl Future<Output = Result<T, NetError>>) -> Result<T, TaskError> {
    match timeout(limits::TRANSFER_SILENCE, what).await {
        Ok(result) => result.map_err(|error| TaskError::Protocol(error.to_string())),
        Err(_) => Err(TaskError::Protocol("the other device fell silent".into())),
    }
}

fn lost(error: quinn::ReadExactError) -> NetError {
    NetError::Lost(error.to_string())
}

/// What an error of the network means for a task.
pub(crate) fn net_error(device: DeviceId, error: &NetError) -> TaskError {
    match error {
        NetError::Refused(code) | NetError::Service { code, .. } if *code != ErrorCode::Unreachable => {
            TaskError::Refused { device, code: *code, why: String::new() }
        }
        _ => TaskError::Unreachable(device),
    }
}
