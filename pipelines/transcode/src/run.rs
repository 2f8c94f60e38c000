//! The stage's loop: lease a job, run a child on its upload, store what comes, finish under the lease's
//! epoch. Two workers never finish the same job: every write is fenced, and a worker that has lost its
//! lease kills its child and writes nothing more. The binary runs one loop per transcode to be done at
//! the same time.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use backon::Retryable;
use catalog::{Catalog, CatalogError, Job, JobKind, TranscodeResult};
use event_log::{EventLog, LogError, Stream};
use event_schemas::{Clock, Fault, Faulty, Millis, Offset, Partition, Topic, VideoId, records::PlaybackState};
use futures::future::{FutureExt, select_all};
use metrics::{counter, histogram};
use object_store::ObjectStore;
use runtime::Producer;
use tokio_util::sync::CancellationToken;

use crate::{
    decide::{self, Next},
    sink::{JobSink, delays},
    worker::{ChildRunner, Finished, ReadError, RunError, RunnerConfig, UploadReader},
};

/// What the stage works with.
#[derive(Clone)]
pub struct TranscodeStage {
    /// Jobs, uploads, renditions.
    pub catalog: Arc<dyn Catalog>,
    /// Upload chunks and media objects.
    pub store: Arc<dyn ObjectStore>,
    /// Topic `uploads` says when there is work.
    pub log: Arc<dyn EventLog>,
    /// Tells progress on topic `transcodes`.
    pub producer: Arc<Producer>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// How children are run.
    pub runner: RunnerConfig,
    /// Who leases: unique to this loop of this process.
    pub owner: String,
    /// How long a lease lasts without a heartbeat.
    pub lease: Millis,
    /// How often to look for jobs that nothing announces: given back, or of dead workers.
    pub poll: Duration,
}

/// How one job went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JobOutcome {
    /// The video is ready.
    Ready(VideoId),
    /// The video has failed for good.
    Failed(VideoId, String),
    /// The job waits for another attempt.
    Retried(VideoId),
    /// Another worker has the job, or its video is gone; nothing was written after that was known.
    Lost(VideoId),
}

impl JobOutcome {
    const fn label(&self) -> &'static str {
        match self {
            Self::Ready(_) => "ready",
            Self::Failed(..) => "failed",
            Self::Retried(_) => "retried",
            Self::Lost(_) => "lost",
        }
    }
}

