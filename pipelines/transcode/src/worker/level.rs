//! How well children are shut in on this machine: `millrace doctor` asks.

use super::{ProtocolError, RunError, RunnerConfig, judge, process::Process, start_message, wire};
use crate::{
    protocol::{FromChild, Task, VERSION},
    sandbox::{SandboxState, SelfTest},
};

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
    let start = start_message(config, Task::SelfTest);
    let conversation = async {
        wire::send(&mut writing, &start, &[]).await?;
        let state = match wire::next_message(&mut reading).await? {
            Some((FromChild::Hello { version: VERSION, sandbox }, _)) => sandbox,
            Some((FromChild::SandboxRefused { reason }, _)) => return Err(RunError::Sandbox(reason)),
            Some(_) => return Err(ProtocolError::Unexpected("no greeting").into()),
            None => return Err(ProtocolError::Io(std::io::ErrorKind::UnexpectedEof.into()).into()),
        };
        match wire::next_message(&mut reading).await? {
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
    judge(outcome, ended)
}
