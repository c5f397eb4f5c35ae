use std::collections::BTreeSet;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::mpsc;

use super::SIGHTINGS;
use crate::seam::{Announcement, BoxFuture, Discovery, Sighting};

/// Pause before a way that failed, or whose subscription closed, is tried again; doubles up to the next.
const AGAIN_FIRST: Duration = Duration::from_millis(250);
const AGAIN_LAST: Duration = Duration::from_secs(60);

/// Several ways of discovery as one. Keys carry the number of the way (`0/…`), so that those of two ways are
/// never the same; who is seen by two ways is seen twice.
pub struct Many(Arc<Ways>);

struct Ways {
    ways: Vec<Arc<dyn Discovery>>,
    said: Mutex<Said>,
}

/// What is announced, and by which ways not yet.
#[derive(Default)]
struct Said {
    /// The latest; none before the first and after a goodbye.
    latest: Option<Announcement>,
    /// Ways that failed to announce it.
    silent: BTreeSet<usize>,
    /// Ways that somebody is about to try again: one task for each at most.
    tried_again: BTreeSet<usize>,
}

impl Many {
    /// Of these ways.
    pub fn new(ways: Vec<Arc<dyn Discovery>>) -> Self {
        Self(Arc::new(Ways { ways, said: Mutex::default() }))
    }
}

impl Ways {
    fn said(&self) -> MutexGuard<'_, Said> {
        self.said.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Announces by one way. Under the lock, so that of two announcements the later one stays.
    fn announce(&self, said: &mut Said, number: usize) -> io::Result<()> {
        let (Some(way), Some(latest)) = (self.ways.get(number), &said.latest) else { return Ok(()) };
        match way.announce(latest) {
            Ok(()) => {
                said.silent.remove(&number);
                Ok(())
            }
            Err(error) => {
                tracing::warn!(%error, way = number, "one way of discovery cannot announce");
                said.silent.insert(number);
                Err(error)
            }
        }
    }
}

impl Discovery for Many {
    /// Fails only if every way does; else a way that fails, now or later, is browsed again.
    fn browse(&self) -> io::Result<mpsc::Receiver<Sighting>> {
        let (send, receive) = mpsc::channel(SIGHTINGS);
        let mut begun = Vec::new();
        let mut failure = None;
        for (number, way) in self.0.ways.iter().enumerate() {
            match way.browse() {
                Ok(sightings) => begun.push(Some(sightings)),
                Err(error) => {
                    tracing::warn!(%error, way = number, "one way of discovery cannot browse");
                    begun.push(None);
                    failure = Some(error);
                }
            }
        }
        match failure {
            Some(error) if begun.iter().all(Option::is_none) => return Err(error),
            _ => {}
        }
        for ((number, way), sightings) in self.0.ways.iter().enumerate().zip(begun) {
            tokio::spawn(forward(number, way.clone(), sightings, send.clone()));
        }
        Ok(receive)
    }

    /// Fails only if every way does; else a way that fails is tried again.
    fn announce(&self, announcement: &Announcement) -> io::Result<()> {
        let mut said = self.0.said();
        said.latest = Some(announcement.clone());
        let mut failure = None;
        for number in 0..self.0.ways.len() {
            failure = self.0.announce(&mut said, number).err().or(failure);
        }
        match failure {
            Some(error) if said.silent.len() == self.0.ways.len() => {
                // Whoever called says it again.
                said.silent.clear();
                Err(error)
            }
            _ => {
                let silent: Vec<usize> = said.silent.iter().copied().collect();
                for number in silent {
                    if said.tried_again.insert(number) {
                        tokio::spawn(announce_again(number, Arc::downgrade(&self.0)));
                    }
                }
                Ok(())
            }
        }
    }

    fn confirm(&self, key: &str) {
        let Some((number, key)) = key.split_once('/') else { return };
        if let Some(way) = number.parse().ok().and_then(|number: usize| self.0.ways.get(number)) {
            way.confirm(key);
        }
    }

    fn goodbye(&self) -> BoxFuture<'_, ()> {
        let mut said = self.0.said();
        said.latest = None;
        said.silent.clear();
        drop(said);
        let all = futures_util::future::join_all(self.0.ways.iter().map(|way| way.goodbye()));
        Box::pin(async move {
            all.await;
        })
    }
}

/// Says what is announced by a way that failed to, until it does or there is nothing to say.
async fn announce_again(number: usize, ways: Weak<Ways>) {
    let mut pause = AGAIN_FIRST;
    loop {
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(AGAIN_LAST);
        let Some(ways) = ways.upgrade() else { return };
        let mut said = ways.said();
        if !said.silent.contains(&number) || ways.announce(&mut said, number).is_ok() {
            said.tried_again.remove(&number);
            return;
        }
    }
}

