//! What tasks begin with that other tasks have, too, need not travel with each of them.
#![allow(clippy::unwrap_used, reason = "a test")]

mod common;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use common::{Device, FAST, RUNTIME, SLOW, config, home, home_with, logs, options, start, until};
use softbus_core::wire::task_control::{ContentOffer, FetchContent};
use softbus_core::{CircleId, Hash, Privacy};
use softbus_net::Judge as _;
use softbus_net::seam::Seam;
use softbus_net::seam::memory::World;
use softbus_task::{
    Content, ContentsStatus, Program, Runtime, Step, StepContext, SubmitOptions, TaskFailure, TaskHandle,
    TaskState, TasksConfig,
};
use softbus_trust::Role;
use tokio::time::{sleep, timeout};

/// Reads a book aloud, one step after the other; the book is what its tasks have in common. Inputs and states are the length
/// of the book, the book, and how far it was read; states have some more before that.
struct Library;

const BOOK: usize = 1 << 20;
const STEPS: u64 = 40;

fn book(n: u8) -> Vec<u8> {
    let mut x = u64::from(n) + 1;
    let next = |_| {
        x = (x ^ (x >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9).wrapping_add(1);
        (x >> 40) as u8
    };
    (0..BOOK).map(next).collect()
}

fn input(book: &[u8], steps: u64) -> Vec<u8> {
    [&(book.len() as u64).to_le_bytes()[..], book, &steps.to_le_bytes()].concat()
}

fn parts(image: &[u8]) -> Option<(&[u8], u64)> {
    let (len, rest) = image.split_first_chunk::<8>()?;
    let (book, left) = rest.split_at_checked(u64::from_le_bytes(*len) as usize)?;
    Some((book, u64::from_le_bytes(left.try_into().ok()?)))
}

impl Runtime for Library {
    fn name(&self) -> &str {
        "library"
    }

    fn version(&self) -> u16 {
        1
    }

    fn terms(&self, input: &[u8]) -> Vec<u8> {
        let book = parts(input).map_or(&[][..], |(book, _)| book);
        [&Hash::of(book).0[..], &(book.len() as u64).to_le_bytes()].concat()
    }

    fn start(&self, input: &[u8], terms: &[u8]) -> Result<Box<dyn Program>, TaskFailure> {
        self.resume(1, input, terms)
    }

    fn resume(&self, _: u16, state: &[u8], terms: &[u8]) -> Result<Box<dyn Program>, TaskFailure> {
        let (book, left) = parts(state).ok_or_else(|| TaskFailure::new("no book"))?;
        if self.terms(state) != terms {
            return Err(TaskFailure::new("another book"));
        }
        Ok(Box::new(Reader { book: book.into(), left }))
    }

    fn content(&self, terms: &[u8]) -> Option<Content> {
        let (name, len) = terms.split_first_chunk::<32>()?;
        Some(Content { name: Hash(*name), len: u64::from_le_bytes(len.try_into().ok()?) })
    }

    fn content_in<'i>(&self, image: &'i [u8], _: bool) -> Option<&'i [u8]> {
        parts(image).map(|(book, _)| book)
    }

    fn before_content(&self, len: u64, _: bool) -> Vec<u8> {
        len.to_le_bytes().to_vec()
    }
}

struct Reader {
    book: Vec<u8>,
    left: u64,
}

impl Program for Reader {
    fn step(&mut self, cx: &mut StepContext) -> Result<Step<Vec<u8>>, TaskFailure> {
        if self.left == 0 {
            return Ok(Step::Done(Hash::of(&self.book).0.to_vec()));
        }
        self.left -= 1;
        cx.progress(1.0 - self.left as f64 / STEPS as f64, "reading");
        Ok(Step::Wait(Duration::from_millis(50)))
    }