/// The stage can't go on for now.
#[derive(Debug, thiserror::Error)]
pub enum StageError {
    /// The catalog fails.
    #[error("the transcode stage can't reach the catalog")]
    Catalog(#[from] CatalogError),
    /// The log fails.
    #[error("the transcode stage can't reach the log")]
    Log(#[from] LogError),
}

impl Faulty for StageError {
    fn fault(&self) -> Fault {
        match self {
            Self::Catalog(error) => error.fault(),
            Self::Log(error) => error.fault(),
        }
    }

    fn is_retryable(&self) -> bool {
        match self {
            Self::Catalog(error) => error.is_retryable(),
            Self::Log(error) => error.is_retryable(),
        }
    }
}

impl TranscodeStage {
    /// Takes jobs until cancelled; a child under way is killed then and its job given back.
    ///
    /// # Errors
    /// A dependency fails; the caller starts the loop again after a while.
    pub async fn run(&self, cancel: CancellationToken) -> Result<(), StageError> {
        let mut announced = Announcements::new(self.log.as_ref()).await?;
        while !cancel.is_cancelled() {
            if self.run_one(&cancel).await?.is_some() {
                continue;
            }
            tokio::select! {
                () = cancel.cancelled() => {}
                more = announced.more(self.log.as_ref()) => more?,
                () = tokio::time::sleep(self.poll) => {}
            }
        }
        Ok(())
    }

    /// Leases the next job, if there is one, and sees it through this attempt.
    ///
    /// # Errors
    /// The catalog fails; a job under way is then left to its lease.
    pub async fn run_one(&self, cancel: &CancellationToken) -> Result<Option<JobOutcome>, StageError> {
        let lease = self.catalog.lease_job(JobKind::Transcode, &self.owner, self.clock.now(), self.lease);
        let Some(job) = lease.await? else { return Ok(None) };
        let started = tokio::time::Instant::now();
        let outcome = match self.attempt(&job, cancel).await {
            Err(CatalogError::Fenced) => JobOutcome::Lost(job.video_id),
            other => other?,
        };
        counter!("millrace_transcode_jobs_total", "outcome" => outcome.label()).increment(1);
        histogram!("millrace_transcode_job_seconds").record(started.elapsed());
        tracing::info!(video = %job.video_id, attempt = job.attempt, outcome = ?outcome, "a transcode has ended");
        Ok(Some(outcome))
    }

    async fn attempt(&self, job: &Job, cancel: &CancellationToken) -> Result<JobOutcome, CatalogError> {
        let video = job.video_id;
        let stop = cancel.child_token();
        let mut sink = JobSink::new(
            Arc::clone(&self.catalog),
            Arc::clone(&self.store),
            Arc::clone(&self.producer),
            Arc::clone(&self.clock),
            job.clone(),
        );
        let ending = AtomicBool::new(false);
        let working = async {
            let ended = self.transcode(job, &mut sink, &stop).await;
            ending.store(true, Ordering::Relaxed);
            // The lease is kept alive until the end is recorded.
            match ended {
                _ if sink.made.fenced => Err(CatalogError::Fenced),
                Err(error) => self.give_up(job, &error, cancel).await,
                Ok(finished) => {
                    let result = TranscodeResult {
                        duration: Millis(finished.duration_ms),
                        renditions: std::mem::take(&mut sink.made.renditions),
                        poster: sink.made.poster.take(),
                    };
                    self.finish(job, result).await?;
                    Ok(JobOutcome::Ready(video))
                }
            }
        };
        tokio::pin!(working);
        tokio::select! {
            outcome = &mut working => return outcome,
            () = self.keep_lease(job) => {}
        }
        // Recording the end is fenced by itself; that the heartbeat met no job may be its very doing.
        if ending.load(Ordering::Relaxed) {
            return working.await;
        }
        // Dropping the work kills the child.
        Err(CatalogError::Fenced)
    }

    async fn transcode(&self, job: &Job, sink: &mut JobSink, stop: &CancellationToken) -> Result<Finished, RunError> {
        let unreadable = |error: CatalogError| RunError::Sink(Box::new(error));
        let upload = self.catalog.upload_of_video(job.video_id).await.map_err(unreadable)?;
        let upload = upload.ok_or_else(|| unreadable(CatalogError::NotFound("upload")))?;
        let chunks = self.catalog.chunks(upload.id).await.map_err(unreadable)?;
        let reader = UploadReader::new(Arc::clone(&self.store), chunks).map_err(RunError::Source)?;
        if upload.length.is_some_and(|length| length != reader.total()) {
            return Err(RunError::Source(ReadError::Gap(reader.total())));
        }
        ChildRunner::new(self.runner.clone()).run(Arc::new(reader), sink, stop).await
    }

    /// Extends the lease until it is lost: taken over, or not extended in time because the catalog
    /// fails.
    async fn keep_lease(&self, job: &Job) {
        let every = Millis(self.lease.0 / 3).to_duration();
        let mut until = job.leased_until.unwrap_or_else(|| self.clock.now() + self.lease);
        loop {
            tokio::time::sleep(every).await;
            let wanted = self.clock.now() + self.lease;
            match self.catalog.heartbeat_job(job.id, job.epoch, wanted).await {
                Ok(()) => until = wanted,
                Err(error) if error.is_retryable() && self.clock.now() < until => {
                    tracing::warn!(video = %job.video_id, error = runtime::describe(&error), "a lease was not extended");
                }
                Err(error) => {
                    tracing::warn!(video = %job.video_id, error = runtime::describe(&error), "a lease was lost");
                    return;
                }
            }
        }
    }

    async fn finish(&self, job: &Job, result: TranscodeResult) -> Result<(), CatalogError> {
        let now = self.clock.now();
        let finish = || self.catalog.finish_transcode(job, result.clone(), now);
        match finish.retry(delays()).when(CatalogError::is_retryable).await {
            Ok(_) => Ok(()),
            // After an unknown outcome the second try finds the job already finished, by us.
            Err(CatalogError::Fenced) if self.ended_as(job, PlaybackState::Ready).await? => Ok(()),
            Err(error) => Err(error),
        }
    }

    async fn give_up(
        &self,
        job: &Job,
        error: &RunError,
        cancel: &CancellationToken,
    ) -> Result<JobOutcome, CatalogError> {
        let video = job.video_id;
        if !cancel.is_cancelled() {
            tracing::warn!(%video, attempt = job.attempt, error = runtime::describe(error), "a transcode failed");
        }
        let now = self.clock.now();
        match decide::after_failure(job.attempt, error) {
            Next::Retry { after } => {
                let release = || self.catalog.release_job(job.id, job.epoch, now + after);
                release.retry(delays()).when(CatalogError::is_retryable).await?;
                Ok(JobOutcome::Retried(video))
            }
            Next::Fail { reason } => {
                let fail = || self.catalog.fail_transcode(job, &reason, now);
                match fail.retry(delays()).when(CatalogError::is_retryable).await {
                    Ok(_) => {}
                    Err(CatalogError::Fenced) if self.ended_as(job, PlaybackState::Failed).await? => {}
                    Err(error) => return Err(error),
                }
                Ok(JobOutcome::Failed(video, reason))
            }
        }
    }

    /// True if the job ended in this state under this very epoch.
    async fn ended_as(&self, job: &Job, state: PlaybackState) -> Result<bool, CatalogError> {
        let same = |found: &Job| found.id == job.id && found.epoch == job.epoch;
        let is_ours = self.catalog.jobs_of_video(job.video_id).await?.iter().any(same);
        let video = self.catalog.video(job.video_id).await?;
        Ok(is_ours && video.is_some_and(|video| video.playback == state))
    }
}

/// Waits for records of topic `uploads`. They are only a hint that a job may be due; the catalog decides.
struct Announcements {
    seen: Vec<Offset>,
}

impl Announcements {
    const STREAM: Stream = Stream::Main(Topic::Uploads);

    async fn new(log: &dyn EventLog) -> Result<Self, LogError> {
        let mut seen = Vec::new();
        for partition in 0..log.partitions(Self::STREAM).await? {
            seen.push(log.watermarks(Self::STREAM, Partition(partition)).await?.next);
        }
        Ok(Self { seen })
    }

    /// Resolves when there is a record that was not there before. Cancel-safe.
    async fn more(&mut self, log: &dyn EventLog) -> Result<(), LogError> {
        let waits = (0u32..)
            .zip(&self.seen)
            .map(|(partition, next)| log.wait(Self::STREAM, Partition(partition), *next).boxed());
        let (woken, which, _) = select_all(waits).await;
        woken?;
        let partition = Partition(u32::try_from(which).unwrap_or(0));
        self.seen[which] = log.watermarks(Self::STREAM, partition).await?.next;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The runtime moves the loop from thread to thread.
    #[allow(dead_code, reason = "it is enough that it compiles")]
    fn the_loop_can_be_spawned(stage: TranscodeStage, cancel: CancellationToken) {
        drop(tokio::spawn(async move { stage.run(cancel).await }));
    }
}
