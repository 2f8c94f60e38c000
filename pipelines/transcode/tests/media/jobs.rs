//! The stage with its real seams: SQLite, an embedded log, objects, and the real child.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use catalog::{
    Catalog, Chunk, JobKind, JobState, SqlCatalog, SqlOptions, TrackKind, Video,
    conformance::{creator, new_upload},
    failing::{FailingCatalog, FailurePlan},
    sqlite_url,
};
use event_log::{EmbeddedLog, EmbeddedLogOptions, EventLog, ReadLimit, Stream, TopicSpec};
use event_schemas::{
    ByteSize, Clock, Envelope, Millis, Offset, Partition, ProducerId, TestClock, Timestamp, Topic, UploadId, VideoId,
    records::{JsonRecord, PlaybackState, TranscodeRecord, TranscodeStep, UploadRecord, UploadState},
};
use libtest_mimic::Trial;
use object_store::{ObjectStore, ObjectStoreExt, PutPayload, memory::InMemory, path::Path};
use objects::failing::FailingStore;
use runtime::Producer;
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;
use transcode_stage::{JobOutcome, TranscodeStage, decide};

use crate::{clips::ordinary, collect::config, trial};

pub fn trials() -> Vec<Trial> {
    vec![
        trial("a_job_ends_with_a_ready_video", a_job_ends_with_a_ready_video),
        trial("a_bad_source_fails_with_a_reason", a_bad_source_fails_with_a_reason),
        trial("a_crashing_child_fails_after_three_attempts", a_crashing_child_fails_after_three_attempts),
        trial("a_lost_lease_ends_all_writing", a_lost_lease_ends_all_writing),
        trial("a_deleted_video_stops_its_transcode", a_deleted_video_stops_its_transcode),
        trial("a_cancelled_stage_gives_its_job_back", a_cancelled_stage_gives_its_job_back),
        trial("an_announced_upload_is_taken_up_at_once", an_announced_upload_is_taken_up_at_once),
        trial("failing_dependencies_delay_and_never_double", failing_dependencies_delay_and_never_double),
    ]
}

const TRANSCODES: Stream = Stream::Main(Topic::Transcodes);
const UPLOADS: Stream = Stream::Main(Topic::Uploads);
const ONLY: Partition = Partition(0);

/// One machine.
struct Machine {
    catalog: Arc<dyn Catalog>,
    store: Arc<dyn ObjectStore>,
    log: Arc<dyn EventLog>,
    clock: Arc<TestClock>,
    producer: Arc<Producer>,
    _folder: TempDir,
}

impl Machine {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let clock = Arc::new(TestClock::at(Timestamp::from_millis(1_000_000)));
        let url = sqlite_url(&folder.path().join("catalog.db"));
        let catalog = SqlCatalog::open(&url, SqlOptions::default()).await.unwrap();
        let mut options = EmbeddedLogOptions::new(folder.path().join("log"), clock.clone());
        options.free_space_floor = ByteSize(0);
        let log: Arc<dyn EventLog> = EmbeddedLog::open(options).unwrap();
        for stream in [TRANSCODES, UPLOADS] {
            let spec =
                TopicSpec { stream, partitions: 1, retain_for: Millis::from_days(1), retain_bytes: ByteSize::gib(1) };
            log.ensure_topic(&spec).await.unwrap();
        }
        let producer = Arc::new(Producer::new(log.clone(), ProducerId::generate(), 1, clock.clone()));
        Self { catalog, store: Arc::new(InMemory::new()), log, clock, producer, _folder: folder }
    }

    fn stage(&self, owner: &str) -> TranscodeStage {
        TranscodeStage {
            catalog: self.catalog.clone(),
            store: self.store.clone(),
            log: self.log.clone(),
            producer: self.producer.clone(),
            clock: self.clock.clone(),
            runner: config(),
            owner: owner.to_owned(),
            lease: Millis(900),
            poll: Duration::from_secs(3600),
        }
    }

    /// A complete upload in three chunks.
    async fn upload(&self, source: &[u8]) -> (UploadId, VideoId) {
        let count = self.catalog.count_accounts().await.unwrap();
        let owner = creator(&*self.catalog, &format!("creator{count}")).await;
        let now = self.clock.now();
        let upload = self.catalog.create_upload(new_upload(&owner, Some(source.len() as u64), now)).await.unwrap();
        let mut start = 0;
        for piece in source.chunks(source.len().div_ceil(3)) {
            let key = format!("uploads/{}/{start}", upload.id);
            self.store.put(&Path::from(key.as_str()), PutPayload::from(piece.to_vec())).await.unwrap();
            let chunk = Chunk { start, length: piece.len() as u64, key };
            start += chunk.length;
            self.catalog.append_chunk(upload.id, chunk, now, now).await.unwrap();
        }
        (upload.id, upload.video_id)
    }

    async fn video(&self, id: VideoId) -> Video {
        self.catalog.video(id).await.unwrap().unwrap()
    }

    /// Every step told on the log.
    async fn told(&self) -> Vec<TranscodeRecord> {
        let records = self.log.read(TRANSCODES, ONLY, Offset(0), ReadLimit::default()).await.unwrap();
        records
            .iter()
            .map(|record| TranscodeRecord::from_envelope(&Envelope::decode(&record.bytes).unwrap()).unwrap())
            .collect()
    }

    /// The ends in the outbox: ready or failed, with their epochs.
    async fn ends(&self) -> Vec<(u64, TranscodeStep)> {
        let rows = self.catalog.outbox(1000).await.unwrap();
        let records = rows.iter().filter(|row| row.topic == Topic::Transcodes);
        records
            .map(|row| serde_json::from_str::<TranscodeRecord>(&row.payload).unwrap())
            .map(|record| (record.epoch, record.step))
            .collect()
    }

    /// Checks a ready video: every object of every rendition is stored under the hash of its bytes.
    async fn check_ready(&self, id: VideoId, renditions: usize) {
        let video = self.video(id).await;
        assert_eq!((video.playback, video.failure.as_deref()), (PlaybackState::Ready, None));
        let found = self.catalog.renditions(id).await.unwrap();
        assert_eq!(found.len(), renditions);
        let poster = self.catalog.media_file(id, video.poster.as_ref().unwrap()).await.unwrap().unwrap();
        let mut files = vec![poster];
        for rendition in &found {
            assert!(rendition.complete && !rendition.segments.is_empty(), "{rendition:?}");
            assert_eq!(rendition.info.width.is_some(), rendition.info.kind == TrackKind::Video);
            files.push(rendition.info.init.clone());
            files.extend(rendition.segments.iter().map(|segment| segment.file.clone()));
            assert!(rendition.segments.iter().zip(0u32..).all(|(segment, number)| segment.number == number));
        }
        for file in files {
            let bytes = self.store.get(&Path::from(file.key(id))).await.unwrap().bytes().await.unwrap();
            let extension = file.name.rsplit('.').next().unwrap();
            assert_eq!(file.name, decide::object_name(&bytes, extension));
            assert_eq!(file.bytes, bytes.len() as u64);
        }
    }
}

