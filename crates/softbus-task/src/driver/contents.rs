//! Contents: what the inputs and states of tasks begin with, such as the module of a program, is kept here by its name and
//! given to others. Sealing repeats: from a content and the key of a task come the very chunks with which its images begin, so
//! that these need not travel with each task; and whoever is near may have the content when the sender of the rest is far away.
//!
//! A device gives a content to members of those circles by whose tasks it came here, if each of their members may run these
//! tasks. What comes is believed by its name alone.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use softbus_core::wire::task_control::{ContentOffer, FetchContent, Image, ImageKind};
use softbus_core::{CircleId, DeviceId, Hash, Privacy, limits as core_limits};
use softbus_net::seam::Lane;
use softbus_net::{Channel, Presence};
use softbus_trust::Role;
use tokio::sync::{Semaphore, mpsc};
use tokio::time::{Instant, timeout_at};

use super::Inner;
use super::access::OpenGrant;
use super::instance::CHUNK_OPS;
use super::transfer::{expect, read_exact, send, write_all};
use crate::checkpoint::{Places, TaskKey};
use crate::contents::{Kept, Shelf};
use crate::native::{Content, TaskType};
use crate::{TaskError, limits};

const CHUNK: usize = core_limits::CHUNK_BYTES;

/// The contents of this device.
pub(crate) struct Contents {
    shelf: Mutex<Shelf>,
    budget: u64,
    /// Held by whoever keeps another or erases one.
    turn: tokio::sync::Mutex<()>,
    /// Places for contents in memory: that are to be kept, and of which chunks are made.
    keeping: Arc<Semaphore>,
    making: Arc<Semaphore>,
    spared: AtomicU64,
    fetched: AtomicU64,
    given: AtomicU64,
}

/// What contents are kept here, and what came of that since the start of this device's program.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct ContentsStatus {
    /// How many.
    pub kept: usize,
    /// Their bytes.
    pub bytes: u64,
    /// How many bytes there may be.
    pub budget_bytes: u64,
    /// Bytes of chunks that did not come with the rest of an input or a state, as its content was here or came from elsewhere.
    pub spared_bytes: u64,
    /// Bytes of contents that came from other devices than sent the rest.
    pub fetched_bytes: u64,
    /// Bytes of contents that were given to others.
    pub given_bytes: u64,
}

impl Contents {
    pub fn new(budget: u64) -> Self {
        Self {
            shelf: Mutex::default(),
            budget,
            turn: tokio::sync::Mutex::default(),
            keeping: Arc::new(Semaphore::new(limits::CONTENTS_AT_ONCE)),
            making: Arc::new(Semaphore::new(limits::CONTENTS_AT_ONCE)),
            spared: AtomicU64::new(0),
            fetched: AtomicU64::new(0),
            given: AtomicU64::new(0),
        }
    }

    /// What was kept in the last run; gives those for which there is no room any more.
    pub fn found(&self, kept: BTreeMap<Hash, Kept>) -> BTreeSet<Hash> {
        let mut shelf = Shelf::of(kept);
        let gone = shelf.too_many(self.budget);
        for name in &gone {
            shelf.remove(name);
        }
        *self.shelf() = shelf;
        gone
    }

    /// Names of all chunks that are needed for them.
    pub fn named(&self) -> Vec<Hash> {
        self.shelf().chunks().copied().collect()
    }

    /// Chunks of so many bytes did not come with the rest.
    pub fn spare(&self, bytes: u64) {
        self.spared.fetch_add(bytes, Ordering::Relaxed);
    }

    fn shelf(&self) -> MutexGuard<'_, Shelf> {
        // Whole between any two statements.
        self.shelf.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn status(&self) -> ContentsStatus {
        let (kept, bytes) = self.shelf().filled();
        let told = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        ContentsStatus {
            kept,
            bytes,
            budget_bytes: self.budget,
            spared_bytes: told(&self.spared),
            fetched_bytes: told(&self.fetched),
            given_bytes: told(&self.given),
        }
    }
}

/// The circle each of whose members may run a task of this grant, and so have its content.
fn circle_of(grant: &OpenGrant) -> Option<CircleId> {
    let spec = &grant.grant.spec;
    let all = matches!(spec.qos.privacy, Privacy::Circle | Privacy::Anyone);
    spec.circle.filter(|_| all && spec.only.is_empty() && spec.never.is_empty())
}

// ---------------------------------------------------------------- keeping

