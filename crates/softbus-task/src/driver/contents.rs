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

use softbus_core::wire::task_control::{ContentOffer, FetchContent, Image, ImageKind};
use softbus_core::{CircleId, DeviceId, Hash, Privacy, limits as core_limits};
use softbus_net::seam::Lane;
use softbus_net::{Channel, Presence};
use softbus_trust::Role;
use tokio::sync::mpsc;
use tokio::time::timeout;

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
    spared: AtomicU64,
    fetched: AtomicU64,
    given: AtomicU64,
}

/// What contents are kept here, and what came of that since the start of this device's program.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ContentsStatus {
    /// How many.
    pub kept: usize,
    /// Their bytes.
    pub bytes: u64,
    /// How many bytes there may be.
    pub budget_bytes: u64,
    /// Bytes of inputs and states that did not come with them, as the content was here or came from elsewhere.
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
            spared: AtomicU64::new(0),
            fetched: AtomicU64::new(0),
            given: AtomicU64::new(0),
        }
    }

    /// What was kept in the last run.
    pub fn found(&self, kept: BTreeMap<Hash, Kept>) {
        *self.shelf() = Shelf::of(kept);
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
    let keeper = inner.clone();
    inner.spawn(async move {
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
    let Some(gone) = contents.shelf().room(content.len, contents.budget) else { return Ok(()) };
    // Before there is anything new: the disk may be full.
    erase(inner, gone).await?;
    let (key, blobs) = (inner.wrap.content(&name), inner.blobs.clone());
    let ops = CHUNK_OPS * bytes.len().div_ceil(CHUNK) as u64;
    let job = inner.seam.compute.run(Lane::Work, ops, move || -> Result<Vec<Hash>, TaskError> {
        if Hash::of(&bytes) != name {
            return Err(TaskError::Protocol("a content is not what its name says".into()));
        }
        let mut chunks = Vec::with_capacity(bytes.len().div_ceil(CHUNK));
        for chunk in bytes.chunks(CHUNK) {
            let sealed = key.seal(chunk);
            chunks.push(Hash::of(&sealed));
            blobs.put(&Hash::of(&sealed), &sealed)?;
        }
        blobs.sync(&chunks)?;
        Ok(chunks)
    });
    let chunks = job.await.ok_or(TaskError::Closed)??;
    let record = contents.shelf().record(content.len, chunks, circle);
    // If that fails the next start erases the chunks.
    inner.store.put_content(Some((name, &record)), []).await?;
    contents.shelf().put(name, record);
    tracing::info!(content = %name, bytes = content.len, "a content is kept");
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
            let mut sealed = blobs.get(chunk).ok()?;
            key.open(chunk, &mut sealed).map(|plain| plain.into_owned()).ok()
        };
        chunks.iter().map(open).collect::<Option<Vec<_>>>()
    });
    let read = job.await?;
    if read.is_none() {
        tracing::warn!(content = %name, "a content is damaged on this device's disk, and forgotten");
        let eraser = inner.clone();
        inner.spawn(async move {
            let _turn = eraser.contents.turn.lock().await;
            if let Err(error) = erase(&eraser, BTreeSet::from([name])).await {
                tracing::warn!(content = %name, %error, "it could not be erased");
            }
        });
    }
    read
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
    /// Where they stand in the image, as far as is known beforehand.
    pub places: Range<usize>,
    /// As they are made.
    pieces: mpsc::Receiver<Vec<(Hash, Vec<u8>)>>,
}

impl Foreseen {
    /// Looks for the content of an image that is about to come from `source`, if that is worth it.
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
        let kind = inner.registry.get(label).ok()?.clone();
        let content = kind.content(&spec.terms).filter(|content| content.len <= image.len)?;
        let places = 0..usize::try_from(content.len).ok()? / CHUNK;
        let first = lacking.first();
        if !first.iter().any(|index| places.contains(index)) {
            return None;
        }
        let wanted = first.into_iter().map(|index| (index, image.chunks[index])).collect();
        let maker = Maker { inner: inner.clone(), kind, content, saved, wanted, key: key.clone() };
        let circle = circle_of(grant);
        let (made, pieces) = mpsc::channel(limits::BATCHES);
        inner.spawn(async move { maker.run(circle, source, made).await });
        Some(Self { places, pieces })
    }

    /// The next pieces; `None`: no more come, or none came for so long.
    pub async fn next(&mut self, patience: Duration) -> Option<Vec<(Hash, Vec<u8>)>> {
        timeout(patience, self.pieces.recv()).await.ok().flatten()
    }
}

