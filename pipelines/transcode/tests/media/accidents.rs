//! Children that crash, hang, are killed or lie: each becomes an error with a verdict, and no process is
//! left behind.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use libtest_mimic::Trial;
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tokio_util::sync::CancellationToken;
use transcode_stage::worker::{ChildRunner, Finished, ReadError, RunError, RunnerConfig, SourceReader};

use crate::{
    clips::ordinary,
    collect::{Keeper, Memory, config, run},
    trial,
};

pub fn trials() -> Vec<Trial> {
    vec![
        trial("a_child_that_is_killed", a_child_that_is_killed),
        trial("a_child_that_hangs", a_child_that_hangs),
        trial("a_child_that_is_cancelled", a_child_that_is_cancelled),
        trial("a_child_out_of_processor_time", a_child_out_of_processor_time),
        trial("a_child_out_of_memory", a_child_out_of_memory),
        trial("programs_that_are_no_child", programs_that_are_no_child),
        trial("a_source_that_fails", a_source_that_fails),
        trial("a_sink_that_refuses", a_sink_that_refuses),
        trial("a_slow_source_is_not_a_hang", a_slow_source_is_not_a_hang),
        trial("a_dropped_run_leaves_no_process", a_dropped_run_leaves_no_process),
    ]
}

/// Starts a transcode, does something once its first segment has come, and returns how it ended.
async fn interrupted(
    config: RunnerConfig,
    cancel: &CancellationToken,
    interrupt: impl FnOnce(Pid),
) -> (Result<Finished, RunError>, Pid) {
    let mut keeper = Keeper::default();
    let (came, process_id) = (Arc::clone(&keeper.segment_came), Arc::clone(&keeper.process_id));
    let source = Arc::new(Memory(ordinary("640x360", "30", 30).into()));
    let runner = ChildRunner::new(config);
    let running = runner.run(source, &mut keeper, cancel);
    tokio::pin!(running);
    let pid = || Pid::from_raw(i32::try_from(*process_id.lock().unwrap()).unwrap());
    tokio::select! {
        outcome = &mut running => panic!("ended before its first segment was seen: {outcome:?}"),
        () = came.notified() => interrupt(pid()),
    }
    let outcome = running.await;
    (outcome, pid())
}

fn is_gone(pid: Pid) -> bool {
    kill(pid, None) == Err(nix::errno::Errno::ESRCH)
}

async fn a_child_that_is_killed() {
    let (outcome, pid) =
        interrupted(config(), &CancellationToken::new(), |pid| kill(pid, Signal::SIGKILL).unwrap()).await;
    let error = outcome.unwrap_err();
    assert!(matches!(error, RunError::Died { .. }) && error.is_worth_another_attempt(), "{error:?}");
    assert!(error.reason().contains("memory"), "{}", error.reason());
    assert!(is_gone(pid));
}

async fn a_child_that_hangs() {
    let mut impatient = config();
    impatient.stall_timeout = Duration::from_millis(2500);
    let (outcome, pid) =
        interrupted(impatient, &CancellationToken::new(), |pid| kill(pid, Signal::SIGSTOP).unwrap()).await;
    let error = outcome.unwrap_err();
    assert!(matches!(error, RunError::Hung(_)) && error.is_worth_another_attempt(), "{error:?}");
    assert!(is_gone(pid));
}

async fn a_child_that_is_cancelled() {
    let cancel = CancellationToken::new();
    let (outcome, pid) = interrupted(config(), &cancel, |_| cancel.cancel()).await;
    assert!(matches!(outcome, Err(RunError::Cancelled)), "{outcome:?}");
    assert!(is_gone(pid));
}

async fn a_child_out_of_processor_time() {
    let mut stingy = config();
    stingy.limits.max_cpu_seconds = 1;
    let error = run(stingy, ordinary("1280x720", "30", 20), &mut Keeper::default()).await.unwrap_err();
    assert!(error.reason().contains("processing time") && !error.is_worth_another_attempt(), "{error:?}");
}

