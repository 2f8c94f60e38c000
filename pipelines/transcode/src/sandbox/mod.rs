//! The walls around the process that decodes: it can compute, and read and write the descriptors it
//! already has, and nothing else.
//!
//! [`enter`] is called by the child before it has seen a byte of its source, while it has one thread.
//! Mandatory are no-new-privileges, the system call filter and the resource limits; Landlock is added
//! where the kernel has it. [`sandbox_level`](crate::worker::sandbox_level) lets a child try what must
//! be denied.

mod filter;
mod selftest;

use nix::{
    libc,
    sys::{
        prctl,
        resource::{Resource, setrlimit},
        signal::Signal,
    },
};
use serde::{Deserialize, Serialize};

use crate::limits::Limits;
pub use selftest::SelfTest;

/// What shuts a child in.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct SandboxState {
    /// The process can't gain privileges.
    pub no_new_privs: bool,
    /// The system call filter is on.
    pub seccomp: bool,
    /// Memory, processor time, file size and descriptors are limited.
    pub rlimits: bool,
    /// How much of Landlock the kernel enforces.
    pub landlock: Landlock,
    /// What could not be had, in words.
    pub missing: Vec<String>,
}

/// How much of Landlock the kernel enforces.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Landlock {
    /// Nothing: too old a kernel, or built without.
    #[default]
    Absent,
    /// A part of what was asked for.
    Partial,
    /// Everything that was asked for.
    Full,
}

impl SandboxState {
    /// True if everything mandatory is on.
    #[must_use]
    pub const fn is_sufficient(&self) -> bool {
        self.no_new_privs && self.seccomp && self.rlimits
    }
}

/// Closes every descriptor above standard error and asks to be killed when the parent's thread that
/// started this process ends. First thing in the child.
///
/// # Errors
/// The kernel refuses; the text says what.
pub fn leave_parent_behind() -> Result<(), String> {
    prctl::set_pdeathsig(Signal::SIGKILL).map_err(|error| format!("parent-death signal: {error}"))?;
    // SAFETY: the child calls this before it opens anything, so no descriptor above 2 has an owner in
    // this process that could use it afterwards.
    let closed = unsafe { libc::syscall(libc::SYS_close_range, 3u32, u32::MAX, 0u32) };
    if closed != 0 {
        return Err(format!("closing inherited descriptors: {}", std::io::Error::last_os_error()));
    }
    Ok(())
}

/// Shuts the calling process in. What can't be had is listed in the answer, which the caller judges.
#[must_use]
pub fn enter(limits: &Limits) -> SandboxState {
    let mut state = SandboxState::default();
    let mut note = |what: &str, outcome: Result<(), String>| match outcome {
        Ok(()) => true,
        Err(why) => {
            state.missing.push(format!("{what}: {why}"));
            false
        }
    };
    let no_new_privs = note("no-new-privileges", prctl::set_no_new_privs().map_err(|error| error.to_string()));
    let landlock = restrict_by_landlock();
    note("Landlock", landlock.as_ref().map(|_| ()).map_err(Clone::clone));
    let rlimits = note("resource limits", set_resource_limits(limits));
    // Last, as it forbids the calls above.
    let seccomp = note("seccomp", filter::install());
    SandboxState { no_new_privs, seccomp, rlimits, landlock: landlock.unwrap_or_default(), ..state }
}

fn set_resource_limits(limits: &Limits) -> Result<(), String> {
    // The soft limit of processor time gives a signal that tells why; the hard one makes sure.
    let cpu = limits.max_cpu_seconds;
    let wanted = [
        (Resource::RLIMIT_AS, limits.max_memory.0, limits.max_memory.0),
        (Resource::RLIMIT_CPU, cpu, cpu.saturating_add(5)),
        (Resource::RLIMIT_FSIZE, 0, 0),
        (Resource::RLIMIT_CORE, 0, 0),
        (Resource::RLIMIT_NOFILE, 0, 0),
    ];
    for (resource, soft, hard) in wanted {
        setrlimit(resource, soft, hard).map_err(|error| format!("{resource:?}: {error}"))?;
    }
    Ok(())
}

fn restrict_by_landlock() -> Result<Landlock, String> {
    use landlock::{ABI, Access, AccessFs, AccessNet, Ruleset, RulesetAttr, RulesetStatus, Scope};
    let abi = ABI::V6;
    let status = Ruleset::default()
        .handle_access(AccessFs::from_all(abi))
        .and_then(|rules| rules.handle_access(AccessNet::from_all(abi)))
        .and_then(|rules| rules.scope(Scope::from_all(abi)))
        .and_then(Ruleset::create)
        .and_then(landlock::RulesetCreated::restrict_self)
        .map_err(|error| error.to_string())?;
    match status.ruleset {
        RulesetStatus::FullyEnforced => Ok(Landlock::Full),
        RulesetStatus::PartiallyEnforced => Ok(Landlock::Partial),
        RulesetStatus::NotEnforced => Err("the kernel does not have it".to_owned()),
    }
}

/// Tries, from inside, what must be denied.
#[must_use]
pub fn self_test() -> SelfTest {
    selftest::run()
}
