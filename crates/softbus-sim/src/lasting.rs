//! What holds for a while and may overlap with others of its sort: the weather of a segment, the load of a device. The one
//! that began last holds, until it ends; then what began before it and has not ended yet.

use std::collections::BTreeMap;

/// By what it is about. `V` is what holds.
pub(crate) struct Lasting<K, V> {
    of: BTreeMap<K, Vec<(u64, V)>>,
    begun: u64,
}

impl<K, V> Default for Lasting<K, V> {
    fn default() -> Self {
        Self { of: BTreeMap::new(), begun: 0 }
    }
}

impl<K: Ord, V: Copy> Lasting<K, V> {
    /// This holds from now on. Gives what [`Lasting::end`] is to be told.
    pub fn begin(&mut self, key: K, value: V) -> u64 {
        self.begun += 1;
        self.of.entry(key).or_default().push((self.begun, value));
        self.begun
    }

    /// The one that began so ends. Gives what holds now; `None`: what is usual.
    pub fn end(&mut self, key: &K, begun: u64) -> Option<V> {
        let those = self.of.get_mut(key)?;
        those.retain(|(number, _)| *number != begun);
        let last = those.last().map(|(_, value)| *value);
        if last.is_none() {
            self.of.remove(key);
        }
        last
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_that_began_and_has_not_ended_holds() {
        let mut lasting = Lasting::default();
        let rain = lasting.begin("home", 1);
        let storm = lasting.begin("home", 2);
        let elsewhere = lasting.begin("car", 7);
        assert_eq!(lasting.end(&"home", rain), Some(2), "the storm goes on");
        let rain = lasting.begin("home", 3);
        assert_eq!(lasting.end(&"home", rain), Some(2));
        assert_eq!(lasting.end(&"home", storm), None);
        assert_eq!(lasting.end(&"home", storm), None, "it has ended");
        assert_eq!(lasting.end(&"car", elsewhere), None);
        assert!(lasting.of.is_empty());
    }
}
