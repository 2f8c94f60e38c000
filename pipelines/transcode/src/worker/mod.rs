//! The worker's side of the child: starts it, serves it bytes, takes what it makes, and decides when it
//! has had enough. Nothing the child does reaches further than its own transcode.
//!
//! Called by [`crate::run`] for jobs and by `millrace doctor` through [`sandbox_level`].

mod checks;
pub mod error;
mod level;
mod process;
pub mod reader;
mod wire;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use tokio::{sync::mpsc, time::Instant};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

use crate::{
    cmaf,
    ladder::{Plan, Probe},
    limits::Limits,
    protocol::{FromChild, ProtocolError, Task, ToChild, Track, VERSION},
    sandbox::SandboxState,
};
use checks::OrderChecks;
pub use error::{RunError, SinkError};
pub use level::{SandboxReport, sandbox_level};
pub use process::ChildProgram;
use process::{Ended, Process};
pub use reader::{ReadError, SourceReader, UploadReader};
use wire::Event;

/// How children are run.
#[derive(Debug, Clone)]
pub struct RunnerConfig {
    /// What to start.
    pub program: ChildProgram,
    /// What one source may cost.
    pub limits: Limits,
    /// Let a child work that can't be shut in.
    pub allow_unsafe: bool,
    /// A child that says nothing for so long is killed. The time it waits for its source or for the
    /// sink does not count.
    pub stall_timeout: Duration,
    /// A transcode that takes longer is killed.
    pub max_wall: Duration,
}

impl RunnerConfig {
    /// The defaults for `program`.
    #[must_use]
    pub fn new(program: ChildProgram) -> Self {
        Self {
            program,
            limits: Limits::default(),
            allow_unsafe: false,
            stall_timeout: Duration::from_secs(120),
            max_wall: Duration::from_secs(24 * 3600),
        }
    }
}

/// Something that a transcode has made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// The first bytes of a track.
    Init {
        /// The track.
        track: Track,
        /// Its codecs (RFC 6381), read from the init segment.
        codecs: String,
        /// The init segment.
        bytes: Bytes,
    },
    /// A media segment, complete.
    Segment {
        /// The track.
        track: Track,
        /// Its place in the track, from 0 without gaps.
        number: u32,
        /// Its length in microseconds of presentation.
        duration_us: i64,
        /// The segment.
        bytes: Bytes,
    },
    /// A track has no more segments.
    TrackDone {
        /// The track.
        track: Track,
    },
    /// A JPEG.
    Poster {
        /// The picture.
        bytes: Bytes,
    },
    /// So far has the source been read.
    Progress {
        /// Milliseconds of presentation.
        at_ms: i64,
    },
}

/// Takes what a transcode makes, in order: a track's init segment before its segments, these by their
/// numbers. After an error nothing more is given.
#[async_trait]
pub trait OutputSink: Send {
    /// The child runs as this process.
    fn started(&mut self, _process_id: u32, _sandbox: &SandboxState) {}

    /// Decides what to encode.
    async fn plan(&mut self, probe: &Probe) -> Result<Plan, SinkError>;

    /// Takes one output; what it returns `Ok` for need not be given again.
    async fn take(&mut self, output: Output) -> Result<(), SinkError>;
}

/// A transcode that has given everything to its sink.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Finished {
    /// The length of the video in milliseconds.
    pub duration_ms: i64,
}

/// Runs children.
#[derive(Debug, Clone)]
pub struct ChildRunner {
    config: RunnerConfig,
}

impl ChildRunner {
    /// A runner with this configuration.
    #[must_use]
    pub const fn new(config: RunnerConfig) -> Self {
        Self { config }
    }

    /// Transcodes `source` into `sink` in a child of its own. However it ends, the child is gone
    /// afterwards.
    ///
    /// # Errors
    /// [`RunError`] says why there is no result and whether another attempt can help.
    pub async fn run(
        &self,
        source: Arc<dyn SourceReader>,
        sink: &mut dyn OutputSink,
        cancel: &CancellationToken,
    ) -> Result<Finished, RunError> {
        let (mut process, stream) = Process::start(&self.config.program).await.map_err(RunError::Spawn)?;
        let (reading, mut writing) = stream.into_split();
        let task = Task::Transcode { source_len: source.size() };
        wire::send(&mut writing, &start_message(&self.config, task), &[]).await?;
        // One message waits at most, so that a busy sink slows the child down.
        let (events, mut incoming) = mpsc::channel(1);
        let (requests, asked) = mpsc::channel(1);
        let fetching = Arc::new(AtomicBool::new(false));
        let (answers, to_answer) = mpsc::channel(1);
        let _receiving = AbortOnDropHandle::new(tokio::spawn(wire::receive(
            reading,
            events.clone(),
            requests,
            Arc::clone(&fetching),
        )));
        let _serving = AbortOnDropHandle::new(tokio::spawn(wire::serve(
            writing,
            source,
            asked,
            to_answer,
            events,
            Arc::clone(&fetching),
        )));
        let session = Session {
            config: &self.config,
            process_id: process.id(),
            sink,
            cancel,
            answers,
            fetching,
            checks: OrderChecks::default(),
        };
        let outcome = session.follow(&mut incoming).await;
        if outcome.is_err() {
            process.kill();
        }
        // A child that is done ends at once; one that doesn't is made to.
        let ended = match tokio::time::timeout(Duration::from_secs(10), process.ended()).await {
            Ok(ended) => ended,
            Err(_) => {
                process.kill();
                process.ended().await
            }
        };
        judge(outcome, ended)
    }
}

