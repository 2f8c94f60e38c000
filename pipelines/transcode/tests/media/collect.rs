//! A source in memory, and a sink that keeps everything.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use transcode_stage::{
    ladder::{self, Plan, Probe},
    protocol::Track,
    sandbox::SandboxState,
    worker::{
        ChildProgram, ChildRunner, Finished, Output, OutputSink, ReadError, RunError, RunnerConfig, SinkError,
        SourceReader,
    },
};

pub struct Memory(pub Bytes);

#[async_trait]
impl SourceReader for Memory {
    fn size(&self) -> Option<u64> {
        Some(self.0.len() as u64)
    }

    async fn read_range(&self, offset: u64, len: u32) -> Result<Bytes, ReadError> {
        let start = usize::try_from(offset).unwrap().min(self.0.len());
        Ok(self.0.slice(start..(start + len as usize).min(self.0.len())))
    }
}

/// A track as it came.
#[derive(Debug, Default, Clone)]
pub struct Collected {
    pub init: Vec<u8>,
    pub segments: Vec<(i64, Vec<u8>)>,
    pub done: bool,
}

impl Collected {
    /// The whole as one file.
    pub fn joined(&self) -> Vec<u8> {
        let mut all = self.init.clone();
        self.segments.iter().for_each(|(_, bytes)| all.extend(bytes));
        all
    }
}

#[derive(Default)]
pub struct Keeper {
    pub probe: Option<Probe>,
    pub plan: Option<Plan>,
    pub tracks: BTreeMap<Track, Collected>,
    pub poster: Option<Vec<u8>>,
    pub progress: Vec<i64>,
    pub sandbox: Option<SandboxState>,
    /// Told the process id when the child runs.
    pub process_id: Arc<Mutex<u32>>,
    /// Told when the first segment has come.
    pub segment_came: Arc<Notify>,
    /// Refuse the segment of this number.
    pub refuse_segment: Option<u32>,
}

#[async_trait]
impl OutputSink for Keeper {
    fn started(&mut self, process_id: u32, sandbox: &SandboxState) {
        *self.process_id.lock().unwrap() = process_id;
        self.sandbox = Some(sandbox.clone());
    }

    async fn plan(&mut self, probe: &Probe) -> Result<Plan, SinkError> {
        let plan = ladder::plan(probe);
        self.probe = Some(probe.clone());
        self.plan = Some(plan.clone());
        Ok(plan)
    }

    async fn take(&mut self, output: Output) -> Result<(), SinkError> {
        match output {
            Output::Init { track, bytes, .. } => self.tracks.entry(track).or_default().init = bytes.to_vec(),
            Output::Segment { track, number, duration_us, bytes } => {
                if self.refuse_segment == Some(number) {
                    return Err("refused by the test".into());
                }
                self.tracks.entry(track).or_default().segments.push((duration_us, bytes.to_vec()));
                self.segment_came.notify_one();
            }
            Output::TrackDone { track } => self.tracks.entry(track).or_default().done = true,
            Output::Poster { bytes } => assert!(self.poster.replace(bytes.to_vec()).is_none(), "two posters"),
            Output::Progress { at_ms } => self.progress.push(at_ms),
        }
        Ok(())
    }
}

pub fn config() -> RunnerConfig {
    let mut config = RunnerConfig::new(ChildProgram::current().unwrap());
    config.limits.threads = 2;
    config.stall_timeout = Duration::from_secs(30);
    config
}

pub async fn run(config: RunnerConfig, source: Vec<u8>, keeper: &mut Keeper) -> Result<Finished, RunError> {
    let source = Arc::new(Memory(source.into()));
    ChildRunner::new(config).run(source, keeper, &CancellationToken::new()).await
}

/// Transcodes `source`, which must succeed.
pub async fn transcode(source: Vec<u8>) -> (Finished, Keeper) {
    let mut keeper = Keeper::default();
    let finished = run(config(), source, &mut keeper).await.unwrap_or_else(|error| panic!("{error}: {error:?}"));
    assert!(keeper.tracks.values().all(|track| track.done && !track.segments.is_empty()));
    (finished, keeper)
}

/// The reason why `source` is refused.
pub async fn refusal(source: Vec<u8>) -> RunError {
    let mut keeper = Keeper::default();
    let error = run(config(), source, &mut keeper).await.expect_err("the source must be refused");
    assert!(keeper.tracks.values().all(|track| !track.done), "nothing is finished");
    error
}