    fn save(&mut self, out: &mut dyn io::Write) -> Result<(), TaskFailure> {
        out.write_all(&input(&self.book, self.left)).map_err(|e| TaskFailure::new(e.to_string()))
    }
}

fn library(_: &Seam) -> Arc<dyn Runtime> {
    Arc::new(Library)
}

/// A book is read on a device, to its end, and rightly. Nobody else has the task.
async fn read_on(by: &Device, on: &Device, book: &[u8], privacy: Privacy) -> TaskHandle {
    let mut options = options("book");
    options.qos.privacy = privacy;
    read_with(by, on, book, options).await
}

async fn read_with(by: &Device, on: &Device, book: &[u8], mut options: SubmitOptions) -> TaskHandle {
    (options.hints.start_on, options.hints.stay, options.replicas) = (Some(on.id()), true, Some(0));
    let handle = by.tasks.submit("library/1", input(book, STEPS), options).await.unwrap();
    let (done, id) = (until(&handle, "read", |s| s.state == TaskState::Done).await, on.id());
    assert!(done.error.is_none() && done.runner.is_none_or(|runner| runner == id));
    let name: [u8; 32] = handle.output().await.unwrap();
    assert_eq!(Hash(name), Hash::of(book));
    handle
}

fn told(device: &Device) -> ContentsStatus {
    device.tasks.contents()
}

/// Bytes that left a device while something was done.
async fn sent<T>(device: &Device, done: impl Future<Output = T>) -> u64 {
    let before = device.host.traffic().sent_bytes;
    done.await;
    device.host.traffic().sent_bytes - before
}

#[tokio::test(start_paused = true)]
async fn it_travels_once_to_each_device_and_is_there_after_a_restart() {
    logs();
    RUNTIME.set(Some(library));
    let world = World::new(81);
    let mut home = home(&world, &[("phone", SLOW), ("tv", FAST)]).await;
    let book = book(1);
    let first = sent(&home[0], read_on(&home[0], &home[1], &book, Privacy::Circle)).await;
    assert!(first > BOOK as u64, "at first it travels: {first}");
    assert_eq!(
        (told(&home[0]).kept, told(&home[1]).kept),
        (1, 1),
        "who submits it keeps it, and who runs it"
    );
    let again = sent(&home[0], read_on(&home[0], &home[1], &book, Privacy::Circle)).await;
    assert!(again < BOOK as u64 / 4, "then it does not: {again}");
    assert!(told(&home[1]).spared_bytes > BOOK as u64 * 9 / 10);
    assert_eq!(told(&home[1]).fetched_bytes, 0, "it was there");

    let all = vec!["phone".to_owned(), "tv".to_owned()];
    home[1].tasks.shutdown().await;
    home[1].host.kill();
    home.pop();
    home.push(start(&world, "tv", FAST, &all, config()).await);
    common::together(&home).await;
    assert_eq!((told(&home[1]).kept, told(&home[1]).bytes), (1, BOOK as u64));
    let after = sent(&home[0], read_on(&home[0], &home[1], &book, Privacy::Circle)).await;
    assert!(after < BOOK as u64 / 4, "nor after a restart: {after}");
}

#[tokio::test(start_paused = true)]
async fn it_comes_from_whoever_has_it() {
    logs();
    RUNTIME.set(Some(library));
    let home = home(&World::new(82), &[("phone", SLOW), ("tv", FAST), ("car", FAST)]).await;
    let [phone, tv, car] = &home[..] else { unreachable!() };
    let book = book(2);
    read_on(phone, tv, &book, Privacy::Circle).await;
    let by_phone = sent(phone, read_on(phone, car, &book, Privacy::Circle)).await;
    assert!(by_phone < BOOK as u64 / 4, "the phone was spared it: {by_phone}");
    assert_eq!((told(car).fetched_bytes, told(tv).given_bytes), (BOOK as u64, BOOK as u64));
    assert_eq!(told(car).kept, 1, "and it is kept there");
}