async fn a_job_ends_with_a_ready_video() {
    let machine = Machine::new().await;
    let (_, id) = machine.upload(&ordinary("640x360", "30", 8)).await;
    let stage = machine.stage("worker");
    let cancel = CancellationToken::new();
    assert_eq!(stage.run_one(&cancel).await.unwrap(), Some(JobOutcome::Ready(id)));
    machine.check_ready(id, 3).await;
    let video = machine.video(id).await;
    assert_eq!(video.duration, Some(Millis(8000)));
    assert!(video.published_at.is_some());
    let source = video.source.unwrap();
    assert_eq!((source.width, source.height, source.video_codec.as_deref()), (Some(640), Some(360), Some("h264")));
    let names: Vec<String> = machine.catalog.renditions(id).await.unwrap().into_iter().map(|r| r.info.name).collect();
    assert_eq!(names, ["360p", "240p", "audio"]);

    let told = machine.told().await;
    assert!(told.iter().all(|record| record.video_id == id && record.epoch == 1));
    let ready = told.iter().filter(|record| matches!(record.step, TranscodeStep::RenditionReady { .. })).count();
    assert_eq!(ready, 3);
    assert!(told.iter().any(|record| matches!(record.step, TranscodeStep::Progress { percent } if percent > 0)));
    assert_eq!(machine.ends().await, [(1, TranscodeStep::Ready { duration: Millis(8000) })]);
    assert_eq!(stage.run_one(&cancel).await.unwrap(), None, "done once");
}

async fn a_bad_source_fails_with_a_reason() {
    let machine = Machine::new().await;
    let (_, id) = machine.upload(b"This is not a video, whatever its name says.").await;
    let outcome = machine.stage("worker").run_one(&CancellationToken::new()).await.unwrap();
    assert!(matches!(outcome, Some(JobOutcome::Failed(failed, _)) if failed == id), "{outcome:?}");
    let video = machine.video(id).await;
    assert_eq!(video.playback, PlaybackState::Failed);
    assert!(video.failure.unwrap().contains("not a video we accept"));
    assert!(machine.catalog.renditions(id).await.unwrap().is_empty());
    assert_eq!(machine.ends().await.len(), 1);
}

async fn a_crashing_child_fails_after_three_attempts() {
    let machine = Machine::new().await;
    let (_, id) = machine.upload(&ordinary("160x120", "25", 1)).await;
    let mut stage = machine.stage("worker");
    stage.runner.program.arguments = vec!["crash".into()];
    let cancel = CancellationToken::new();
    for _ in 0..2 {
        assert_eq!(stage.run_one(&cancel).await.unwrap(), Some(JobOutcome::Retried(id)));
        assert_eq!(stage.run_one(&cancel).await.unwrap(), None, "not before its time");
        assert_eq!(machine.video(id).await.playback, PlaybackState::None);
        machine.clock.advance(Millis::from_secs(20));
    }
    let outcome = stage.run_one(&cancel).await.unwrap();
    assert_eq!(outcome, Some(JobOutcome::Failed(id, "the video makes our decoder crash".into())));
    assert_eq!(machine.video(id).await.failure.as_deref(), Some("the video makes our decoder crash"));
}

