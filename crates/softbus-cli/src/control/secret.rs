use std::fmt;
use std::ops::Deref;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use zeroize::Zeroizing;

/// A text that is shown to nobody but its person: a PIN, recovery words, a link. On the socket it is a string like any
/// other; in logs it never is, and what it took in memory is wiped.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Secret(Zeroizing<String>);

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self(Zeroizing::new(text))
    }
}

impl From<Zeroizing<String>> for Secret {
    fn from(text: Zeroizing<String>) -> Self {
        Self(text)
    }
}

impl From<&str> for Secret {
    fn from(text: &str) -> Self {
        text.to_owned().into()
    }
}

impl Deref for Secret {
    type Target = str;
    fn deref(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(……)")
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self)
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Self::from)
    }
}

#[cfg(test)]
mod tests {
    use crate::control::{Call, PairTerms, PairingView, Request};

    #[test]
    fn secrets_are_on_the_socket_and_in_no_log() {
        let terms = PairTerms::default;
        let requests = [
            Request::Recover { circle: None, words: "hush-hush".into(), keep: Vec::new() },
            Request::Pair { with: "tv".into(), pin: "hush-hush".into(), terms: terms() },
            Request::PairByLink { link: "hush-hush".into(), terms: terms() },
        ];
        for request in requests {
            let call = Call::new(request, 0);
            let line = serde_json::to_string(&call).unwrap();
            assert!(line.contains(r#":"hush-hush""#), "{line}");
            assert_eq!(serde_json::from_str::<Call>(&line).unwrap(), call);
            assert!(!format!("{call:?}").contains("hush"), "{call:?}");
        }
        let open = PairingView::Open { pin: "hush-hush".into(), lives_ms: 1, tries_left: 3 };
        assert!(!format!("{open:?}").contains("hush"), "{open:?}");
    }
}