#[tokio::test(start_paused = true)]
async fn what_is_damaged_is_forgotten_and_comes_with_the_rest() {
    logs();
    RUNTIME.set(Some(library));
    let home = home(&World::new(83), &[("phone", SLOW), ("tv", FAST), ("car", FAST)]).await;
    let [phone, tv, car] = &home[..] else { unreachable!() };
    let book = book(3);
    read_on(phone, tv, &book, Privacy::Circle).await;
    for name in tv.host.seam().storage.blobs().list().unwrap() {
        tv.host.disk().rot_blob(&name, vec![1; 100]);
    }
    let by_phone = sent(phone, read_on(phone, car, &book, Privacy::Circle)).await;
    assert!(by_phone > BOOK as u64, "{by_phone}");
    assert_eq!((told(car).fetched_bytes, told(car).kept), (0, 1));
    assert_eq!((told(tv).kept, told(tv).bytes, told(tv).given_bytes), (0, 0, 0));
    // What is here, but damaged, does not stop a task either: it comes again, and is kept again.
    for name in car.host.seam().storage.blobs().list().unwrap() {
        car.host.disk().rot_blob(&name, vec![2; 100]);
    }
    let again = sent(phone, read_on(phone, car, &book, Privacy::Circle)).await;
    assert!(again > BOOK as u64, "what was there was of no use: {again}");
    let then = sent(phone, read_on(phone, car, &book, Privacy::Circle)).await;
    assert!(then < BOOK as u64 / 4, "{then}");
}

