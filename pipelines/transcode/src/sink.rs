//! Where a job's output goes: each object into the store as it arrives, then its row into the catalog
//! under the job's epoch, then word of it into the log. Objects are named by their content: an attempt
//! never changes what an earlier one wrote, and what no row names is swept later.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use async_trait::async_trait;
use backon::{ExponentialBuilder, Retryable};
use bytes::Bytes;
use catalog::{Catalog, CatalogError, Job, MediaFile, NewRendition, Segment, TrackKind};
use event_log::Stream;
use event_schemas::{
    Clock, Faulty, Topic,
    records::{TranscodeRecord, TranscodeStep},
};
use metrics::counter;
use object_store::{ObjectStore, ObjectStoreExt, PutPayload, path::Path};
use runtime::Producer;

use crate::{
    decide,
    ladder::{self, Plan, Probe},
    protocol::Track,
    worker::{Output, OutputSink, SinkError},
};

/// The name of the sound's rendition.
const SOUND: &str = "audio";
/// Progress is told to the log in steps of so many percent.
const TOLD_EVERY: u8 = 5;
const TRIES: usize = 4;

/// What a job's end needs to know.
#[derive(Debug, Default)]
pub(crate) struct Made {
    pub(crate) renditions: Vec<String>,
    pub(crate) poster: Option<MediaFile>,
    /// The lease was found lost: nothing more may be written.
    pub(crate) fenced: bool,
}

/// The sink of one attempt.
pub(crate) struct JobSink {
    pub(crate) catalog: Arc<dyn Catalog>,
    pub(crate) store: Arc<dyn ObjectStore>,
    pub(crate) producer: Arc<Producer>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) job: Job,
    pub(crate) made: Made,
    pub(crate) plan: Option<Plan>,
    pub(crate) duration_ms: Option<i64>,
    pub(crate) names: BTreeMap<Track, String>,
    pub(crate) percent: Option<u8>,
    pub(crate) told: u8,
}

impl JobSink {
    pub(crate) fn new(
        catalog: Arc<dyn Catalog>,
        store: Arc<dyn ObjectStore>,
        producer: Arc<Producer>,
        clock: Arc<dyn Clock>,
        job: Job,
    ) -> Self {
        Self {
            catalog,
            store,
            producer,
            clock,
            job,
            made: Made::default(),
            plan: None,
            duration_ms: None,
            names: BTreeMap::new(),
            percent: None,
            told: 0,
        }
    }

    async fn store(&self, bytes: Bytes, extension: &str) -> Result<MediaFile, SinkError> {
        let file = MediaFile { name: decide::object_name(&bytes, extension), bytes: bytes.len() as u64 };
        let key = Path::from(file.key(self.job.video_id));
        let put = || async { self.store.put(&key, PutPayload::from(bytes.clone())).await };
        put.retry(delays()).await?;
        counter!("millrace_transcode_output_bytes_total").increment(file.bytes);
        Ok(file)
    }

    /// Passes a write's outcome on, and remembers a lost lease.
    fn fenced<T>(&mut self, outcome: Result<T, CatalogError>) -> Result<T, SinkError> {
        self.made.fenced |= matches!(outcome, Err(CatalogError::Fenced));
        Ok(outcome?)
    }

    /// Describes the rendition of a track whose init segment is stored.
    fn rendition(&self, track: Track, codecs: String, init: MediaFile) -> Result<NewRendition, SinkError> {
        let plan = self.plan.as_ref().ok_or("a track without a plan")?;
        Ok(match track {
            Track::Audio => NewRendition {
                name: SOUND.to_owned(),
                kind: TrackKind::Audio,
                codecs,
                width: None,
                height: None,
                frame_rate: None,
                init,
            },
            Track::Video(place) => {
                let rung = plan.rungs.get(usize::from(place)).ok_or("a track outside the plan")?;
                NewRendition {
                    name: rung.name.clone(),
                    kind: TrackKind::Video,
                    codecs,
                    width: Some(rung.width),
                    height: Some(rung.height),
                    frame_rate: Some(plan.frame_rate.as_f64()),
                    init,
                }
            }
        })
    }

