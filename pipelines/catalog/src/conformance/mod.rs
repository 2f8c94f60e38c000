//! The suite that every catalog must pass.
//!
//! [`catalog_conformance!`](crate::catalog_conformance) makes one test of each function here. Each gets a
//! back end with an empty store, and may close and open it again.

pub mod accounts;
pub mod faults;
pub mod jobs;
pub mod leases;
pub mod media;
pub mod outbox;
pub mod processes;
pub mod uploads;
pub mod videos;

use std::{future::Future, sync::Arc};

use async_trait::async_trait;
use event_schemas::{
    Millis, Timestamp, Topic, UploadId, VideoId,
    records::{SchemaId, TranscodeRecord, UploadRecord, VideoRecord, Visibility},
};

use crate::*;

/// A store to test.
#[async_trait]
pub trait Backend: Send + Sync {
    /// Opens the store: empty the first time, the same store every time.
    async fn open(&self) -> Arc<dyn Catalog>;

    /// Closes `catalog` and opens the store again.
    async fn reopen(&self, catalog: Arc<dyn Catalog>) -> Arc<dyn Catalog> {
        catalog.close().await;
        drop(catalog);
        self.open().await
    }
}

/// One test for each function of the suite; `$backend` makes a new [`conformance::Backend`](Backend).
#[macro_export]
macro_rules! catalog_conformance {
    ($backend:expr) => {
        $crate::catalog_conformance! { @each $backend;
            accounts: an_account_is_found_by_its_login_in_any_case
                a_taken_login_or_handle_changes_nothing
                an_invitation_is_used_once
                one_of_many_is_the_first
                credentials_end
                tokens_page_exactly;
            uploads: chunks_advance_an_upload
                a_chunk_out_of_place_is_refused
                the_last_chunk_completes_everything_at_once
                a_deferred_length_is_declared_later
                an_aborted_upload_is_told_of_and_forgotten
                expired_uploads_come_oldest_first
                chunks_page_exactly
                one_of_many_writers_at_an_offset_wins
                a_chunk_and_a_deletion_do_not_cross;
            videos: an_edit_raises_the_version_and_is_told
                one_of_many_edits_of_a_version_wins
                lists_page_exactly
                videos_come_in_the_order_asked
                a_deleted_video_is_found_nowhere
                deleting_a_receiving_video_aborts_its_upload;
            jobs: each_job_is_leased_once
                jobs_are_leased_oldest_first_when_due
                a_takeover_fences_the_earlier_holder
                a_finished_job_publishes_its_video
                a_failed_job_says_why
                an_end_and_a_deletion_do_not_cross
                progress_is_no_new_version;
            media: an_earlier_attempt_is_replaced
                only_current_files_are_found
                ended_jobs_are_swept_once;
            leases: a_lease_has_one_holder
                one_of_many_takes_a_lease
                counters_never_repeat;
            processes: a_secret_is_the_first_proposed
                a_secret_through_failures_is_one
                members_come_and_go
                many_join_at_once
                a_counter_is_what_was_last_given
                leases_of_a_prefix_are_told;
            outbox: rows_come_in_the_order_of_their_transactions
                writers_wake_the_reader
                versions_rise_under_concurrent_writers
                a_reader_never_passes_a_row_that_comes_later;
            faults: an_upload_through_failures_is_exact
                a_transcode_through_failures_ends_once
                a_failure_before_the_call_changes_nothing;
        }
    };
    (@each $backend:expr; $($module:ident: $($test:ident)+;)+) => {
        $(mod $module {
            #[allow(unused_imports)]
            use super::*;
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $test() {
                $crate::conformance::$module::$test(&$backend).await;
            })+
        })+
    };
}

/// A fixed instant, `millis` after an arbitrary start.
#[must_use]
pub fn at(millis: i64) -> Timestamp {
    Timestamp::from_millis(1_700_000_000_000 + millis)
}

/// How long the suite's leases last.
pub const LEASE: Millis = Millis(30_000);

/// A new account whose login and handle are `name`.
pub async fn creator(catalog: &dyn Catalog, name: &str) -> Account {
    catalog.create_account(new_account(name)).await.unwrap()
}

/// What makes [`creator`]'s account.
#[must_use]
pub fn new_account(name: &str) -> NewAccount {
    NewAccount {
        login: name.to_owned(),
        password_hash: format!("hash of {name}"),
        is_admin: false,
        must_be_first: false,
        handle: name.to_ascii_lowercase(),
        name: format!("Channel of {name}"),
        invitation: None,
        now: at(0),
    }
}

/// What makes [`start_upload`]'s upload.
#[must_use]
pub fn new_upload(owner: &Account, length: Option<u64>, now: Timestamp) -> NewUpload {
    NewUpload {
        id: UploadId::generate(),
        video_id: VideoId::generate(),
        owner: owner.id,
        length,
        metadata: "filename Y2xpcC5tcDQ=".into(),
        file_name: "clip.mp4".into(),
        title: "A clip".into(),
        description: "of \"quotes\", 'quotes' and 東京".into(),
        tags: vec!["a".into(), "b c".into()],
        visibility: Visibility::Public,
        now,
        expires_at: now + Millis::from_days(1),
    }
}

/// A new upload of `owner`, of which nothing has arrived.
pub async fn start_upload(catalog: &dyn Catalog, owner: &Account, length: u64) -> Upload {
    catalog.create_upload(new_upload(owner, Some(length), at(0))).await.unwrap()
}

