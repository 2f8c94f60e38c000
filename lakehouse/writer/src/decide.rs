//! The writer's decisions, without I/O.

use std::{collections::BTreeMap, time::Duration};

use event_schemas::{Offset, Partition};
use lake_tables::txn::Progress;

/// What a commit would do to one partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Move {
    /// The epoch that this writer holds.
    pub epoch: u64,
    /// The next offset in the snapshot that the commit is built on.
    pub before: Offset,
    /// The next offset that it sets.
    pub after: Offset,
}

/// What the table shows after a commit of unknown outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It was made.
    Made,
    /// It was not made, and this writer still owns its partitions.
    NotMade,
    /// Another writer owns this partition.
    Fenced(Partition),
    /// The partition stands where no commit of this writer would put it.
    Diverged(Partition, Offset),
}

/// Judges a commit that set every partition of `moves`, from what the table shows now. A commit
/// is atomic, so one partition is as good a witness as all; all are looked at since each may have
/// been taken over.
#[must_use]
pub fn outcome(moves: &BTreeMap<Partition, Move>, shown: &BTreeMap<Partition, Progress>) -> Outcome {
    let progress = |partition: &Partition| shown.get(partition).copied().unwrap_or_default();
    if let Some((partition, _)) = moves.iter().find(|(partition, m)| progress(partition).owner > m.epoch) {
        return Outcome::Fenced(*partition);
    }
    let mut moved = moves.iter().filter(|(_, m)| m.before != m.after).map(|(p, m)| (p, m, progress(p).next));
    if let Some((partition, _, next)) = moved.clone().find(|(_, m, next)| *next != m.before && *next != m.after) {
        return Outcome::Diverged(*partition, next);
    }
    if moved.all(|(_, m, next)| next == m.after) { Outcome::Made } else { Outcome::NotMade }
}

/// What waits to be committed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Pending {
    /// How long the oldest part has waited; none if nothing waits.
    pub waited: Option<Duration>,
    /// Memory of the rows that wait, in bytes.
    pub bytes: usize,
    /// Somebody waits for everything to be in the lake.
    pub flush: bool,
}

/// Whether to commit now.
#[must_use]
pub fn is_due(pending: Pending, commit_every: Duration, max_bytes: usize) -> bool {
    pending.waited.is_some_and(|waited| waited >= commit_every || pending.flush || pending.bytes >= max_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_tells_what_became_of_a_commit() {
        let moves = |epoch, before, after| {
            BTreeMap::from([(Partition(0), Move { epoch, before: Offset(before), after: Offset(after) })])
        };
        let shown = |next, owner| BTreeMap::from([(Partition(0), Progress { next: Offset(next), owner })]);
        let cases = [
            (moves(2, 5, 9), shown(9, 2), Outcome::Made),
            (moves(2, 5, 9), shown(5, 2), Outcome::NotMade),
            (moves(2, 5, 9), shown(9, 3), Outcome::Fenced(Partition(0))),
            (moves(2, 5, 9), shown(5, 3), Outcome::Fenced(Partition(0))),
            (moves(2, 5, 9), shown(7, 2), Outcome::Diverged(Partition(0), Offset(7))),
        ];
        for (moves, shown, expected) in cases {
            assert_eq!(outcome(&moves, &shown), expected, "{moves:?} {shown:?}");
        }
    }

    #[test]
    fn a_commit_waits_for_time_size_or_someone() {
        let (every, max) = (Duration::from_secs(2), 100);
        let pending = |ms, bytes, flush| Pending { waited: Some(Duration::from_millis(ms)), bytes, flush };
        for (pending, due) in [
            (Pending::default(), false),
            (Pending { waited: None, bytes: 0, flush: true }, false),
            (pending(1999, 99, false), false),
            (pending(2000, 0, false), true),
            (pending(0, 100, false), true),
            (pending(0, 1, true), true),
        ] {
            assert_eq!(is_due(pending, every, max), due, "{pending:?}");
        }
    }
}