/// Passes on what one way sees; `sightings` is none if it could not be browsed yet.
async fn forward(
    number: usize,
    way: Arc<dyn Discovery>,
    mut sightings: Option<mpsc::Receiver<Sighting>>,
    send: mpsc::Sender<Sighting>,
) {
    let mut in_sight = BTreeSet::new();
    let mut pause = AGAIN_FIRST;
    loop {
        let Some(browsed) = &mut sightings else {
            tokio::select! {
                biased;
                () = send.closed() => return,
                () = tokio::time::sleep(pause) => {}
            }
            pause = (pause * 2).min(AGAIN_LAST);
            match way.browse() {
                Ok(browsed) => sightings = Some(browsed),
                Err(error) => {
                    tracing::warn!(%error, way = number, "one way of discovery cannot browse")
                }
            }
            continue;
        };
        let next = tokio::select! {
            biased;
            () = send.closed() => return,
            next = browsed.recv() => next,
        };
        let sighting = match next {
            Some(Sighting::Seen { key, addresses, announcement }) => {
                pause = AGAIN_FIRST;
                let key: Arc<str> = format!("{number}/{key}").into();
                in_sight.insert(key.clone());
                Sighting::Seen { key, addresses, announcement }
            }
            Some(Sighting::Gone { key }) => {
                let key: Arc<str> = format!("{number}/{key}").into();
                in_sight.remove(&key);
                Sighting::Gone { key }
            }
            None => {
                // Whoever is still there will be seen again.
                for key in std::mem::take(&mut in_sight) {
                    if send.send(Sighting::Gone { key }).await.is_err() {
                        return;
                    }
                }
                sightings = None;
                continue;
            }
        };
        if send.send(sighting).await.is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    /// A way whose sightings the test sends, and which it can close.
    #[derive(Default)]
    struct Scripted {
        senders: Mutex<Vec<mpsc::Sender<Sighting>>>,
        announced: Mutex<Vec<Announcement>>,
        fails: AtomicBool,
    }

    impl Scripted {
        fn check(&self) -> io::Result<()> {
            if self.fails.load(Ordering::SeqCst) { Err(io::ErrorKind::Unsupported.into()) } else { Ok(()) }
        }
    }

    fn failing() -> Arc<Scripted> {
        Arc::new(Scripted { fails: true.into(), ..Scripted::default() })
    }

    impl Discovery for Scripted {
        fn browse(&self) -> io::Result<mpsc::Receiver<Sighting>> {
            self.check()?;
            let (send, receive) = mpsc::channel(8);
            self.senders.lock().unwrap().push(send);
            Ok(receive)
        }

        fn announce(&self, announcement: &Announcement) -> io::Result<()> {
            self.check()?;
            self.announced.lock().unwrap().push(announcement.clone());
            Ok(())
        }

        fn goodbye(&self) -> BoxFuture<'_, ()> {
            Box::pin(std::future::ready(()))
        }
    }

    fn seen(key: &str) -> Sighting {
        Sighting::Seen { key: key.into(), addresses: [].into(), announcement: Arc::default() }
    }

    #[tokio::test(start_paused = true)]
    async fn ways_are_joined_and_a_closed_one_is_browsed_again() {
        let (a, b) = (Arc::new(Scripted::default()), Arc::new(Scripted::default()));
        let broken = failing();
        let many = Many::new(vec![a.clone(), b.clone(), broken.clone()]);
        many.announce(&Announcement::default()).unwrap();
        let mut sightings = many.browse().unwrap();
        let to = |way: &Scripted| way.senders.lock().unwrap().last().unwrap().clone();
        to(&a).send(seen("x")).await.unwrap();
        assert_eq!(sightings.recv().await, Some(seen("0/x")));
        to(&b).send(seen("x")).await.unwrap();
        assert_eq!(sightings.recv().await, Some(seen("1/x")));
        a.senders.lock().unwrap().clear();
        assert_eq!(sightings.recv().await, Some(Sighting::Gone { key: "0/x".into() }));
        tokio::time::sleep(Duration::from_secs(1)).await;
        to(&a).send(seen("y")).await.unwrap();
        assert_eq!(sightings.recv().await, Some(seen("0/y")));
        let none = Many::new(vec![broken]);
        assert!(none.browse().is_err());
        assert!(none.announce(&Announcement::default()).is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn a_way_that_fails_at_first_is_tried_again() {
        let (good, late) = (Arc::new(Scripted::default()), failing());
        let many = Many::new(vec![good.clone(), late.clone()]);
        let mut sightings = many.browse().unwrap();
        let port = |port| Announcement { port, ..Announcement::default() };
        for n in 1..=3 {
            many.announce(&port(n)).unwrap();
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        assert_eq!(many.0.said().tried_again.len(), 1, "by one task, however often it fails");
        late.fails.store(false, Ordering::SeqCst);
        tokio::time::sleep(AGAIN_LAST).await;
        assert_eq!(*late.announced.lock().unwrap(), [port(3)], "the latest, and once");
        assert_eq!(good.announced.lock().unwrap().len(), 3);
        let sender = late.senders.lock().unwrap()[0].clone();
        sender.send(seen("x")).await.unwrap();
        assert_eq!(sightings.recv().await, Some(seen("1/x")));
        // After a goodbye nothing is said any more.
        late.fails.store(true, Ordering::SeqCst);
        many.announce(&port(4)).unwrap();
        many.goodbye().await;
        late.fails.store(false, Ordering::SeqCst);
        tokio::time::sleep(AGAIN_LAST).await;
        assert_eq!(late.announced.lock().unwrap().len(), 1);
        assert!(many.0.said().tried_again.is_empty());
    }
}
