//! What a record of the `videos` topic means for the index. Pure: no I/O, no clock.

use event_schemas::{
    Offset,
    envelope::Envelope,
    records::{JsonRecord, RecordError, VideoRecord},
};
use runtime::Delivery;
use search_index::{Change, IndexDocument};

/// The shape of [`VideoRecord`] that this stage understands.
const SHAPE: u8 = 1;

/// A record that can't be understood, now or later.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// Its position.
    pub offset: Offset,
    /// The record as stored.
    pub stored: bytes::Bytes,
    /// Why, in one line.
    pub reason: String,
}

/// What to do with a delivery.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Decision {
    /// Changes for the index, in the order of the records.
    pub changes: Vec<Change>,
    /// Records for the dead letters.
    pub refused: Vec<Refused>,
}

/// Only a listed video is put in; any other state of a video takes it out. So what may not be
/// found is never in the index, whatever later asks it.
#[must_use]
pub fn change(record: VideoRecord) -> Change {
    if !record.is_listed() {
        return Change::Remove { video_id: record.video_id, version: record.version };
    }
    Change::Upsert(IndexDocument {
        video_id: record.video_id,
        version: record.version,
        title: record.title,
        description: record.description,
        tags: record.tags,
        channel_id: record.channel_id,
        channel_name: record.channel_name,
        language: None,
        published_at: record.published_at,
        duration: record.duration,
        vectors: Vec::new(),
    })
}

/// The changes that a delivery asks for, and what in it can't be understood.
#[must_use]
pub fn decide(delivery: &Delivery) -> Decision {
    let mut decision = Decision::default();
    for bad in &delivery.undecodable {
        let reason = bad.error.to_string();
        decision.refused.push(Refused { offset: bad.offset, stored: bad.stored.clone(), reason });
    }
    for record in &delivery.records {
        match read(&record.envelope) {
            Ok(video) => decision.changes.push(change(video)),
            Err(reason) => {
                decision.refused.push(Refused { offset: record.offset, stored: record.stored.clone(), reason });
            }
        }
    }
    decision.refused.sort_by_key(|refused| refused.offset);
    decision
}

fn read(envelope: &Envelope) -> Result<VideoRecord, String> {
    let record = VideoRecord::from_envelope(envelope).map_err(|error: RecordError| runtime::describe(&error))?;
    if record.v == SHAPE {
        Ok(record)
    } else {
        Err(format!("shape {} of a video is unknown to this program", record.v))
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use event_schemas::{
        AccountId, ChannelId, Millis, ProducerId, ProducerStamp, Timestamp, VideoId,
        records::{PlaybackState, UploadState, Visibility},
    };
    use runtime::{Admitted, Undecodable};

    use super::*;

    fn record() -> VideoRecord {
        VideoRecord {
            v: 1,
            video_id: VideoId::from_uuid(uuid::Uuid::from_u128(1)),
            version: 4,
            deleted: false,
            owner: AccountId::from_uuid(uuid::Uuid::from_u128(2)),
            channel_id: ChannelId::from_uuid(uuid::Uuid::from_u128(3)),
            channel_name: "channel".into(),
            title: "title".into(),
            description: "description".into(),
            tags: vec!["tag".into()],
            visibility: Visibility::Public,
            upload: UploadState::Complete,
            playback: PlaybackState::Ready,
            duration: Some(Millis(5)),
            created_at: Timestamp::from_millis(1),
            published_at: Some(Timestamp::from_millis(2)),
        }
    }

    fn admitted(offset: u64, envelope: Envelope) -> Admitted {
        let stored = envelope.encode();
        Admitted { generation: 1, offset: Offset(offset), appended_at: Timestamp::default(), envelope, stored }
    }

    fn envelope(schema: u16, payload: impl Into<Bytes>) -> Envelope {
        Envelope {
            schema,
            producer: ProducerStamp { id: ProducerId::from_uuid(uuid::Uuid::from_u128(9)), epoch: 1, seq: 0 },
            produced_at: Timestamp::default(),
            key: Bytes::new(),
            payload: payload.into(),
        }
    }

    #[test]
    fn a_listed_video_goes_in_with_everything_that_is_shown() {
        let expected = IndexDocument {
            video_id: VideoId::from_uuid(uuid::Uuid::from_u128(1)),
            version: 4,
            title: "title".into(),
            description: "description".into(),
            tags: vec!["tag".into()],
            channel_id: ChannelId::from_uuid(uuid::Uuid::from_u128(3)),
            channel_name: "channel".into(),
            language: None,
            published_at: Some(Timestamp::from_millis(2)),
            duration: Some(Millis(5)),
            vectors: Vec::new(),
        };
        assert_eq!(change(record()), Change::Upsert(expected));
    }

    #[test]
    fn any_state_but_listed_takes_the_video_out() {
        for deleted in [false, true] {
            for visibility in Visibility::ALL {
                for upload in UploadState::ALL {
                    for playback in PlaybackState::ALL {
                        let video = VideoRecord {
                            deleted,
                            visibility: *visibility,
                            upload: *upload,
                            playback: *playback,
                            ..record()
                        };
                        let findable = !deleted
                            && *visibility == Visibility::Public
                            && *upload == UploadState::Complete
                            && [PlaybackState::Playable, PlaybackState::Ready].contains(playback);
                        let removed = Change::Remove { video_id: video.video_id, version: 4 };
                        let decided = change(video.clone());
                        assert_eq!(matches!(decided, Change::Upsert(_)), findable, "{video:?}");
                        assert!(findable || decided == removed, "{video:?}");
                    }
                }
            }
        }
    }

    #[test]
    fn what_cannot_be_understood_is_put_aside_with_its_reason() {
        let good = record();
        let payload = |video: &VideoRecord| serde_json::to_vec(video).unwrap();
        let schema = VideoRecord::SCHEMA as u16;
        let delivery = Delivery {
            records: vec![
                admitted(1, envelope(schema, payload(&good))),
                admitted(2, envelope(schema, "{}")),
                admitted(3, envelope(1, payload(&good))),
                admitted(4, envelope(999, payload(&good))),
                admitted(5, envelope(schema, payload(&VideoRecord { v: 2, ..good.clone() }))),
                admitted(6, envelope(schema, payload(&VideoRecord { deleted: true, version: 5, ..good.clone() }))),
            ],
            undecodable: vec![Undecodable {
                generation: 1,
                offset: Offset(0),
                stored: Bytes::from_static(b"x"),
                error: event_schemas::envelope::EnvelopeError::Truncated(1),
            }],
            next: Offset(7),
            ..Delivery::default()
        };
        let decision = decide(&delivery);
        let removed = Change::Remove { video_id: good.video_id, version: 5 };
        assert_eq!(decision.changes, [change(good), removed]);
        let refused: Vec<(u64, &str)> =
            decision.refused.iter().map(|refused| (refused.offset.0, refused.reason.as_str())).collect();
        let expected = [
            (0, "ends early"),
            (2, "not valid JSON of its schema: missing field"),
            (3, "Upload where Video was expected"),
            (4, "schema 999 is unknown"),
            (5, "shape 2"),
        ];
        assert_eq!(refused.len(), expected.len());
        for ((offset, reason), (expected_offset, part)) in refused.into_iter().zip(expected) {
            assert_eq!(offset, expected_offset);
            assert!(reason.contains(part), "{reason}");
        }
        assert_eq!(decision.refused[0].stored, "x");
        assert_eq!(decision.refused[1].stored, delivery.records[1].stored);
    }
}
