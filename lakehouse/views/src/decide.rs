//! From offsets to what has to be computed, and from rows to figures. Pure: no I/O, no clock.

use std::collections::BTreeMap;

use event_schemas::{Millis, OffsetVector, Timestamp, VideoId, rules::RULE_VERSION};
use serving_store::{
    counters::VideoCounters,
    stats::{HourStats, HoursOfVideo, RETENTION_POINTS, RetentionOfVideo, RetentionPoint},
};

/// The query for the videos that rows added between the two snapshots concern; none if no row
/// was added. Files without such rows are skipped by the offsets they record.
#[must_use]
pub fn touched(before: &OffsetVector, after: &OffsetVector) -> Option<String> {
    let added: Vec<String> = after
        .0
        .iter()
        .filter(|(partition, next)| **next > before.get(**partition))
        .map(|(partition, _)| format!("(topic_partition = {partition} and log_offset >= {})", before.get(*partition)))
        .collect();
    if added.is_empty() {
        return None;
    }
    Some(format!("select distinct video_id from playback_events where {}", added.join(" or ")))
}

/// What was counted of a video in one hour, as the lake gives it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HourRow {
    /// The video.
    pub video: VideoId,
    /// The start of the hour.
    pub hour: Timestamp,
    /// What was counted.
    pub counters: VideoCounters,
}

/// The hours of each video, in rising order, those before `since` left out.
#[must_use]
pub fn hours(rows: &[HourRow], since: Timestamp, offsets: &OffsetVector) -> BTreeMap<VideoId, HoursOfVideo> {
    let mut videos: BTreeMap<VideoId, HoursOfVideo> = BTreeMap::new();
    for row in rows {
        let video = videos.entry(row.video).or_insert_with(|| HoursOfVideo {
            rule: RULE_VERSION,
            offsets: offsets.clone(),
            hours: Vec::new(),
        });
        if row.hour >= since {
            video.hours.push(HourStats { hour: row.hour, counters: row.counters });
        }
    }
    for video in videos.values_mut() {
        video.hours.sort_by_key(|hour| hour.hour);
    }
    videos
}

/// One point of a retention curve, as the lake gives it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PointRow {
    /// The video.
    pub video: VideoId,
    /// 0 to 99.
    pub point: usize,
    /// The video's length.
    pub duration: Millis,
    /// See [`RetentionPoint::watched_ratio`]; none while the video has no view.
    pub watched_ratio: Option<f64>,
    /// See [`RetentionPoint::viewers_ratio`].
    pub viewers_ratio: f64,
}

/// The curve of each video; without points while it has no view to compare with.
#[must_use]
pub fn retention(rows: &[PointRow], offsets: &OffsetVector) -> BTreeMap<VideoId, RetentionOfVideo> {
    let mut curves: BTreeMap<VideoId, (Millis, BTreeMap<usize, RetentionPoint>)> = BTreeMap::new();
    for row in rows {
        let (_, points) = curves.entry(row.video).or_insert_with(|| (row.duration, BTreeMap::new()));
        if let Some(watched_ratio) = row.watched_ratio {
            points.insert(row.point, RetentionPoint { watched_ratio, viewers_ratio: row.viewers_ratio });
        }
    }
    curves
        .into_iter()
        .map(|(video, (duration_ms, points))| {
            let whole = points.len() == RETENTION_POINTS;
            let points = if whole { points.into_values().collect() } else { Vec::new() };
            (video, RetentionOfVideo { rule: RULE_VERSION, offsets: offsets.clone(), duration_ms, points })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use event_schemas::{Offset, Partition};

    use super::*;

    fn video(n: u128) -> VideoId {
        VideoId::from_uuid(uuid::Uuid::from_u128(n))
    }

    #[test]
    fn only_partitions_that_moved_are_looked_at() {
        let vector = |a, b| OffsetVector(BTreeMap::from([(Partition(0), Offset(a)), (Partition(1), Offset(b))]));
        assert_eq!(touched(&vector(3, 4), &vector(3, 4)), None);
        assert_eq!(touched(&OffsetVector::default(), &OffsetVector::default()), None);
        assert_eq!(
            touched(&vector(3, 4), &vector(3, 9)).unwrap(),
            "select distinct video_id from playback_events where (topic_partition = 1 and log_offset >= 4)"
        );
        assert!(touched(&OffsetVector::default(), &vector(1, 1)).unwrap().contains(" or "));
    }

    #[test]
    fn hours_are_ordered_and_cut_off() {
        let hour = |n: i64| Timestamp::from_millis(n * 3_600_000);
        let row = |v, h, views| HourRow {
            video: video(v),
            hour: hour(h),
            counters: VideoCounters { views, ..VideoCounters::default() },
        };
        let offsets = OffsetVector::single(Partition(0), Offset(7));
        let figures = hours(&[row(1, 9, 1), row(1, 5, 2), row(1, 2, 3), row(2, 1, 4)], hour(5), &offsets);
        let views: Vec<_> = figures[&video(1)].hours.iter().map(|h| (h.hour, h.counters.views)).collect();
        assert_eq!(views, [(hour(5), 2), (hour(9), 1)]);
        assert!(figures[&video(2)].hours.is_empty(), "an empty figure replaces what was there");
        assert_eq!(figures[&video(2)].offsets, offsets);
    }

    #[test]
    fn a_curve_has_all_its_points_or_none() {
        let rows = |watched_ratio| {
            (0..100)
                .rev()
                .map(|point| PointRow {
                    video: video(1),
                    point,
                    duration: Millis(5000),
                    watched_ratio,
                    viewers_ratio: point as f64,
                })
                .collect::<Vec<_>>()
        };
        let curves = retention(&rows(Some(1.5)), &OffsetVector::default());
        let points = &curves[&video(1)].points;
        assert_eq!((points.len(), points[3].viewers_ratio, points[3].watched_ratio), (100, 3.0, 1.5));
        assert!(retention(&rows(None), &OffsetVector::default())[&video(1)].points.is_empty());
    }
}