    fn name(&self, track: Track) -> Result<String, SinkError> {
        Ok(self.names.get(&track).cloned().ok_or("a segment before its init segment")?)
    }

    /// Tells the log. Progress is a courtesy: a log that fails does not stop the encoding, and the end
    /// of the job reaches it through the outbox.
    async fn tell(&self, step: TranscodeStep) {
        let record =
            TranscodeRecord { v: 1, video_id: self.job.video_id, epoch: self.job.epoch, step, at: self.clock.now() };
        let key = self.job.video_id.to_string();
        let sent = self.producer.send_json(Stream::Main(Topic::Transcodes), key.as_bytes(), &record).await;
        if let Err(error) = sent {
            tracing::warn!(video = %self.job.video_id, error = runtime::describe(&error), "progress was not told");
        }
    }

    async fn progress(&mut self, at_ms: i64) -> Result<(), SinkError> {
        let Some(percent) = decide::percent(at_ms, self.duration_ms) else { return Ok(()) };
        if self.percent.is_some_and(|before| before >= percent) {
            return Ok(());
        }
        self.percent = Some(percent);
        match self.catalog.set_progress(&self.job, percent).await {
            Ok(()) => {}
            Err(CatalogError::Fenced) => return self.fenced(Err(CatalogError::Fenced)),
            Err(error) => {
                tracing::warn!(video = %self.job.video_id, error = runtime::describe(&error), "progress was not recorded");
            }
        }
        if percent >= self.told.saturating_add(TOLD_EVERY) {
            self.told = percent;
            self.tell(TranscodeStep::Progress { percent }).await;
        }
        Ok(())
    }
}

#[async_trait]
impl OutputSink for JobSink {
    async fn plan(&mut self, probe: &Probe) -> Result<Plan, SinkError> {
        self.duration_ms = probe.duration_ms;
        let info = decide::source_info(probe);
        let now = self.clock.now();
        let outcome = {
            let record = || self.catalog.set_source_info(&self.job, info.clone(), now);
            record.retry(delays()).when(CatalogError::is_retryable).await
        };
        self.fenced(outcome)?;
        let plan = ladder::plan(probe);
        self.plan = Some(plan.clone());
        Ok(plan)
    }

    async fn take(&mut self, output: Output) -> Result<(), SinkError> {
        match output {
            Output::Init { track, codecs, bytes } => {
                let init = self.store(bytes, "mp4").await?;
                let rendition = self.rendition(track, codecs, init)?;
                let name = rendition.name.clone();
                let outcome = {
                    let put = || self.catalog.put_rendition(&self.job, rendition.clone());
                    put.retry(delays()).when(CatalogError::is_retryable).await
                };
                self.fenced(outcome)?;
                self.names.insert(track, name);
            }
            Output::Segment { track, number, duration_us, bytes } => {
                let file = self.store(bytes, "m4s").await?;
                let name = self.name(track)?;
                let segments = [Segment { number, duration_us, file }];
                let outcome = {
                    let put = || self.catalog.put_segments(&self.job, &name, &segments);
                    put.retry(delays()).when(CatalogError::is_retryable).await
                };
                self.fenced(outcome)?;
            }
            Output::TrackDone { track } => {
                let name = self.name(track)?;
                self.made.renditions.push(name.clone());
                self.tell(TranscodeStep::RenditionReady { name }).await;
            }
            Output::Poster { bytes } => self.made.poster = Some(self.store(bytes, "jpg").await?),
            Output::Progress { at_ms } => self.progress(at_ms).await?,
        }
        Ok(())
    }
}

/// A dependency that hiccups need not cost the whole attempt.
pub(crate) fn delays() -> ExponentialBuilder {
    ExponentialBuilder::default().with_min_delay(Duration::from_millis(100)).with_max_times(TRIES).with_jitter()
}