/// Makes chunks of an image from its content.
struct Maker {
    inner: Arc<Inner>,
    kind: TaskType,
    content: Content,
    saved: bool,
    /// Places and names of the chunks that are lacking.
    wanted: BTreeMap<usize, Hash>,
    key: TaskKey,
}

impl Maker {
    async fn run(self, circle: Option<CircleId>, source: DeviceId, made: mpsc::Sender<Vec<(Hash, Vec<u8>)>>) {
        let bytes = match whole(&self.inner, self.content).await {
            Some(bytes) => bytes,
            None => match self.fetch(circle, source, &made).await {
                Some(bytes) => bytes,
                None => return,
            },
        };
        let Self { inner, kind, saved, wanted, key, .. } = self;
        let begins = inner.seam.compute.run(Lane::Work, 1, move || kind.begins(&bytes, saved)).await;
        let Some(begins) = begins.map(Arc::new) else { return };
        let whole: Vec<(usize, Hash)> =
            wanted.into_iter().filter(|(index, _)| (index + 1) * CHUNK <= begins.len()).collect();
        for batch in whole.chunks(limits::BATCH) {
            let (begins, batch, key) = (begins.clone(), batch.to_vec(), key.clone());
            let ops = CHUNK_OPS * batch.len() as u64;
            let job = inner.seam.compute.run(Lane::Work, ops, move || {
                let seal = |(index, name): (usize, Hash)| {
                    let sealed = key.seal(&begins[index * CHUNK..][..CHUNK]);
                    // Another version of the compressor may make another chunk of it: then it has to come.
                    (Hash::of(&sealed) == name).then_some((name, sealed))
                };
                batch.into_iter().filter_map(seal).collect::<Vec<_>>()
            });
            let Some(pieces) = job.await else { return };
            let bytes = pieces.iter().map(|(_, sealed)| sealed.len() as u64).sum();
            if made.send(pieces).await.is_err() {
                return;
            }
            inner.contents.spared.fetch_add(bytes, Ordering::Relaxed);
        }
    }

    /// From the nearest device that has it and is not the one that sends the rest; until nobody waits for it any more.
    async fn fetch<T>(
        &self,
        circle: Option<CircleId>,
        source: DeviceId,
        waits: &mpsc::Sender<T>,
    ) -> Option<Vec<u8>> {
        let (inner, circle) = (&self.inner, circle?);
        let mut near: Vec<(Duration, DeviceId)> = {
            let view = inner.roster.view();
            let others = view.others().filter(|entry| {
                let may = inner.role_in(Some(circle), &entry.id).is_some_and(|role| role >= Role::Member);
                let runs = entry.profile.as_ref().is_some_and(|p| p.task_types.contains(&self.kind.current));
                entry.presence == Presence::Online && entry.id != source && may && runs
            });
            others.filter_map(|entry| Some((entry.rtt()?, entry.id))).collect()
        };
        near.sort_unstable();
        for (_, device) in near.into_iter().take(limits::CONTENT_ASKED) {
            let came = tokio::select! {
                biased;
                () = waits.closed() => return None,
                came = fetch(inner, device, self.content, circle) => came,
            };
            match came {
                Ok(bytes) => {
                    inner.contents.fetched.fetch_add(self.content.len, Ordering::Relaxed);
                    tracing::info!(content = %self.content.name, device = %device.short(), bytes = bytes.len(), "a content came from near by");
                    return Some(bytes);
                }
                Err(error) => {
                    tracing::debug!(content = %self.content.name, device = %device.short(), %error, "no content from there");
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
        bytes.resize(len.min(at + CHUNK), 0);
        read_exact(&mut channel, &mut bytes[at..]).await?;
    }
    channel.finish();
    let ops = CHUNK_OPS * bytes.len().div_ceil(CHUNK) as u64;
    let job =
        inner.seam.compute.run(Lane::Work, ops, move || (Hash::of(&bytes) == content.name).then_some(bytes));
    let bytes = job.await.ok_or(TaskError::Closed)?;
    bytes.ok_or_else(|| TaskError::Protocol("a content is not what its name says".into()))
}