async fn a_child_out_of_memory() {
    let mut narrow = config();
    narrow.limits.max_memory = event_schemas::ByteSize::mib(300);
    let error = run(narrow, ordinary("1280x720", "30", 2), &mut Keeper::default()).await.unwrap_err();
    assert!(matches!(error, RunError::Failed { .. } | RunError::Died { .. }), "{error:?}");
}

async fn programs_that_are_no_child() {
    for (argument, expected) in [("crash", "crash"), ("leave", "crash"), ("babble", "misbehave")] {
        let mut other = config();
        other.program.arguments = vec![argument.into()];
        let error = run(other, vec![0; 10], &mut Keeper::default()).await.unwrap_err();
        assert!(error.reason().contains(expected), "{argument}: {error:?}");
    }
    let mut absent = config();
    absent.program.path = "/nowhere/millrace".into();
    let error = run(absent, vec![0; 10], &mut Keeper::default()).await.unwrap_err();
    assert!(matches!(error, RunError::Spawn(_)) && error.is_ours(), "{error:?}");
}

struct Failing(Memory);

#[async_trait]
impl SourceReader for Failing {
    fn size(&self) -> Option<u64> {
        self.0.size()
    }

    async fn read_range(&self, offset: u64, len: u32) -> Result<Bytes, ReadError> {
        if offset > 0 { Err(ReadError::Gap(offset)) } else { self.0.read_range(offset, len).await }
    }
}

async fn a_source_that_fails() {
    let big = ordinary("1280x720", "30", 4);
    assert!(big.len() > 2 << 20, "more than one block: {}", big.len());
    let source = Arc::new(Failing(Memory(big.into())));
    let outcome = ChildRunner::new(config()).run(source, &mut Keeper::default(), &CancellationToken::new()).await;
    let error = outcome.unwrap_err();
    assert!(matches!(error, RunError::Source(ReadError::Gap(_))) && error.is_ours(), "{error:?}");
}

async fn a_sink_that_refuses() {
    let mut keeper = Keeper { refuse_segment: Some(0), ..Keeper::default() };
    let error = run(config(), ordinary("320x240", "25", 2), &mut keeper).await.unwrap_err();
    assert!(matches!(error, RunError::Sink(_)) && error.is_ours(), "{error:?}");
}

struct Slow(Memory, Duration);

#[async_trait]
impl SourceReader for Slow {
    fn size(&self) -> Option<u64> {
        self.0.size()
    }

    async fn read_range(&self, offset: u64, len: u32) -> Result<Bytes, ReadError> {
        tokio::time::sleep(self.1).await;
        self.0.read_range(offset, len).await
    }
}

async fn a_slow_source_is_not_a_hang() {
    let mut impatient = config();
    impatient.stall_timeout = Duration::from_millis(1500);
    let source = Arc::new(Slow(Memory(ordinary("160x120", "10", 1).into()), Duration::from_millis(2500)));
    let outcome = ChildRunner::new(impatient).run(source, &mut Keeper::default(), &CancellationToken::new()).await;
    assert!(outcome.is_ok(), "{outcome:?}");
}

async fn a_dropped_run_leaves_no_process() {
    let mut keeper = Keeper::default();
    let (came, process_id) = (Arc::clone(&keeper.segment_came), Arc::clone(&keeper.process_id));
    let source = Arc::new(Memory(ordinary("640x360", "30", 30).into()));
    let runner = ChildRunner::new(config());
    let cancel = CancellationToken::new();
    tokio::select! {
        _ = runner.run(source, &mut keeper, &cancel) => panic!("ended before its first segment was seen"),
        () = came.notified() => {}
    }
    let pid = Pid::from_raw(i32::try_from(*process_id.lock().unwrap()).unwrap());
    // Killed at once, reaped by its own thread.
    tokio::time::timeout(Duration::from_secs(10), async {
        while !is_gone(pid) {
            tokio::task::yield_now().await;
        }
    })
    .await
    .unwrap();
}