/// A content that is to be kept.
pub(crate) struct Found {
    content: Content,
    bytes: Vec<u8>,
}

impl Found {
    /// The content of an input or, if it was `saved`, of a state, unless this device keeps it already, or would not:
    /// what fills no chunk has no chunk of its own that need not come.
    pub fn of(inner: &Inner, kind: &TaskType, terms: &[u8], image: &[u8], saved: bool) -> Option<Self> {
        let fits = |content: &Content| (CHUNK as u64..=inner.contents.budget).contains(&content.len);
        let content = kind.content(terms).filter(fits)?;
        if inner.contents.shelf().get(&content.name).is_some() {
            return None;
        }
        let bytes = kind.content_in(image, saved).filter(|bytes| bytes.len() as u64 == content.len)?;
        Some(Self { content, bytes: bytes.to_vec() })
    }
}

/// Keeps the content of a task that is here, beside whatever else happens: `found`, unless it is kept already.
pub(crate) fn keep(inner: &Arc<Inner>, grant: &OpenGrant, found: Option<Found>) {
    let circle = circle_of(grant);
    let name = match &found {
        Some(found) => found.content.name,
        None => {
            let kind = inner.registry.get(&grant.grant.spec.kind).ok();
            let Some(content) = kind.and_then(|kind| kind.content(&grant.grant.spec.terms)) else { return };
            content.name
        }
    };
    let place = match &found {
        Some(_) => match inner.contents.keeping.clone().try_acquire_owned() {
            Ok(place) => Some(place),
            // Another task that begins with it has it kept some time.
            Err(_) => return,
        },
        None => None,
    };
    let keeper = inner.clone();
    inner.spawn(async move {
        let _place = place;
        if let Err(error) = keep_now(&keeper, name, found, circle).await {
            tracing::debug!(content = %name, %error, "a content is not kept");
        }
    });
}

async fn keep_now(
    inner: &Inner,
    name: Hash,
    found: Option<Found>,
    circle: Option<CircleId>,
) -> Result<(), TaskError> {
    let contents = &inner.contents;
    let _turn = contents.turn.lock().await;
    let known = contents.shelf().get(&name).is_some();
    if known {
        let touched = contents.shelf().touch(&name, circle);
        return match touched {
            Some(record) => inner.store.put_content(Some((name, &record)), []).await,
            None => Ok(()),
        };
    }
    let Some(Found { content, bytes }) = found else { return Ok(()) };
    let job = move || (Hash::of(&bytes) == name).then_some(bytes);
    let ops = CHUNK_OPS * content.len.div_ceil(CHUNK as u64);
    let bytes = inner.seam.compute.run(Lane::Work, ops, job).await.ok_or(TaskError::Closed)?;
    let bytes = bytes.ok_or_else(|| TaskError::Protocol("a content is not what its name says".into()))?;
    let Some(gone) = contents.shelf().room(content.len, contents.budget) else { return Ok(()) };
    // Before there is anything new: the disk may be full.
    erase(inner, gone).await?;
    let mut chunks = Vec::with_capacity(bytes.len().div_ceil(CHUNK));
    let stored = store(inner, name, bytes, &mut chunks).await;
    let record = contents.shelf().record(content.len, chunks.clone(), circle);
    let kept = match stored {
        Ok(()) => inner.store.put_content(Some((name, &record)), []).await,
        Err(error) => Err(error),
    };
    if kept.is_err() {
        inner.erase_chunks(chunks).await;
        return kept;
    }
    contents.shelf().put(name, record);
    tracing::info!(content = %name, bytes = content.len, "a content is kept");
    Ok(())
}

/// Stores a content durably; `chunks` are the names of those that may be on the disk, whatever comes of it.
async fn store(inner: &Inner, name: Hash, bytes: Vec<u8>, chunks: &mut Vec<Hash>) -> Result<(), TaskError> {
    let bytes = Arc::new(bytes);
    let mut at = 0;
    while at < bytes.len() {
        let end = bytes.len().min(at + limits::BATCH * CHUNK);
        let (key, blobs, bytes) = (inner.wrap.content(&name), inner.blobs.clone(), bytes.clone());
        let job = inner.seam.compute.run(Lane::Disk, CHUNK_OPS * limits::BATCH as u64, move || {
            let sealed: Vec<Vec<u8>> = bytes[at..end].chunks(CHUNK).map(|chunk| key.seal(chunk)).collect();
            let names: Vec<Hash> = sealed.iter().map(|sealed| Hash::of(sealed)).collect();
            let put = names.iter().zip(&sealed).try_for_each(|(name, sealed)| blobs.put(name, sealed));
            let stored = put.and_then(|()| blobs.sync(&names));
            (names, stored)
        });
        let (names, stored) = job.await.ok_or(TaskError::Closed)?;
        chunks.extend(names);
        stored?;
        at = end;
    }
    Ok(())
}

