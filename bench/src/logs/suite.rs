//! The suite: its settings, its rounds, and what comes of them.

use std::{collections::BTreeMap, process::Stdio, time::Duration};

use anyhow::{Context as _, ensure};
use clap::ValueEnum as _;

use super::{
    Subject,
    report::Report,
    round::{Outcome, Round, Task},
};
use crate::{callers::Plan, machine::Machine, place::Place};

/// What a round may take besides the measurement before it is given up.
const GRACE: Duration = Duration::from_secs(240);

/// Settings.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// Which back ends, separated by commas.
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = Subject::value_variants().to_vec())]
    pub subjects: Vec<Subject>,
    /// Rounds; each measures every back end once.
    #[arg(long, default_value_t = 3)]
    pub rounds: usize,
    /// Concurrent callers, each waiting for its acknowledgement before it appends again.
    #[arg(long, default_value_t = 64)]
    pub callers: usize,
    /// How long a round appends, seconds.
    #[arg(long, default_value_t = 3.0)]
    pub seconds: f64,
    /// How many records a round appends at most.
    #[arg(long, default_value_t = 60_000)]
    pub records: u64,
    /// How long a round appends before it measures, seconds.
    #[arg(long, default_value_t = 0.5)]
    pub warm_up: f64,
    #[command(flatten)]
    pub place: Place,
}

/// Measures, prints the tables and writes the file.
///
/// # Errors
/// A back end fails, or the file can't be written.
pub async fn run(args: Args) -> anyhow::Result<()> {
    let rounds_and_time = args.rounds > 0 && args.callers > 0 && args.records > 0 && args.seconds > 0.0;
    ensure!(rounds_and_time && args.warm_up >= 0.0, "rounds, callers, records and seconds must be more than none");
    let (folder, machine) = args.place.prepare()?;
    println!("{}", headline(&machine, &args, &folder));
    let load_before = crate::machine::load()?;
    let plan = Plan { callers: args.callers, warm_up: args.warm_up, seconds: args.seconds, calls: args.records };
    let mut measured: BTreeMap<Subject, Vec<Round>> = BTreeMap::new();
    let mut not_run: BTreeMap<Subject, String> = BTreeMap::new();
    for n in 1..=args.rounds {
        for &subject in &args.subjects {
            if not_run.contains_key(&subject) {
                continue;
            }
            let task = Task { subject, plan, folder: folder.clone() };
            match child(&task).await.with_context(|| format!("{}, round {n}", subject.name()))? {
                Outcome::NotRun(why) => {
                    not_run.insert(subject, why);
                }
                Outcome::Measured(round) => {
                    let rate = round.append.calls as f64 / round.append.seconds;
                    let p99 = round.append.latency.p99;
                    println!("round {n} {:<12} {rate:>9.0} records/s, p99 {p99:.1} ms", subject.name());
                    measured.entry(subject).or_default().push(*round);
                }
            }
        }
    }
    let load = [load_before, crate::machine::load()?];
    let report = Report::new(machine, load, plan, args.rounds, measured, not_run);
    println!("\n{report}");
    let file = args.place.write("logs", &report)?;
    println!("all rounds: {}", file.display());
    Ok(())
}

fn headline(machine: &Machine, args: &Args, folder: &std::path::Path) -> String {
    format!(
        "{} cores, {:.1} GiB, Linux {}; data on {} ({}) in {}\n{} callers, 4 partitions, records of 50 events; \
         a round: {} s or {} records after {} s",
        machine.cores,
        machine.memory_bytes as f64 / f64::from(1u32 << 30),
        machine.kernel,
        machine.file_system,
        machine.device,
        folder.display(),
        args.callers,
        args.seconds,
        args.records,
        args.warm_up,
    )
}

/// Runs one round in a child of its own.
async fn child(task: &Task) -> anyhow::Result<Outcome> {
    let program = std::env::current_exe().context("this program does not know where it lies")?;
    let limit = GRACE + Duration::from_secs_f64(task.plan.warm_up + task.plan.seconds);
    let child = tokio::process::Command::new(program)
        .arg("round")
        .arg(serde_json::to_string(task)?)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        // With the child die the servers it started.
        .kill_on_drop(true)
        .spawn()?;
    let output = tokio::time::timeout(limit, child.wait_with_output()).await.context("the round took too long")??;
    // The child has said why.
    ensure!(output.status.success(), "the round ended with {}", output.status);
    serde_json::from_slice(&output.stdout).context("the round's outcome can't be read")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_on_the_command_line_are_those_in_the_output() {
        for subject in Subject::value_variants() {
            assert_eq!(subject.to_possible_value().unwrap().get_name(), subject.name());
            assert_eq!(serde_json::to_value(subject).unwrap(), subject.name());
        }
    }
}
