//! What a run says: medians of each back end, and what ours are to each peer of their class.

use std::{collections::BTreeMap, fmt};

use comfy_table::{CellAlignment, Table, presets::ASCII_MARKDOWN};
use serde::Serialize;

use super::{Durability, Subject, round::Round};
use crate::{callers::Plan, machine::Machine, payload::EVENTS};

/// A run's results.
#[derive(Debug, Serialize)]
pub struct Report {
    machine: Machine,
    /// The load of the machine before and after.
    load: [f32; 2],
    plan: Plan,
    rounds: usize,
    events_per_record: u64,
    subjects: Vec<Summary>,
    ratios: Vec<Ratio>,
    not_run: BTreeMap<Subject, String>,
}

/// One back end's results.
#[derive(Debug, Serialize)]
struct Summary {
    subject: Subject,
    durability: Durability,
    setting: &'static str,
    version: String,
    /// Of each figure by itself.
    median: Figures,
    rounds: Vec<Round>,
}

/// The figures of a round.
#[derive(Debug, Clone, Copy, Serialize)]
struct Figures {
    records_per_second: f64,
    events_per_second: f64,
    /// A million bytes of records.
    megabytes_per_second: f64,
    p50_ms: f64,
    p99_ms: f64,
    p999_ms: f64,
    /// Processor time an append took.
    client_cpu_us: f64,
    server_cpu_us: f64,
    read_records_per_second: f64,
    read_megabytes_per_second: f64,
    /// Processor time a record took to be read.
    read_client_cpu_us: f64,
    read_server_cpu_us: f64,
    client_memory_bytes: f64,
    server_memory_bytes: f64,
    /// Processors that the rest of the machine took while appending.
    others_cores: f64,
}

/// What one of ours is to a peer: ours divided by theirs.
#[derive(Debug, Serialize)]
struct Ratio {
    ours: Subject,
    peer: Subject,
    appends: f64,
    p50: f64,
    p99: f64,
    p999: f64,
    reads: f64,
    /// Client and servers together, an append.
    cpu: f64,
}

impl Figures {
    fn of(round: &Round) -> Self {
        let (append, read) = (&round.append, &round.read);
        let records_per_second = append.calls as f64 / append.seconds;
        let micros = |seconds: f64, records: u64| seconds * 1e6 / records as f64;
        Self {
            records_per_second,
            events_per_second: records_per_second * EVENTS as f64,
            megabytes_per_second: records_per_second * round.record_bytes / 1e6,
            p50_ms: append.latency.p50,
            p99_ms: append.latency.p99,
            p999_ms: append.latency.p999,
            client_cpu_us: micros(append.cpu.client, append.calls),
            server_cpu_us: micros(append.cpu.server, append.calls),
            read_records_per_second: read.records as f64 / read.seconds,
            read_megabytes_per_second: read.bytes as f64 / read.seconds / 1e6,
            read_client_cpu_us: micros(read.cpu.client, read.records),
            read_server_cpu_us: micros(read.cpu.server, read.records),
            client_memory_bytes: round.client_memory as f64,
            server_memory_bytes: round.server_memory as f64,
            others_cores: append.cpu.others / append.seconds,
        }
    }

    fn median(rounds: &[Round]) -> Self {
        let all: Vec<Self> = rounds.iter().map(Self::of).collect();
        let of = |get: fn(&Self) -> f64| median(all.iter().map(get).collect());
        Self {
            records_per_second: of(|f| f.records_per_second),
            events_per_second: of(|f| f.events_per_second),
            megabytes_per_second: of(|f| f.megabytes_per_second),
            p50_ms: of(|f| f.p50_ms),
            p99_ms: of(|f| f.p99_ms),
            p999_ms: of(|f| f.p999_ms),
            client_cpu_us: of(|f| f.client_cpu_us),
            server_cpu_us: of(|f| f.server_cpu_us),
            read_records_per_second: of(|f| f.read_records_per_second),
            read_megabytes_per_second: of(|f| f.read_megabytes_per_second),
            read_client_cpu_us: of(|f| f.read_client_cpu_us),
            read_server_cpu_us: of(|f| f.read_server_cpu_us),
            client_memory_bytes: of(|f| f.client_memory_bytes),
            server_memory_bytes: of(|f| f.server_memory_bytes),
            others_cores: of(|f| f.others_cores),
        }
    }
}

/// The middle value, or the mean of the two in the middle.
fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.as_slice() {
        [] => f64::NAN,
        values if values.len() % 2 == 1 => values[middle],
        values => f64::midpoint(values[middle - 1], values[middle]),
    }
}

impl Report {
    /// The results of what was measured.
    pub fn new(
        machine: Machine,
        load: [f32; 2],
        plan: Plan,
        rounds: usize,
        measured: BTreeMap<Subject, Vec<Round>>,
        not_run: BTreeMap<Subject, String>,
    ) -> Self {
        let summary = |(subject, rounds): (Subject, Vec<Round>)| Summary {
            subject,
            durability: subject.durability(),
            setting: subject.setting(),
            version: rounds.first().map_or_else(String::new, |round| round.version.clone()),
            median: Figures::median(&rounds),
            rounds,
        };
        let subjects: Vec<Summary> = measured.into_iter().map(summary).collect();
        let mut ratios = Vec::new();
        for ours in subjects.iter().filter(|s| s.subject.is_ours()) {
            for peer in subjects.iter().filter(|s| !s.subject.is_ours() && s.durability == ours.durability) {
                ratios.push(Ratio::of(ours, peer));
            }
        }
        Self { machine, load, plan, rounds, events_per_record: EVENTS, subjects, ratios, not_run }
    }
}