async fn erase(inner: &Inner, names: BTreeSet<Hash>) -> Result<(), TaskError> {
    if names.is_empty() {
        return Ok(());
    }
    inner.store.put_content(None, names.iter().copied()).await?;
    let chunks: BTreeSet<Hash> = {
        let mut shelf = inner.contents.shelf();
        names.iter().flat_map(|name| shelf.remove(name)).collect()
    };
    inner.erase_chunks(chunks).await;
    Ok(())
}

/// Some chunks of a content that is here, opened. One that is damaged is not here any more.
async fn read(inner: &Arc<Inner>, name: Hash, range: Range<usize>) -> Option<Vec<Vec<u8>>> {
    let chunks = inner.contents.shelf().get(&name)?.chunks.get(range)?.to_vec();
    let (key, blobs) = (inner.wrap.content(&name), inner.blobs.clone());
    let ops = CHUNK_OPS * chunks.len() as u64;
    let job = inner.seam.compute.run(Lane::Disk, ops, move || {
        let open = |chunk: &Hash| {
            let mut sealed = blobs.get(chunk).map_err(|error| (*chunk, error))?;
            let damaged = |_| (*chunk, TaskError::Damaged(*chunk));
            key.open(chunk, &mut sealed).map(|plain| plain.into_owned()).map_err(damaged)
        };
        chunks.iter().map(open).collect::<Result<Vec<_>, _>>()
    });
    match job.await? {
        Ok(chunks) => Some(chunks),
        Err((chunk, TaskError::Damaged(_))) => {
            let eraser = inner.clone();
            inner.spawn(async move { forget_damaged(&eraser, name, chunk).await });
            None
        }
        Err((_, error)) => {
            tracing::debug!(content = %name, %error, "a content could not be read");
            None
        }
    }
}

/// A chunk of a content could not be opened: because it is damaged, unless the content has given way meanwhile.
async fn forget_damaged(inner: &Inner, name: Hash, chunk: Hash) {
    let _turn = inner.contents.turn.lock().await;
    if !inner.contents.shelf().get(&name).is_some_and(|kept| kept.chunks.contains(&chunk)) {
        return;
    }
    let blobs = inner.blobs.clone();
    let look = inner.seam.compute.run(Lane::Disk, CHUNK_OPS, move || blobs.get(&chunk)).await;
    if let Some(Err(TaskError::Damaged(_))) = look {
        tracing::warn!(content = %name, "a content is damaged on this device's disk, and forgotten");
        if let Err(error) = erase(inner, BTreeSet::from([name])).await {
            tracing::warn!(content = %name, %error, "it could not be erased");
        }
    }
}

/// A whole content that is here.
async fn whole(inner: &Arc<Inner>, content: Content) -> Option<Vec<u8>> {
    let count = {
        let shelf = inner.contents.shelf();
        shelf.get(&content.name).filter(|kept| kept.len == content.len)?.chunks.len()
    };
    let mut bytes = Vec::with_capacity(usize::try_from(content.len).ok()?);
    for from in (0..count).step_by(limits::BATCH) {
        let chunks = read(inner, content.name, from..count.min(from + limits::BATCH)).await?;
        bytes.extend(chunks.into_iter().flatten());
    }
    (bytes.len() as u64 == content.len).then_some(bytes)
}

// ---------------------------------------------------------------- giving

/// Answers a [`FetchContent`] on its channel.
pub(crate) async fn serve(inner: &Arc<Inner>, mut channel: Channel, fetch: FetchContent) {
    match give(inner, &mut channel, fetch).await {
        Ok(()) => channel.finish(),
        Err(error) => channel.abort(error.code()),
    }
}

