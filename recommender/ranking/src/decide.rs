//! From rows of the lake to related lists and trending scores. Pure: no I/O, no clock.

use std::collections::BTreeMap;

use event_schemas::{Millis, OffsetVector, Timestamp, VideoId, rules::RULE_VERSION};
use serving_store::stats::{RelatedToVideo, RelatedVideo};

/// A view counts half as much for trending after this long.
pub const HALF_LIFE: Millis = Millis::from_secs(24 * 3600);

/// Views older than this no longer move the ranking: ten half-lives leave a thousandth.
pub const WINDOW: Millis = Millis(HALF_LIFE.0 * 10);

/// The views of a video in one hour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HourOfViews {
    /// The video.
    pub video: VideoId,
    /// The start of the hour.
    pub hour: Timestamp,
    /// Views in it.
    pub views: i64,
}

/// Each video's score: its views, each halved for every [`HALF_LIFE`] since the middle of its
/// hour. Videos without a recent view are left out.
///
/// Scores are relative to `now`, so that they can be computed anew and compared within one
/// ranking only.
#[must_use]
pub fn trending(hours: &[HourOfViews], now: Timestamp) -> BTreeMap<VideoId, f64> {
    let mut scores = BTreeMap::new();
    for hour in hours.iter().filter(|hour| hour.views > 0) {
        let middle = hour.hour + Millis::from_secs(1800);
        let age = now.since(middle).0.max(0);
        if age > WINDOW.0 {
            continue;
        }
        let weight = (-(age as f64) / HALF_LIFE.0 as f64).exp2();
        *scores.entry(hour.video).or_insert(0.0) += hour.views as f64 * weight;
    }
    scores
}

/// A video and one watched by the same viewers.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Pair {
    /// The video.
    pub video: VideoId,
    /// The other.
    pub related: VideoId,
    /// Their closeness, above 0 to 1.
    pub score: f64,
}

/// The related list of each video that has one, closest first, ties by id.
#[must_use]
pub fn related(pairs: &[Pair], offsets: &OffsetVector) -> BTreeMap<VideoId, RelatedToVideo> {
    let mut lists: BTreeMap<VideoId, Vec<RelatedVideo>> = BTreeMap::new();
    for pair in pairs {
        lists.entry(pair.video).or_default().push(RelatedVideo { video_id: pair.related, score: pair.score });
    }
    lists
        .into_iter()
        .map(|(video, mut videos)| {
            videos.sort_by(|a, b| b.score.total_cmp(&a.score).then(a.video_id.cmp(&b.video_id)));
            (video, RelatedToVideo { rule: RULE_VERSION, offsets: offsets.clone(), videos })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn video(n: u128) -> VideoId {
        VideoId::from_uuid(uuid::Uuid::from_u128(n))
    }

    #[test]
    fn a_view_loses_half_its_weight_each_half_life() {
        let now = Timestamp::from_millis(100 * HALF_LIFE.0);
        let at =
            |age: i64, views| HourOfViews { video: video(1), hour: now - Millis(age) - Millis::from_secs(1800), views };
        let score = |hours: &[HourOfViews]| trending(hours, now).get(&video(1)).copied();
        assert_eq!(score(&[at(0, 8)]), Some(8.0));
        assert_eq!(score(&[at(HALF_LIFE.0, 8)]), Some(4.0));
        assert_eq!(score(&[at(0, 8), at(2 * HALF_LIFE.0, 8)]), Some(10.0));
        assert_eq!(score(&[at(WINDOW.0 + 1, 1000)]), None);
        assert_eq!(score(&[at(0, 0)]), None);
        // An hour that has begun, whose middle lies ahead, counts in full.
        assert_eq!(score(&[at(-Millis::from_secs(1200).0, 3)]), Some(3.0));
    }

    #[test]
    fn related_lists_are_ordered_and_deterministic() {
        let pair = |a, b, score| Pair { video: video(a), related: video(b), score };
        let pairs = [pair(1, 4, 0.5), pair(1, 3, 0.5), pair(2, 1, 0.1), pair(1, 2, 0.9)];
        let lists = related(&pairs, &OffsetVector::default());
        let ids = |n| lists[&video(n)].videos.iter().map(|related| related.video_id).collect::<Vec<_>>();
        assert_eq!(ids(1), [video(2), video(3), video(4)]);
        assert_eq!(ids(2), [video(1)]);
        assert_eq!(lists.len(), 2);
    }
}