async fn a_lost_lease_ends_all_writing() {
    let machine = Machine::new().await;
    let (_, id) = machine.upload(&ordinary("640x360", "30", 20)).await;
    let (first, second) = (machine.stage("first"), machine.stage("second"));
    let cancel = CancellationToken::new();
    let (lost, ready) = tokio::join!(first.run_one(&cancel), async {
        // The first worker is at it; it then sleeps through its lease.
        machine.log.wait(TRANSCODES, ONLY, Offset(0)).await.unwrap();
        machine.clock.advance(Millis(1000));
        second.run_one(&cancel).await
    });
    assert_eq!(lost.unwrap(), Some(JobOutcome::Lost(id)));
    assert_eq!(ready.unwrap(), Some(JobOutcome::Ready(id)));
    machine.check_ready(id, 3).await;
    assert_eq!(machine.ends().await, [(2, TranscodeStep::Ready { duration: Millis(20_000) })]);
}

async fn a_deleted_video_stops_its_transcode() {
    let machine = Machine::new().await;
    let (_, id) = machine.upload(&ordinary("640x360", "30", 30)).await;
    let stage = machine.stage("worker");
    let cancel = CancellationToken::new();
    let (outcome, ()) = tokio::join!(stage.run_one(&cancel), async {
        machine.log.wait(TRANSCODES, ONLY, Offset(0)).await.unwrap();
        machine.catalog.delete_video(id, machine.clock.now()).await.unwrap();
    });
    assert_eq!(outcome.unwrap(), Some(JobOutcome::Lost(id)));
    assert!(machine.ends().await.is_empty());
}

async fn a_cancelled_stage_gives_its_job_back() {
    let machine = Machine::new().await;
    let (_, id) = machine.upload(&ordinary("640x360", "30", 30)).await;
    let stage = machine.stage("worker");
    let cancel = CancellationToken::new();
    let (outcome, ()) = tokio::join!(stage.run(cancel.clone()), async {
        machine.log.wait(TRANSCODES, ONLY, Offset(0)).await.unwrap();
        cancel.cancel();
    });
    outcome.unwrap();
    let job = &machine.catalog.jobs_of_video(id).await.unwrap()[0];
    assert_ne!(job.state, JobState::Leased, "{job:?}");
    let again =
        machine.catalog.lease_job(JobKind::Transcode, "other", machine.clock.now(), Millis(1000)).await.unwrap();
    assert_eq!(again.unwrap().epoch, 2, "another worker can have it at once");
}

async fn an_announced_upload_is_taken_up_at_once() {
    let machine = Machine::new().await;
    let stage = machine.stage("worker");
    let cancel = CancellationToken::new();
    let source = ordinary("160x120", "25", 2);
    let (outcome, ()) = tokio::join!(stage.run(cancel.clone()), async {
        let (upload_id, video_id) = machine.upload(&source).await;
        let (bytes, at) = (source.len() as u64, machine.clock.now());
        let record = UploadRecord { v: 1, video_id, upload_id, state: UploadState::Complete, bytes, at };
        machine.producer.send_json(UPLOADS, b"key", &record).await.unwrap();
        while machine.video(video_id).await.playback != PlaybackState::Ready {
            machine.catalog.outbox_changed().await;
        }
        machine.check_ready(video_id, 2).await;
        cancel.cancel();
    });
    outcome.unwrap();
}

async fn failing_dependencies_delay_and_never_double() {
    let source = Bytes::from(ordinary("160x120", "25", 7));
    for seed in 0..2 {
        let mut machine = Machine::new().await;
        let (_, id) = machine.upload(&source).await;
        let (sound_catalog, sound_store) = (machine.catalog.clone(), machine.store.clone());
        machine.catalog = FailingCatalog::new(sound_catalog.clone(), FailurePlan { seed, before: 0.15, after: 0.15 });
        let plan = objects::failing::FailurePlan { seed, before: 0.2, after: 0.1 };
        machine.store = Arc::new(FailingStore::new(sound_store.clone(), plan));
        let stage = machine.stage("worker");
        let cancel = CancellationToken::new();
        let mut rounds = 0;
        while sound_catalog.video(id).await.unwrap().unwrap().playback != PlaybackState::Ready {
            rounds += 1;
            assert!(rounds < 60, "it never gets done");
            // An error leaves the job to its lease.
            let outcome = stage.run_one(&cancel).await;
            assert!(!matches!(outcome, Ok(Some(JobOutcome::Failed(..)))), "{outcome:?}");
            machine.clock.advance(Millis::from_secs(400));
        }
        machine.catalog = sound_catalog;
        machine.store = sound_store;
        machine.check_ready(id, 2).await;
        assert_eq!(machine.ends().await.len(), 1, "finished once");
    }
}
