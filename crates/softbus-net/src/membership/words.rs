//! Recovery words wait among the secrets, for the owner's eyes only, until somebody says that a person saw them: who
//! founded a circle may be gone before the words reach it, and they cannot be made again.

use std::collections::BTreeMap;

use softbus_core::CircleId;
use zeroize::Zeroizing;

use super::{CIRCLES, Founded, Keeper, MembershipError};
use crate::seam::Lane;
use crate::seam::store::StoreError;

/// Name of the secret that holds them: one circle a line, its id, then its words.
const WAITING: &str = "recovery.words";

/// Words of circles that nobody has seen.
type Waiting = BTreeMap<CircleId, Zeroizing<String>>;

impl Keeper {
    /// The recovery words that were not shown yet, of circles that are here.
    ///
    /// # Errors
    /// The disk's.
    pub async fn words_waiting(&self) -> Result<Vec<Founded>, MembershipError> {
        let waiting = self.read_words().await?;
        let state = self.read();
        let here = waiting.into_iter().filter(|(circle, _)| state.circles.contains_key(circle));
        Ok(here.map(|(circle, recovery_words)| Founded { circle, recovery_words }).collect())
    }

    /// A person has seen the recovery words of this circle: they are kept nowhere any more.
    ///
    /// # Errors
    /// The disk's.
    pub async fn words_shown(&self, circle: CircleId) -> Result<(), MembershipError> {
        self.undisturbed(move |me| async move {
            let mut waiting = me.read_words().await?;
            match waiting.remove(&circle) {
                Some(_) => me.write_words(waiting).await,
                None => Ok(()),
            }
        })
        .await
    }

    /// Keeps the words of a circle that is about to be founded. Within [`Keeper::undisturbed`].
    pub(super) async fn keep_words(&self, founded: &Founded) -> Result<(), MembershipError> {
        let mut waiting = self.read_words().await?;
        {
            // Whose circle was never stored, or made room for others, is of no use to anybody.
            let state = self.read();
            waiting.retain(|circle, _| state.circles.contains_key(circle));
        }
        if waiting.len() >= CIRCLES {
            return Err(MembershipError::Limit(
                "the recovery words of 8 circles wait to be shown: look at them first",
            ));
        }
        waiting.insert(founded.circle, founded.recovery_words.clone());
        self.write_words(waiting).await
    }

    async fn read_words(&self) -> Result<Waiting, MembershipError> {
        let storage = self.seam.storage.clone();
        let work = move || storage.secret(WAITING).map_err(|e| StoreError::io(&e));
        let read = self.seam.compute.run(Lane::Disk, 0, work).await.unwrap_or(Err(StoreError::Closed))?;
        Ok(read.map(|bytes| parse(&bytes)).unwrap_or_default())
    }

    async fn write_words(&self, waiting: Waiting) -> Result<(), MembershipError> {
        let storage = self.seam.storage.clone();
        let work = move || {
            let written = match waiting.is_empty() {
                true => storage.remove_secret(WAITING),
                false => storage.put_secret(WAITING, &to_file(&waiting)),
            };
            written.map_err(|e| StoreError::io(&e))
        };
        Ok(self.seam.compute.run(Lane::Disk, 0, work).await.unwrap_or(Err(StoreError::Closed))?)
    }
}

/// What is no line of ours is passed over: nothing else may depend on this file.
fn parse(bytes: &[u8]) -> Waiting {
    let text = std::str::from_utf8(bytes).unwrap_or_default();
    let lines = text.lines().filter_map(|line| line.split_once(' ')).take(CIRCLES);
    lines
        .filter_map(|(id, words)| Some((id.parse().ok()?, Zeroizing::new(words.trim().to_owned()))))
        .collect()
}

/// For harnesses: reads bytes as the file of waiting words, and says whether there were any.
///
/// # Panics
/// If words are lost or changed when what was read is written and read again, or if there are more than a device may be in.
pub fn read_words(bytes: &[u8]) -> bool {
    let waiting = parse(bytes);
    assert!(waiting.len() <= CIRCLES, "more circles than there can be");
    let again = parse(&to_file(&waiting));
    assert!(again.len() == waiting.len(), "words were lost on the way");
    assert!(
        again.iter().zip(&waiting).all(|(a, b)| a.0 == b.0 && **a.1 == **b.1),
        "words were changed on the way"
    );
    !waiting.is_empty()
}

fn to_file(waiting: &Waiting) -> Zeroizing<Vec<u8>> {
    // In one piece from the beginning: a copy that grew would leave its predecessors behind.
    let size = waiting.values().map(|words| words.len() + 80).sum();
    let mut bytes = Zeroizing::new(Vec::with_capacity(size));
    for (circle, words) in waiting {
        bytes.extend_from_slice(circle.to_string().as_bytes());
        bytes.push(b' ');
        bytes.extend_from_slice(words.as_bytes());
        bytes.push(b'\n');
    }
    bytes
}