impl Ratio {
    fn of(ours: &Summary, peer: &Summary) -> Self {
        let (o, p) = (&ours.median, &peer.median);
        Self {
            ours: ours.subject,
            peer: peer.subject,
            appends: o.records_per_second / p.records_per_second,
            p50: o.p50_ms / p.p50_ms,
            p99: o.p99_ms / p.p99_ms,
            p999: o.p999_ms / p.p999_ms,
            reads: o.read_records_per_second / p.read_records_per_second,
            cpu: (o.client_cpu_us + o.server_cpu_us) / (p.client_cpu_us + p.server_cpu_us),
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "Medians of {} rounds. Load {:.1} before, {:.1} after on {} cores.\nµs: processor time a record took, of \
             the client (with the back end where that is a library) and of the servers. others: cores that\n\
             other processes took meanwhile. MiB: resident after the appends.",
            self.rounds, self.load[0], self.load[1], self.machine.cores
        )?;
        for durability in [Durability::Fsynced, Durability::Memory] {
            let class: Vec<&Summary> = self.subjects.iter().filter(|s| s.durability == durability).collect();
            if class.is_empty() {
                continue;
            }
            writeln!(f, "\n{durability}\n{}\n\n{}", appends(&class), reads(&class))?;
            for summary in &class {
                writeln!(f, "{} {}: {}", summary.subject.name(), summary.version, summary.setting)?;
            }
        }
        if !self.ratios.is_empty() {
            writeln!(f, "\nOurs divided by the peer's at the same durability\n{}", ratios(&self.ratios))?;
        }
        let mut absent: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        self.not_run.iter().for_each(|(subject, why)| absent.entry(why).or_default().push(subject.name()));
        absent.iter().try_for_each(|(why, names)| writeln!(f, "not run: {}: {why}", names.join(", ")))?;
        Ok(())
    }
}

fn table<const N: usize>(head: [&str; N], rows: impl IntoIterator<Item = [String; N]>) -> Table {
    let mut table = Table::new();
    table.load_preset(ASCII_MARKDOWN).set_header(head).add_rows(rows);
    table.column_iter_mut().skip(1).for_each(|column| column.set_cell_alignment(CellAlignment::Right));
    table
}

fn appends(class: &[&Summary]) -> Table {
    let head = [
        "appends",
        "records/s",
        "events/s",
        "MB/s",
        "p50 ms",
        "p99 ms",
        "p99.9 ms",
        "client µs",
        "server µs",
        "others",
    ];
    let row = |summary: &&Summary| {
        let m = &summary.median;
        [
            summary.subject.name().to_owned(),
            format!("{:.0}", m.records_per_second),
            format!("{:.0}", m.events_per_second),
            format!("{:.1}", m.megabytes_per_second),
            format!("{:.1}", m.p50_ms),
            format!("{:.1}", m.p99_ms),
            format!("{:.1}", m.p999_ms),
            format!("{:.0}", m.client_cpu_us),
            format!("{:.0}", m.server_cpu_us),
            format!("{:.1}", m.others_cores),
        ]
    };
    table(head, class.iter().map(row))
}

fn reads(class: &[&Summary]) -> Table {
    let mib = |bytes: f64| format!("{:.0}", bytes / f64::from(1u32 << 20));
    let head = ["reads", "records/s", "MB/s", "client µs", "server µs", "client MiB", "server MiB"];
    let row = |summary: &&Summary| {
        let m = &summary.median;
        [
            summary.subject.name().to_owned(),
            format!("{:.0}", m.read_records_per_second),
            format!("{:.1}", m.read_megabytes_per_second),
            format!("{:.1}", m.read_client_cpu_us),
            format!("{:.1}", m.read_server_cpu_us),
            mib(m.client_memory_bytes),
            mib(m.server_memory_bytes),
        ]
    };
    table(head, class.iter().map(row))
}

fn ratios(ratios: &[Ratio]) -> Table {
    let head = ["", "records/s", "p50", "p99", "p99.9", "read records/s", "CPU a record"];
    let row = |ratio: &Ratio| {
        let values = [ratio.appends, ratio.p50, ratio.p99, ratio.p999, ratio.reads, ratio.cpu];
        let [appends, p50, p99, p999, reads, cpu] = values.map(|value| format!("{value:.2}"));
        [format!("{} / {}", ratio.ours.name(), ratio.peer.name()), appends, p50, p99, p999, reads, cpu]
    };
    table(head, ratios.iter().map(row))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle() {
        assert_eq!(median(vec![3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(vec![4.0, 1.0, 2.0, 3.0]), 2.5);
        assert!(median(Vec::new()).is_nan());
    }
}
