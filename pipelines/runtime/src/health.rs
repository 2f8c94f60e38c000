//! What fails at the moment, and since when: for readiness and for the operator.

use std::{collections::BTreeMap, sync::Arc};

use event_schemas::{Clock, Timestamp};
use parking_lot::Mutex;

/// The state of one task or stage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Health {
    /// It does its work.
    Good,
    /// It fails and tries again.
    Failing {
        /// Since when, without a success in between.
        since: Timestamp,
        /// The last error.
        error: String,
    },
}

struct Board {
    clock: Arc<dyn Clock>,
    entries: Mutex<BTreeMap<(String, u64), Health>>,
}

/// The state of everything that runs.
#[derive(Clone)]
pub struct HealthBoard(Arc<Board>);

impl HealthBoard {
    /// An empty board.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self(Arc::new(Board { clock, entries: Mutex::default() }))
    }

    /// Adds `name`, in good health, until the handle is dropped. Names may repeat.
    #[must_use]
    pub fn register(&self, name: impl Into<String>) -> HealthHandle {
        let name = name.into();
        let mut entries = self.0.entries.lock();
        let number =
            entries.range((name.clone(), 0)..=(name.clone(), u64::MAX)).next_back().map_or(0, |(k, _)| k.1 + 1);
        let key = (name, number);
        entries.insert(key.clone(), Health::Good);
        HealthHandle { board: self.clone(), key }
    }

    /// Everything registered, by name.
    #[must_use]
    pub fn all(&self) -> Vec<(String, Health)> {
        self.0.entries.lock().iter().map(|((name, _), health)| (name.clone(), health.clone())).collect()
    }

    /// What fails, by name.
    #[must_use]
    pub fn failing(&self) -> Vec<(String, Health)> {
        self.all().into_iter().filter(|(_, health)| *health != Health::Good).collect()
    }
}

/// The place of one task on the board; leaves it when dropped.
pub struct HealthHandle {
    board: HealthBoard,
    key: (String, u64),
}

impl HealthHandle {
    /// It does its work.
    pub fn good(&self) {
        if let Some(entry) = self.board.0.entries.lock().get_mut(&self.key) {
            *entry = Health::Good;
        }
    }

    /// It has failed and tries again.
    pub fn failing(&self, error: impl Into<String>) {
        let now = self.board.0.clock.now();
        if let Some(entry) = self.board.0.entries.lock().get_mut(&self.key) {
            let since = match entry {
                Health::Failing { since, .. } => *since,
                Health::Good => now,
            };
            *entry = Health::Failing { since, error: error.into() };
        }
    }
}

impl Drop for HealthHandle {
    fn drop(&mut self) {
        self.board.0.entries.lock().remove(&self.key);
    }
}

#[cfg(test)]
mod tests {
    use event_schemas::{Millis, TestClock};

    use super::*;

    #[test]
    fn a_failure_keeps_its_beginning_and_leaves_with_its_handle() {
        let clock = Arc::new(TestClock::at(Timestamp::from_millis(0)));
        let board = HealthBoard::new(clock.clone());
        let (first, second) = (board.register("stage"), board.register("stage"));
        first.failing("one");
        clock.advance(Millis(9));
        first.failing("two");
        let since = Timestamp::from_millis(0);
        assert_eq!(board.failing(), [("stage".to_owned(), Health::Failing { since, error: "two".into() })]);
        assert_eq!(board.all().len(), 2);
        first.good();
        assert!(board.failing().is_empty());
        drop((first, second));
        assert!(board.all().is_empty());
    }
}
