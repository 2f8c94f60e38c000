//! What the relay and the collector decide, without doing it.

use std::collections::{HashMap, HashSet};

use catalog::{Chunk, OutboxRow, Rendition};
use event_schemas::{Millis, Partition, Timestamp, Topic};

/// What to do about a lease before working under it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LeaseStep {
    /// It stands for long enough.
    Keep,
    /// It stands, but for less than half its time.
    Renew,
    /// There is none, or it has run out.
    Acquire,
}

/// `until` is the end of the lease held, if one is; `ttl` its length.
pub(crate) fn lease_step(until: Option<Timestamp>, now: Timestamp, ttl: Millis) -> LeaseStep {
    match until {
        Some(until) if until > now + Millis(ttl.0 / 2) => LeaseStep::Keep,
        Some(until) if until > now => LeaseStep::Renew,
        _ => LeaseStep::Acquire,
    }
}

/// Rows that go to one partition, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Lane {
    pub topic: Topic,
    pub partition: Partition,
    /// Runs of rows of one schema.
    pub runs: Vec<Vec<OutboxRow>>,
}

/// Sorts rows by where they go, in the order of each lane's first row. The order within a partition, and so
/// that of a key, stays; lanes don't wait for each other.
pub(crate) fn lanes(rows: Vec<OutboxRow>, partitions: &HashMap<Topic, u32>) -> Vec<Lane> {
    let mut lanes: Vec<Lane> = Vec::new();
    let mut places = HashMap::new();
    for row in rows {
        let count = partitions.get(&row.topic).copied().unwrap_or(1);
        let (topic, partition) = (row.topic, Partition::of_key(row.key.as_bytes(), count));
        let place = *places.entry((topic, partition)).or_insert_with(|| {
            lanes.push(Lane { topic, partition, runs: Vec::new() });
            lanes.len() - 1
        });
        let runs = &mut lanes[place].runs;
        match runs.last_mut() {
            Some(run) if run[0].schema == row.schema => run.push(row),
            _ => runs.push(vec![row]),
        }
    }
    lanes
}

/// Whether what was removed at `removed_at` can be forgotten: whoever was still writing to it then, unaware,
/// has given up by now.
pub(crate) fn is_ripe(removed_at: Timestamp, now: Timestamp, grace: Millis) -> bool {
    removed_at + grace <= now
}

/// Chunk objects that do not lie under their upload's prefix, where a list would find them.
pub(crate) fn outside<'a>(chunks: &'a [Chunk], prefix: &str) -> Vec<&'a str> {
    chunks.iter().map(|chunk| chunk.key.as_str()).filter(|key| !key.starts_with(prefix)).collect()
}

/// The names of the media objects that a video is made of.
pub(crate) fn wanted(renditions: &[Rendition], poster: Option<&str>) -> HashSet<String> {
    let segments = renditions.iter().flat_map(|rendition| &rendition.segments).map(|segment| &segment.file.name);
    let inits = renditions.iter().map(|rendition| &rendition.info.init.name);
    segments.chain(inits).cloned().chain(poster.map(str::to_owned)).collect()
}

#[cfg(test)]
mod tests {
    use catalog::conformance::{at, rendition, segment};

    use super::*;

    #[test]
    fn a_lease_is_renewed_in_its_second_half() {
        let ttl = Millis(100);
        for (until, step) in [
            (None, LeaseStep::Acquire),
            (Some(200), LeaseStep::Keep),
            (Some(151), LeaseStep::Keep),
            (Some(150), LeaseStep::Renew),
            (Some(101), LeaseStep::Renew),
            (Some(100), LeaseStep::Acquire),
            (Some(0), LeaseStep::Acquire),
        ] {
            assert_eq!(lease_step(until.map(at), at(100), ttl), step, "{until:?}");
        }
    }

    fn row(id: i64, topic: Topic, key: &str, schema: u16) -> OutboxRow {
        OutboxRow { id, topic, key: key.to_owned(), schema, payload: String::new() }
    }

    #[test]
    fn a_key_keeps_its_order_and_a_topic_its_partitions() {
        let keys = ["a", "b", "c", "d", "e"];
        let rows: Vec<_> = (0..40)
            .map(|id| {
                let topic = if id % 3 == 0 { Topic::Uploads } else { Topic::Videos };
                row(id, topic, keys[usize::try_from(id).unwrap() % 5], u16::from(id > 20))
            })
            .collect();
        let partitions = HashMap::from([(Topic::Uploads, 1), (Topic::Videos, 4)]);
        let lanes = lanes(rows.clone(), &partitions);
        assert_eq!(lanes.iter().filter(|lane| lane.topic == Topic::Uploads).count(), 1);
        let mut ids = Vec::new();
        for lane in &lanes {
            let flat: Vec<_> = lane.runs.concat();
            assert!(flat.is_sorted_by(|a, b| a.id < b.id));
            assert!(lane.runs.len() <= 2 && lane.runs.iter().all(|run| run.iter().all(|r| r.schema == run[0].schema)));
            for row in flat {
                assert_eq!(Partition::of_key(row.key.as_bytes(), partitions[&lane.topic]), lane.partition);
                ids.push(row.id);
            }
        }
        ids.sort_unstable();
        assert_eq!(ids, (0..40).collect::<Vec<_>>());
    }

    #[test]
    fn what_was_removed_ripens() {
        assert!(!is_ripe(at(0), at(99), Millis(100)));
        assert!(is_ripe(at(0), at(100), Millis(100)));
    }

    #[test]
    fn only_foreign_keys_are_outside() {
        let chunk = |key: &str| Chunk { start: 0, length: 1, key: key.to_owned() };
        let chunks = [chunk("uploads/x/1"), chunk("other/1"), chunk("uploads/xy/1")];
        assert_eq!(outside(&chunks, "uploads/x/"), ["other/1", "uploads/xy/1"]);
    }

    #[test]
    fn a_video_is_made_of_segments_inits_and_its_poster() {
        let made = Rendition {
            info: rendition("240p", "a"),
            complete: true,
            segments: vec![segment("240p", "a", 0), segment("240p", "a", 1)],
        };
        let mut names: Vec<_> = wanted(&[made], Some("p.jpg")).into_iter().collect();
        names.sort();
        assert_eq!(names, ["a-240p-0.m4s", "a-240p-1.m4s", "a-init-240p.mp4", "p.jpg"]);
        assert!(wanted(&[], None).is_empty());
    }
}