#[tokio::test(start_paused = true)]
async fn the_budget_holds() {
    logs();
    RUNTIME.set(Some(library));
    let config = TasksConfig { content_bytes: 2 * BOOK as u64 + 1, ..config() };
    let home = home_with(&World::new(84), &[("phone", SLOW), ("tv", FAST)], config).await;
    let (phone, tv) = (&home[0], &home[1]);
    let books: Vec<Vec<u8>> = (4..7).map(book).collect();
    read_on(phone, tv, &books[0], Privacy::Circle).await;
    read_on(phone, tv, &books[1], Privacy::Circle).await;
    read_on(phone, tv, &books[0], Privacy::Circle).await;
    read_on(phone, tv, &books[2], Privacy::Circle).await;
    assert_eq!((told(tv).kept, told(tv).bytes), (2, 2 * BOOK as u64));
    for (book, travels) in [(&books[0], false), (&books[2], false), (&books[1], true)] {
        let bytes = sent(phone, read_on(phone, tv, book, Privacy::Circle)).await;
        assert_eq!(bytes > BOOK as u64, travels, "{bytes}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_smaller_budget_holds_from_the_next_start_on() {
    logs();
    RUNTIME.set(Some(library));
    let world = World::new(87);
    let mut home = home(&world, &[("phone", SLOW), ("tv", FAST)]).await;
    let books: Vec<Vec<u8>> = (14..16).map(book).collect();
    for book in &books {
        read_on(&home[0], &home[1], book, Privacy::Circle).await;
    }
    let all = vec!["phone".to_owned(), "tv".to_owned()];
    for (budget, kept) in [(BOOK as u64 + 1, 1), (0, 0)] {
        let blobs = || home[1].host.seam().storage.blobs().list().unwrap().len();
        let before = blobs();
        home[1].tasks.shutdown().await;
        home[1].host.kill();
        home.pop();
        let smaller = TasksConfig { content_bytes: budget, ..config() };
        home.push(start(&world, "tv", FAST, &all, smaller).await);
        let after = home[1].host.seam().storage.blobs().list().unwrap().len();
        assert!(after + BOOK / (64 << 10) <= before, "the chunks of one are gone: {before}, {after}");
        assert_eq!((told(&home[1]).kept, told(&home[1]).bytes), (kept, (kept * BOOK) as u64));
    }
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_kept_leaves_nothing_behind() {
    logs();
    RUNTIME.set(Some(library));
    let config = TasksConfig { checkpoint_every: Duration::from_secs(60), ..config() };
    let home = home_with(&World::new(88), &[("phone", SLOW)], config).await;
    let phone = &home[0];
    let (disk, blobs) = (phone.host.disk(), phone.host.seam().storage.blobs());
    let handle = phone.tasks.submit("library/1", input(&book(17), STEPS), options("book")).await.unwrap();
    let before = blobs.list().unwrap().len();
    disk.set_capacity(Some(disk.used_bytes() + BOOK as u64 / 2));
    sleep(Duration::from_secs(1)).await;
    assert_eq!((told(phone).kept, blobs.list().unwrap().len()), (0, before), "it did not fit");
    let name: [u8; 32] = handle.output().await.unwrap();
    assert_eq!(Hash(name), Hash::of(&book(17)), "which is not the task's concern");
    disk.set_capacity(None);
    read_on(phone, phone, &book(17), Privacy::Circle).await;
    assert_eq!(told(phone).kept, 1);
}

#[tokio::test(start_paused = true)]
async fn without_a_budget_none_is_kept() {
    logs();
    RUNTIME.set(Some(library));
    let config = TasksConfig { content_bytes: 0, ..config() };
    let home = home_with(&World::new(85), &[("phone", SLOW), ("tv", FAST)], config).await;
    for _ in 0..2 {
        let bytes = sent(&home[0], read_on(&home[0], &home[1], &book(7), Privacy::Circle)).await;
        assert!(bytes > BOOK as u64);
    }
    assert_eq!((told(&home[0]).kept, told(&home[1]).kept), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn it_is_given_to_those_only_who_might_run_it() {
    logs();
    RUNTIME.set(Some(library));
    let home = home(&World::new(86), &[("phone", SLOW), ("tv", FAST), ("car", FAST)]).await;
    let [phone, tv, car] = &home[..] else { unreachable!() };
    let (open, closed) = (book(8), [book(9), book(10), book(11), book(12)]);
    read_on(phone, tv, &open, Privacy::Circle).await;
    // None of these may each member of the circle run.
    read_on(tv, tv, &closed[0], Privacy::Device).await;
    read_on(tv, tv, &closed[1], Privacy::Owners).await;
    let mut named = options("named");
    named.hints.only.insert(tv.id());
    read_with(tv, tv, &closed[2], named).await;
    let mut barred = options("barred");
    barred.hints.never.insert(car.id());
    read_with(tv, tv, &closed[3], barred).await;
    sleep(Duration::from_secs(1)).await;
    assert_eq!(told(tv).kept, 5);
    let circle = *car.judge.circles().keys().next().unwrap();
    let ask = async |content: Hash, circle| {
        let mut channel = car.net.open(tv.id(), &"task/1".parse().unwrap()).await.ok()?;
        channel.send_message(&FetchContent { content, circle }).await.ok()?;
        let offer =
            timeout(Duration::from_secs(5), channel.expect_message::<ContentOffer>()).await.unwrap().ok()?;
        let mut bytes = vec![0; offer.len as usize];
        channel.recv.read_exact(&mut bytes).await.ok().map(|()| bytes)
    };
    assert!(ask(Hash::of(&open), circle).await.as_ref() == Some(&open));
    for closed in &closed {
        assert_eq!(ask(Hash::of(closed), circle).await, None, "others may not run it");
    }
    assert_eq!(ask(Hash::of(&book(13)), circle).await, None, "nobody has it");
    assert_eq!(ask(Hash::of(&open), CircleId([1; 32])).await, None, "another circle");
    tv.judge.trust(car.id(), Role::Guest);
    assert_eq!(ask(Hash::of(&open), circle).await, None, "a guest");
    tv.judge.trust(car.id(), Role::Owner);
    assert!(ask(Hash::of(&open), circle).await.is_some());
}
