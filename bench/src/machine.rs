//! The machine: what it is, and what of it the measured processes took.

use std::path::Path;

use anyhow::Context as _;
use nix::sys::resource::{UsageWho, getrusage};
use procfs::{Current as _, CurrentSI as _, process::Process};
use serde::{Deserialize, Serialize};

/// What a run was made on.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Machine {
    /// Processors.
    pub cores: usize,
    /// Bytes of memory.
    pub memory_bytes: u64,
    /// Kernel version.
    pub kernel: String,
    /// Type of the file system that holds the data.
    pub file_system: String,
    /// The device under it.
    pub device: String,
}

impl Machine {
    /// This machine, with its data in `folder`.
    ///
    /// # Errors
    /// `/proc` can't be read.
    pub fn of(folder: &Path) -> anyhow::Result<Self> {
        let folder = folder.canonicalize().with_context(|| folder.display().to_string())?;
        let mounts = Process::myself()?.mountinfo()?;
        // Of mounts on the same point the last one is seen.
        let mount = mounts
            .into_iter()
            .filter(|mount| folder.starts_with(&mount.mount_point))
            .max_by_key(|mount| mount.mount_point.components().count());
        let mount = mount.context("no mount holds the folder of the data")?;
        let kernel = procfs::sys::kernel::Version::current()?;
        Ok(Self {
            cores: std::thread::available_parallelism()?.get(),
            memory_bytes: procfs::Meminfo::current()?.mem_total,
            kernel: format!("{}.{}.{}", kernel.major, kernel.minor, kernel.patch),
            file_system: mount.fs_type,
            device: mount.mount_source.unwrap_or_default(),
        })
    }

    /// Whether the data lies in memory, where an fsync does nothing.
    pub fn in_memory(&self) -> bool {
        matches!(self.file_system.as_str(), "tmpfs" | "ramfs")
    }
}

/// Processes that waited for a processor or had one, averaged over the last minute.
///
/// # Errors
/// `/proc` can't be read.
pub fn load() -> anyhow::Result<f32> {
    Ok(procfs::LoadAverage::current()?.one)
}

/// CPU seconds since the start: a reading, or the difference of two.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub struct CpuSeconds {
    /// Of this process: the client, and the back end where that is a library.
    pub client: f64,
    /// Of the servers.
    pub server: f64,
    /// Of all other processes of the machine.
    pub others: f64,
}

/// Reads what the measured processes take.
pub struct Meter {
    servers: Vec<Process>,
}

impl Meter {
    /// A meter of this process and of `servers`, by their ids.
    ///
    /// # Errors
    /// One of them is not there.
    pub fn new(servers: &[u32]) -> anyhow::Result<Self> {
        let servers = servers.iter().map(|id| Process::new(i32::try_from(*id)?).context("a server is gone"));
        Ok(Self { servers: servers.collect::<anyhow::Result<_>>()? })
    }

    /// The CPU seconds used up to now.
    ///
    /// # Errors
    /// A server has ended.
    pub fn read(&self) -> anyhow::Result<CpuSeconds> {
        let tick = procfs::ticks_per_second() as f64;
        let usage = getrusage(UsageWho::RUSAGE_SELF)?;
        let client = [usage.user_time(), usage.system_time()];
        let client = client.iter().map(|time| time.tv_sec() as f64 + time.tv_usec() as f64 / 1e6).sum();
        let mut server = 0.0;
        for process in &self.servers {
            let stat = process.stat().context("a server has ended")?;
            server += (stat.utime + stat.stime) as f64 / tick;
        }
        let all = procfs::KernelStats::current()?.total;
        let rest = [all.irq, all.softirq, all.steal].into_iter().flatten().sum::<u64>();
        let machine = (all.user + all.nice + all.system + rest) as f64 / tick;
        Ok(CpuSeconds { client, server, others: machine - client - server })
    }

    /// What has been used since `earlier`.
    ///
    /// # Errors
    /// A server has ended.
    pub fn since(&self, earlier: CpuSeconds) -> anyhow::Result<CpuSeconds> {
        let now = self.read()?;
        Ok(CpuSeconds {
            client: now.client - earlier.client,
            server: now.server - earlier.server,
            // The machine's reading is coarser than the others.
            others: (now.others - earlier.others).max(0.0),
        })
    }

    /// Bytes of memory resident now: of this process, and of the servers.
    ///
    /// # Errors
    /// A server has ended.
    pub fn memory(&self) -> anyhow::Result<[u64; 2]> {
        let resident = |process: &Process| -> anyhow::Result<u64> {
            Ok(process.status()?.vmrss.context("the process has ended")? * 1024)
        };
        let mut servers = 0;
        for process in &self.servers {
            servers += resident(process)?;
        }
        Ok([resident(&Process::myself()?)?, servers])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_of_this_process_is_seen() {
        let meter = Meter::new(&[]).unwrap();
        let before = meter.read().unwrap();
        let mut x = 1u64;
        while meter.since(before).unwrap().client < 0.01 {
            x = std::hint::black_box(x.wrapping_mul(3));
        }
        assert_eq!(meter.since(before).unwrap().server, 0.0);
        let [client, servers] = meter.memory().unwrap();
        assert!(client > 1 << 20 && servers == 0);
    }

    #[test]
    fn a_file_system_is_named() {
        let machine = Machine::of(Path::new(env!("CARGO_MANIFEST_DIR"))).unwrap();
        assert!(!machine.file_system.is_empty() && machine.cores > 0);
        assert_eq!(Machine::of(Path::new("/proc")).unwrap().file_system, "proc");
    }
}
