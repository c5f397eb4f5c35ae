//! The recovery key: for the day a circle's last owner is lost. It is shown once, as 24 words, and kept
//! nowhere from then on.

use bip39::{Language, Mnemonic};
use softbus_core::{DeviceId, Domain, Sig, Signer};
use zeroize::Zeroizing;

use crate::DeviceKey;

/// A circle's recovery key. Its public half stands in the founding statement.
pub struct RecoveryKey {
    seed: Zeroizing<[u8; 32]>,
    key: DeviceKey,
}

/// Why words are no recovery key.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum WordsError {
    /// Not 24.
    #[error("{0} words where 24 were expected; copy all of them, in order")]
    Count(usize),
    /// Not of the list.
    #[error("word {0} is not in the list of words: look for a misspelling")]
    Unknown(usize),
    /// All known, but not these in this order.
    #[error("each word is known, but together they do not fit: one of them, or their order, is wrong")]
    Checksum,
}

impl RecoveryKey {
    /// From random bytes.
    pub fn from_seed(seed: [u8; 32]) -> Self {
        let seed = Zeroizing::new(seed);
        Self { key: DeviceKey::from_seed(&seed), seed }
    }

    /// The 24 words (BIP 39, English) to be written down.
    pub fn words(&self) -> Zeroizing<String> {
        // The only error is a length that the format lacks; it has 32 bytes.
        let words = Mnemonic::from_entropy_in(Language::English, &self.seed[..]).map(|m| m.to_string());
        Zeroizing::new(words.unwrap_or_default())
    }

    /// Reads words as a person types them: capitals, line breaks, commas and numbering do not matter.
    pub fn from_words(text: &str) -> Result<Self, WordsError> {
        let mut clean = Zeroizing::new(String::with_capacity(256));
        let mut count = 0;
        for word in text.split(|c: char| !c.is_ascii_alphabetic()).filter(|word| !word.is_empty()).take(64) {
            if count > 0 {
                clean.push(' ');
            }
            clean.push_str(&word[..word.len().min(16)].to_ascii_lowercase());
            count += 1;
        }
        if count != 24 {
            return Err(WordsError::Count(count));
        }
        let mnemonic =
            Mnemonic::parse_in_normalized(Language::English, &clean).map_err(|error| match error {
                bip39::Error::UnknownWord(at) => WordsError::Unknown(at + 1),
                bip39::Error::BadWordCount(count) => WordsError::Count(count),
                _ => WordsError::Checksum,
            })?;
        let (bytes, len) = mnemonic.to_entropy_array();
        let bytes = Zeroizing::new(bytes);
        let seed = bytes[..len].try_into().map_err(|_| WordsError::Checksum)?;
        Ok(Self::from_seed(seed))
    }

    /// Its public half.
    pub fn id(&self) -> DeviceId {
        self.key.id()
    }
}

impl Signer for RecoveryKey {
    fn id(&self) -> DeviceId {
        self.key.id()
    }

    fn sign(&self, domain: Domain, body: &[u8]) -> Sig {
        self.key.sign(domain, body)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_and_back() {
        let key = RecoveryKey::from_seed([0x7f; 32]);
        let words = key.words();
        // Known answer of BIP 39 for this entropy.
        assert!(words.starts_with("legal winner thank year wave sausage worth useful"), "{}", *words);
        assert_eq!(words.split(' ').count(), 24);
        assert_eq!(RecoveryKey::from_words(&words).unwrap().id(), key.id());
        let typed: String = words
            .split(' ')
            .enumerate()
            .map(|(n, word)| format!("{}. {}\n", n + 1, word.to_uppercase()))
            .collect();
        assert_eq!(RecoveryKey::from_words(&typed).unwrap().id(), key.id());
    }

    #[test]
    fn wrong_words_are_named() {
        let words = RecoveryKey::from_seed([9; 32]).words();
        let mut list: Vec<&str> = words.split(' ').collect();
        assert_eq!(RecoveryKey::from_words("").err(), Some(WordsError::Count(0)));
        assert_eq!(RecoveryKey::from_words(&list[..23].join(" ")).err(), Some(WordsError::Count(23)));
        list[4] = "softbus";
        assert_eq!(RecoveryKey::from_words(&list.join(" ")).err(), Some(WordsError::Unknown(5)));
        list[4] = "zoo";
        assert_eq!(RecoveryKey::from_words(&list.join(" ")).err(), Some(WordsError::Checksum));
        assert!(RecoveryKey::from_words(&"é".repeat(10_000)).is_err());
    }
}