fn start_message(config: &RunnerConfig, task: Task) -> ToChild {
    ToChild::Start { version: VERSION, task, limits: config.limits.clone(), allow_unsafe: config.allow_unsafe }
}

/// A child that closed its socket or broke off in mid-message died; how it died says more.
fn judge<T>(outcome: Result<T, RunError>, ended: Ended) -> Result<T, RunError> {
    match (outcome, ended.status) {
        (Err(RunError::Protocol(ProtocolError::Io(_))), Ok(status)) => {
            Err(RunError::Died { status, stderr: ended.stderr })
        }
        (outcome, _) => outcome,
    }
}

struct Session<'a> {
    config: &'a RunnerConfig,
    process_id: u32,
    sink: &'a mut dyn OutputSink,
    cancel: &'a CancellationToken,
    answers: mpsc::Sender<ToChild>,
    fetching: Arc<AtomicBool>,
    checks: OrderChecks,
}

impl Session<'_> {
    async fn follow(mut self, incoming: &mut mpsc::Receiver<Event>) -> Result<Finished, RunError> {
        let wall = Instant::now() + self.config.max_wall;
        let mut stall = Instant::now() + self.config.stall_timeout;
        loop {
            let event = tokio::select! {
                biased;
                () = self.cancel.cancelled() => return Err(RunError::Cancelled),
                event = incoming.recv() => event.unwrap_or(Event::Closed),
                () = tokio::time::sleep_until(wall) => return Err(RunError::TooSlow(self.config.max_wall)),
                () = tokio::time::sleep_until(stall) => {
                    if self.fetching.load(Ordering::SeqCst) {
                        // Not the child's fault; the answer will be an event.
                        stall = Instant::now() + self.config.stall_timeout;
                        continue;
                    }
                    return Err(RunError::Hung(self.config.stall_timeout));
                }
            };
            match event {
                Event::Message(message, body) => {
                    let cancel = self.cancel;
                    let handled = cancel.run_until_cancelled(self.handle(message, body)).await;
                    if let Some(finished) = handled.unwrap_or(Err(RunError::Cancelled))? {
                        return Ok(finished);
                    }
                }
                Event::Fetched => {}
                Event::SourceFailed(error) => return Err(error.into()),
                Event::Closed => {
                    return Err(ProtocolError::Io(std::io::ErrorKind::UnexpectedEof.into()).into());
                }
                Event::Broken(error) => return Err(error.into()),
            }
            stall = Instant::now() + self.config.stall_timeout;
        }
    }

    async fn handle(&mut self, message: FromChild, body: Bytes) -> Result<Option<Finished>, RunError> {
        self.checks.admit(&message, body.len(), self.config.limits.max_output.0)?;
        let output = match message {
            FromChild::Hello { version: VERSION, sandbox } => {
                self.sink.started(self.process_id, &sandbox);
                return Ok(None);
            }
            FromChild::SandboxRefused { reason } => return Err(RunError::Sandbox(reason)),
            FromChild::Probed(probe) => {
                let plan = self.sink.plan(&probe).await.map_err(RunError::Sink)?;
                self.checks.expect(&plan, probe.audio.is_some());
                // The serving task ends only with the socket, which is an event of its own.
                let _ = self.answers.send(ToChild::Plan(plan)).await;
                return Ok(None);
            }
            FromChild::Done { duration_ms } => {
                self.checks.all_done()?;
                return Ok(Some(Finished { duration_ms }));
            }
            FromChild::Failed { kind, reason } => return Err(RunError::Failed { kind, reason }),
            FromChild::Init { track } => {
                let codecs = cmaf::codecs_of(&body).map_err(|_| ProtocolError::Unexpected("no init segment"))?;
                Output::Init { track, codecs, bytes: body }
            }
            FromChild::Segment { track, number, duration_us } => {
                if !cmaf::is_segment(&body) {
                    return Err(ProtocolError::Unexpected("no media segment").into());
                }
                Output::Segment { track, number, duration_us, bytes: body }
            }
            FromChild::TrackDone { track } => Output::TrackDone { track },
            FromChild::Poster => Output::Poster { bytes: body },
            FromChild::Progress { at_ms } => Output::Progress { at_ms },
            FromChild::Hello { .. } | FromChild::Read { .. } | FromChild::SelfTested(_) => {
                return Err(ProtocolError::Unexpected("a message of another task or version").into());
            }
        };
        self.sink.take(output).await.map_err(RunError::Sink)?;
        Ok(None)
    }
}
