//! The worker's side of the child: starts it, serves it bytes, takes what it makes, and decides when it
//! has had enough. Nothing the child does reaches further than its own transcode.
//!
//! Called by [`crate::run`] for jobs and by `millrace doctor` through [`sandbox_level`].

pub mod error;
mod process;
pub mod reader;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::unix::{OwnedReadHalf, OwnedWriteHalf},
    sync::mpsc,
    time::Instant,
};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

use crate::{
    cmaf,
    ladder::{Plan, Probe},
    limits::Limits,
    protocol::{self, FromChild, Header, MAX_RANGE, ProtocolError, Task, ToChild, Track, VERSION},
    sandbox::{SandboxState, SelfTest},
};
pub use error::{RunError, SinkError};
pub use process::ChildProgram;
use process::{Ended, Process};
pub use reader::{ReadError, SourceReader, UploadReader};

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

enum Event {
    Message(FromChild, Bytes),
    /// The source has answered a read.
    Fetched,
    SourceFailed(ReadError),
    /// The socket closed.
    Closed,
    Broken(ProtocolError),
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
        let task = Task::Transcode { source_len: source.len() };
        send(&mut writing, &self.start(task), &[]).await?;
        // One message waits at most, so that a busy sink slows the child down.
        let (events, mut incoming) = mpsc::channel(1);
        let (requests, asked) = mpsc::channel(1);
        let fetching = Arc::new(AtomicBool::new(false));
        let (answers, to_answer) = mpsc::channel(1);
        let _receiving =
            AbortOnDropHandle::new(tokio::spawn(receive(reading, events.clone(), requests, Arc::clone(&fetching))));
        let _serving = AbortOnDropHandle::new(tokio::spawn(serve(
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

    fn start(&self, task: Task) -> ToChild {
        ToChild::Start {
            version: VERSION,
            task,
            limits: self.config.limits.clone(),
            allow_unsafe: self.config.allow_unsafe,
        }
    }
}

/// A child that closed its socket or broke off in mid-message died; how it died says more.
fn judge(outcome: Result<Finished, RunError>, ended: Ended) -> Result<Finished, RunError> {
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

/// Holds the child to the order of messages and to its share of the disk.
#[derive(Debug, Default)]
struct OrderChecks {
    greeted: bool,
    planned: bool,
    bytes: u64,
    tracks: std::collections::BTreeMap<Track, TrackChecks>,
}

#[derive(Debug, Default)]
struct TrackChecks {
    has_init: bool,
    segments: u32,
    done: bool,
}

/// No segment is longer than this: a key frame every two seconds ends them all.
const MAX_SEGMENT_US: i64 = 60_000_000;
const MAX_POSTER: usize = 4 << 20;

impl OrderChecks {
    fn expect(&mut self, plan: &Plan, sound: bool) {
        self.planned = true;
        let video = (0u8..).zip(&plan.rungs).map(|(place, _)| Track::Video(place));
        self.tracks = video.chain(sound.then_some(Track::Audio)).map(|track| (track, TrackChecks::default())).collect();
    }

    fn admit(&mut self, message: &FromChild, body: usize, max_output: u64) -> Result<(), RunError> {
        let refuse = |what| Err(RunError::Protocol(ProtocolError::Unexpected(what)));
        self.bytes = self.bytes.saturating_add(body as u64);
        if self.bytes > max_output {
            return Err(RunError::TooMuch(max_output));
        }
        let opens = matches!(message, FromChild::Hello { .. } | FromChild::SandboxRefused { .. });
        if opens == self.greeted {
            return refuse("a greeting out of place");
        }
        self.greeted = true;
        match message {
            FromChild::Probed(_) if self.planned => refuse("a second probe"),
            FromChild::Init { track } => match self.tracks.get_mut(track) {
                Some(checks) if !checks.has_init => {
                    checks.has_init = true;
                    Ok(())
                }
                _ => refuse("an init segment out of place"),
            },
            FromChild::Segment { track, number, duration_us } => match self.tracks.get_mut(track) {
                Some(checks) if checks.has_init && !checks.done && checks.segments == *number => {
                    checks.segments += 1;
                    if (1..=MAX_SEGMENT_US).contains(duration_us) { Ok(()) } else { refuse("a segment's length") }
                }
                _ => refuse("a segment out of place"),
            },
            FromChild::TrackDone { track } => match self.tracks.get_mut(track) {
                Some(checks) if checks.segments > 0 && !checks.done => {
                    checks.done = true;
                    Ok(())
                }
                _ => refuse("the end of a track out of place"),
            },
            FromChild::Poster if !self.planned || body > MAX_POSTER => refuse("a poster out of place"),
            _ => Ok(()),
        }
    }

    fn all_done(&self) -> Result<(), RunError> {
        if self.planned && self.tracks.values().all(|track| track.done) {
            return Ok(());
        }
        Err(ProtocolError::Unexpected("done before every track was").into())
    }
}

async fn send(writing: &mut OwnedWriteHalf, message: &ToChild, body: &[u8]) -> Result<(), ProtocolError> {
    let head = protocol::encode_head(message, body.len())?;
    writing.write_all(&head).await?;
    writing.write_all(body).await?;
    Ok(())
}

async fn next_message(reading: &mut OwnedReadHalf) -> Result<Option<(FromChild, Bytes)>, ProtocolError> {
    let mut head = [0; Header::LEN];
    if reading.read(&mut head[..1]).await? == 0 {
        return Ok(None);
    }
    reading.read_exact(&mut head[1..]).await?;
    let header = Header::parse(head)?;
    let mut meta = vec![0; header.meta];
    reading.read_exact(&mut meta).await?;
    let mut body = vec![0; header.body];
    reading.read_exact(&mut body).await?;
    Ok(Some((serde_json::from_slice(&meta)?, body.into())))
}

/// Reads messages; reads of the source go straight to [`serve`], so that a slow sink never delays them.
async fn receive(
    mut reading: OwnedReadHalf,
    events: mpsc::Sender<Event>,
    requests: mpsc::Sender<(u64, u32)>,
    fetching: Arc<AtomicBool>,
) {
    loop {
        let event = match next_message(&mut reading).await {
            Ok(Some((FromChild::Read { offset, len }, _))) if (1..=MAX_RANGE).contains(&len) => {
                // One thread of the child reads, and waits for each answer.
                if fetching.swap(true, Ordering::SeqCst) {
                    Event::Broken(ProtocolError::Unexpected("two reads at once"))
                } else if requests.send((offset, len)).await.is_ok() {
                    continue;
                } else {
                    return;
                }
            }
            Ok(Some((message, body))) => Event::Message(message, body),
            Ok(None) => Event::Closed,
            Err(error) => Event::Broken(error),
        };
        let last = !matches!(event, Event::Message(..));
        if events.send(event).await.is_err() || last {
            return;
        }
    }
}

/// Answers reads and passes on the plan.
async fn serve(
    mut writing: OwnedWriteHalf,
    source: Arc<dyn SourceReader>,
    mut requests: mpsc::Receiver<(u64, u32)>,
    mut answers: mpsc::Receiver<ToChild>,
    events: mpsc::Sender<Event>,
    fetching: Arc<AtomicBool>,
) {
    loop {
        let (message, body) = tokio::select! {
            request = requests.recv() => {
                let Some((offset, len)) = request else { return };
                let fetched = source.read_range(offset, len).await;
                fetching.store(false, Ordering::SeqCst);
                match fetched {
                    Ok(bytes) if bytes.len() <= len as usize => {
                        if events.send(Event::Fetched).await.is_err() {
                            return;
                        }
                        (ToChild::Range { offset }, bytes)
                    }
                    Ok(_) => (ToChild::RangeFailed, Bytes::new()),
                    Err(error) => {
                        let _ = events.send(Event::SourceFailed(error)).await;
                        return;
                    }
                }
            }
            answer = answers.recv() => {
                let Some(message) = answer else { return };
                (message, Bytes::new())
            }
        };
        // A child that has gone is an event of the reading side.
        if send(&mut writing, &message, &body).await.is_err() {
            return;
        }
    }
}

/// How well children are shut in on this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SandboxReport {
    /// What is on.
    pub state: SandboxState,
    /// What a child tried and whether it was denied.
    pub test: SelfTest,
}

impl SandboxReport {
    /// True if everything mandatory is on and everything tried was denied.
    #[must_use]
    pub fn is_sufficient(&self) -> bool {
        self.state.is_sufficient() && self.test.all_denied()
    }
}

/// Starts a child that tries what must be denied, for `millrace doctor`.
///
/// # Errors
/// The child can't be started or shut in, or does not answer within the stall timeout.
pub async fn sandbox_level(config: &RunnerConfig) -> Result<SandboxReport, RunError> {
    let (mut process, stream) = Process::start(&config.program).await.map_err(RunError::Spawn)?;
    let (mut reading, mut writing) = stream.into_split();
    let start = ChildRunner::new(config.clone()).start(Task::SelfTest);
    let conversation = async {
        send(&mut writing, &start, &[]).await?;
        let state = match next_message(&mut reading).await? {
            Some((FromChild::Hello { version: VERSION, sandbox }, _)) => sandbox,
            Some((FromChild::SandboxRefused { reason }, _)) => return Err(RunError::Sandbox(reason)),
            Some(_) => return Err(ProtocolError::Unexpected("no greeting").into()),
            None => return Err(ProtocolError::Io(std::io::ErrorKind::UnexpectedEof.into()).into()),
        };
        match next_message(&mut reading).await? {
            Some((FromChild::SelfTested(test), _)) => Ok(SandboxReport { state, test }),
            _ => Err(ProtocolError::Unexpected("no test result").into()),
        }
    };
    let outcome = tokio::time::timeout(config.stall_timeout, conversation)
        .await
        .unwrap_or(Err(RunError::Hung(config.stall_timeout)));
    if outcome.is_err() {
        process.kill();
    }
    let ended = process.ended().await;
    match (outcome, ended.status) {
        (Err(RunError::Protocol(ProtocolError::Io(_))), Ok(status)) => {
            Err(RunError::Died { status, stderr: ended.stderr })
        }
        (outcome, _) => outcome,
    }
}