async fn give(inner: &Arc<Inner>, channel: &mut Channel, fetch: FetchContent) -> Result<(), TaskError> {
    let FetchContent { content: name, circle } = fetch;
    // Who may not have it does not learn that it is here.
    let none = || TaskError::UnknownType("content".into());
    let member = inner.role_in(Some(circle), &channel.peer.device).is_some_and(|role| role >= Role::Member);
    let (len, count) = {
        let shelf = inner.contents.shelf();
        let kept = shelf.get(&name).filter(|_| member && shelf.is_for(&name, &circle)).ok_or_else(none)?;
        (kept.len, kept.chunks.len())
    };
    // Others use it, too.
    let _ = inner.contents.shelf().touch(&name, None);
    send(channel, &ContentOffer { len }).await?;
    for from in (0..count).step_by(limits::PIECES) {
        let chunks = read(inner, name, from..count.min(from + limits::PIECES)).await.ok_or_else(none)?;
        for chunk in chunks {
            write_all(channel, &chunk).await?;
            inner.contents.given.fetch_add(chunk.len() as u64, Ordering::Relaxed);
        }
    }
    Ok(())
}

// ---------------------------------------------------------------- taking

/// Chunks of an image that may come of its content, without being sent.
pub(crate) struct Foreseen {
    /// Where they stand in the image.
    pub places: Range<usize>,
    /// As they are made; none are a sign of life.
    pieces: mpsc::Receiver<Pieces>,
}

/// Chunks as they are sealed, with their names.
type Pieces = Vec<(Hash, Vec<u8>)>;

impl Foreseen {
    /// Sees whether the content of an image that is about to come from `source` is here, or where else it may be; if it may be
    /// anywhere the chunks of it begin to come from there.
    pub fn begin(
        inner: &Arc<Inner>,
        grant: &OpenGrant,
        image: &Image,
        lacking: &Places,
        key: &TaskKey,
        source: DeviceId,
    ) -> Option<Self> {
        let spec = &grant.grant.spec;
        let (label, saved) = match &image.kind {
            ImageKind::Input => (&spec.kind, false),
            kind => (&kind.meta().filter(|meta| meta.ended.is_none())?.kind, true),
        };
        let kind = inner.registry.get(label).ok()?;
        let contents = &inner.contents;
        let content = kind.content(&spec.terms).filter(|content| content.len <= contents.budget)?;
        let before = kind.before_content(content.len, saved);
        let end = usize::try_from(content.len).ok()?.checked_add(before.len())?;
        if before.is_empty() || before.len() > CHUNK || end as u64 > image.len {
            return None;
        }
        let places = 0..end / CHUNK;
        let first = lacking.first().into_iter();
        let wanted: Vec<(usize, Hash)> =
            first.filter(|index| places.contains(index)).map(|index| (index, image.chunks[index])).collect();
        let here = contents.shelf().get(&content.name).is_some_and(|kept| kept.len == content.len);
        let worth = (wanted.len() * CHUNK) as u64 >= limits::CONTENT_WORTH.max(content.len / 2);
        let circle = circle_of(grant).filter(|_| worth && !here);
        let near = circle.map(|circle| (circle, near(inner, circle, &kind.current, source)));
        let near = near.filter(|(_, devices)| !devices.is_empty());
        if wanted.is_empty() || (!here && near.is_none()) {
            return None;
        }
        let place = contents.making.clone().try_acquire_owned().ok()?;
        let maker = Maker { inner: inner.clone(), content, before, wanted, key: key.clone() };
        let (made, pieces) = mpsc::channel(limits::BATCHES);
        inner.spawn(async move {
            let _place = place;
            maker.run(near, made).await;
        });
        Some(Self { places, pieces })
    }

    /// The next pieces; `None`: no more come, or there was no sign of life for too long, or it is too late.
    pub async fn next(&mut self, late: Instant) -> Option<Pieces> {
        let until = late.min(Instant::now() + limits::CONTENT_PATIENCE);
        timeout_at(until, self.pieces.recv()).await.ok().flatten()
    }
}

/// Members of a circle that may have a content of tasks of this type and are about as near as `source`, the nearest first.
fn near(inner: &Inner, circle: CircleId, label: &String, source: DeviceId) -> Vec<DeviceId> {
    let farthest = inner.rtt(source) * 2 + limits::CONTENT_FARTHER;
    let view = inner.roster.view();
    let others = view.others().filter(|entry| {
        let member = inner.role_in(Some(circle), &entry.id).is_some_and(|role| role >= Role::Member);
        let runs = entry.profile.as_ref().is_some_and(|profile| profile.task_types.contains(label));
        entry.presence == Presence::Online && entry.id != source && member && runs
    });
    let mut near: Vec<(Duration, DeviceId)> =
        others.filter_map(|entry| Some((entry.rtt().filter(|rtt| *rtt <= farthest)?, entry.id))).collect();
    near.sort_unstable();
    near.into_iter().take(limits::CONTENT_ASKED).map(|(_, device)| device).collect()
}

