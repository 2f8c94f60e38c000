//! A map whose entries end by themselves and whose weight is bounded; under pressure those that
//! would end soonest go first.

use std::{
    collections::{BTreeSet, HashMap},
    time::Duration,
};

/// Entries by key. Times are those of one [`crate::elapsed::Monotonic`].
pub(crate) struct Expiring<V> {
    entries: HashMap<String, Entry<V>>,
    by_end: BTreeSet<(Duration, String)>,
    weight: usize,
    limit: usize,
}

struct Entry<V> {
    value: V,
    weight: usize,
    ends: Duration,
}

impl<V> Expiring<V> {
    pub(crate) fn new(limit: usize) -> Self {
        Self { entries: HashMap::new(), by_end: BTreeSet::new(), weight: 0, limit }
    }

    /// The value at `key` and the time left to it.
    pub(crate) fn get(&self, key: &str, now: Duration) -> Option<(&V, Duration)> {
        let entry = self.entries.get(key).filter(|entry| entry.ends > now)?;
        Some((&entry.value, entry.ends - now))
    }

    /// Keeps `value` for `span` from `now`; what weighs more than the whole limit is not kept.
    pub(crate) fn insert(&mut self, key: &str, value: V, weight: usize, now: Duration, span: Duration) {
        self.remove(key);
        if weight > self.limit {
            return;
        }
        let ends = now.saturating_add(span);
        self.entries.insert(key.to_owned(), Entry { value, weight, ends });
        self.by_end.insert((ends, key.to_owned()));
        self.weight += weight;
        while let Some((end, first)) = self.by_end.first().cloned()
            && (end <= now || self.weight > self.limit)
        {
            self.remove(&first);
        }
    }

    pub(crate) fn remove(&mut self, key: &str) {
        if let Some((key, entry)) = self.entries.remove_entry(key) {
            self.weight -= entry.weight;
            self.by_end.remove(&(entry.ends, key));
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(crate) fn clear(&mut self) {
        self.entries.clear();
        self.by_end.clear();
        self.weight = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn entries_end_and_are_replaced() {
        let mut map = Expiring::new(10);
        map.insert("a", 1, 1, at(0), at(5));
        assert_eq!(map.get("a", at(4)), Some((&1, at(1))));
        assert_eq!(map.get("a", at(5)), None);
        map.insert("a", 2, 1, at(3), at(5));
        assert_eq!(map.get("a", at(5)), Some((&2, at(3))));
        map.insert("b", 3, 1, at(9), at(1));
        assert_eq!((map.len(), map.get("a", at(9))), (1, None), "what has ended takes no memory");
        map.remove("b");
        assert_eq!((map.len(), map.weight, map.by_end.len()), (0, 0, 0));
    }

    #[test]
    fn the_weight_is_bounded_and_the_soonest_to_end_goes_first() {
        let mut map = Expiring::new(10);
        for n in 0..1000_u64 {
            map.insert(&n.to_string(), n, 3, at(0), at(2000 - n));
            assert!(map.weight <= 10 && map.len() <= 3);
        }
        assert!(map.get("0", at(0)).is_some() && map.get("999", at(0)).is_none());
        map.insert("heavy", 0, 11, at(0), at(5000));
        assert_eq!((map.get("heavy", at(0)), map.len()), (None, 3));
    }
}