/// A chunk with a key that no other has.
#[must_use]
pub fn chunk(upload: UploadId, start: u64, length: u64) -> Chunk {
    Chunk { start, length, key: format!("{}{start}-{}", Chunk::prefix(upload), uuid::Uuid::new_v4()) }
}

/// A video whose upload of 10 bytes was complete at `now`.
pub async fn uploaded_at(catalog: &dyn Catalog, owner: &Account, now: Timestamp) -> VideoId {
    let upload = catalog.create_upload(new_upload(owner, Some(10), now)).await.unwrap();
    let done = catalog.append_chunk(upload.id, chunk(upload.id, 0, 10), now, now + LEASE).await.unwrap();
    done.video_id
}

/// A video whose upload is complete, and its job leased at [`at`]`(0)`.
pub async fn leased(catalog: &dyn Catalog, owner: &Account) -> Job {
    let video = uploaded_at(catalog, owner, at(0)).await;
    let job = catalog.lease_job(JobKind::Transcode, "worker-1", at(0), LEASE).await.unwrap().unwrap();
    assert_eq!(job.video_id, video, "the only open job");
    job
}

/// A rendition called `name`, whose init segment's name begins with `tag`.
#[must_use]
pub fn rendition(name: &str, tag: &str) -> NewRendition {
    let height = name.trim_end_matches('p').parse().ok();
    NewRendition {
        name: name.to_owned(),
        kind: if height.is_some() { TrackKind::Video } else { TrackKind::Audio },
        codecs: "avc1.64001f".into(),
        width: height.map(|h: u32| h * 16 / 9),
        height,
        frame_rate: height.map(|_| 29.97),
        init: MediaFile { name: format!("{tag}-init-{name}.mp4"), bytes: 800 },
    }
}

/// A segment of four seconds.
#[must_use]
pub fn segment(name: &str, tag: &str, number: u32) -> Segment {
    let file = MediaFile { name: format!("{tag}-{name}-{number}.m4s"), bytes: 1000 + u64::from(number) };
    Segment { number, duration_us: 4_000_000, file }
}

/// Puts a rendition of two segments under the job's lease.
pub async fn put_whole(catalog: &dyn Catalog, job: &Job, name: &str, tag: &str) {
    catalog.put_rendition(job, rendition(name, tag)).await.unwrap();
    catalog.put_segments(job, name, &[segment(name, tag, 0), segment(name, tag, 1)]).await.unwrap();
}

/// A result with one rendition and a poster.
#[must_use]
pub fn result(name: &str, tag: &str) -> TranscodeResult {
    TranscodeResult {
        duration: Millis(8000),
        renditions: vec![name.to_owned()],
        poster: Some(MediaFile { name: format!("{tag}-poster.jpg"), bytes: 5000 }),
    }
}

/// The outbox's records in order, which are thereby delivered.
pub async fn drain(catalog: &dyn Catalog) -> Vec<Told> {
    let rows = catalog.outbox(10_000).await.unwrap();
    catalog.outbox_delivered(&rows.iter().map(|row| row.id).collect::<Vec<_>>()).await.unwrap();
    assert!(rows.is_sorted_by_key(|row| row.id), "{rows:?}");
    rows.iter().map(Told::of).collect()
}

/// A record of the outbox.
#[derive(Debug, Clone, PartialEq)]
pub enum Told {
    /// Topic `uploads`.
    Upload(UploadRecord),
    /// Topic `transcodes`.
    Transcode(TranscodeRecord),
    /// Topic `videos`.
    Video(Box<VideoRecord>),
}

impl Told {
    /// Reads a row, whose topic, schema and key must agree.
    fn of(row: &OutboxRow) -> Self {
        let (told, key) = match (row.topic, SchemaId::try_from(row.schema).unwrap()) {
            (Topic::Uploads, SchemaId::Upload) => {
                let record: UploadRecord = serde_json::from_str(&row.payload).unwrap();
                (Self::Upload(record.clone()), record.video_id)
            }
            (Topic::Transcodes, SchemaId::Transcode) => {
                let record: TranscodeRecord = serde_json::from_str(&row.payload).unwrap();
                (Self::Transcode(record.clone()), record.video_id)
            }
            (Topic::Videos, SchemaId::Video) => {
                let record: VideoRecord = serde_json::from_str(&row.payload).unwrap();
                let key = record.video_id;
                (Self::Video(Box::new(record)), key)
            }
            other => panic!("a row of {other:?}"),
        };
        assert_eq!(row.key, key.to_string());
        told
    }

    /// The video record that it must be.
    #[must_use]
    pub fn video(self) -> VideoRecord {
        match self {
            Self::Video(record) => *record,
            other => panic!("{other:?} is no video record"),
        }
    }
}

/// Runs `count` tasks that start together and returns what they returned.
pub async fn together<T, F>(count: usize, task: impl Fn(usize) -> F) -> Vec<T>
where
    T: Send + 'static,
    F: Future<Output = T> + Send + 'static,
{
    let gate = Arc::new(tokio::sync::Barrier::new(count));
    let tasks: Vec<_> = (0..count)
        .map(|number| {
            let (gate, task) = (Arc::clone(&gate), task(number));
            tokio::spawn(async move {
                gate.wait().await;
                task.await
            })
        })
        .collect();
    futures::future::join_all(tasks).await.into_iter().map(|joined| joined.unwrap()).collect()
}