/// Makes chunks of an image from its content.
struct Maker {
    inner: Arc<Inner>,
    content: Content,
    /// What stands before it in the image.
    before: Vec<u8>,
    /// Places and names of the chunks that are lacking.
    wanted: Vec<(usize, Hash)>,
    key: TaskKey,
}

impl Maker {
    async fn run(self, near: Option<(CircleId, Vec<DeviceId>)>, made: mpsc::Sender<Pieces>) {
        let bytes = match near {
            None => whole(&self.inner, self.content).await,
            Some((circle, devices)) => self.fetch(circle, devices, &made).await,
        };
        let Some(bytes) = bytes.map(Arc::new) else { return };
        let Self { inner, before, wanted, key, .. } = self;
        let before = Arc::new(before);
        for batch in wanted.chunks(limits::BATCH) {
            let (before, bytes, batch, key) = (before.clone(), bytes.clone(), batch.to_vec(), key.clone());
            let ops = CHUNK_OPS * batch.len() as u64;
            let job = inner.seam.compute.run(Lane::Work, ops, move || {
                let seal = |(index, name): (usize, Hash)| {
                    let sealed = match (index * CHUNK).checked_sub(before.len()) {
                        Some(at) => key.seal(&bytes[at..][..CHUNK]),
                        None => key.seal(&[&before[..], &bytes[..CHUNK - before.len()]].concat()),
                    };
                    // Another version of the compressor may make another chunk of it: then it has to come.
                    (Hash::of(&sealed) == name).then_some((name, sealed))
                };
                batch.into_iter().filter_map(seal).collect::<Pieces>()
            });
            let Some(pieces) = job.await else { return };
            if made.send(pieces).await.is_err() {
                return;
            }
        }
    }

    /// From the first of these devices that has it; until nobody waits for it any more.
    async fn fetch(
        &self,
        circle: CircleId,
        devices: Vec<DeviceId>,
        made: &mpsc::Sender<Pieces>,
    ) -> Option<Vec<u8>> {
        let name = self.content.name;
        for device in devices {
            let came = tokio::select! {
                biased;
                () = made.closed() => return None,
                came = fetch(&self.inner, device, self.content, circle, made) => came,
            };
            match came {
                Ok(bytes) => {
                    self.inner.contents.fetched.fetch_add(self.content.len, Ordering::Relaxed);
                    tracing::info!(content = %name, device = %device.short(), "a content came from near by");
                    return Some(bytes);
                }
                Err(error) => {
                    tracing::debug!(content = %name, device = %device.short(), %error, "no content from there");
                }
            }
        }
        None
    }
}

/// A content from a device; it is what its name says.
async fn fetch(
    inner: &Arc<Inner>,
    device: DeviceId,
    content: Content,
    circle: CircleId,
    made: &mpsc::Sender<Pieces>,
) -> Result<Vec<u8>, TaskError> {
    let mut channel = inner.open(device).await?;
    send(&mut channel, &FetchContent { content: content.name, circle }).await?;
    let offer: ContentOffer = expect(&mut channel).await?;
    if offer.len != content.len {
        return Err(TaskError::Protocol("a content has another length than was signed".into()));
    }
    let len = usize::try_from(offer.len).map_err(|_| TaskError::Limit("memory for a content"))?;
    // Grows as it comes: what was only announced takes no memory.
    let mut bytes = Vec::new();
    while bytes.len() < len {
        let at = bytes.len();
        bytes.resize(len.min(at + limits::BATCH * CHUNK), 0);
        for piece in bytes[at..].chunks_mut(CHUNK) {
            read_exact(&mut channel, piece).await?;
        }
        // Whoever waits hears that it comes; if it is not heard yet, all the better.
        let _ = made.try_send(Vec::new());
    }
    channel.finish();
    let ops = CHUNK_OPS * bytes.len().div_ceil(CHUNK) as u64;
    let job = move || (Hash::of(&bytes) == content.name).then_some(bytes);
    let bytes = inner.seam.compute.run(Lane::Work, ops, job).await.ok_or(TaskError::Closed)?;
    bytes.ok_or_else(|| TaskError::Protocol("a content is not what its name says".into()))
}
